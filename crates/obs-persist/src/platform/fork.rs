//! What a fork leaves behind: a child that must not write where its parent writes.
//!
//! A forked child inherits our memory without our threads, and shares three things with its parent
//! that it must not: the right to append to the spool, the mapped pages, and the locks, which would
//! outlive the parent in it. So when a process with any of them forks, the child
//!
//! * knows it: [`Process::is_forked`] is one load and a comparison;
//! * keeps what the pages say, in memory of its own: what it counts there reaches nobody's file;
//! * gives up its copies of the locks.
//!
//! Only `fork` of the C library is seen, and nothing else can make a child that may run Rust code.

/// A process, as whoever owns a file saw it when it opened it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u64);

impl Process {
    /// The process that this is.
    pub(crate) fn current() -> Self {
        system::watch();
        Self(system::generation())
    }

    /// Whether we are a child of that process.
    pub(crate) fn is_forked(self) -> bool {
        self.0 != system::generation()
    }
}

pub(crate) use system::HeldLock;
#[cfg(unix)]
pub(super) use system::Registered;
#[cfg(all(test, unix))]
pub(crate) use system::fork;

#[cfg(unix)]
#[expect(unsafe_code, reason = "the C library calls us in the child, which replaces mappings")]
mod system {
    use std::{
        fs::File,
        os::fd::AsRawFd,
        sync::{
            Once,
            atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering},
        },
    };

    /// How many pages and locks a process can hold: a few for each spool. What does not fit is
    /// refused, so that nothing is shared by mistake.
    const HELD_MAX: usize = 64;

    /// How many forks lie between the first process that used this and this one.
    static GENERATION: AtomicU64 = AtomicU64::new(0);
    static HELD: [Held; HELD_MAX] = [const { Held::new() }; HELD_MAX];

    /// A page or a lock; all of it atomic, because a child cannot wait for a lock that a thread of
    /// its parent holds.
    struct Held {
        taken: AtomicBool,
        /// -1 while the rest is not set.
        descriptor: AtomicI32,
        /// Where the page is mapped; 0 for a lock.
        address: AtomicUsize,
        bytes: AtomicUsize,
    }

    impl Held {
        const fn new() -> Self {
            Self {
                taken: AtomicBool::new(false),
                descriptor: AtomicI32::new(-1),
                address: AtomicUsize::new(0),
                bytes: AtomicUsize::new(0),
            }
        }
    }

    /// Keeps an entry of the table; free again when dropped.
    #[derive(Debug)]
    pub(in super::super) struct Registered(usize);

    #[expect(clippy::indexing_slicing, reason = "the place was found in the table")]
    impl Registered {
        /// `None` when the table is full. `address` and `bytes` are those of a shared mapping of
        /// `file`, or zero.
        pub(in super::super) fn new(file: &File, address: usize, bytes: usize) -> Option<Self> {
            watch();
            let free = |held: &&Held| !held.taken.swap(true, Ordering::AcqRel);
            let at = HELD.iter().position(|held| free(&held))?;
            HELD[at].address.store(address, Ordering::Relaxed);
            HELD[at].bytes.store(bytes, Ordering::Relaxed);
            HELD[at].descriptor.store(file.as_raw_fd(), Ordering::Release);
            Some(Self(at))
        }
    }

    #[expect(clippy::indexing_slicing, reason = "the place was found in the table")]
    impl Drop for Registered {
        fn drop(&mut self) {
            HELD[self.0].descriptor.store(-1, Ordering::Release);
            HELD[self.0].taken.store(false, Ordering::Release);
        }
    }

    /// A locked file whose lock no child keeps.
    #[derive(Debug)]
    pub(crate) struct HeldLock {
        // Before the file: a closed descriptor may be somebody else's soon.
        _registered: Registered,
        _file: File,
    }

    impl HeldLock {
        /// `None` when too many are held already.
        pub(crate) fn new(file: File) -> Option<Self> {
            Some(Self { _registered: Registered::new(&file, 0, 0)?, _file: file })
        }
    }

    pub(super) fn generation() -> u64 {
        GENERATION.load(Ordering::Relaxed)
    }

    pub(super) fn watch() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: `in_child` is a function for the life of the process, and calls nothing that
            // is not allowed between `fork` and `exec`: no allocation, no lock. Out of memory is
            // the only way to fail; then a child would not be recognised, as without us.
            let failed = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
            if failed == 0 {
                obs_core::forks_are_told();
            }
        });
    }

    unsafe extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
        obs_core::after_fork();
        // SAFETY: a constant path with its end; `open` may be called here.
        let nothing =
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        for held in &HELD {
            let descriptor = held.descriptor.load(Ordering::Acquire);
            if descriptor < 0 {
                continue;
            }
            match held.address.load(Ordering::Relaxed) {
                0 => give_up(descriptor, nothing),
                address => make_private(address, held.bytes.load(Ordering::Relaxed), descriptor),
            }
        }
        // SAFETY: ours, and nobody else knows it.
        unsafe { libc::close(nothing) };
    }

    /// Lets the descriptor mean nothing: closing it would free its number, which its owner closes.
    fn give_up(descriptor: i32, nothing: i32) {
        #[cfg(target_os = "linux")]
        // SAFETY: both are open, or the call fails and changes nothing.
        unsafe {
            libc::dup3(nothing, descriptor, libc::O_CLOEXEC);
        }
        #[cfg(not(target_os = "linux"))]
        // SAFETY: as above.
        unsafe {
            libc::dup2(nothing, descriptor);
        }
    }

    /// Puts a private mapping of the same file in the place of a shared one.
    fn make_private(address: usize, bytes: usize, descriptor: i32) {
        /// No page is smaller.
        const PAGE: usize = 4_096;
        // SAFETY: the range is a mapping of this file that `Words` made and keeps for as long as
        // its entry is here; the new one has the same size and rights, so every reference to its
        // words stays valid. There is one thread.
        let mapped = unsafe {
            libc::mmap(
                address as *mut libc::c_void,
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED,
                descriptor,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return;
        }
        // A private page shows what others write to the file until its first own write.
        for at in (address..address + bytes).step_by(PAGE) {
            let word = at as *const AtomicU64;
            // SAFETY: aligned, mapped for writing, and only ever accessed as atomics.
            unsafe { (*word).fetch_add(0, Ordering::Relaxed) };
        }
    }

    /// Forks; the child answers by its exit code, and leaves. `None` is one that was stuck.
    #[cfg(test)]
    pub(crate) fn fork(child: impl FnOnce() -> bool) -> Option<i32> {
        // SAFETY: the child only runs `child` and leaves, without unwinding.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let code = i32::from(!child());
            // SAFETY: leaves at once.
            unsafe { libc::_exit(code) };
        }
        ends(pid)
    }

    /// Waits for a child, at most ten seconds: one that is stuck is killed.
    #[cfg(test)]
    fn ends(pid: i32) -> Option<i32> {
        let mut status = 0;
        for _ in 0..2_000 {
            // SAFETY: our child.
            if unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } == pid {
                return Some(status);
            }
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        // SAFETY: our child, which is still there.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, &raw mut status, 0);
        }
        None
    }

    #[cfg(test)]
    mod tests {
        use std::{
            process::Command,
            sync::{
                Arc,
                atomic::{AtomicBool, AtomicU64, Ordering},
            },
            thread,
        };

        use obs_core::{Ack, Class, DropReason, Kept, Obs, Page, Sink, Strategy, ledger};

        use super::super::{
            super::{file, mapped::Words},
            Process,
        };
        use super::*;

        #[test]
        fn a_child_knows_that_it_is_one_and_its_parent_does_not_become_one() {
            let parent = Process::current();
            assert_eq!(fork(|| parent.is_forked() && !Process::current().is_forked()), Some(0));
            assert!(!parent.is_forked());
        }

        #[test]
        fn a_childs_runs_have_other_ids_than_its_parents() {
            let _watched = Process::current();
            let test = obs_core::testing::TestObs::new();
            let kept = || test.kept("bonus", "1").into_parts().0.run_id;
            // Of a run of this process, and of one that happened elsewhere, all at one time.
            let at = obs_core::Clock::default().wall();
            let ids = || [kept(), obs_core::new_run_id(at)];
            let (before, mut pipe, mut theirs) = (ids(), [0; 2], [[0_u8; 16]; 2]);
            // SAFETY: two descriptors to fill.
            assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
            // The allocator of the C library, which a run needs, takes care of its locks itself.
            let code = fork(|| {
                let ids = ids().map(uuid::Uuid::into_bytes);
                // SAFETY: our bytes, our descriptor.
                unsafe { libc::write(pipe[1], ids.as_ptr().cast(), 32) == 32 }
            });
            assert_eq!(code, Some(0));
            // SAFETY: 32 bytes to fill, and our descriptors.
            unsafe {
                assert_eq!(libc::read(pipe[0], theirs.as_mut_ptr().cast(), 32), 32);
                libc::close(pipe[0]);
                libc::close(pipe[1]);
            }
            let ours = [before, ids()].concat();
            for id in theirs.map(uuid::Uuid::from_bytes) {
                assert!(!ours.contains(&id), "{id}");
            }
        }

        #[test]
        fn a_child_keeps_what_a_page_says_and_writes_to_its_own_copy() {
            let root = tempfile::tempdir().unwrap();
            let page = Words::create(&root.path().join("page"), 2_048).unwrap();
            page.words()[0].store(7, Ordering::Relaxed);
            page.words()[1_500].store(8, Ordering::Relaxed);
            let code = fork(|| {
                let words = page.words();
                words[0].fetch_add(1, Ordering::Relaxed);
                words[0].load(Ordering::Relaxed) == 8 && words[1_500].load(Ordering::Relaxed) == 8
            });
            assert_eq!(code, Some(0));
            assert_eq!(page.words()[0].load(Ordering::Relaxed), 7);
        }

        /// A sink that is always full.
        #[derive(Debug)]
        struct Full;

        impl Sink for Full {
            fn submit(&self, kept: Kept) -> Ack {
                kept.ticket.dropped(DropReason::QueueFull);
                Ack::Refused(DropReason::QueueFull)
            }
            fn capacity(&self, _: Class) -> u64 {
                0
            }
        }

        #[derive(Debug)]
        struct Mapped(Words);

        impl Page for Mapped {
            fn words(&self) -> &[AtomicU64] {
                self.0.words()
            }
        }

        fn run_one(strategy: &Strategy, fails: bool) {
            let mut run = strategy.start();
            run.keep();
            let _ = run.finish(if fails { Err("no".to_owned()) } else { Ok(()) });
        }

        /// What a child does with what it inherits: all of it must come to an end, and balance.
        fn lives(obs: &Obs, strategy: &Strategy) -> bool {
            const RUNS: u64 = 20;
            let before = obs.ledger();
            for at in 0..RUNS {
                run_one(strategy, at % 2 == 0);
            }
            let after = obs.ledger();
            let counted = after.ok.recorded + after.error.recorded;
            let dropped = after.ok.dropped.total() + after.error.dropped.total();
            before.imbalance() == 0
                && after.imbalance() == 0
                && counted == before.ok.recorded + before.error.recorded + RUNS
                && dropped >= RUNS
        }

        /// In a process of its own: each child has the locks of all tests, until it has given them up.
        #[test]
        fn a_child_of_a_busy_process_is_neither_stuck_nor_out_of_balance_whenever_it_is_forked() {
            let name = "platform::fork::system::tests::busy";
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--ignored", "--nocapture"])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&child.stdout);
            let why = String::from_utf8_lossy(&child.stderr);
            assert!(child.status.success() && said.contains("1 passed"), "{said}\n{why}");
        }

        #[test]
        #[ignore = "the test above runs it"]
        fn busy() {
            const FORKS: u64 = 300;
            let root = tempfile::tempdir().unwrap();
            let page = Words::create(&root.path().join("page"), ledger::PAGE_WORDS).unwrap();
            let builder = Obs::builder().sink(Arc::new(Full));
            let obs = builder.ledger_page(Arc::new(Mapped(page))).build().unwrap();
            let strategy = obs.kind("dsl").strategy("bonus").version("1").build().unwrap();
            run_one(&strategy, true);
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                for fails in [true, false] {
                    let (strategy, done) = (strategy.clone(), &done);
                    scope.spawn(move || {
                        while !done.load(Ordering::Relaxed) {
                            run_one(&strategy, fails);
                        }
                    });
                }
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(obs.ledger().imbalance(), 0);
                    }
                });
                let mut ended = Vec::new();
                for _ in 0..FORKS {
                    ended.push(fork(|| lives(&obs, &strategy)));
                    if ended.last() != Some(&Some(0)) {
                        break;
                    }
                }
                done.store(true, Ordering::Relaxed);
                let well = ended.iter().filter(|end| **end == Some(0)).count() as u64;
                assert_eq!(well, FORKS, "the last one: {:?}, None is stuck", ended.last());
            });
        }

        #[test]
        fn a_child_that_lives_on_does_not_keep_its_parents_lock() {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("lock");
            let held = HeldLock::new(file::lock(&path).unwrap().unwrap()).unwrap();
            let (mut pipe, mut born, mut byte) = ([0; 2], [0; 2], [0_u8]);
            // SAFETY: two descriptors each to fill.
            assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
            // SAFETY: as above.
            assert_eq!(unsafe { libc::pipe(born.as_mut_ptr()) }, 0);
            // SAFETY: the child says that it is there, waits for the end of the pipe and leaves.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: its own descriptors and memory.
                unsafe {
                    libc::close(pipe[1]);
                    libc::write(born[1], byte.as_ptr().cast(), 1);
                    libc::read(pipe[0], byte.as_mut_ptr().cast(), 1);
                    libc::_exit(0);
                }
            }
            // SAFETY: one byte to fill.
            assert_eq!(unsafe { libc::read(born[0], byte.as_mut_ptr().cast(), 1) }, 1);
            assert!(file::lock(&path).unwrap().is_none(), "the parent still holds it");
            drop(held);
            assert!(file::lock(&path).unwrap().is_some(), "the child holds it");
            let mut status = 0;
            // SAFETY: our descriptors, our child.
            unsafe {
                libc::close(pipe[1]);
                libc::waitpid(pid, &raw mut status, 0);
                for end in [pipe[0], born[0], born[1]] {
                    libc::close(end);
                }
            }
            assert_eq!(status, 0);
        }
    }
}

#[cfg(not(unix))]
mod system {
    //! No forks.

    use std::fs::File;

    pub(super) fn watch() {}

    pub(super) fn generation() -> u64 {
        0
    }

    /// A locked file.
    #[derive(Debug)]
    pub(crate) struct HeldLock(#[expect(dead_code, reason = "held for its lock")] File);

    impl HeldLock {
        pub(crate) fn new(file: File) -> Option<Self> {
            Some(Self(file))
        }
    }
}
