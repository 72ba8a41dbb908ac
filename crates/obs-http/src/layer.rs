//! The tower layer: every request measured once, from its arrival to the last byte of its answer.

mod answer;
mod body;
mod flight;
mod future;
mod request;
mod service;

use std::{fmt, sync::Arc};

use http::request::Parts;
use obs_core::Clock;
use tower_layer::Layer;

use crate::{
    otel::HttpMetrics, propagation::Propagation, records::RequestRecords, routes::Routes,
    runtime::Runtime,
};

pub use answer::Answer;
pub use body::{RequestBody, ResponseBody};
pub use future::ResponseFuture;
pub use service::HttpService;

pub(crate) use answer::panic_answer;
pub(crate) use flight::{End, Ended};

/// Our own paths: not measured, wherever a router has them at its root.
const EXCLUDED: [&str; 5] = ["/healthz", "/readyz", "/runtime", "/ledger", "/metrics"];

/// How the template of a request's route is found.
type RouteOf = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

/// Measures, correlates and, where wanted, records the requests of any tower HTTP service whose bodies
/// are made of [`bytes::Bytes`].
///
/// Give it to axum's [`Router::layer`](axum::Router::layer), which sets it inside of the routing, where
/// the route template is known. A layer for CORS belongs outside of it, so that the answer to a panic
/// has its headers too; where it must be inside, put a [`CatchPanicLayer`](crate::CatchPanicLayer)
/// still further inside.
///
/// ```
/// use axum::{Router, routing::get};
/// use obs_http::{HttpLayer, Runtime};
///
/// let runtime = Runtime::new();
/// let layer = HttpLayer::builder().runtime(&runtime).build();
/// let app: Router = Router::new().route("/users/{id}", get(async || "ada")).layer(layer);
/// # let _ = app;
/// ```
#[derive(Clone, Debug)]
pub struct HttpLayer {
    shared: Arc<Shared>,
}

impl HttpLayer {
    /// Begins a layer; without anything else it only correlates, and answers panics.
    ///
    /// ```
    /// let layer = obs_http::HttpLayer::builder().build();
    /// # let _ = layer;
    /// ```
    pub fn builder() -> HttpLayerBuilder {
        HttpLayerBuilder {
            shared: Shared {
                metrics: None,
                records: None,
                runtime: None,
                propagation: Propagation::default(),
                excluded: EXCLUDED.map(str::to_owned).to_vec(),
                route_of: Arc::new(matched_path),
                routes: Routes::default(),
                clock: Clock::default(),
            },
        }
    }

    /// Requests whose route template is one too many, or more, for
    /// [`ROUTES_MAX`](crate::ROUTES_MAX) and was folded to `_OTHER`.
    ///
    /// ```
    /// assert_eq!(obs_http::HttpLayer::builder().build().routes_folded(), 0);
    /// ```
    #[must_use]
    pub fn routes_folded(&self) -> u64 {
        self.shared.routes.folded()
    }
}

impl<S> Layer<S> for HttpLayer {
    type Service = HttpService<S>;

    fn layer(&self, inner: S) -> HttpService<S> {
        HttpService::new(inner, Arc::clone(&self.shared))
    }
}

/// Begins an [`HttpLayer`].
///
/// ```
/// use obs_core::{KeepPolicy, Obs};
/// use obs_http::{HttpLayer, RequestRecords, Runtime};
///
/// let obs = Obs::builder().build()?;
/// let layer = HttpLayer::builder()
///     .records(RequestRecords::new(&obs, KeepPolicy::default())?.version("1.4.0"))
///     .runtime(&Runtime::new())
///     .exclude("/internal/healthz")
///     .build();
/// # let _ = layer;
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Debug)]
#[must_use = "a layer is made by `build`"]
pub struct HttpLayerBuilder {
    shared: Shared,
}

