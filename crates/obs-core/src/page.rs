//! Memory that may outlive the process: counts and slots live in its words.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use uuid::Uuid;

use crate::record::Timestamp;

/// Memory of a fixed size that may outlive the process, e.g. a file that is mapped and shared: the
/// next process then reads in it what this one was doing when it died.
///
/// A page that is handed to a [`Builder`](crate::Builder) is blank (all words 0) and belongs to that one
/// `Obs`. The words are always the same, at the same place. Parent and child of a fork must not write to the same:
/// where the child has words of its own, it has them at that place too.
///
/// ```
/// use std::sync::atomic::AtomicU64;
///
/// #[derive(Debug)]
/// struct OnTheHeap(Vec<AtomicU64>);
///
/// impl obs_core::Page for OnTheHeap {
///     fn words(&self) -> &[AtomicU64] {
///         &self.0
///     }
/// }
/// ```
pub trait Page: fmt::Debug + Send + Sync + 'static {
    /// The words.
    fn words(&self) -> &[AtomicU64];
}

/// A page of the process's own memory: nobody reads it after the process.
pub(crate) struct HeapPage {
    /// Never moved.
    words: Vec<AtomicU64>,
    /// How many words lie before the first one that is aligned.
    skipped: usize,
}

/// Two cache lines, which processors fetch together.
const ALIGN_BYTES: usize = 128;
const ALIGN_WORDS: usize = ALIGN_BYTES / size_of::<u64>();

impl HeapPage {
    pub(crate) fn new(len: usize) -> Self {
        let mut words: Vec<_> = (0..len + ALIGN_WORDS).map(|_| AtomicU64::new(0)).collect();
        let skipped = words.as_ptr().align_offset(ALIGN_BYTES).min(ALIGN_WORDS);
        words.truncate(skipped + len);
        Self { words, skipped }
    }
}

impl Page for HeapPage {
    #[expect(clippy::indexing_slicing, reason = "no more words are skipped than there are")]
    fn words(&self) -> &[AtomicU64] {
        &self.words[self.skipped..]
    }
}

impl fmt::Debug for HeapPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapPage").field("words", &self.words().len()).finish()
    }
}

/// Words of a page before its contents: what it is, and whose.
pub(crate) const HEADER_WORDS: usize = ALIGN_WORDS;

/// What a kind of page begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// Says what it is; as text in a dump of the file.
    pub(crate) magic: u64,
    /// Changes whenever the meaning of any word does.
    pub(crate) version: u64,
    /// Words that it has, at least.
    pub(crate) words: usize,
}

/// Whose page it is.
///
/// ```
/// # use obs_core::{PageOwner, Timestamp};
/// fn show(owner: &PageOwner) -> String {
///     format!("process {} of epoch {}", owner.pid, owner.epoch)
/// }
/// # let _ = show;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageOwner {
    /// The lifetime of the process that wrote the page.
    pub epoch: Uuid,
    /// Its process id.
    pub pid: u32,
    /// When it began to write.
    pub started_at: Timestamp,
}

const MAGIC: usize = 0;
const VERSION: usize = 1;
const EPOCH_HIGH: usize = 2;
const EPOCH_LOW: usize = 3;
const PID: usize = 4;
const STARTED_AT: usize = 5;

impl PageOwner {
    pub(crate) fn this_process(epoch: Uuid, started_at: Timestamp) -> Self {
        Self { epoch, pid: std::process::id(), started_at }
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "the length is checked first, and no page is shorter than its header"
)]
impl Format {
    /// Whether a page can be written to.
    pub(crate) fn check_blank(&self, words: &[AtomicU64]) -> Result<(), PageError> {
        if words.len() < self.words {
            return Err(PageError::Length { words: words.len(), least: self.words });
        }
        match words[MAGIC].load(Ordering::Relaxed) {
            0 => Ok(()),
            magic => Err(PageError::InUse { magic }),
        }
    }

    /// Makes a blank page one of these. What it is comes last: a page whose process died before is
    /// still blank to readers.
    pub(crate) fn begin(&self, words: &[AtomicU64], owner: &PageOwner) {
        let (high, low) = owner.epoch.as_u64_pair();
        words[VERSION].store(self.version, Ordering::Relaxed);
        words[EPOCH_HIGH].store(high, Ordering::Relaxed);
        words[EPOCH_LOW].store(low, Ordering::Relaxed);
        words[PID].store(u64::from(owner.pid), Ordering::Relaxed);
        let started_at = owner.started_at.as_micros().cast_unsigned();
        words[STARTED_AT].store(started_at, Ordering::Relaxed);
        words[MAGIC].store(self.magic, Ordering::Release);
    }

