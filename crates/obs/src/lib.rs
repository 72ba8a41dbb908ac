//! OpenTelemetry-native instrumentation for services that execute many runs.
//!
//! # In applications
//!
//! [`init`] sets everything up from the environment, and works with none of it: rows go to an
//! SQLite file beside the program, metrics nowhere. `OBS_STORE=postgres://…` and
//! `OTEL_EXPORTER_OTLP_ENDPOINT=…` switch to real servers, without a change of code.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let telemetry = obs::init()?;
//!     let bonus = telemetry
//!         .kind("dsl.execution")
//!         .strategy("welcome-bonus").version("3").type_("DSL_FULL").realm("acme")
//!         .build()?;
//!
//!     let points: Result<f64, String> = bonus.observe(&"the input", |run| {
//!         run.subject("user-7");
//!         run.node("big-spender").branch("match");
//!         run.value(12.5);
//!         Ok(12.5)
//!     });
//!
//!     println!("{points:?}");
//!     println!("{}", telemetry.shutdown_blocking(Duration::from_secs(5)));
//!     Ok(())
//! }
//! ```
//!
//! # Settings
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `OTEL_CONFIG_FILE` | a file of settings, in OpenTelemetry's declarative format | – |
//! | `OBS_STORE` | where rows go: `sqlite:PATH`, `postgres://…`, or `otlp`: as log events to a Collector | `sqlite:./obs.sqlite` |
//! | `OBS_SAMPLE_RATE` | share of ok runs that is kept, 0 to 1 | `0.05` |
//! | `OBS_SLO` | slower runs are kept: seconds, or a number with `us`, `ms`, `s`; `off` | `0.25` |
//! | `OTEL_METRICS_EXPORTER` | where metrics go: `otlp`, `prometheus`, `console`, several with commas, `none` | `otlp` with an endpoint, else `none` |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | base address of a Collector, `http://…` or `https://…` | `http://localhost:4318` |
//! | `OBS_SENTRY_DSN` | a server of Sentry that failed runs are reported to; needs the feature `sentry` | – |
//! | `OTEL_SERVICE_NAME` | `service.name` | `unknown_service:` and the executable |
//!
//! All of them, and the keys of the file, stand in `docs/configuration.md`, which is generated.
//!
//! Each `OTEL_EXPORTER_OTLP_…` has a twin `OTEL_EXPORTER_OTLP_METRICS_…` that wins; the twin of the
//! endpoint is the complete address. Code ([`builder`]) wins over the environment. An empty value
//! counts as unset. An unknown `OBS_*` variable is an error.
//!
//! # In libraries
//!
//! Take an `obs_core::Obs`, and depend on `obs-core` only.

#![forbid(unsafe_code)]

/// The examples of the readme compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

mod batch;
mod block_on;
mod builder;
mod config;
mod destinations;
mod drainer;
mod error;
mod export;
pub mod for_tracing;
mod heartbeat;
mod init;
pub mod instruments;
mod kept;
mod logs;
pub mod otel;
mod pipelines;
mod policy_file;
mod provider;
mod report;
mod resource;
#[cfg(feature = "sentry")]
mod sentry;
#[cfg(not(feature = "sentry"))]
#[path = "sentry/absent.rs"]
mod sentry;
mod snapshot;
mod spans;
mod store;
mod telemetry;

/// For tests of applications: a manual clock, a capturing sink, assertions on the ledger.
#[cfg(feature = "testing")]
pub use obs_core::testing;
pub use obs_core::{
    Ack, Adopter, AttributeValue, Audit, AuditLevel, BuildError, Capture, CaptureError, Class,
    ClassLedger, Clock, DropReason, Dropped, Durable, ErrorStatus, Exemplar, Field, FinishedNode,
    FinishedRun, InputRun, Instrument, Json, KeepPolicy, KeepReason, KeepRule, Kept, Kind,
    KindSpec, Label, Ledger, Limits, LivePolicy, ManualClock, MetricsMapping, Node, Obs, Place,
    Policy, PolicyError, PolicyState, Rate, RateError, RecordLabels, Recording, Redaction, Run,
    RunError, RunFailure, RunLedger, RunRecord, SLO_DEFAULT, SampleBy, Sink, Status, StoreMetrics,
    StoreState, Strategy, StrategyBuilder, SubjectKey, SubjectKeyError, Tick, Ticket, Timestamp,
    Verdict, current_run_id, span_id_of, trace_id_of,
};
/// The HTTP side: a tower layer, correlation ids, process snapshots, health endpoints.
#[cfg(feature = "http")]
pub use obs_http as http;
pub use obs_persist::{Drops, Migrations, Room, StoreWatch};

pub use builder::{Builder, builder, init};
pub use config::{ConfigError, Configuration, Environment, Exporter, Protocol};
pub use destinations::Destination;
pub use error::InitError;
pub use export::{ExportError, Unreached};
pub use init::STORE_WAIT;
pub use logs::LogsError;
pub use policy_file::PolicyFile;
pub use report::{Exported, Report, Rows, SignalReport};
pub use snapshot::{Histogram, Metric, MetricsSnapshot, RunDurations, Series, Value};
pub use telemetry::{DROP_DEADLINE, SnapshotError, Telemetry};
