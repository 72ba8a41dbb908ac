//! A directory that only we can write to, or the reason why there is none.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::file::sync_dir;

/// Who chose a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Somebody named it, and knows what is above it.
    Given,
    /// Nobody did: it must not lie below a directory that everybody can write to, where somebody
    /// else could have put it first.
    Default,
}

/// Why a directory cannot hold what is private.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirError {
    #[error("cannot use {}: give a directory that this user can make and write to", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is a symbolic link or no directory: name the directory itself", path.display())]
    NotADirectory { path: PathBuf },
    #[error(
        "{} belongs to user {owner}, not to user {us} of this process: give a directory of its own",
        path.display()
    )]
    Owner { path: PathBuf, owner: u32, us: u32 },
    #[error(
        "{} has mode {mode:03o}, but must not be writable by group or others: `chmod go-w` it",
        path.display()
    )]
    Mode { path: PathBuf, mode: u32 },
    #[error(
        "{} is writable by everybody, so nothing below it is used unless it is named: set a directory",
        above.display()
    )]
    Above { above: PathBuf },
}

/// Makes the directory with mode 0700 if it is not there, and checks that nobody else can write to
/// it.
pub(crate) fn private_dir(path: &Path, origin: Origin) -> Result<(), DirError> {
    let io = |source| DirError::Io { path: path.to_owned(), source };
    let path = &std::path::absolute(path).map_err(io)?;
    if origin == Origin::Default {
        check_above(path)?;
    }
    let parents = parents_of_missing(path);
    make(path).map_err(io)?;
    parents.into_iter().try_for_each(sync_names).map_err(io)?;
    check(path)
}

/// The same for one that gets its name later: who gives it one syncs that.
pub(crate) fn private_dir_unsynced(path: &Path) -> Result<(), DirError> {
    make(path).map_err(|source| DirError::Io { path: path.to_owned(), source })?;
    check(path)
}

/// Makes the name of a directory outlive a loss of power.
pub(crate) fn sync_name_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_names)
}

#[cfg(test)]
thread_local! {
    /// What this thread has synced here.
    pub(crate) static SYNCED: std::cell::RefCell<Vec<PathBuf>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn sync_names(directory: &Path) -> io::Result<()> {
    #[cfg(test)]
    SYNCED.with_borrow_mut(|synced| synced.push(directory.to_owned()));
    match sync_dir(directory) {
        // We may make names in it, and not read it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// The directories that get a new name when this one is made with all that is missing above it: what is in it
/// outlives a loss of power as soon as they are synced.
fn parents_of_missing(path: &Path) -> Vec<&Path> {
    let is_missing = |path: &&Path| path.symlink_metadata().is_err();
    path.ancestors().take_while(is_missing).filter_map(Path::parent).collect()
}

/// What [`private_dir`] would object to, as far as that can be seen without making anything.
pub(crate) fn objection(path: &Path, origin: Origin) -> Result<(), DirError> {
    let path = &std::path::absolute(path)
        .map_err(|source| DirError::Io { path: path.to_owned(), source })?;
    if origin == Origin::Default {
        check_above(path)?;
    }
    if path.symlink_metadata().is_ok() { check(path) } else { Ok(()) }
}

#[cfg(unix)]
fn make(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    // `recursive` is content with what is there already, whatever it is: `check` is not.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(unix)]
fn check(path: &Path) -> Result<(), DirError> {
    use std::os::unix::fs::MetadataExt;

    const WRITABLE_BY_OTHERS: u32 = 0o022;
    let path = path.to_owned();
    let found = match fs::symlink_metadata(&path) {
        Ok(found) => found,
        Err(source) => return Err(DirError::Io { path, source }),
    };
    if !found.is_dir() {
        return Err(DirError::NotADirectory { path });
    }
    let (owner, us) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != us {
        return Err(DirError::Owner { path, owner, us });
    }
    let mode = found.mode() & 0o777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(DirError::Mode { path, mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check(path: &Path) -> Result<(), DirError> {
    if path.is_dir() { Ok(()) } else { Err(DirError::NotADirectory { path: path.to_owned() }) }
}

/// Whether a directory above, as far as there are any yet, is writable by everybody. The sticky bit
/// does not help: it keeps others from removing our directory, not from making it first.
#[cfg(unix)]
fn check_above(path: &Path) -> Result<(), DirError> {
    use std::os::unix::fs::MetadataExt;

    for above in path.ancestors().skip(1) {
        // Follows links: what counts is where the directory ends up.
        let Ok(found) = fs::metadata(above) else { continue };
        if found.mode() & 0o002 != 0 {
            return Err(DirError::Above { above: above.to_owned() });
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_above(_path: &Path) -> Result<(), DirError> {
    Ok(())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_missing_directory_is_made_for_us_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        private_dir(&path, Origin::Given).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_parent_of_each_directory_that_is_made_is_synced_and_no_other() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c");
        fs::create_dir(root.path().join("a")).unwrap();
        let (above, between) = (root.path().join("a"), root.path().join("a/b"));
        assert_eq!(parents_of_missing(&path), [between.as_path(), above.as_path()]);
        private_dir(&path, Origin::Given).unwrap();
        assert_eq!(parents_of_missing(&path), Vec::<&Path>::new());
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused_with_the_way_out() {
        let root = tempfile::tempdir().unwrap();
        for (bits, ok) in [(0o700, true), (0o755, true), (0o770, false), (0o702, false)] {
            mode(root.path(), bits);
            let checked = private_dir(root.path(), Origin::Given);
            assert_eq!(checked.is_ok(), ok, "{bits:o}");
            if let Err(error) = checked {
                assert!(error.to_string().contains("chmod go-w"), "{error}");
            }
        }
    }

    #[test]
    fn a_link_to_a_directory_is_refused_and_so_is_a_file() {
        let root = tempfile::tempdir().unwrap();
        let (link, file) = (root.path().join("link"), root.path().join("file"));
        symlink(root.path(), &link).unwrap();
        fs::write(&file, "").unwrap();
        assert!(matches!(private_dir(&link, Origin::Given), Err(DirError::NotADirectory { .. })));
        assert!(private_dir(&file, Origin::Given).is_err());
    }

    #[test]
    fn a_default_below_a_directory_of_everybody_is_refused_but_one_that_was_named_is_not() {
        let root = tempfile::tempdir().unwrap();
        let everybodys = root.path().join("everybodys");
        fs::create_dir(&everybodys).unwrap();
        mode(&everybodys, 0o1777);
        let path = everybodys.join("deep/spool");
        let error = private_dir(&path, Origin::Default).unwrap_err();
        assert!(matches!(&error, DirError::Above { above } if *above == everybodys), "{error}");
        assert!(!path.exists());
        private_dir(&path, Origin::Given).unwrap();
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        let us = rustix::process::geteuid().as_raw();
        // Everybody can see `/`; only root owns it.
        let root = Path::new("/");
        if us == 0 {
            let other = tempfile::tempdir().unwrap();
            std::os::unix::fs::chown(other.path(), Some(12_345), None).unwrap();
            let error = private_dir(other.path(), Origin::Given).unwrap_err();
            assert!(matches!(error, DirError::Owner { owner: 12_345, .. }), "{error}");
        } else {
            assert!(matches!(private_dir(root, Origin::Given), Err(DirError::Owner { .. })));
        }
    }
}
