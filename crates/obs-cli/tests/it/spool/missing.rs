//! `obs spool verify` on what dead processes left: what is not there any more is told, and nothing else is.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Program, fail, first_segment, lines, operator};
use crate::support::Operator;

const ERRORS: u64 = 50;
const SEGMENT: u64 = 4 << 20;

/// The spool of a dead process with so many errors.
fn left() -> Operator {
    let operator = operator();
    let program = Program::start(&operator);
    (0..ERRORS).for_each(|_| drop(program.fail()));
    program.end();
    operator
}

fn directory(operator: &Operator) -> PathBuf {
    first_segment(operator).parent().unwrap().to_owned()
}

/// Where a record begins, and where it ends.
fn place(operator: &Operator, record: usize) -> (u64, u64) {
    let line = &operator.json(&["spool", "dump"])[record];
    let [at, bytes] = ["offset", "bytes"].map(|name| line[name].as_u64().unwrap());
    (at, at + bytes)
}

fn zero(path: &Path, (from, to): (u64, u64)) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&vec![0; usize::try_from(to - from).unwrap()], from).unwrap();
}

fn cut(path: &Path, bytes: u64) {
    File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

fn words(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    bytes.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)).collect()
}

#[track_caller]
fn assert_whole(operator: &Operator, what: &str) {
    let said = operator.call(&["spool", "verify", "--json"]);
    assert_eq!((said.code, &*said.err), (0, ""), "{what}: {said:?}");
    assert!(lines(&said).iter().all(|line| line["ok"] == true), "{what}: {said:?}");
}

#[test]
fn whatever_takes_errors_from_a_dead_process_is_found_with_their_number() {
    type Harm = fn(&Operator, &Path);
    let harms: [(&str, Harm, u64); 6] = [
        ("zeroed", |_, path| zero(path, (0, SEGMENT)), ERRORS),
        ("emptied", |_, path| cut(path, 0), ERRORS),
        ("cut between records", |operator, path| cut(path, place(operator, 20).0), 30),
        ("cut within a record", |operator, path| cut(path, place(operator, 20).0 + 80), 30),
        ("the last record zeroed", |operator, path| zero(path, place(operator, 49)), 1),
        ("removed", |_, path| fs::remove_file(path).unwrap(), ERRORS),
    ];
    for (what, harm, missing) in harms {
        let operator = left();
        harm(&operator, &first_segment(&operator));
        let said = operator.call(&["spool", "verify", "--json"]);
        assert_eq!(said.code, 1, "{what}: {said:?}");
        let told = format!("{missing} errors that dead processes left are missing");
        assert!(said.err.contains(&told) && said.err.contains("put the files back"), "{said:?}");
        let lines = lines(&said);
        let left = lines.last().unwrap();
        assert_eq!(
            (&left["missing"], &left["spooled"], &left["ok"]),
            (&missing.into(), &ERRORS.into(), &false.into()),
            "{what}: {left}"
        );
        assert_eq!(Some(left["epoch"].as_str().unwrap()), epoch(&operator).as_deref(), "{what}");
        let is_cut = lines.iter().any(|line| line["cut"] == true);
        assert_eq!(is_cut, what.starts_with("cut"), "{what}: {lines:?}");
        let said = operator.call(&["spool", "verify"]);
        let told = format!("{missing} of {ERRORS} unsettled errors are missing");
        assert!(said.code == 1 && said.out.contains(&told), "{what}: {said:?}");
    }
}

/// The one process that there was.
fn epoch(operator: &Operator) -> Option<String> {
    let mut epochs = fs::read_dir(operator.dir.path().join("spool")).unwrap();
    epochs.next()?.ok()?.file_name().into_string().ok()
}

