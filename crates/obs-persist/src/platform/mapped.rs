//! Words that outlive the process: a small file, mapped and shared with the kernel.

use std::{io, path::Path, sync::atomic::AtomicU64};

use super::file;

/// The largest file that is mapped or read as words, in words: 4 MiB.
const WORDS_MAX: usize = 512 << 10;

/// A file of words that can be changed in place; the kernel keeps them when the process is killed.
#[derive(Debug)]
pub(crate) struct Words(system::Mapping);

impl Words {
    /// Makes a file of `count` words, all zero. Its space is set aside, so that no later write can
    /// meet a full disk.
    pub(crate) fn create(path: &Path, count: usize) -> io::Result<Self> {
        if count == 0 || count > WORDS_MAX {
            return Err(io::Error::other(format!("{count} words, but 1 to {WORDS_MAX} fit")));
        }
        let file = file::create(path)?;
        file::reserve(&file, (count * size_of::<u64>()) as u64)?;
        system::Mapping::new(file, count).map(Self)
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        self.0.words()
    }
}

/// The words of a file that a dead process left, at most `most` of them.
#[expect(clippy::indexing_slicing, reason = "no more is filled than there is room for")]
pub(crate) fn read_words(path: &Path, most: usize) -> io::Result<Vec<u64>> {
    let file = file::open(path, false)?;
    let mut bytes = vec![0; most.min(WORDS_MAX) * size_of::<u64>()];
    let filled = file::read_at(&file, &mut bytes, 0)?;
    Ok(bytes[..filled].as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)).collect())
}

/// Changes one word of such a file.
pub(crate) fn write_word(path: &Path, at: usize, value: u64) -> io::Result<()> {
    let file = file::open(path, true)?;
    file::write_at(&file, &value.to_ne_bytes(), (at * size_of::<u64>()) as u64)
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "a mapping is memory that only we know the size of")]
mod system {
    use std::{fs::File, io, slice, sync::atomic::AtomicU64};

    use memmap2::MmapRaw;

    use super::super::fork::Registered;

    #[derive(Debug)]
    pub(super) struct Mapping {
        // The order in which they go: no child may replace what is not mapped any more.
        _registered: Registered,
        map: MmapRaw,
        count: usize,
        _file: File,
    }

    impl Mapping {
        pub(super) fn new(file: File, count: usize) -> io::Result<Self> {
            let map = MmapRaw::map_raw(&file)?;
            if map.len() < count * size_of::<AtomicU64>() {
                return Err(io::Error::other("the file shrank while it was mapped"));
            }
            let registered = Registered::new(&file, map.as_ptr().addr(), map.len())
                .ok_or_else(|| io::Error::other("too many mapped pages in this process"))?;
            Ok(Self { _registered: registered, map, count, _file: file })
        }

        pub(super) fn words(&self) -> &[AtomicU64] {
            // SAFETY: a mapping begins at a page, is readable and writable, and is at least this
            // long (`new`); nobody gets at it but as atomics; it lives as long as `self`. The file
            // is private (0600, in a directory of ours), so nobody else shrinks it.
            unsafe { slice::from_raw_parts(self.map.as_ptr().cast(), self.count) }
        }
    }
}

#[cfg(not(unix))]
mod system {
    //! Without mapped files the words live in memory, and die with the process.

    use std::{fs::File, io, sync::atomic::AtomicU64};

    #[derive(Debug)]
    pub(super) struct Mapping(Box<[AtomicU64]>);

    impl Mapping {
        pub(super) fn new(_file: File, count: usize) -> io::Result<Self> {
            Ok(Self((0..count).map(|_| AtomicU64::new(0)).collect()))
        }

        pub(super) fn words(&self) -> &[AtomicU64] {
            &self.0
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::{fs, sync::atomic::Ordering};

    use super::*;

    #[test]
    fn what_is_stored_in_a_page_is_in_its_file_at_once_and_stays_there() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("page");
        let page = Words::create(&path, 1_000).unwrap();
        assert_eq!(page.words().len(), 1_000);
        page.words()[999].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(read_words(&path, 2_000).unwrap()[999], u64::MAX);
        drop(page);
        assert_eq!(read_words(&path, 1_000).unwrap()[999], u64::MAX);
        assert_eq!(read_words(&path, 10).unwrap().len(), 10, "no more than asked for");
    }

    #[test]
    fn a_page_is_made_once_and_within_its_limit() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("page");
        assert!(Words::create(&path, 0).is_err());
        assert!(Words::create(&path, WORDS_MAX + 1).is_err());
        let _page = Words::create(&path, 1).unwrap();
        assert!(Words::create(&path, 1).is_err());
        fs::write(root.path().join("odd"), [1; 11]).unwrap();
        assert_eq!(read_words(&root.path().join("odd"), 9).unwrap().len(), 1);
    }
}
