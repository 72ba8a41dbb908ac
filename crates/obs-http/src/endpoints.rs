//! What a process answers about itself: health, snapshot, ledger, metrics.

mod access;
mod format;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use obs_core::Obs;
use obs_persist::StoreWatch;
use serde::Serialize;

use crate::{
    health::{Health, HealthStatus, Sources},
    panic::discard,
    runtime::Runtime,
};

pub use access::{Access, SecretToken, TOKEN_BYTES_MAX, TOKEN_BYTES_MIN, TokenError};
pub use format::MetricsFormat;

/// A request whose head announces a longer body is refused. Bodies are never read.
pub const BODY_BYTES_MAX: u64 = 64 * 1024;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// What gives the text of `/metrics`.
enum MetricsText {
    /// In one format only.
    Classic(Arc<dyn Fn() -> Result<String, String> + Send + Sync>),
    Any(Arc<dyn Fn(MetricsFormat) -> Result<String, String> + Send + Sync>),
}

/// The endpoints of a process. Mount them into a router of yours
/// ([`for_axum::router`](crate::for_axum::router)), or let them listen on their own
/// ([`Endpoints::listen`]). Cheap to clone.
///
/// | path | answers | to whom |
/// |---|---|---|
/// | `/healthz` | 200 as long as the process answers at all; never depends on the store | everybody |
/// | `/readyz` | 200 or 503; depends on the store if you say so, and on your checks | everybody |
/// | `/runtime` | the [`RuntimeSnapshot`](crate::RuntimeSnapshot) | who is authorised |
/// | `/ledger` | where every record is | who is authorised |
/// | `/metrics` | the text you provide, in the format that the scraper accepts; 404 without | who is authorised |
///
/// The first two say `up`, `degraded` or `down` to everybody, and the whole [`Health`] to those who
/// are authorised.
///
/// ```
/// use obs_core::Obs;
/// use obs_http::{Access, Endpoints, Runtime};
///
/// let obs = Obs::builder().build()?;
/// let endpoints = Endpoints::builder(Access::token("0123456789abcdef0123")?)
///     .obs(&obs)
///     .runtime(&Runtime::of(&obs))
///     .check("config", || Ok(()))
///     .build();
/// # let _ = endpoints;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Endpoints {
    shared: Arc<Shared>,
}

struct Shared {
    access: Access,
    sources: Sources,
    runtime: Option<Runtime>,
    metrics_text: Option<MetricsText>,
}

/// Begins [`Endpoints`].
///
/// ```
/// use obs_http::{Access, Endpoints};
/// let endpoints = Endpoints::builder(Access::Open).ready_needs_store(true).build();
/// # let _ = endpoints;
/// ```
#[derive(Debug)]
#[must_use = "endpoints are made by `build`"]
pub struct EndpointsBuilder {
    shared: Shared,
}

