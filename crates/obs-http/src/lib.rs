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
//! What the process answers about itself, [`Endpoints`], is mounted into a router, or listens on its own:
//!
//! ```
//! use axum::Router;
//! use obs_http::{Access, Endpoints, for_axum};
//! # fn main() -> Result<(), obs_http::TokenError> {
//! let endpoints = Endpoints::builder(Access::token("0123456789abcdef0123")?).build();
//! let app: Router = Router::new().merge(for_axum::router(&endpoints));
//! # let _ = app;
//! # Ok(())
//! # }
//! ```
//!
//! [`otel`] names OpenTelemetry's types, [`for_axum`] axum's; both are below 1.0, and nothing else names
//! a type of theirs. [`HttpLayer`] is a layer of tower's.

#![forbid(unsafe_code)]

mod baggage;
mod carry;
mod correlation;
mod endpoints;
pub mod for_axum;
mod health;
mod layer;
mod listener;
pub mod otel;
mod panic;
mod propagation;
mod records;
mod redact;
mod routes;
mod runtime;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod traceparent;

pub use carry::{InRequest, in_request};
pub use correlation::{CORRELATION_ID_BYTES_MAX, Provenance, RequestIds};
pub use endpoints::{
    Access, BODY_BYTES_MAX, Endpoints, EndpointsBuilder, MetricsFormat, SecretToken,
    TOKEN_BYTES_MAX, TOKEN_BYTES_MIN, TokenError,
};
pub use health::{Health, HealthStatus, PolicyHealth, QueueHealth, StoreHealth};
pub use layer::{
    Answer, HttpLayer, HttpLayerBuilder, HttpService, RequestBody, ResponseBody, ResponseFuture,
};
pub use listener::{HEADER_BYTES_MAX, LISTEN_DEFAULT, ListenError, ListenerLimits, Listening};
pub use panic::{CatchPanic, CatchPanicFuture, CatchPanicLayer};
pub use propagation::{Propagation, inject};
pub use records::{REQUEST_KIND, RequestRecords};
pub use redact::ERROR_BYTES_MAX;
pub use routes::{ROUTE_BYTES_MAX, ROUTES_MAX};
pub use runtime::{
    ClassCounts, DELIVERY_KINDS_MAX, Deliveries, DeliveriesError, Delivery, DeliverySnapshot,
    DeliveryTotals, KEY_BYTES_MAX, KEYS_MAX, KeyCounts, NAMES_MAX, ProcessSnapshot,
    RequestSnapshot, RouteCounts, Runtime, RuntimeSnapshot,
};
