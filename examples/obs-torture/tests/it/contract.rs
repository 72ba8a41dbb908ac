//! What whoever tests obs from outside builds on.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Seek as _},
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt as _, net::UnixStream},
    },
    process::{Command, Stdio},
};

use obs::Clock;

use crate::support::{Ack, Ended, Rack, skip, term, until};

#[test]
fn every_run_has_one_line_and_every_kth_is_an_error() {
    for runtime in ["none", "current", "multi"] {
        let rack = Rack::new();
        let flags = format!(
            "--runs 300 --threads 3 --error-every 7 --runtime {runtime} --db {}",
            rack.sqlite()
        );
        let (ended, account) = rack.run("one", &flags);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        account.assert_balanced();
        let mut seqs: Vec<_> = account.acks.iter().map(|ack| ack.seq).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (0..300).collect::<Vec<_>>(), "{runtime}");
        for Ack { seq, class, ack, .. } in &account.acks {
            assert_eq!(class == "error", (seq + 1) % 7 == 0, "{seq}");
            assert_eq!(ack, "memory");
        }
        assert_eq!(account.term(&["error", "persisted"]), 42);
        assert_eq!(account.term(&["ok", "persisted"]), 258);
    }
}

#[test]
fn without_a_store_every_run_is_refused_and_counted() {
    let (ended, account) = Rack::new().run("one", "--runs 20");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    account.assert_balanced();
    assert!(account.acks.iter().all(|ack| ack.ack == "refused"));
    assert_eq!(account.term(&["ok", "dropped", "disabled"]), 18);
}

#[test]
fn a_rate_is_kept() {
    let (ended, account) = Rack::new().run("one", "--runs 100 --rate 200 --threads 2");
    assert_eq!((ended.code, account.acks.len()), (Some(0), 100));
    // The hundredth run is due after 495 ms.
    assert!(ended.took.as_millis() >= 480, "{:?}", ended.took);
}

#[test]
fn open_runs_are_named_and_wait_to_be_killed() {
    let rack = Rack::new();
    let mut victim =
        rack.start("one", &format!("--runs 10 --inflight-at-end 5 --db {}", rack.sqlite()));
    victim.until_acked(10);
    until("all is stored", || term(&victim.ledger(), &["ok", "persisted"]) == 9);
    let ended = victim.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let open: Vec<_> = ended.out.lines().filter_map(|line| line.strip_prefix("open ")).collect();
    assert_eq!(open.len(), 5);
    assert!(ended.out.contains("10 started") || ended.out.contains("15 started"), "{}", ended.out);
}

#[test]
fn the_ledger_is_replaced_as_a_whole() {
    let rack = Rack::new();
    let victim = rack.start("one", "--runs 100000000 --rate 1000");
    victim.until_acked(1);
    // Each look finds a complete object, never an empty or half a file.
    for _ in 0..500 {
        assert_eq!(victim.ledger()["imbalance"], 0);
    }
}

#[test]
fn a_promise_without_the_means_is_refused() {
    let rack = Rack::new();
    let (acks, flags) = (rack.path("x.acks"), "--durability os --runs 1");
    let mut victim = rack.start("x", flags);
    let ended = victim.end();
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("add `--spool DIR`"), "{}", ended.err);
    assert_eq!(fs::read_to_string(acks).unwrap(), "");
}

#[test]
fn a_killed_process_leaves_whole_lines_and_a_whole_ledger() {
    let rack = Rack::new();
    for round in 0..5 {
        let flags = format!("--runs 100000000 --threads 4 --db {}", rack.sqlite());
        let mut victim = rack.start("one", &flags);
        victim.until_acked(500 * (round + 1));
        victim.kill();
        // Reading fails on anything that is torn.
        let account = victim.account();
        assert!(account.acks.len() >= 500 * (round + 1));
        assert_eq!(account.ledger["imbalance"], 0);
    }
}

/// The lines of five runs, of a process that gets its descriptor 3 from `given`, behind another program.
fn lines_into(given: impl Into<Stdio>, wrapper: &[&str]) -> Ended {
    let rack = Rack::new();
    let [out, err] = ["out", "err"].map(|name| File::create(rack.path(name)).unwrap());
    // Standard input is what a program can be given from here; the shell makes it descriptor 3.
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec 3<&0 0</dev/null; exec \"$@\"", "sh"])
        .args(wrapper)
        .arg(env!("CARGO_BIN_EXE_obs-torture"))
        .args(["--runs", "5", "--ack-fd", "3"])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(given)
        .stdout(out)
        .stderr(err);
    let clock = Clock::default();
    let start = clock.now();
    let code = command.status().unwrap().code();
    let [out, err] = ["out", "err"].map(|name| fs::read_to_string(rack.path(name)).unwrap());
    Ended { code, out, err, took: clock.now().since(start) }
}

#[test]
fn the_lines_go_to_a_socket_as_they_go_to_a_file() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let ended = lines_into(OwnedFd::from(theirs), &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines: Vec<_> = BufReader::new(ours).lines().map(Result::unwrap).collect();
    assert_eq!(lines.iter().map(|line| Ack::parse(line).seq).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn the_lines_go_to_a_file_that_the_process_could_not_open_by_itself() {
    let who = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let reaches = Command::new(who[0])
        .args(&who[1..])
        .args([env!("CARGO_BIN_EXE_obs-torture"), "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !reaches.is_ok_and(|status| status.success()) {
        return skip("no process can be started as another user who reaches this program");
    }
    let mut file = tempfile::tempfile().unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
    let ended = lines_into(file.try_clone().unwrap(), &who);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().map(|line| Ack::parse(line).seq).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_descriptor_that_nobody_gave_is_an_error_and_none_that_the_process_opens_itself() {
    // Whoever runs the tests may have some of them open.
    let closed = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; exec \"$@\"";
    for fd in ["3", "4", "5", "6", "7", "8", "9", "700"] {
        let torture = Command::new("sh")
            .args(["-c", closed, "sh", env!("CARGO_BIN_EXE_obs-torture")])
            .args(["--runs", "5", "--ack-fd", fd])
            .output()
            .unwrap();
        let said = String::from_utf8(torture.stderr).unwrap();
        assert_eq!(torture.status.code(), Some(1), "{fd}: {said}");
        assert!(said.contains(&format!("descriptor {fd} of --ack-fd cannot be written")), "{said}");
        assert!(said.contains(&format!("open it, e.g. {fd}>acks")), "{said}");
    }
}
