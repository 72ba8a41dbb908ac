//! Stands in for the world: the system, erasure, and the folder of a quarantine.

/// A process that never forks.
pub(crate) mod platform {
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Process;

    impl Process {
        pub(crate) const fn current() -> Self {
            Self
        }

        pub(crate) const fn is_forked(self) -> bool {
            false
        }
    }
}

/// No store of a model erases.
pub(crate) mod erasure {
    use std::pin::Pin;

    use crate::store::StoreError;

    #[derive(Debug)]
    pub struct Erasure;

    #[derive(Debug)]
    pub struct Erased;

    pub type EraseFuture<'a> =
        Pin<Box<dyn Future<Output = Result<Erased, StoreError>> + Send + 'a>>;
}

/// A quarantine that cannot be written now and then.
pub(crate) mod quarantine {
    use std::{
        fmt,
        path::Path,
        sync::atomic::{AtomicU64, Ordering},
    };

    use obs_core::{DropReason, RunRecord, Timestamp};
    use shuttle::rand::Rng as _;
    use uuid::Uuid;

    #[derive(Debug, Default)]
    pub(crate) struct Quarantine {
        pub(crate) taken: AtomicU64,
    }

    #[derive(Debug)]
    pub(crate) struct Failed;

    impl fmt::Display for Failed {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cannot be written now")
        }
    }

    impl std::error::Error for Failed {}

    impl Failed {
        pub(crate) const fn reason(&self) -> DropReason {
            DropReason::SpoolIo
        }

        pub(crate) const fn may_pass(&self) -> bool {
            true
        }
    }

    impl Quarantine {
        pub(crate) fn folder(&self) -> &Path {
            Path::new("quarantine")
        }

        pub(crate) fn put(
            &self,
            _: &RunRecord,
            _: &str,
            _: (Timestamp, Timestamp),
        ) -> Result<(), Failed> {
            if shuttle::rand::thread_rng().gen_range(0..3) == 0 {
                return Err(Failed);
            }
            self.taken.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        pub(crate) const fn holds(&self, _: Uuid) -> bool {
            false
        }

        /// Nothing gets old.
        pub(crate) const fn sweep(&self, _: Timestamp) -> Result<usize, Failed> {
            Ok(0)
        }

        /// Nobody gives records back.
        pub(crate) const fn retried(&self, _: usize) -> Result<Vec<RunRecord>, Failed> {
            Ok(Vec::new())
        }

        pub(crate) const fn returned(&self, _: &[Uuid]) -> Result<(), Failed> {
            Ok(())
        }
    }
}
