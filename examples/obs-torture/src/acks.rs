//! The log of what was promised: the oracle that a test holds against the store.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::{FromRawFd, OwnedFd},
};

use obs::{Ack, Class};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
};

/// A descriptor that somebody else opened for us, if there is one.
#[derive(Debug)]
pub(crate) struct Acks(Option<File>);

impl Acks {
    /// Takes the descriptor itself, whatever it stands for: a socket cannot be opened once more, nor a file of
    /// another user. This comes before anything here opens one of its own, which could get the number.
    pub(crate) fn open(fd: Option<u32>) -> io::Result<Self> {
        let open = |fd| {
            duplicate(fd).and_then(prepare).map_err(|error| {
                let what = format!("descriptor {fd} of --ack-fd cannot be written ({error}): open it, e.g. {fd}>acks");
                io::Error::new(error.kind(), what)
            })
        };
        fd.map(open).transpose().map(Self)
    }

    /// One call. A file system may still end it at a page of the file when the process is killed: then the
    /// last line has no end, and was not said.
    pub(crate) fn log(&self, seq: u64, id: impl std::fmt::Display, class: Class, ack: Ack) {
        let Some(file) = self.0.as_ref() else { return };
        let line = format!("{seq} {id} {class} {ack}\n");
        // Whoever reads has gone: then nobody checks any more.
        let _ = write(file, line.as_bytes());
    }
}

/// Another number for the same: what was given stays open, as whoever gave it may expect.
#[expect(unsafe_code, reason = "only the system knows what a number stands for")]
fn duplicate(fd: u32) -> io::Result<File> {
    /// Those below are for the standard streams, even where one is closed.
    const LEAST: libc::c_int = 3;
    let fd = libc::c_int::try_from(fd).map_err(|_| ErrorKind::InvalidInput)?;
    // SAFETY: numbers in, a number out; of one that is not open it is an error.
    let ours = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, LEAST) };
    if ours < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: made just now, and nobody else knows it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(ours) }))
}

/// What cannot be written to is refused. A file is appended to, so that no line of a thread, a child or another process
/// overwrites another's.
fn prepare(file: File) -> io::Result<File> {
    let flags = fcntl_getfl(&file)?;
    if flags & OFlags::RWMODE == OFlags::RDONLY {
        return Err(io::Error::other("it is open for reading only"));
    }
    if file.metadata()?.is_file() && !flags.contains(OFlags::APPEND) {
        fcntl_setfl(&file, flags | OFlags::APPEND)?;
    }
    Ok(file)
}

/// Writes all of it, also where whoever gave the descriptor made it one that does not wait.
fn write(mut file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(file)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits until there is room.
fn wait(file: &File) -> io::Result<()> {
    match poll(&mut [PollFd::new(file, PollFlags::OUT)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::OpenOptions,
        io::{BufRead, BufReader, Read, pipe},
        os::{fd::AsRawFd, unix::net::UnixStream},
        thread,
    };

    use super::*;

    fn open(fd: &impl AsRawFd) -> Acks {
        Acks::open(Some(fd.as_raw_fd().try_into().unwrap())).unwrap()
    }

    fn log(acks: &Acks, seq: u64) {
        acks.log(seq, "id", Class::Error, Ack::Os);
    }

    #[test]
    fn a_line_goes_to_the_descriptor_itself_which_stays_open() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let acks = open(&ours);
        log(&acks, 7);
        drop(acks);
        (&ours).write_all(b"still open\n").unwrap();
        drop(ours);
        let lines: Vec<_> = BufReader::new(theirs).lines().map(Result::unwrap).collect();
        assert_eq!(lines, ["7 id error os", "still open"]);
    }

    #[test]
    fn a_file_is_appended_to_whoever_else_writes_to_it() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before\n").unwrap();
        let acks = open(&file);
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).unwrap();
        log(&acks, 7);
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before\n7 id error os\n");
    }

    #[test]
    fn a_descriptor_that_does_not_wait_gets_every_line_all_the_same() {
        const LINES: u64 = 20_000;
        let (theirs, ours) = pipe().unwrap();
        fcntl_setfl(&ours, OFlags::NONBLOCK).unwrap();
        let acks = open(&ours);
        let reader = thread::spawn(|| BufReader::new(theirs).lines().count() as u64);
        (0..LINES).for_each(|seq| log(&acks, seq));
        drop((acks, ours));
        assert_eq!(reader.join().unwrap(), LINES);
    }

    #[test]
    fn a_number_that_stands_for_nothing_or_for_what_is_only_read_is_refused_with_the_way_out() {
        let error = Acks::open(Some(1_023)).unwrap_err().to_string();
        assert!(
            error.contains("descriptor 1023 of --ack-fd cannot be written (Bad file"),
            "{error}"
        );
        assert!(error.contains("open it, e.g. 1023>acks"), "{error}");
        let null = OpenOptions::new().read(true).open("/dev/null").unwrap();
        let fd = null.as_raw_fd();
        let error = Acks::open(Some(fd.try_into().unwrap())).unwrap_err().to_string();
        assert!(error.contains(&format!("descriptor {fd} of --ack-fd")), "{error}");
        assert!(error.contains("reading only"), "{error}");
    }
}
