//! What whoever tests obs from outside builds on.

use std::fs;

use crate::support::{Ack, Rack, term, until};

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
