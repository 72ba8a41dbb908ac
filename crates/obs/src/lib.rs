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
//! | `OBS_STORE` | where rows go: `sqlite:PATH`, `postgres://…`, or `otlp`: as log events to the Collector of `OTEL_EXPORTER_OTLP_LOGS_…` | `sqlite:./obs.sqlite` |
//! | `OBS_STORE_REQUIRED` | `true`: fail at start if the store is not ready | `false` |
//! | `OBS_STORE_MIGRATE` | who migrates the store: `start`, the first that connects; `external`: somebody else, with `obs migrate` | `start` |
//! | `OBS_ENABLED` | `false`: no rows; metrics go on | `true` |
//! | `OBS_SAMPLE_RATE` | share of ok runs that is kept, 0 to 1 | `0.05` |
//! | `OBS_SLO` | slower runs are kept: seconds, or a number with `us`, `ms`, `s`; `off` | `0.25` |
//! | `OBS_QUEUE_RECORDS` | ok records that wait for the store, 1 to 1,000,000 | `1000` |
//! | `OBS_SPOOL_DIR` | folder in which errors wait for the store, and outlive the process | none: in memory |
//! | `OBS_RETENTION_OK` | days that ok rows are kept, 1 to 36,500; `off`: for ever | `30` |
//! | `OBS_RETENTION_ERROR` | the same for errors | `180` |
//! | `OBS_LOG` | which log lines are written: `info`, `info,hyper=warn,orders::db=debug` | `RUST_LOG`, else `info` |
//! | `OBS_LOG_FORMAT` | `text`, `json`, `auto`: text on a terminal, JSON elsewhere | `auto` |
//! | `OBS_TRACE_ENTRIES` | entries of a trace in a row, 0 to 10,000 | `200` |
//! | `OTEL_METRICS_EXPORTER` | `otlp`, `prometheus`, `console`, several with commas, or `none` | `otlp` with an endpoint, else `none` |
//! | `OTEL_EXPORTER_PROMETHEUS_HOST`, `…_PORT` | where Prometheus may scrape: an address of this machine | `localhost`, `9464` |
//! | `OBS_PROMETHEUS_TOKEN`, `OBS_PROMETHEUS_TOKEN_FILE` | bearer token of who scrapes; needed where others than this machine can | – |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | base address of a Collector, `http://…` or `https://…` | `http://localhost:4318` |
//! | `OTEL_EXPORTER_OTLP_PROTOCOL` | `http/protobuf`, `grpc` | `http/protobuf` |
//! | `OTEL_EXPORTER_OTLP_HEADERS` | `key=value,key=value`, percent-encoded | – |
//! | `OTEL_EXPORTER_OTLP_TIMEOUT` | one request with its retries, milliseconds | `10000` |
//! | `OTEL_EXPORTER_OTLP_COMPRESSION` | `gzip`, `none` | `none` |
//! | `OTEL_EXPORTER_OTLP_CERTIFICATE` | PEM file of the authority to trust | the system's |
//! | `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`, `…_CLIENT_KEY` | PEM files that say who we are | – |
//! | `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE` | `cumulative`, `delta`, `lowmemory` | `cumulative` |
//! | `OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION` | `explicit_bucket_histogram`, `base2_exponential_bucket_histogram`; the latter calls the instruments at each run | the former |
//! | `OTEL_METRIC_EXPORT_INTERVAL` | milliseconds between exports, above 0 | `60000` |
//! | `OTEL_METRIC_EXPORT_TIMEOUT` | milliseconds for one export, above 0 | `30000` |
//! | `OTEL_SDK_DISABLED` | `true`: nothing is exported; rows go on | `false` |
//! | `OTEL_SERVICE_NAME` | `service.name` | `unknown_service:` and the executable |
//! | `OTEL_RESOURCE_ATTRIBUTES` | `key=value,key=value`, percent-encoded | – |
//!
//! Each `OTEL_EXPORTER_OTLP_…` has a twin `OTEL_EXPORTER_OTLP_METRICS_…` that wins; the twin of the
//! endpoint is the complete address. Code ([`builder`]) wins over the environment. An empty value
//! counts as unset. An unknown `OBS_*` variable is an error.
//!
//! # In libraries
//!
//! Take an `obs_core::Obs`, and depend on `obs-core` only.

/// The examples of the readme compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

mod block_on;
mod builder;
mod config;
mod drainer;
mod error;
mod export;
pub mod for_tracing;
mod init;
pub mod instruments;
mod logs;
pub mod otel;
mod provider;
mod report;
mod resource;
mod snapshot;
mod store;
mod telemetry;

/// For tests of applications: a manual clock, a capturing sink, assertions on the ledger.
#[cfg(feature = "testing")]
pub use obs_core::testing;
pub use obs_core::{
    Ack, Adopter, AttributeValue, BuildError, Capture, CaptureError, Class, ClassLedger, Clock,
    DropReason, Dropped, Durable, ErrorStatus, Exemplar, Field, FinishedNode, FinishedRun,
    InputRun, Instrument, Json, KeepPolicy, KeepReason, Kept, Kind, KindSpec, Label, Ledger,
    Limits, ManualClock, MetricsMapping, Node, Obs, Place, Rate, RateError, RecordLabels,
    Recording, Redaction, Run, RunError, RunFailure, RunLedger, RunRecord, SLO_DEFAULT, Sink,
    Status, StoreMetrics, StoreState, Strategy, StrategyBuilder, SubjectKey, SubjectKeyError, Tick,
    Ticket, Timestamp, Verdict,
};
/// The HTTP side: a tower layer, correlation ids, process snapshots, health endpoints.
#[cfg(feature = "http")]
pub use obs_http as http;
pub use obs_persist::{Drops, Migrations, Room, StoreWatch};

pub use builder::{Builder, builder, init};
pub use config::{ConfigError, Environment, Exporter, Protocol};
pub use error::InitError;
pub use export::ExportError;
pub use init::STORE_WAIT;
pub use logs::LogsError;
pub use report::{Exported, Report, Rows};
pub use snapshot::{Histogram, Metric, MetricsSnapshot, RunDurations, Series, Value};
pub use telemetry::{DROP_DEADLINE, SnapshotError, Telemetry};
