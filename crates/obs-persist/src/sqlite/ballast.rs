//! A file that is only there to be deleted.
//!
//! On a full disk SQLite cannot even delete: what changes goes to its log first. So some room is
//! held back beside the file, and given up when old rows have to make room for new ones.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::retry::Jitter;

/// What is held back: enough for the log of many transactions that delete.
pub(super) const BALLAST_BYTES: usize = 8 << 20;

/// With less than this free, it is not laid: the log of SQLite needs some of it.
const FREE_LEAST: u64 = 16 << 20;

const CHUNK_BYTES: usize = 64 << 10;

#[derive(Clone, Debug)]
pub(super) struct Ballast(PathBuf);

impl Ballast {
    /// The one of a database file: `obs.sqlite-ballast`.
    pub(super) fn of(file: &str) -> Self {
        Self(PathBuf::from(format!("{file}-ballast")))
    }

    /// Makes it, unless it is there, or would leave too little for everybody else.
    pub(super) fn lay(&self) -> io::Result<()> {
        if is_whole(&self.0) {
            return Ok(());
        }
        if free_beside(&self.0).is_some_and(|free| free < FREE_LEAST) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        // Half of one, left by a process that died or a disk that was full.
        self.give_up();
        let laid = self.write();
        if laid.is_err() {
            self.give_up();
        }
        laid
    }

    fn write(&self) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = match options.open(&self.0) {
            // Another process is at it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            opened => opened?,
        };
        // Noise, because zeroes take no room where files are compressed.
        let mut noise = Jitter::from_system();
        let mut chunk = [0_u8; CHUNK_BYTES];
        for _ in 0..BALLAST_BYTES / CHUNK_BYTES {
            for word in chunk.chunks_exact_mut(size_of::<u64>()) {
                word.copy_from_slice(&noise.next().to_ne_bytes());
            }
            file.write_all(&chunk)?;
        }
        file.sync_all()
    }

    /// Deletes it; whether that made room.
    pub(super) fn give_up(&self) -> bool {
        fs::remove_file(&self.0).is_ok()
    }
}

#[cfg(unix)]
fn free_beside(path: &Path) -> Option<u64> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let free = rustix::fs::statvfs(folder.unwrap_or_else(|| Path::new("."))).ok()?;
    Some(free.f_bavail.saturating_mul(free.f_frsize))
}

#[cfg(not(unix))]
fn free_beside(_path: &Path) -> Option<u64> {
    None
}

fn is_whole(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| {
        found.is_file() && usize::try_from(found.len()).is_ok_and(|bytes| bytes == BALLAST_BYTES)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_laid_once_given_up_once_and_half_of_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("obs.sqlite");
        let ballast = Ballast::of(file.to_str().unwrap());
        ballast.lay().unwrap();
        let laid = folder.path().join("obs.sqlite-ballast");
        let first = fs::read(&laid).unwrap();
        assert_eq!(first.len(), BALLAST_BYTES);
        ballast.lay().unwrap();
        assert!(fs::read(&laid).unwrap() == first, "it was written again");
        fs::write(&laid, "half").unwrap();
        ballast.lay().unwrap();
        assert_eq!(fs::read(&laid).unwrap().len(), BALLAST_BYTES);
        assert!(ballast.give_up());
        assert!(!ballast.give_up());
        let nowhere = folder.path().join("nowhere/obs.sqlite");
        assert!(Ballast::of(nowhere.to_str().unwrap()).lay().is_err());
    }
}
