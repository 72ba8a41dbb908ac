//! Private files: made new, opened without following a link, read and written at an offset.
//!
//! The standard library opens every file with `O_CLOEXEC`.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::Path,
};

use super::limit;

/// Makes a file that is not there yet, for us alone.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    private(&mut options);
    options.open(path)
}

/// Opens a file that is there: a regular one, which only we can write to. It may be written to
/// where `write` says so.
pub(crate) fn open(path: &Path, write: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(write);
    private(&mut options);
    let file = options.open(path)?;
    check(&file)?;
    Ok(file)
}

/// Makes or opens a file and takes its lock; `None` when somebody else holds it.
pub(crate) fn lock(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    private(&mut options);
    let file = options.open(path)?;
    check(&file)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;

    // Not blocking: whoever puts a pipe where a file should be must not hold us up.
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
}

#[cfg(not(unix))]
fn private(_options: &mut OpenOptions) {}

#[cfg(unix)]
fn check(file: &File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;

    let found = file.metadata()?;
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    if found.is_file() && ours && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "it must be a regular file of this user that nobody else can write to",
    ))
}

#[cfg(not(unix))]
fn check(_file: &File) -> io::Result<()> {
    Ok(())
}

/// Whether a failure says nothing of the file: this process, or the machine, is short of something, or of time.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    if error.kind() == io::ErrorKind::Interrupted {
        return true;
    }
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
    }
    #[cfg(not(unix))]
    {
        error.kind() == io::ErrorKind::OutOfMemory
    }
}

/// Sets space aside, so that no later write within it can fail for want of space. The file has
/// this size then, and reads as zeros.
pub(crate) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    limit::may_reach(bytes)?;
    #[cfg(target_os = "linux")]
    {
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Ok(()) => return Ok(()),
            // A file system that cannot: zeros take space as well.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    write_zeros(file, bytes)
}

#[expect(clippy::indexing_slicing, reason = "no more is written at once than there is")]
fn write_zeros(file: &File, bytes: u64) -> io::Result<()> {
    static CHUNK: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = 0;
    while at < bytes {
        let rest = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(CHUNK.len());
        write_at(file, &CHUNK[..rest], at)?;
        at += rest as u64;
    }
    Ok(())
}

/// Writes all of `bytes` at an offset, in one call of the system unless it takes only a part.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
    }
    #[cfg(not(unix))]
    {
        use std::io::{Seek, SeekFrom, Write};

        // One descriptor, one position: whoever shares a file between threads must not be here.
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }
}

/// Reads at an offset as much as there is, at most `bytes.len()`.
#[expect(clippy::indexing_slicing, reason = "it goes on while something is left to fill")]
pub(crate) fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match read_once(file, &mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(some) => filled += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(unix)]
fn read_once(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn read_once(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    use std::io::{Read, Seek, SeekFrom};

    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(offset))?;
    file.read(bytes)
}

/// Opens a directory, to sync the names in it; `None` where they need no sync.
pub(crate) fn open_dir(path: &Path) -> io::Result<Option<File>> {
    if cfg!(unix) { File::open(path).map(Some) } else { Ok(None) }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    open_dir(path)?.map_or(Ok(()), |directory| directory.sync_all())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    use super::*;

    #[test]
    fn a_new_file_is_ours_alone_and_an_old_one_is_not_taken_for_new() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        let file = create(&path).unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(create(&path).is_err());
    }

    #[test]
    fn a_link_or_a_file_that_others_may_write_to_is_not_opened() {
        let root = tempfile::tempdir().unwrap();
        let (path, link) = (root.path().join("a"), root.path().join("b"));
        create(&path).unwrap();
        symlink(&path, &link).unwrap();
        assert!(open(&path, false).is_ok());
        assert!(open(&link, false).is_err());
        assert!(lock(&link).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(open(&path, false).is_err());
        assert!(open(root.path(), false).is_err(), "a directory is no file");
    }

    #[test]
    fn reserved_space_is_there_reads_as_zeros_and_can_be_written_at_any_place() {
        let root = tempfile::tempdir().unwrap();
        for (name, reserve) in
            [("fallocate", reserve as fn(&File, u64) -> io::Result<()>), ("zeros", write_zeros)]
        {
            let file = create(&root.path().join(name)).unwrap();
            reserve(&file, 200_000).unwrap();
            let found = file.metadata().unwrap();
            assert_eq!(found.len(), 200_000);
            assert!(found.blocks() * 512 >= 200_000, "{name} has {} blocks", found.blocks());
            write_at(&file, b"abc", 199_990).unwrap();
            let mut bytes = [1; 20];
            assert_eq!(read_at(&file, &mut bytes, 199_985).unwrap(), 15);
            assert_eq!(&bytes[..15], b"\0\0\0\0\0abc\0\0\0\0\0\0\0");
        }
    }

    #[test]
    fn one_lock_has_one_holder() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let held = lock(&path).unwrap();
        assert!(held.is_some());
        assert!(lock(&path).unwrap().is_none());
        drop(held);
        assert!(lock(&path).unwrap().is_some());
    }
}