impl EndpointsBuilder {
    /// Where ledger, queue and losses are read.
    ///
    /// ```
    /// # use obs_http::{Access, Endpoints};
    /// let obs = obs_core::Obs::builder().build()?;
    /// let _builder = Endpoints::builder(Access::Open).obs(&obs);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn obs(mut self, obs: &Obs) -> Self {
        self.shared.sources.obs = Some(obs.clone());
        self
    }

    /// Where the state of the store is read.
    ///
    /// ```
    /// # use obs_core::StoreMetrics;
    /// # use obs_http::{Access, Endpoints};
    /// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
    /// # let store = Box::new(MemoryStore::new());
    /// let persister = Persister::start(PersistConfig::default(), store, StoreMetrics::default())?;
    /// let _builder = Endpoints::builder(Access::Open).store(persister.watch());
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    pub fn store(mut self, store: StoreWatch) -> Self {
        self.shared.sources.store = Some(store);
        self
    }

    /// Whether `/readyz` is 503 while the store does not work. Off by default: a service runs on
    /// without its store.
    ///
    /// ```
    /// # use obs_http::{Access, Endpoints};
    /// let _builder = Endpoints::builder(Access::Open).ready_needs_store(true);
    /// ```
    pub const fn ready_needs_store(mut self, needed: bool) -> Self {
        self.shared.sources.needs_store = needed;
        self
    }

    /// Something of the application that `/readyz` depends on. The closure is called for each answer:
    /// let it look at memory, not wait. The text of its error is shown, redacted, to who is authorised.
    ///
    /// ```
    /// # use obs_http::{Access, Endpoints, HealthStatus};
    /// let check = || Err("no configuration was loaded".to_owned());
    /// let endpoints = Endpoints::builder(Access::Open).check("config", check).build();
    /// assert_eq!(endpoints.health().status, HealthStatus::Down);
    /// ```
    pub fn check(
        mut self,
        name: impl Into<String>,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.shared.sources.checks.insert(name.into(), Arc::new(check));
        self
    }

    /// Where `/runtime` is read.
    ///
    /// ```
    /// # use obs_http::{Access, Endpoints, Runtime};
    /// let _builder = Endpoints::builder(Access::Open).runtime(&Runtime::new());
    /// ```
    pub fn runtime(mut self, runtime: &Runtime) -> Self {
        self.shared.runtime = Some(runtime.clone());
        self
    }

    /// What `/metrics` answers: classic Prometheus text, e.g. of the `obs` crate's
    /// `MetricsSnapshot::to_prometheus`, or from an exporter of yours. Called for each scrape; the
    /// text of its error is not shown.
    ///
    /// ```
    /// # use obs_http::{Access, Endpoints};
    /// let text = || Ok("up_seconds 1\n".to_owned());
    /// let _builder = Endpoints::builder(Access::Open).metrics_text(text);
    /// ```
    pub fn metrics_text(
        mut self,
        text: impl Fn() -> Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        self.shared.metrics_text = Some(MetricsText::Classic(Arc::new(text)));
        self
    }

    /// What `/metrics` answers, in the format that the scraper prefers: of the `obs` crate's snapshots
    /// `to_prometheus` or `to_openmetrics`.
    ///
    /// ```
    /// # use obs_http::{Access, Endpoints, MetricsFormat};
    /// let _builder = Endpoints::builder(Access::Open).metrics(|format| match format {
    ///     MetricsFormat::OpenMetrics => Ok("# TYPE up gauge\nup 1\n# EOF\n".to_owned()),
    ///     _ => Ok("up 1\n".to_owned()),
    /// });
    /// ```
    pub fn metrics(
        mut self,
        text: impl Fn(MetricsFormat) -> Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        self.shared.metrics_text = Some(MetricsText::Any(Arc::new(text)));
        self
    }

    /// Makes the endpoints.
    ///
    /// ```
    /// # use obs_http::{Access, Endpoints};
    /// let endpoints = Endpoints::builder(Access::Open).build();
    /// # let _ = endpoints;
    /// ```
    #[must_use]
    pub fn build(self) -> Endpoints {
        Endpoints { shared: Arc::new(self.shared) }
    }
}

impl Endpoints {
    /// Begins endpoints that show their details to those that `access` lets in.
    ///
    /// ```
    /// # use obs_http::{Access, Endpoints};
    /// let _builder = Endpoints::builder(Access::token("0123456789abcdef0123")?);
    /// # Ok::<(), obs_http::TokenError>(())
    /// ```
    pub fn builder(access: Access) -> EndpointsBuilder {
        let sources = Sources::default();
        EndpointsBuilder { shared: Shared { access, sources, runtime: None, metrics_text: None } }
    }