impl HttpLayerBuilder {
    /// Measures requests with OpenTelemetry's HTTP server metrics.
    ///
    /// ```
    /// use obs_http::{HttpLayer, otel::HttpMetrics};
    /// # use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
    /// let meter = NoopMeterProvider::new().meter("my-service");
    /// let _builder = HttpLayer::builder().metrics(HttpMetrics::new(&meter));
    /// ```
    pub fn metrics(mut self, metrics: HttpMetrics) -> Self {
        self.shared.metrics = Some(metrics);
        self
    }

    /// Makes rows of the requests that its policy keeps.
    ///
    /// ```
    /// # use obs_core::{KeepPolicy, Obs};
    /// # use obs_http::{HttpLayer, RequestRecords};
    /// # let obs = Obs::builder().build()?;
    /// let records = RequestRecords::new(&obs, KeepPolicy::default())?;
    /// let _builder = HttpLayer::builder().records(records);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn records(mut self, records: RequestRecords) -> Self {
        self.shared.records = Some(records);
        self
    }

    /// Counts requests in the snapshot of the process.
    ///
    /// ```
    /// # use obs_http::{HttpLayer, Runtime};
    /// let runtime = Runtime::new();
    /// let _builder = HttpLayer::builder().runtime(&runtime);
    /// ```
    pub fn runtime(mut self, runtime: &Runtime) -> Self {
        self.shared.runtime = Some(runtime.clone());
        self
    }

    /// Which headers of a caller are believed; all of W3C's by default. The correlation id is read whatever this
    /// says.
    ///
    /// ```
    /// use obs_http::{HttpLayer, Propagation};
    /// let inside_only = Propagation { trace_context: false, baggage: false };
    /// let builder = HttpLayer::builder().propagation(inside_only);
    /// # let _ = builder;
    /// ```
    pub const fn propagation(mut self, propagation: Propagation) -> Self {
        self.shared.propagation = propagation;
        self
    }

    /// Leaves out requests for exactly this path. They are correlated all the same. `/healthz`,
    /// `/readyz`, `/runtime`, `/ledger` and `/metrics` are left out from the start.
    ///
    /// ```
    /// let _builder = obs_http::HttpLayer::builder().exclude("/internal/healthz");
    /// ```
    pub fn exclude(mut self, path: impl Into<String>) -> Self {
        self.shared.excluded.push(path.into());
        self
    }

    /// How the route template of a request is found, for services other than axum's router. Return a
    /// template such as `/users/{id}`, never the raw path, and `None` if there is no route.
    ///
    /// ```
    /// let _builder = obs_http::HttpLayer::builder().route(|request| {
    ///     request.uri.path().starts_with("/users/").then(|| "/users/{id}".to_owned())
    /// });
    /// ```
    pub fn route(
        mut self,
        route_of: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.shared.route_of = Arc::new(route_of);
        self
    }

    /// Where time is read; a [`ManualClock`](obs_core::ManualClock) in tests.
    ///
    /// ```
    /// # use obs_core::{Clock, ManualClock};
    /// let _builder = obs_http::HttpLayer::builder().clock(Clock::from(&ManualClock::new()));
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.shared.clock = clock;
        self
    }

    /// Makes the layer.
    ///
    /// ```
    /// let layer = obs_http::HttpLayer::builder().build();
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn build(self) -> HttpLayer {
        HttpLayer { shared: Arc::new(self.shared) }
    }
}

/// What all services of a layer share.
pub(crate) struct Shared {
    metrics: Option<HttpMetrics>,
    records: Option<RequestRecords>,
    runtime: Option<Runtime>,
    propagation: Propagation,
    excluded: Vec<String>,
    route_of: RouteOf,
    routes: Routes,
    clock: Clock,
}

impl Shared {
    fn excludes(&self, path: &str) -> bool {
        self.excluded.iter().any(|excluded| excluded == path)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("metrics", &self.metrics.is_some())
            .field("records", &self.records)
            .field("excluded", &self.excluded)
            .finish_non_exhaustive()
    }
}

fn matched_path(parts: &Parts) -> Option<String> {
    parts.extensions.get::<axum::extract::MatchedPath>().map(|path| path.as_str().to_owned())
}