#[test]
fn an_end_that_is_cut_off_behind_the_last_record_is_found_too() {
    let operator = left();
    let end = place(&operator, 49).1;
    cut(&first_segment(&operator), end);
    let said = operator.call(&["spool", "verify", "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let lines = lines(&said);
    assert_eq!((&lines[0]["cut"], &lines[0]["ok"]), (&true.into(), &false.into()), "{said:?}");
    assert_eq!(lines[1]["missing"], 0, "{said:?}");
    let said = operator.call(&["spool", "verify"]);
    assert!(said.out.contains("50 records, its end is cut off"), "{said:?}");
}

#[test]
fn a_process_that_died_while_it_made_a_file_left_nothing_that_is_missing() {
    for bytes in [0, 64 << 10, SEGMENT] {
        let operator = left();
        let next = directory(&operator).join("00000002.seg");
        File::create_new(next).unwrap().set_len(bytes).unwrap();
        assert_whole(&operator, &format!("a segment of {bytes} bytes"));
    }
    // Its first files: it had no error yet.
    for bytes in [0, 4_096, 16_384] {
        let operator = left();
        let directory = directory(&operator);
        for made in [directory.join("ledger.page"), first_segment(&operator)] {
            fs::remove_file(&made).unwrap();
            File::create_new(made).unwrap().set_len(bytes).unwrap();
        }
        assert_whole(&operator, &format!("files of {bytes} bytes"));
    }
    let operator = left();
    fs::remove_file(directory(&operator).join("ledger.page")).unwrap();
    assert_whole(&operator, "another process has begun to take its records over");
    let said = operator.call(&["spool", "verify"]);
    assert!(said.out.contains("does not say whether these are all"), "{said:?}");
}

#[test]
fn a_record_that_was_cut_off_by_the_kill_is_no_damage_and_one_that_was_promised_is() {
    let operator = operator();
    let program = Program::start(&operator);
    (1..ERRORS).for_each(|_| drop(program.fail()));
    let page = directory(&operator).join("ledger.page");
    let before = words(&page);
    program.fail();
    let after = words(&page);
    program.end();
    let (start, end) = place(&operator, 49);
    zero(&first_segment(&operator), ((start + 80).next_multiple_of(8), end));
    let said = operator.call(&["spool", "verify", "--json"]);
    assert_eq!(said.code, 1, "its process said that it was there: {said:?}");
    assert_eq!(lines(&said)[1]["missing"], 1, "{said:?}");

    // As if it had died before it could say so: of all terms that the last error changed, `spooled` comes last.
    let grown = |at: &usize| after[*at] == before[*at] + 1;
    let spooled = (0..after.len()).rev().find(grown).unwrap();
    let file = File::options().write(true).open(&page).unwrap();
    file.write_all_at(&before[spooled].to_ne_bytes(), spooled as u64 * 8).unwrap();
    assert_whole(&operator, "a write that was cut off");
    let lines = operator.json(&["spool", "verify"]);
    assert_eq!(
        (&lines[0]["damaged"], &lines[0]["cut_off"], &lines[1]["spooled"]),
        (&0.into(), &1.into(), &49.into()),
        "{lines:?}"
    );
}

#[test]
fn errors_that_end_after_their_persister_are_in_another_directory_and_not_missing() {
    let operator = operator();
    let program = Program::start(&operator);
    (0..ERRORS).for_each(|_| drop(program.fail()));
    let Program { obs, persister } = program;
    let report = persister.shutdown_blocking(Duration::from_millis(100));
    assert_eq!(report.spooled, ERRORS, "{report}");
    drop(persister);
    (0..5).for_each(|_| drop(fail(&obs)));
    assert_eq!(fs::read_dir(operator.dir.path().join("spool")).unwrap().count(), 2);
    assert_whole(&operator, "while the process lives");
    drop(obs);
    assert_whole(&operator, "once it is dead");
    let spooled = ERRORS + 5;
    let lines = operator.json(&["spool", "verify"]);
    assert!(lines.iter().any(|line| line["spooled"] == spooled), "{lines:?}");
}

#[test]
fn a_ledger_that_is_damaged_beside_records_is_said() {
    let operator = left();
    cut(&directory(&operator).join("ledger.page"), 100);
    let said = operator.call(&["spool", "verify"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("1 ledgers of dead processes are damaged"), "{said:?}");
    assert!(said.out.contains("its ledger is damaged: the page has 12 words"), "{said:?}");
}

#[test]
fn what_cannot_be_read_does_not_hide_what_is_missing_elsewhere() {
    let operator = left();
    let path = first_segment(&operator);
    zero(&path, place(&operator, 49));
    // Before and behind it in the list: a directory in the place of a segment is no file that can be read.
    let folder = directory(&operator).parent().unwrap().to_owned();
    for first in ["0", "f"] {
        let other = folder.join(format!("{}-0000-7000-8000-000000000001", first.repeat(8)));
        fs::create_dir_all(other.join("00000001.seg")).unwrap();
        File::create(other.join("lock")).unwrap();
    }
    let said = operator.call(&["spool", "verify"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("1 of 50 unsettled errors are missing"), "{said:?}");
    let told = ["1 errors that dead processes left are missing", "cannot read", "00000001.seg"];
    assert!(told.iter().all(|part| said.err.contains(part)), "{said:?}");
    // What is whole says nothing about what cannot be read.
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let said = operator.call(&["spool", "verify"]);
    assert!(said.code == 3 && said.err.contains("cannot read"), "{said:?}");
}