    /// What `/readyz` says to those who are authorised.
    ///
    /// ```
    /// # use obs_http::{Access, Endpoints, HealthStatus};
    /// let endpoints = Endpoints::builder(Access::Open).build();
    /// assert_eq!(endpoints.health().status, HealthStatus::Up);
    /// ```
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.sources.health()
    }

    /// The whole answer to a request, whatever server it came through.
    ///
    /// ```
    /// # use obs_http::{Access, Endpoints};
    /// let endpoints = Endpoints::builder(Access::Open).build();
    /// let (request, ()) = http::Request::get("/healthz").body(())?.into_parts();
    /// assert_eq!(endpoints.answer(&request).status(), 200);
    /// # Ok::<(), http::Error>(())
    /// ```
    #[must_use]
    pub fn answer(&self, request: &Parts) -> Response<String> {
        if announces_too_much(&request.headers) {
            return failure(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 64 KiB");
        }
        if request.method != Method::GET && request.method != Method::HEAD {
            let mut refused = failure(StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        let authorised = self.shared.access.lets_in(&request.headers);
        // What user code in here may panic with is nothing for a caller.
        let answered = catch_unwind(AssertUnwindSafe(|| self.answer_path(request, authorised)));
        answered.unwrap_or_else(|payload| {
            discard(payload);
            failure(StatusCode::INTERNAL_SERVER_ERROR, "internal server error")
        })
    }

    /// Whether everything is shown to everybody.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.shared.access, Access::Open)
    }

    fn answer_path(&self, request: &Parts, authorised: bool) -> Response<String> {
        match request.uri.path() {
            "/healthz" => self.liveness(authorised),
            "/readyz" => self.readiness(authorised),
            "/runtime" | "/ledger" | "/metrics" if !authorised => unauthorised(),
            "/runtime" => self
                .shared
                .runtime
                .as_ref()
                .map_or_else(nothing_here, |runtime| json(StatusCode::OK, &runtime.snapshot())),
            "/ledger" => self.shared.sources.obs.as_ref().map_or_else(nothing_here, ledger),
            "/metrics" => match &self.shared.metrics_text {
                Some(source) => metrics(source, &request.headers),
                None => nothing_here(),
            },
            _ => nothing_here(),
        }
    }

    /// The process answers, so it lives.
    fn liveness(&self, authorised: bool) -> Response<String> {
        if !authorised {
            return word(StatusCode::OK, HealthStatus::Up);
        }
        json(StatusCode::OK, &Health { status: HealthStatus::Up, ..self.health() })
    }

    fn readiness(&self, authorised: bool) -> Response<String> {
        let health = self.health();
        let status = match health.status {
            HealthStatus::Down => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        };
        if authorised { json(status, &health) } else { word(status, health.status) }
    }
}

fn announces_too_much(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.is_some_and(|length| length.parse::<u64>().map_or(true, |at| at > BODY_BYTES_MAX))
}

fn ledger(obs: &Obs) -> Response<String> {
    #[derive(Serialize)]
    struct Shown {
        #[serde(flatten)]
        ledger: obs_core::Ledger,
        imbalance: i64,
    }
    let ledger = obs.ledger();
    json(StatusCode::OK, &Shown { imbalance: ledger.imbalance(), ledger })
}

fn metrics(source: &MetricsText, headers: &HeaderMap) -> Response<String> {
    let format = match source {
        MetricsText::Classic(_) => MetricsFormat::Classic,
        MetricsText::Any(_) => MetricsFormat::preferred(headers),
    };
    let text = match source {
        MetricsText::Classic(text) => text(),
        MetricsText::Any(text) => text(format),
    };
    match text {
        Ok(text) => answer(StatusCode::OK, format.content_type(), text),
        Err(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be collected"),
    }
}

fn word(status: StatusCode, health: HealthStatus) -> Response<String> {
    json(status, &serde_json::json!({ "status": health }))
}

fn unauthorised() -> Response<String> {
    let mut refused = failure(StatusCode::UNAUTHORIZED, "a bearer token is needed");
    let bearer = HeaderValue::from_static("Bearer");
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    refused
}

fn nothing_here() -> Response<String> {
    failure(StatusCode::NOT_FOUND, "nothing here")
}

pub(crate) fn failure(status: StatusCode, why: &str) -> Response<String> {
    json(status, &serde_json::json!({ "error": why }))
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<String> {
    match serde_json::to_string(body) {
        Ok(body) => answer(status, JSON, body),
        Err(_) => {
            answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "cannot be shown as JSON".to_owned())
        }
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("access", &self.access)
            .field("sources", &self.sources)
            .field("metrics_text", &self.metrics_text.is_some())
            .finish_non_exhaustive()
    }
}
