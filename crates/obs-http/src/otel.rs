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

use obs_core::registry::{Metric, attribute, metric};

use crate::layer::Ended;

pub use watch::watch_runtime;

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
        let size = |of: Metric| {
            meter
                .u64_histogram(of.name)
                .with_unit(of.unit)
                .with_description(of.brief)
                .with_boundaries(of.bounds.to_vec())
                .build()
        };
        Self {
            active: meter
                .i64_up_down_counter(metric::HTTP_SERVER_ACTIVE_REQUESTS.name)
                .with_unit(metric::HTTP_SERVER_ACTIVE_REQUESTS.unit)
                .with_description(metric::HTTP_SERVER_ACTIVE_REQUESTS.brief)
                .build(),
            duration: meter
                .f64_histogram(metric::HTTP_SERVER_REQUEST_DURATION.name)
                .with_unit(metric::HTTP_SERVER_REQUEST_DURATION.unit)
                .with_description(metric::HTTP_SERVER_REQUEST_DURATION.brief)
                .with_boundaries(metric::HTTP_SERVER_REQUEST_DURATION.bounds.to_vec())
                .build(),
            request_size: size(metric::HTTP_SERVER_REQUEST_BODY_SIZE),
            response_size: size(metric::HTTP_SERVER_RESPONSE_BODY_SIZE),
        }
    }

    /// The same attributes up and down, or the two would not meet.
    pub(crate) fn active(&self, change: i64, method: &'static str, scheme: &'static str) {
        let attributes = [
            KeyValue::new(attribute::HTTP_REQUEST_METHOD, method),
            KeyValue::new(attribute::URL_SCHEME, scheme),
        ];
        self.active.add(change, &attributes);
    }

    pub(crate) fn ended(&self, ended: &Ended<'_>) {
        // Sorted by key: the SDK looks attributes up without allocating then.
        let mut attributes = Vec::with_capacity(6);
        attributes
            .extend(ended.error_type().map(|value| KeyValue::new(attribute::ERROR_TYPE, value)));
        attributes.push(KeyValue::new(attribute::HTTP_REQUEST_METHOD, ended.method));
        attributes.extend(ended.status.map(|status| {
            KeyValue::new(attribute::HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16()))
        }));
        attributes
            .extend(ended.route.map(|route| KeyValue::new(attribute::HTTP_ROUTE, route.clone())));
        attributes.extend(
            ended
                .protocol_version
                .map(|version| KeyValue::new(attribute::NETWORK_PROTOCOL_VERSION, version)),
        );
        attributes.push(KeyValue::new(attribute::URL_SCHEME, ended.scheme));
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
