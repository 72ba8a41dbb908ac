//! Damaged files, kept for a while where somebody can look at them: nobody needs them any more, for what could be read
//! of them was taken over, or nothing could.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use obs_core::Timestamp;
use uuid::Uuid;

use super::{adopt::NAMES_MAX, disk::Disk};
use crate::platform::{self, Origin};

const FOLDER: &str = "bad";
const NAME_END: &str = ".bad";
/// What stands before that as long as a copy has not taken the place of its file.
const COPY: &str = ".copy";
/// How many are kept.
const FILES_MAX: usize = 3;
/// For how long they are: they may hold records of somebody who was erased since.
const AGE_MAX: Duration = Duration::from_hours(7 * 24);

/// A file that was set aside.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) path: PathBuf,
    since: Timestamp,
    /// Whose it was, and which segment, if it was one.
    pub(super) segment: Option<(Uuid, u64)>,
}

impl Bad {
    /// Those of a spool's folder, the oldest first.
    pub(super) fn all(root: &Path) -> Vec<Self> {
        let folder = root.join(FOLDER);
        let names = fs::read_dir(&folder).into_iter().flatten().take(NAMES_MAX).flatten();
        let mut all: Vec<_> =
            names.filter_map(|name| Self::named(&folder, &name.file_name())).collect();
        all.sort_unstable_by_key(|bad| bad.since);
        all
    }

    fn age(&self, now: Timestamp) -> Duration {
        let micros = now.as_micros().saturating_sub(self.since.as_micros());
        Duration::from_micros(micros.try_into().unwrap_or(0))
    }

    fn named(folder: &Path, name: &OsStr) -> Option<Self> {
        let (micros, rest) = name.to_str()?.strip_suffix(NAME_END)?.split_once('-')?;
        let of = |(epoch, number): (&str, &str)| {
            let number = number.strip_suffix(COPY).unwrap_or(number);
            Some((Uuid::try_parse(epoch).ok()?, number.parse().ok()?))
        };
        Some(Self {
            path: folder.join(name),
            since: Timestamp::from_micros(micros.parse().ok()?),
            segment: rest.rsplit_once('-').and_then(of),
        })
    }
}

/// Moves a damaged file there, in the place of the oldest ones; where that fails it stays where it is.
pub(super) fn set_aside(
    disk: &dyn Disk,
    (root, now): (&Path, Timestamp),
    path: &Path,
) -> io::Result<()> {
    let to = place_of(root, now, path)?;
    disk.rename(path, &to)?;
    make_room(root, &to);
    Ok(())
}

/// Puts what can be read of a damaged file in its place, by one step, and the file itself there, if it can be: whether
/// it is. Where that fails all is as it was.
pub(super) fn replace(
    disk: &dyn Disk,
    (root, now): (&Path, Timestamp),
    (path, bytes): (&Path, &[u8]),
) -> io::Result<bool> {
    let to = place_of(root, now, path)?;
    // First: those of processes that end amid this must not pile up.
    make_room(root, &to);
    // Beside the others, so it is not there for ever if this process ends before it has its name.
    let name = to.file_stem().unwrap_or_default().to_string_lossy();
    let copy = to.with_file_name(format!("{name}{COPY}{NAME_END}"));
    let file = disk.create_reserved(&copy, bytes.len() as u64)?;
    let replaced = file.pwrite(bytes, 0).and_then(|()| file.fdatasync()).and_then(|()| {
        // A directory, which is no segment, has but one name, and no file takes its place.
        let kept = if path.is_dir() { disk.rename(path, &to) } else { disk.link(path, &to) };
        if let Err(error) = &kept {
            // Where there are no links, its records are worth more than the rest of it.
            tracing::debug!(path = %path.display(), %error, "a damaged file is not kept");
        }
        disk.rename(&copy, path).map(|()| kept.is_ok())
    });
    if replaced.is_err() {
        let _ = (disk.unlink(&copy), disk.unlink(&to));
    }
    let kept = replaced?;
    if let Some(Err(error)) = path.parent().map(|directory| disk.open_dir(directory)?.sync()) {
        tracing::debug!(path = %path.display(), %error, "a loss of power may bring a damaged file back");
    }
    Ok(kept)
}

