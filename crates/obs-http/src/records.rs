//! Rows of requests, through the same pipeline as those of runs.

use std::time::Duration;

use obs_core::{AttributeValue, BuildError, FinishedRun, KeepPolicy, Kind, KindSpec, Obs, Status};

use crate::layer::{End, Ended};

/// The kind of the rows.
pub const REQUEST_KIND: &str = "http.server";

/// The strategy of requests that match no route.
const UNROUTED: &str = "_UNROUTED";

/// The strategy's version where the service's is not given.
const VERSION_UNKNOWN: &str = "unknown";

/// Makes a row of each request that a policy of its own keeps: kind `http.server`, the route template
/// as strategy, the service's version, method and status as attributes, and the ids of the request.
///
/// A request becomes a run of that kind when it has ended, so requests never count among the runs in
/// flight, and a process that is killed leaves no row of the requests inside. Status 500 and above, a
/// panic and a body that breaks off are failures; a caller that hangs up makes a `cancelled` row.
///
/// ```
/// use obs_core::{KeepPolicy, Obs, Rate};
/// use obs_http::RequestRecords;
///
/// let obs = Obs::builder().build()?;
/// let policy = KeepPolicy { ok_rate: Rate::new(0.01)?, ..KeepPolicy::default() };
/// let records = RequestRecords::new(&obs, policy)?.version("1.4.0");
/// # let _ = records;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RequestRecords {
    kind: Kind,
    version: String,
}

impl RequestRecords {
    /// Defines the kind. Clone what this returns for a second layer.
    ///
    /// # Errors
    /// When the kind is in use already.
    ///
    /// ```
    /// use obs_core::{KeepPolicy, Obs};
    /// use obs_http::RequestRecords;
    /// let obs = Obs::builder().build()?;
    /// let records = RequestRecords::new(&obs, KeepPolicy::default())?;
    /// assert!(RequestRecords::new(&obs, KeepPolicy::default()).is_err());
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn new(obs: &Obs, policy: KeepPolicy) -> Result<Self, BuildError> {
        let kind = obs.define_kind(KindSpec::new(REQUEST_KIND).policy(policy))?;
        Ok(Self { kind, version: VERSION_UNKNOWN.to_owned() })
    }

    /// The service's version; the first request of each route and version is kept.
    ///
    /// ```
    /// # use obs_core::{KeepPolicy, Obs};
    /// # use obs_http::RequestRecords;
    /// # let obs = Obs::builder().build()?;
    /// let records = RequestRecords::new(&obs, KeepPolicy::default())?.version("1.4.0");
    /// # let _ = records;
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    pub(crate) fn record(&self, ended: &Ended<'_>) {
        let route = ended.route.map_or(UNROUTED, |route| route);
        let (run_id, trace_id, span_id) = ended.ids.as_run();
        self.kind.lookup(route, &self.version).record(FinishedRun {
            status: status(ended),
            error_type: ended.error_type(),
            duration: Duration::from_nanos(ended.nanos),
            started_at: Some(ended.started_at),
            correlation_id: Some(ended.ids.correlation_id().as_str().to_owned()),
            run_id: Some(run_id),
            trace_id: Some(trace_id),
            span_id,
            attributes: attributes(ended),
            ..FinishedRun::default()
        });
    }
}

fn status(ended: &Ended<'_>) -> Status {
    match ended.end {
        End::Panicked => Status::Panicked,
        End::Cancelled => Status::Cancelled,
        End::Failed => Status::Error,
        End::Complete if ended.error_type().is_some() => Status::Error,
        End::Complete => Status::Ok,
    }
}

fn attributes(ended: &Ended<'_>) -> Vec<(String, AttributeValue)> {
    let mut attributes = vec![
        ("http.request.method".to_owned(), ended.method.into()),
        ("url.scheme".to_owned(), ended.scheme.into()),
        ("http.request.body.size".to_owned(), size(ended.request_bytes)),
        ("http.response.body.size".to_owned(), size(ended.response_bytes)),
        ("correlation.provenance".to_owned(), ended.ids.provenance().as_str().into()),
    ];
    if let Some(status) = ended.status {
        attributes
            .push(("http.response.status_code".to_owned(), i64::from(status.as_u16()).into()));
    }
    if let Some(version) = ended.protocol_version {
        attributes.push(("network.protocol.version".to_owned(), version.into()));
    }
    attributes
}

fn size(bytes: u64) -> AttributeValue {
    i64::try_from(bytes).unwrap_or(i64::MAX).into()
}
