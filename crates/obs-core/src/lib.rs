//! Instrumentation for code that executes many *runs*: rules, strategies, chains, workflows,
//! agents.
//!
//! Every run is measured, the runs that matter become records, and every one is accounted for. This
//! crate neither waits nor does I/O nor spawns: it ends at [`Sink::submit`].
//!
//! # In libraries
//!
//! Take a [`Kind`] or an [`Obs`] from your caller, resolve strategies once, and observe their runs:
//!
//! ```
//! use obs_core::{Obs, RunFailure};
//!
//! fn score(obs: &Obs, event: &str) -> Result<f64, String> {
//!     let bonus = obs.kind("dsl.execution").lookup("welcome-bonus", "3");
//!     bonus.observe(event, |run| {
//!         run.subject("user-7");
//!         run.node("n1").kind("compare").branch("match");
//!         Ok(12.5)
//!     })
//! }
//! # let obs = Obs::builder().build()?;
//! # assert_eq!(score(&obs, "purchase"), Ok(12.5));
//! # Ok::<(), obs_core::BuildError>(())
//! ```
//!
//! # In applications
//!
//! Use the `obs` crate, which makes an [`Obs`] from configuration, with exporters and a store.
//!
//! # For implementers
//!
//! A store's worker implements [`Sink`] and settles each record's [`Ticket`]; it reports on itself
//! through [`StoreMetrics`]. [`otel`] is the one module that names OpenTelemetry's types.

#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::panic)]

mod adopter;
mod assemble;
mod audit;
mod capture;
mod civil;
mod clock;
mod consistent;
mod correlation;
mod current;
mod durations;
mod encode;
mod entry;
mod error;
mod escape;
mod exemplar;
mod finished;
mod frame;
mod ids;
pub mod in_flight;
mod input_run;
mod keep;
mod kind;
mod label;
pub mod ledger;
mod limits;
mod mapping;
mod obs;
mod outcome;
mod page;
mod payload;
mod per_thread;
mod policy;
mod record;
mod recorder;
mod recording;
mod redact;
#[rustfmt::skip]
pub mod registry;
mod rollup;
mod run;
mod run_error;
mod sampler;
mod scratch;
mod short;
mod sink;
mod span_ids;
mod status;
mod store_metrics;
mod storm;
mod strategies;
mod strategy;
mod subject;
mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text_hash;
mod trace;

pub use adopter::{Adopter, RecordLabels};
pub use audit::{Audit, AuditLevel};
pub use capture::{Capture, CaptureError};
pub use clock::{Clock, ManualClock, Tick};
pub use consistent::{SampleBy, trace_is_within};
pub use correlation::CorrelationId;
pub use current::current_run_id;
pub use durations::Durations;
pub use error::BuildError;
pub use escape::Escaped;
pub use exemplar::{Exemplar, Exemplars};
pub use finished::{FinishedNode, FinishedRun};
pub use ids::{after_fork, forks_are_told, new_run_id, process_id};
pub use input_run::InputRun;
pub use keep::{KeepPolicy, KeepReason, Rate, RateError, SLO_DEFAULT};
pub use kind::{Kind, KindSpec};
pub use label::Label;
pub use ledger::{ClassLedger, Dropped, Ledger, RunLedger, Ticket};
pub use limits::Limits;
pub use mapping::{Instrument, MetricsMapping};
pub use obs::{Builder, Obs};
pub use page::{Page, PageError, PageOwner};
pub use policy::{KeepRule, LivePolicy, Policy, PolicyError, PolicyState};
pub use record::{Json, RunRecord, Timestamp};
pub use recorder::{Drained, otel};
pub use recording::Recording;
pub use redact::{Field, Place, Redaction, Verdict};
pub use rollup::{Rollup, RollupBucket, RollupSink};
pub use run::Run;
pub use run_error::{ErrorStatus, RunError, RunFailure};
pub use scratch::{AttributeValue, Node};
pub use sink::{Ack, Durable, Kept, Sink};
pub use span_ids::{span_id_of, trace_id_of};
pub use status::{Class, DropReason, Status};
pub use store_metrics::{KeptRows, SpoolUse, StoreMetrics, StoreState};
pub use strategy::{Strategy, StrategyBuilder};
pub use subject::{SubjectKey, SubjectKeyError, stored_subject};
