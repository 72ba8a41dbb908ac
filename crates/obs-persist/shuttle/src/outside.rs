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

/// A quarantine that takes every record, or none.
pub(crate) mod quarantine {
    use std::{
        fmt,
        path::Path,
        sync::atomic::{AtomicU64, Ordering},
    };

    use obs_core::{DropReason, RunRecord, Timestamp};
    use uuid::Uuid;

    #[derive(Debug, Default)]
    pub(crate) struct Quarantine {
        pub(crate) is_full: bool,
        pub(crate) taken: AtomicU64,
    }

    #[derive(Debug)]
    pub(crate) struct Full;

    impl fmt::Display for Full {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("full")
        }
    }

    impl std::error::Error for Full {}

    impl Full {
        pub(crate) const fn reason(&self) -> DropReason {
            DropReason::Encode
        }
    }

    impl Quarantine {
        pub(crate) fn folder(&self) -> &Path {
            Path::new("quarantine")
        }

        pub(crate) fn put(&self, _: &RunRecord, _: &str, _: Timestamp) -> Result<(), Full> {
            if self.is_full {
                return Err(Full);
            }
            self.taken.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        /// Nobody gives records back.
        pub(crate) const fn retried(&self, _: usize) -> Result<Vec<RunRecord>, Full> {
            Ok(Vec::new())
        }

        pub(crate) const fn returned(&self, _: &[Uuid]) -> Result<(), Full> {
            Ok(())
        }
    }
}