    /// Whose page a dead process left.
    pub(crate) fn read(&self, words: &[u64]) -> Result<PageOwner, PageError> {
        if words.len() < self.words {
            return Err(PageError::Length { words: words.len(), least: self.words });
        }
        match words[MAGIC] {
            0 => return Err(PageError::Blank),
            magic if magic != self.magic => {
                return Err(PageError::Magic { magic, expected: self.magic });
            }
            _ => {}
        }
        if words[VERSION] != self.version {
            return Err(PageError::Version { version: words[VERSION], known: self.version });
        }
        let pid = u32::try_from(words[PID])
            .map_err(|_| PageError::Value { word: PID, value: words[PID] })?;
        Ok(PageOwner {
            epoch: Uuid::from_u64_pair(words[EPOCH_HIGH], words[EPOCH_LOW]),
            pid,
            started_at: Timestamp::from_micros(words[STARTED_AT].cast_signed()),
        })
    }
}

/// Why the words of a page cannot be used.
///
/// ```
/// use obs_core::{PageError, ledger};
/// let error = ledger::read_page(&[0; 3]).unwrap_err();
/// assert!(error.to_string().starts_with("the page has 3 words, fewer than"));
/// assert_eq!(ledger::read_page(&vec![0; ledger::PAGE_WORDS]), Err(PageError::Blank));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageError {
    /// It is too short.
    Length {
        /// Words that it has.
        words: usize,
        /// Words that it must have.
        least: usize,
    },
    /// Nobody has begun to write to it.
    Blank,
    /// Somebody else writes, or wrote, to it.
    InUse {
        /// The first word, 0 in a blank page.
        magic: u64,
    },
    /// It is something else.
    Magic {
        /// The first word.
        magic: u64,
        /// What the first word of such a page is.
        expected: u64,
    },
    /// It was written by another version of this library.
    Version {
        /// The version of its layout.
        version: u64,
        /// The version that can be read.
        known: u64,
    },
    /// A word has a value that it cannot have.
    Value {
        /// Which word.
        word: usize,
        /// Its value.
        value: u64,
    },
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { words, least } => write!(
                f,
                "the page has {words} words, fewer than the {least} of this layout: it was cut off, or is \
                 something else; move the file away"
            ),
            Self::Blank => f.write_str(
                "the page is blank: its process died before it wrote anything, or never began; delete the \
                 file",
            ),
            Self::InUse { magic } => write!(
                f,
                "the page begins with {magic:#018x}, not with 0: it is in use, or was; give one that is blank"
            ),
            Self::Magic { magic, expected } => write!(
                f,
                "the page begins with {magic:#018x}, not with {expected:#018x}: it is something else; move \
                 the file away"
            ),
            Self::Version { version, known } => write!(
                f,
                "the page has layout {version}, only {known} can be read: start the version that wrote it \
                 once more, or move the file away"
            ),
            Self::Value { word, value } => write!(
                f,
                "word {word} of the page is {value}, which it cannot be: the file is damaged; move it away"
            ),
        }
    }
}

impl std::error::Error for PageError {}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format { magic: 0x1234, version: 7, words: HEADER_WORDS };

    fn owner() -> PageOwner {
        PageOwner::this_process(Uuid::from_u128(9), Timestamp::from_micros(-3))
    }

    fn dumped(page: &dyn Page) -> Vec<u64> {
        page.words().iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn a_page_says_whose_it_is() {
        let page = HeapPage::new(HEADER_WORDS);
        FORMAT.check_blank(page.words()).unwrap();
        FORMAT.begin(page.words(), &owner());
        assert_eq!(FORMAT.read(&dumped(&page)), Ok(owner()));
    }

    #[test]
    fn a_page_on_the_heap_begins_at_a_pair_of_cache_lines() {
        for len in [16, 17, 800] {
            let page = HeapPage::new(len);
            assert_eq!(page.words().len(), len);
            assert_eq!(page.words().as_ptr().align_offset(ALIGN_BYTES), 0);
        }
    }

    #[test]
    fn a_page_that_is_in_use_is_not_begun_again() {
        let page = HeapPage::new(HEADER_WORDS);
        FORMAT.begin(page.words(), &owner());
        assert_eq!(FORMAT.check_blank(page.words()), Err(PageError::InUse { magic: 0x1234 }));
    }

    #[test]
    fn what_is_not_such_a_page_is_an_error_that_names_the_value() {
        let page = HeapPage::new(HEADER_WORDS);
        FORMAT.begin(page.words(), &owner());
        let good = dumped(&page);
        let with = |word: usize, value| {
            let mut words = good.clone();
            words[word] = value;
            FORMAT.read(&words).unwrap_err()
        };
        assert_eq!(with(MAGIC, 0), PageError::Blank);
        assert_eq!(with(MAGIC, 5), PageError::Magic { magic: 5, expected: 0x1234 });
        assert_eq!(with(VERSION, 8), PageError::Version { version: 8, known: 7 });
        assert_eq!(with(PID, 1 << 40), PageError::Value { word: PID, value: 1 << 40 });
        let short = FORMAT.read(&good[..3]).unwrap_err();
        assert_eq!(short, PageError::Length { words: 3, least: HEADER_WORDS });
        for (error, shows) in [
            (with(MAGIC, 5), "0x0000000000000005"),
            (with(VERSION, 8), "layout 8"),
            (with(PID, 77_777_777_777), "77777777777"),
        ] {
            assert!(error.to_string().contains(shows), "{error}");
        }
    }
}
