use std::fs;

use obs_core::{Status, testing::record};
use tempfile::TempDir;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_763_715_600_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

struct Rig {
    _folder: TempDir,
    quarantine: Quarantine,
}

fn rig(limits: Limits) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let quarantine = Quarantine::with_limits(folder.path().join("spool/quarantine"), limits);
    Rig { _folder: folder, quarantine }
}

fn names(quarantine: &Quarantine) -> Vec<String> {
    let mut names: Vec<_> = [quarantine.folder().to_owned(), quarantine.folder().join(RETRY)]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten())
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| {
            let path = entry.path();
            path.strip_prefix(quarantine.folder()).unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    names.sort();
    names
}

fn failed(message: &str) -> RunRecord {
    let mut failed = record("bonus", "1");
    failed.status = Status::Error;
    failed.error_message = Some(message.into());
    failed.subject = Some("user-7".into());
    failed.trace = Some(obs_core::Json::parse(r#"[{"id":"n1","v":"\u0000"}]"#).unwrap());
    failed
}

#[test]
fn what_is_set_aside_can_be_listed_and_read_back_whole() {
    let Rig { quarantine, .. } = rig(Limits::USUAL);
    let failed = failed("a\0b");
    quarantine.put(&failed, "invalid byte sequence", (NOW, NOW)).unwrap();
    let entries = quarantine.list().unwrap();
    let bytes = fs::metadata(quarantine.path(failed.run_id)).unwrap().len();
    let entry = Entry {
        run_id: failed.run_id,
        class: Some(Class::Error),
        since: Some(NOW),
        error: "invalid byte sequence".to_owned(),
        bytes,
        retrying: false,
    };
    assert_eq!(entries, std::slice::from_ref(&entry));
    assert_eq!(quarantine.show(failed.run_id).unwrap(), Suspect { entry, record: failed });
}

#[test]
fn setting_a_record_aside_twice_is_the_same_as_once() {
    let Rig { quarantine, .. } = rig(Limits { records: 1, ..Limits::USUAL });
    let failed = failed("x");
    quarantine.put(&failed, "first", (NOW, NOW)).unwrap();
    quarantine.put(&failed, "second", (NOW, NOW)).unwrap();
    assert_eq!(names(&quarantine), [format!("{}.json", failed.run_id)]);
    assert_eq!(quarantine.list().unwrap()[0].error, "second");
}

#[test]
fn a_half_written_file_of_a_process_that_died_is_no_record_and_in_nobodys_way() {
    let Rig { quarantine, .. } = rig(Limits::USUAL);
    let failed = failed("x");
    quarantine.put(&record("other", "1"), "", (NOW, NOW)).unwrap();
    let half = quarantine.path(failed.run_id).with_extension("new");
    fs::write(&half, b"{\"version\":1,\"cl").unwrap();
    assert_eq!(quarantine.list().unwrap().len(), 1);
    quarantine.put(&failed, "", (NOW, NOW)).unwrap();
    assert_eq!(quarantine.list().unwrap().len(), 2);
    assert!(!half.exists());
}

#[test]
fn a_record_on_its_way_back_is_in_one_place_and_comes_back_to_one_place() {
    let Rig { quarantine, .. } = rig(Limits::USUAL);
    let failed = failed("x");
    let id = failed.run_id;
    quarantine.put(&failed, "", (NOW, NOW)).unwrap();
    quarantine.retry(id).unwrap();
    assert_eq!(names(&quarantine), [format!("retry/{id}.json")]);
    assert!(quarantine.show(id).unwrap().entry.retrying);
    quarantine.retry(id).unwrap();
    quarantine.put(&failed, "again", (NOW, NOW)).unwrap();
    assert_eq!(names(&quarantine), [format!("{id}.json")]);
    assert!(!quarantine.show(id).unwrap().entry.retrying);
}

#[test]
fn a_record_that_is_dropped_is_gone_wherever_it_was() {
    let Rig { quarantine, .. } = rig(Limits::USUAL);
    let (held, retried) = (failed("x"), failed("y"));
    for one in [&held, &retried] {
        quarantine.put(one, "", (NOW, NOW)).unwrap();
    }
    quarantine.retry(retried.run_id).unwrap();
    for one in [&held, &retried] {
        quarantine.drop_record(one.run_id).unwrap();
        let again = quarantine.drop_record(one.run_id).unwrap_err();
        assert!(matches!(again, QuarantineError::Missing { .. }), "{again}");
    }
    assert_eq!(names(&quarantine), [""; 0]);
    assert!(matches!(quarantine.retry(held.run_id), Err(QuarantineError::Missing { .. })));
}

#[test]
fn erasing_a_subject_takes_its_records_and_no_others() {
    let Rig { quarantine, .. } = rig(Limits::USUAL);
    let (theirs, retried) = (failed("x"), failed("y"));
    let others = record("bonus", "1");
    for one in [&theirs, &retried, &others] {
        quarantine.put(one, "", (NOW, NOW)).unwrap();
    }
    quarantine.retry(retried.run_id).unwrap();
    assert_eq!(quarantine.drop_subject("user-7").unwrap(), 2);
    assert_eq!(names(&quarantine), [format!("{}.json", others.run_id)]);
}

#[test]
fn a_full_folder_refuses_by_count_and_by_bytes_until_something_is_old_enough_to_go() {
    let day = Duration::from_secs(86_400);
    let Rig { quarantine, .. } = rig(Limits { records: 2, bytes: 1 << 20, age: day });
    for _ in 0..2 {
        quarantine.put(&failed("x"), "", (NOW, NOW)).unwrap();
    }
    let later = |after: Duration| {
        Timestamp::from_micros(NOW.as_micros() + i64::try_from(after.as_micros()).unwrap())
    };
    let full = quarantine.put(&failed("x"), "", (later(day), later(day))).unwrap_err();
    assert!(matches!(full, QuarantineError::Full { .. }), "{full}");
    assert_eq!(full.reason(), DropReason::SpoolFull);
    quarantine.put(&failed("x"), "", (later(day + HOUR), later(day + HOUR))).unwrap();
    assert_eq!(quarantine.list().unwrap().len(), 1, "the old ones are gone");

    let Rig { quarantine, .. } = rig(Limits { records: 100, bytes: 4_000, age: day });
    let refused = (0..100).find(|_| quarantine.put(&failed("x"), "", (NOW, NOW)).is_err()).unwrap();
    assert!(refused >= 2, "{refused}");
    let bytes: u64 = quarantine.list().unwrap().iter().map(|entry| entry.bytes).sum();
    assert!(bytes <= 4_000 && bytes > 2_000, "{bytes}");
}

#[test]
fn a_record_larger_than_a_file_may_be_is_refused_with_its_own_reason() {
    let Rig { quarantine, .. } = rig(Limits::USUAL);
    let mut large = failed("x");
    large.trace = Some(obs_core::Json::parse(&format!("\"{}\"", "x".repeat(5 << 20))).unwrap());
    let error = quarantine.put(&large, "", (NOW, NOW)).unwrap_err();
    assert_eq!(error.reason(), DropReason::TooLarge);
    assert_eq!(names(&quarantine), [""; 0]);
}

#[test]
fn damaged_and_foreign_files_are_listed_or_passed_over_but_never_believed() {
    let Rig { quarantine, .. } = rig(Limits::USUAL);
    let good = failed("x");
    quarantine.put(&good, "", (NOW, NOW)).unwrap();
    let newer = Uuid::from_u128(1);
    let text = fs::read_to_string(quarantine.path(good.run_id)).unwrap();
    fs::write(quarantine.path(newer), text.replace("\"version\":1", "\"version\":2")).unwrap();
    let torn = Uuid::from_u128(2);
    fs::write(quarantine.path(torn), &text[..text.len() / 2]).unwrap();
    fs::write(quarantine.folder().join("notes.json"), "mine").unwrap();
    let listed = quarantine.list().unwrap();
    assert_eq!(listed.len(), 3, "{listed:?}");
    for damaged in [newer, torn] {
        let entry = listed.iter().find(|entry| entry.run_id == damaged).unwrap();
        assert!(entry.error.starts_with("the file cannot be read"), "{entry:?}");
        let error = quarantine.show(damaged).unwrap_err();
        assert!(matches!(error, QuarantineError::Damaged { .. }), "{error}");
    }
    assert_eq!(quarantine.sweep(NOW).unwrap(), 0, "nobody knows how old they are");
}

/// As if the file had been written then.
fn age(path: &Path, written: Timestamp) {
    let micros = u64::try_from(written.as_micros()).unwrap();
    let time = std::time::UNIX_EPOCH + Duration::from_micros(micros);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn what_cannot_be_read_and_what_a_dead_process_left_half_written_gets_old_as_well() {
    let Rig { quarantine, .. } = rig(Limits::USUAL);
    quarantine.put(&failed("x"), "", (NOW, NOW)).unwrap();
    let ago = |by: Duration| {
        Timestamp::from_micros(NOW.as_micros() - i64::try_from(by.as_micros()).unwrap())
    };
    let id = |number| Uuid::from_u128(number).to_string();
    let week = 7 * 24 * HOUR;
    let table = [
        (format!("{}.json", id(1)), week, true),
        (format!("{}.json", id(2)), week + HOUR, false),
        (format!("{}.new", id(3)), Duration::from_mins(10), true),
        (format!("{}.new", id(4)), Duration::from_mins(11), false),
        ("notes.new".to_owned(), 9 * week, true),
    ];
    for (name, old, _) in &table {
        let path = quarantine.folder().join(name);
        fs::write(&path, "{\"version\":1,").unwrap();
        age(&path, ago(*old));
    }
    assert_eq!(quarantine.sweep(NOW).unwrap(), 1, "records");
    for (name, old, stays) in &table {
        assert_eq!(quarantine.folder().join(name).exists(), *stays, "{name} {old:?}");
    }
    // Ten minutes on the clock of the wall is what whoever erases goes by.
    assert_eq!(quarantine.drop_subject("nobody").unwrap(), 0);
    assert!(!quarantine.folder().join(&table[2].0).exists());
    assert_eq!(quarantine.list().unwrap().len(), 2);
}

#[cfg(unix)]
#[test]
fn folder_and_files_are_for_their_owner_only_and_an_open_folder_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let Rig { quarantine, .. } = rig(Limits::USUAL);
    let failed = failed("x");
    quarantine.put(&failed, "", (NOW, NOW)).unwrap();
    quarantine.retry(failed.run_id).unwrap();
    assert_eq!(mode(quarantine.folder()), 0o700);
    assert_eq!(mode(&quarantine.folder().join(RETRY)), 0o700);
    assert_eq!(mode(&quarantine.retry_path(failed.run_id)), 0o600);

    fs::set_permissions(quarantine.folder(), fs::Permissions::from_mode(0o750)).unwrap();
    let error = quarantine.put(&failed, "", (NOW, NOW)).unwrap_err();
    assert!(matches!(error, QuarantineError::Unsafe { .. }), "{error}");

    let Rig { quarantine: linked, .. } = rig(Limits::USUAL);
    fs::create_dir_all(linked.folder().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(quarantine.folder(), linked.folder()).unwrap();
    assert!(matches!(linked.put(&failed, "", (NOW, NOW)), Err(QuarantineError::Unsafe { .. })));
}

/// In a process of its own, because descriptors are short in the whole process.
#[cfg(unix)]
#[test]
fn a_record_whose_file_is_there_is_held_though_its_folder_could_not_be_synced() {
    let name = "quarantine::tests::one_descriptor";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let why = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("1 passed"), "{said}\n{why}");
}

#[cfg(unix)]
#[test]
#[ignore = "the test above runs it"]
fn one_descriptor() {
    use std::os::fd::AsRawFd;

    use rustix::process::{Resource, getrlimit, setrlimit};

    let Rig { quarantine, .. } = rig(Limits::USUAL);
    let (first, second) = (failed("a"), failed("b"));
    quarantine.put(&first, "no", (NOW, NOW)).unwrap();
    let before = getrlimit(Resource::Nofile);
    let limited = |free: u64| {
        let next = fs::File::open("/dev/null").unwrap().as_raw_fd();
        let current = Some(u64::try_from(next).unwrap() + free);
        setrlimit(Resource::Nofile, rustix::process::Rlimit { current, ..before }).unwrap();
    };
    for (free, is_there) in [(0, false), (1, true)] {
        limited(free);
        let error = quarantine.put(&second, "no", (NOW, NOW)).unwrap_err();
        setrlimit(Resource::Nofile, before).unwrap();
        assert!(error.may_pass(), "{error}");
        assert_eq!(quarantine.holds(second.run_id), is_there, "{free}: {error}");
    }
    assert_eq!(quarantine.list().unwrap().len(), 2);
    quarantine.put(&second, "no", (NOW, NOW)).unwrap();
    assert_eq!(quarantine.list().unwrap().len(), 2, "once each");
}
