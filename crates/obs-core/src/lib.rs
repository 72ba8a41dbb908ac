//! Instrumentation for code that executes many runs.

mod clock;
mod keep;
mod ledger;
mod record;
mod sink;
mod status;
mod store_metrics;

pub use clock::{Clock, ManualClock, Tick};
pub use keep::{KeepPolicy, KeepReason, Rate, RateError, SLO_DEFAULT};
pub use ledger::{ClassLedger, Dropped, Ledger, RunLedger, Ticket};
pub use record::{Json, RunRecord, Timestamp};
pub use sink::{Kept, Sink};
pub use status::{Class, DropReason, Status};
pub use store_metrics::{StoreMetrics, StoreState};
