//! The HTTP side of obs: a tower layer with OpenTelemetry's server metrics, correlation ids, rows of
//! requests and snapshots of the process.
//!
//! ```
//! use axum::{Router, routing::get};
//! use obs_core::{KeepPolicy, Obs};
//! use obs_http::{HttpLayer, RequestRecords, Runtime};
//!
//! let obs = Obs::builder().build()?;
//! let bonus = obs.kind("dsl.execution").lookup("welcome-bonus", "3");
//! let layer = HttpLayer::builder()
//!     .records(RequestRecords::new(&obs, KeepPolicy::default())?)
//!     .runtime(&Runtime::of(&obs))
//!     .build();
//!
//! // A run inside a request carries the request's correlation id and trace id by itself.
//! let handler = async move || {
//!     let points: Result<f64, String> = bonus.observe(&"event", |_run| Ok(12.5));
//!     points.map(|points| points.to_string())
//! };
//! let app: Router = Router::new().route("/bonus/{user}", get(handler)).layer(layer);
//! # let _ = app;
//! # Ok::<(), obs_core::BuildError>(())
//! ```
//!
//! Modules: [`otel`] names OpenTelemetry's types.

mod carry;
mod correlation;
mod layer;
pub mod otel;
mod panic;
mod records;
mod routes;
mod runtime;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod traceparent;

pub use carry::{InRequest, in_request};
pub use correlation::{CORRELATION_ID_BYTES_MAX, Provenance, RequestIds};
pub use layer::{
    Answer, HttpLayer, HttpLayerBuilder, HttpService, RequestBody, ResponseBody, ResponseFuture,
};
pub use panic::{CatchPanic, CatchPanicFuture, CatchPanicLayer};
pub use records::{REQUEST_KIND, RequestRecords};
pub use routes::{ROUTE_BYTES_MAX, ROUTES_MAX};
pub use runtime::{
    ClassCounts, DELIVERY_KINDS_MAX, Deliveries, DeliveriesError, Delivery, DeliverySnapshot,
    DeliveryTotals, KEY_BYTES_MAX, KEYS_MAX, KeyCounts, NAMES_MAX, ProcessSnapshot,
    RequestSnapshot, RouteCounts, Runtime, RuntimeSnapshot,
};
