//! What the spool needs of a disk, and the real one. Tests have one that fails.

use std::{fmt, fs, io, path::Path, sync::Arc};

use crate::platform;

/// A disk. Every method may fail, and may fail again differently.
pub(crate) trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes a file of this size, zeros, with its space set aside; nothing is left when it fails.
    fn create_reserved(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that is there, for reading.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// The names in a directory, at most `most` of them.
    fn list(&self, directory: &Path, most: usize) -> io::Result<Vec<String>>;

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file another name; where the disk cannot, that is an error.
    fn link(&self, path: &Path, also: &Path) -> io::Result<()>;

    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Opens a directory, to sync the names in it.
    fn open_dir(&self, directory: &Path) -> io::Result<Arc<dyn DiskDir>>;
}

/// An open directory of a [`Disk`].
pub(crate) trait DiskDir: fmt::Debug + Send + Sync {
    /// Makes the names in it durable.
    fn sync(&self) -> io::Result<()>;
}

/// An open file of a [`Disk`].
pub(crate) trait DiskFile: fmt::Debug + Send + Sync {
    fn pwrite(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    fn fdatasync(&self) -> io::Result<()>;

    /// Reads as much as there is, at most `bytes.len()`.
    fn pread(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// The disk of this machine.
#[derive(Debug)]
pub(crate) struct RealDisk;

#[derive(Debug)]
struct RealFile(fs::File);

/// There is nothing to open where names need no sync.
#[derive(Debug)]
struct RealDir(Option<fs::File>);

impl Disk for RealDisk {
    fn create_reserved(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = platform::create(path)?;
        if let Err(error) = platform::reserve(&file, bytes) {
            // What it got so far is needed elsewhere.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(platform::open(path, false)?)))
    }

    fn list(&self, directory: &Path, most: usize) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)?.take(most) {
            // A name that is not text is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, path: &Path, also: &Path) -> io::Result<()> {
        fs::hard_link(path, also)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn open_dir(&self, directory: &Path) -> io::Result<Arc<dyn DiskDir>> {
        Ok(Arc::new(RealDir(platform::open_dir(directory)?)))
    }
}

impl DiskDir for RealDir {
    fn sync(&self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), fs::File::sync_all)
    }
}

impl DiskFile for RealFile {
    fn pwrite(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        platform::write_at(&self.0, bytes, offset)
    }

    fn fdatasync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn pread(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        platform::read_at(&self.0, bytes, offset)
    }
}
