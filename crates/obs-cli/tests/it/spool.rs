//! `obs spool` and `obs ledger`, on the folders of processes that live, ended and died.

use std::{fs, os::unix::fs::FileExt, path::PathBuf, time::Duration};

use obs_core::{Ack, Kind, Obs, StoreMetrics};
use obs_persist::{PersistConfig, Persister, SpoolDir, StoreUrl};
use serde_json::Value;

use crate::support::{Operator, Said};

mod missing;

/// A program whose store refuses connections, so that its errors stay in its spool.
struct Program {
    obs: Obs,
    persister: Persister,
}

impl Program {
    fn start(operator: &Operator) -> Self {
        let mut config = PersistConfig::default();
        config.spool_dir = Some(SpoolDir::Given(operator.dir.path().join("spool")));
        // Nothing listens on port 1.
        let store = StoreUrl::parse("postgres://app@127.0.0.1:1/game").unwrap().store();
        let persister = Persister::start(config, store, StoreMetrics::default()).unwrap();
        let page = persister.ledger_page().unwrap();
        let obs = Obs::builder().sink(persister.sink()).ledger_page(page).build().unwrap();
        Self { obs, persister }
    }

    fn kind(&self) -> Kind {
        self.obs.kind("dsl")
    }

    fn fail(&self) -> String {
        fail(&self.obs)
    }

    /// Ends with its errors still in the spool.
    fn end(self) {
        let report = self.persister.shutdown_blocking(Duration::from_millis(100));
        assert!(report.spooled > 0, "{report}");
    }
}

/// A run that fails; its id.
fn fail(obs: &Obs) -> String {
    let mut run = obs.kind("dsl").strategy("bonus").version("1").build().unwrap().start();
    let id = run.id().to_string();
    let (_, ack) = run.finish_ack(Err::<(), _>("no such field".to_owned()));
    assert_eq!(ack, Some(Ack::Os));
    id
}

fn operator() -> Operator {
    Operator::new().with("OBS_SPOOL_DIR", "./spool")
}

fn first_segment(operator: &Operator) -> PathBuf {
    let epochs = fs::read_dir(operator.dir.path().join("spool")).unwrap();
    let files = epochs.filter_map(|epoch| fs::read_dir(epoch.unwrap().path()).ok()).flatten();
    let mut segments: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|end| end == "seg"));
    segments.sort();
    segments.swap_remove(0)
}

/// What a call with `--json` said, however it ended.
fn lines(said: &Said) -> Vec<Value> {
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_dump_has_one_line_for_every_error_that_was_promised() {
    let operator = operator();
    let program = Program::start(&operator);
    let ids: Vec<_> = (0..300).map(|_| program.fail()).collect();
    let lines = operator.json(&["spool", "dump", "./spool"]);
    let dumped: Vec<_> = lines.iter().map(|line| line["run_id"].as_str().unwrap()).collect();
    assert_eq!(dumped, ids, "in order, while the process lives");
    for line in &lines {
        let mut names: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
        names.sort_unstable();
        assert_eq!(names, ["bytes", "class", "epoch", "offset", "run_id", "segment"]);
        assert_eq!((&line["class"], &line["epoch"]), (&"error".into(), &lines[0]["epoch"]));
        assert!(line["bytes"].as_u64().unwrap() > 0);
    }
    let offsets: Vec<_> = lines.iter().map(|line| line["offset"].as_u64().unwrap()).collect();
    assert!(offsets.is_sorted_by(|one, next| one < next));

    program.end();
    let said = operator.call(&["spool", "dump"]);
    assert_eq!((said.code, said.out.lines().count()), (0, 300), "{}", said.err);
    assert!(said.out.starts_with(&ids[0]), "{}", said.out.lines().next().unwrap());
}

#[test]
fn a_whole_spool_is_verified_and_one_flipped_bit_is_found() {
    let operator = operator();
    let program = Program::start(&operator);
    let ids: Vec<_> = (0..50).map(|_| program.fail()).collect();
    program.end();
    let whole = &operator.json(&["spool", "verify"])[0];
    assert_eq!(
        (&whole["ok"], &whole["records"], &whole["errors"]),
        (&true.into(), &50.into(), &50.into()),
        "{whole}"
    );

    let offset = operator.json(&["spool", "dump"])[20]["offset"].as_u64().unwrap();
    let file = fs::File::options().read(true).write(true).open(first_segment(&operator)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset + 40).unwrap();
    file.write_all_at(&[byte[0] ^ 4], offset + 40).unwrap();
    let said = operator.call(&["spool", "verify", "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("segments are damaged"), "{}", said.err);
    let damaged = &lines(&said)[0];
    assert_eq!(
        (&damaged["ok"], &damaged["damaged"], &damaged["records"]),
        (&false.into(), &1.into(), &49.into()),
        "{damaged}"
    );

    let left: Vec<_> = operator
        .json(&["spool", "dump"])
        .iter()
        .map(|line| line["run_id"].as_str().unwrap().to_owned())
        .collect();
    let mut expected = ids;
    expected.remove(20);
    assert_eq!(left, expected, "every other record is still there");
}

#[test]
fn a_folder_that_is_none_is_refused_and_one_without_records_is_empty() {
    let operator = operator();
    for act in [&["spool", "dump"][..], &["spool", "verify"], &["ledger"]] {
        let said = operator.call(act);
        assert_eq!((said.code, &*said.out), (3, ""), "{act:?}");
        assert!(said.err.contains("cannot read `./spool`"), "{}", said.err);
    }
    fs::create_dir(operator.dir.path().join("spool")).unwrap();
    for act in [&["spool", "dump"][..], &["spool", "verify"], &["ledger"]] {
        assert_eq!(operator.json(act).len(), 0, "{act:?}");
    }
}

#[test]
fn the_ledger_of_a_process_is_told_from_outside() {
    let operator = operator();
    let program = Program::start(&operator);
    (0..7).for_each(|_| drop(program.fail()));
    let mut run = program.kind().strategy("bonus").version("1").build().unwrap().start();
    run.keep();
    let _ = run.finish_ack(Ok::<_, String>(()));
    let lines = operator.json(&["ledger", "./spool"]);
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(line["alive"], true);
    assert_eq!(line["pid"], std::process::id());
    let ledger = &line["ledger"];
    assert_eq!(
        (&ledger["error"]["recorded"], &ledger["error"]["spooled"]),
        (&7.into(), &7.into()),
        "{line}"
    );
    assert_eq!(
        (&ledger["ok"]["recorded"], &ledger["ok"]["in_queue"]),
        (&1.into(), &1.into()),
        "{line}"
    );
    assert_eq!(ledger["imbalance"], 0);
    assert_eq!(line["in_memory"]["ok"], 1);

    program.end();
    let said = operator.call(&["ledger"]);
    assert_eq!((said.code, &*said.err), (0, ""));
    assert!(
        said.out.contains("error: 7 recorded = 0 sampled_out + 0 persisted + 7 spooled"),
        "{}",
        said.out
    );
}
