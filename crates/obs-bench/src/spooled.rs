//! What a spool's files say of the frames in them, learnt without touching what is yet to be written.
//!
//! A file that is read has its pages in memory afterwards, and a write finds them there. So whoever watches reads
//! nothing behind the last frame: otherwise the next runs would write to pages that the benchmark made ready. It
//! knows how many frames came, and reads so many headers, one behind the other.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Advice, Mode, OFlags, fadvise, open},
    io::pread,
};

/// Of a frame: a sign, flags, the payload's length, a checksum, an id.
const HEADER: u64 = 28;
const SIGN: [u8; 2] = 0x0b5f_u16.to_le_bytes();
const ALIGN: u64 = 8;

/// How far a spool's files are known.
pub(crate) struct Spooled {
    folder: PathBuf,
    /// The segments in which frames were found; the last one has the last frame that is known.
    segments: Vec<PathBuf>,
    /// Where that frame ends.
    end: u64,
}

impl Spooled {
    /// Of a process whose spool has no other company in this folder.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, segments: Vec::new(), end: 0 }
    }

    /// Goes on by so many frames, which are there: their bytes.
    pub(crate) fn advance(&mut self, frames: u32) -> u64 {
        let mut known = 0;
        let mut bytes = 0;
        if let Some(segment) = self.segments.last() {
            (known, bytes) = walk(segment, self.end, frames);
            self.end += bytes;
        }
        while known < frames {
            // Whatever comes is in another one now. Nearly always that with the lowest number; else the first page of one
            // that is not written yet is read.
            let ((more, end), segment) = self
                .others()
                .into_iter()
                .map(|path| (walk(&path, 0, frames - known), path))
                .find(|((more, _), _)| *more > 0)
                .unwrap();
            self.segments.push(segment);
            (known, bytes, self.end) = (known + more, bytes + end, end);
        }
        bytes
    }

    /// The segments in which no frame was found yet.
    fn others(&self) -> BTreeSet<PathBuf> {
        let owns = files(&self.folder).into_iter().filter(|path| path.is_dir());
        let segments = owns.flat_map(|own| files(&own));
        let segments = segments.filter(|path| path.extension() == Some(OsStr::new("seg")));
        segments.filter(|path| !self.segments.contains(path)).collect()
    }
}

/// The frames from there on, `most` of them at most, and their bytes.
fn walk(segment: &Path, start: u64, most: u32) -> (u32, u64) {
    let (mut frames, mut bytes) = (0, 0);
    // It is gone if nothing in it is needed any more.
    if let Ok(file) = open(segment, OFlags::RDONLY | OFlags::NOATIME, Mode::empty()) {
        // What is written is in memory: nothing has to be read ahead.
        fadvise(&file, 0, None, Advice::Random).unwrap();
        while frames < most
            && let Some(frame) = frame_at(&file, start + bytes)
        {
            (frames, bytes) = (frames + 1, bytes + frame);
        }
    }
    (frames, bytes)
}

/// How long the frame is that begins there, if one does.
fn frame_at(file: impl rustix::fd::AsFd, at: u64) -> Option<u64> {
    let mut start = [0; 8];
    (pread(file, &mut start, at).unwrap() == start.len()).then_some(())?;
    let [s0, s1, _, _, len @ ..] = start;
    let bytes = HEADER + u64::from(u32::from_le_bytes(len));
    ([s0, s1] == SIGN).then_some(bytes.next_multiple_of(ALIGN))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}
