//! The one module whose signatures name OpenTelemetry's types, which are below 1.0 and change from
//! release to release.
//!
//! ```
//! use obs_http::{HttpLayer, Runtime, otel};
//! use opentelemetry::metrics::MeterProvider as _;
//! use opentelemetry_sdk::metrics::SdkMeterProvider;
//!
//! let provider = SdkMeterProvider::builder().build();
//! let meter = provider.meter("my-service");
//! let runtime = Runtime::new();
//! otel::watch_runtime(&meter, &runtime);
//! let layer = HttpLayer::builder().metrics(otel::HttpMetrics::new(&meter)).runtime(&runtime).build();
//! # let _ = layer;
//! ```

mod watch;

use std::fmt;

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter, UpDownCounter},
};

use crate::layer::Ended;

pub use watch::watch_runtime;

/// Seconds, as OpenTelemetry's conventions for HTTP advise.
const DURATION_BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Bytes: the conventions advise none, and the SDK's default has the shape of milliseconds.
const SIZE_BOUNDS: [f64; 12] = [
    0.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// OpenTelemetry's HTTP server metrics: `http.server.request.duration`, `http.server.active_requests`,
/// `http.server.request.body.size` and `http.server.response.body.size`.
///
/// A request lasts from its arrival to the last byte of its answer. The sizes are the bytes that the
/// service read and that its server took. `error.type` is a status from 500, `panic`, `cancelled` or
/// `_OTHER`.
///
/// ```
/// use obs_http::otel::HttpMetrics;
/// use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
/// let metrics = HttpMetrics::new(&NoopMeterProvider::new().meter("my-service"));
/// # let _ = metrics;
/// ```
#[derive(Clone)]
pub struct HttpMetrics {
    active: UpDownCounter<i64>,
    duration: Histogram<f64>,
    request_size: Histogram<u64>,
    response_size: Histogram<u64>,
}

impl HttpMetrics {
    /// Makes the instruments. Use a meter of the provider that your other metrics leave by.
    ///
    /// ```
    /// # use obs_http::otel::HttpMetrics;
    /// # use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
    /// let metrics = HttpMetrics::new(&NoopMeterProvider::new().meter("my-service"));
    /// # let _ = metrics;
    /// ```
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        let size = |name, what| {
            meter
                .u64_histogram(name)
                .with_unit("By")
                .with_description(what)
                .with_boundaries(SIZE_BOUNDS.to_vec())
                .build()
        };
        Self {
            active: meter
                .i64_up_down_counter("http.server.active_requests")
                .with_unit("{request}")
                .with_description("Number of active HTTP server requests.")
                .build(),
            duration: meter
                .f64_histogram("http.server.request.duration")
                .with_unit("s")
                .with_description("Duration of HTTP server requests.")
                .with_boundaries(DURATION_BOUNDS.to_vec())
                .build(),
            request_size: size(
                "http.server.request.body.size",
                "Size of HTTP server request bodies.",
            ),
            response_size: size(
                "http.server.response.body.size",
                "Size of HTTP server response bodies.",
            ),
        }
    }

    /// The same attributes up and down, or the two would not meet.
    pub(crate) fn active(&self, change: i64, method: &'static str, scheme: &'static str) {
        let attributes =
            [KeyValue::new("http.request.method", method), KeyValue::new("url.scheme", scheme)];
        self.active.add(change, &attributes);
    }

    pub(crate) fn ended(&self, ended: &Ended<'_>) {
        // Sorted by key: the SDK looks attributes up without allocating then.
        let mut attributes = Vec::with_capacity(6);
        attributes.extend(ended.error_type().map(|value| KeyValue::new("error.type", value)));
        attributes.push(KeyValue::new("http.request.method", ended.method));
        attributes.extend(
            ended.status.map(|status| {
                KeyValue::new("http.response.status_code", i64::from(status.as_u16()))
            }),
        );
        attributes.extend(ended.route.map(|route| KeyValue::new("http.route", route.clone())));
        attributes.extend(
            ended
                .protocol_version
                .map(|version| KeyValue::new("network.protocol.version", version)),
        );
        attributes.push(KeyValue::new("url.scheme", ended.scheme));
        self.duration
            .record(std::time::Duration::from_nanos(ended.nanos).as_secs_f64(), &attributes);
        self.request_size.record(ended.request_bytes, &attributes);
        self.response_size.record(ended.response_bytes, &attributes);
    }
}

impl fmt::Debug for HttpMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpMetrics")
    }
}