/// Where a file of a process's directory goes.
fn place_of(root: &Path, now: Timestamp, path: &Path) -> io::Result<PathBuf> {
    let folder = root.join(FOLDER);
    platform::private_dir(&folder, Origin::Given).map_err(io::Error::other)?;
    let part = |part: Option<&OsStr>| {
        part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let epoch = part(path.parent().and_then(Path::file_name));
    let name = format!("{:020}-{epoch}-{}{NAME_END}", now.as_micros(), part(path.file_stem()));
    Ok(folder.join(name))
}

/// Removes the oldest ones, for one that came.
fn make_room(root: &Path, new: &Path) {
    let before: Vec<_> = Bad::all(root).into_iter().filter(|bad| bad.path != new).collect();
    for bad in before.iter().take((before.len() + 1).saturating_sub(FILES_MAX)) {
        remove(bad);
    }
}

fn remove(bad: &Bad) {
    // A directory in the place of a page cannot be read either.
    if let Err(error) = fs::remove_file(&bad.path).or_else(|_| fs::remove_dir(&bad.path)) {
        tracing::debug!(path = %bad.path.display(), %error, "a damaged file stays");
    }
}

/// Removes those that were there for long enough.
pub(super) fn forget(root: &Path, now: Timestamp) {
    Bad::all(root).iter().filter(|bad| bad.age(now) > AGE_MAX).for_each(remove);
}

#[cfg(test)]
mod tests {
    use super::{
        super::{codec, disk::RealDisk, frame, inspect, segment::path_of},
        *,
    };

    const EPOCH: Uuid = Uuid::from_u128(7);
    const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

    fn later(by: Duration) -> Timestamp {
        Timestamp::from_micros(NOW.as_micros() + i64::try_from(by.as_micros()).unwrap())
    }

    /// A segment with a record about somebody, which nobody but an operator looks at any more.
    fn spoilt(root: &Path, number: u64) -> PathBuf {
        let mut record = obs_core::testing::record("bonus", "1");
        (record.subject, record.sample_rate) = (Some("user-7".into()), 0.5);
        let mut bytes = Vec::new();
        frame::begin(&mut bytes, frame::FLAG_ERROR, record.run_id);
        codec::encode(&record, &mut bytes).unwrap();
        assert!(frame::finish(&mut bytes));
        frame::seal(&mut bytes, frame::Seed::new(EPOCH, number));
        let directory = root.join(EPOCH.to_string());
        fs::create_dir_all(&directory).unwrap();
        let path = path_of(&directory, number);
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn what_is_set_aside_counts_as_long_as_it_is_there_and_goes_after_a_week() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("spool");
        platform::private_dir(&root, Origin::Given).unwrap();
        let path = spoilt(&root, 3);
        set_aside(&RealDisk, (&root, NOW), &path).unwrap();
        assert!(!path.exists());
        fs::remove_dir(root.join(EPOCH.to_string())).unwrap();
        let [bad] = &Bad::all(&root)[..] else { panic!("{:?}", Bad::all(&root)) };
        assert_eq!(bad.segment, Some((EPOCH, 3)));
        let about = |who: &str| inspect::about(&root, &[who.to_owned()]).unwrap();
        assert_eq!((about("user-7"), about("user-8")), (1, 0));

        fs::create_dir(bad.path.with_file_name(format!("1-{EPOCH}-4.bad"))).unwrap();
        assert_eq!(about("user-7"), 1, "what cannot be read is in nobody's way");

        forget(&root, later(AGE_MAX));
        assert_eq!(about("user-7"), 1, "it is there for a week");
        forget(&root, later(AGE_MAX + Duration::from_micros(1)));
        assert!(about("user-7") == 0 && !bad.path.exists());
    }

    #[test]
    fn what_cannot_be_moved_costs_nothing_that_is_there() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("spool");
        platform::private_dir(&root, Origin::Given).unwrap();
        for number in 1..=3 {
            let at = later(Duration::from_secs(number));
            set_aside(&RealDisk, (&root, at), &spoilt(&root, number)).unwrap();
        }
        let before = Bad::all(&root);
        let gone = path_of(&root.join(EPOCH.to_string()), 4);
        assert!(set_aside(&RealDisk, (&root, later(AGE_MAX)), &gone).is_err());
        assert_eq!((Bad::all(&root), before.len()), (before, FILES_MAX));
        set_aside(&RealDisk, (&root, NOW), &spoilt(&root, 5)).unwrap();
        let left: Vec<_> = Bad::all(&root).into_iter().filter_map(|bad| bad.segment).collect();
        assert_eq!(left, [(EPOCH, 5), (EPOCH, 2), (EPOCH, 3)], "the new one is not the oldest");
    }

    #[test]
    fn a_file_that_was_replaced_is_kept_and_its_records_are_seen_once() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("spool");
        platform::private_dir(&root, Origin::Given).unwrap();
        let path = spoilt(&root, 3);
        let before = fs::read(&path).unwrap();
        let mut read = before.clone();
        read.resize(before.len() + 8, 0xff);
        replace(&RealDisk, (&root, NOW), (&path, &read)).unwrap();
        let [bad] = &Bad::all(&root)[..] else { panic!("{:?}", Bad::all(&root)) };
        assert_eq!((fs::read(&path).unwrap(), fs::read(&bad.path).unwrap()), (read, before));
        let about = || inspect::about(&root, &["user-7".to_owned()]).unwrap();
        assert_eq!(about(), 1);
        set_aside(&RealDisk, (&root, later(AGE_MAX)), &path).unwrap();
        assert_eq!((about(), Bad::all(&root).len()), (1, 2));
    }

    #[test]
    fn a_clock_that_goes_back_removes_nothing_and_what_has_another_name_stays() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("spool");
        platform::private_dir(&root, Origin::Given).unwrap();
        set_aside(&RealDisk, (&root, NOW), &spoilt(&root, 3)).unwrap();
        let notes = root.join(FOLDER).join("notes.txt");
        fs::write(&notes, "looked at").unwrap();
        forget(&root, Timestamp::from_micros(0));
        assert_eq!(Bad::all(&root).len(), 1);
        forget(&root, later(2 * AGE_MAX));
        assert!(notes.exists() && Bad::all(&root).is_empty());
    }
}
