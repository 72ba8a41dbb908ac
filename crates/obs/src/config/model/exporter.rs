//! Where a signal goes, and how.

use std::{path::PathBuf, time::Duration};

use http::{HeaderMap, Uri};

use crate::config::Protocol;

/// The default of an exporter's timeout: one request with its retries.
pub(crate) const OTLP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Where a signal goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exporter {
    /// In a file `otlp_http` or `otlp_grpc`, as the protocol says.
    Otlp(Box<Otlp>),
    Console,
}

/// A Collector, and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Otlp {
    pub(crate) protocol: Protocol,
    /// Complete: scheme, host, and for HTTP the path. No user name or password.
    pub(crate) endpoint: Uri,
    /// Values are marked sensitive, so that `Debug` does not show them.
    pub(crate) headers: HeaderMap,
    pub(crate) timeout: Duration,
    pub(crate) gzip: bool,
    pub(crate) tls: TlsFiles,
}

/// PEM files for `https`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// Trusted instead of the system's certificates.
    pub(crate) authority: Option<PathBuf>,
    /// Shown to a Collector that asks who we are: certificates and key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

/// Whether an export says everything since the start, or what is new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Temporality {
    #[default]
    Cumulative,
    Delta,
    LowMemory,
}

/// How durations and sizes are summed up where no view says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HistogramAggregation {
    #[default]
    ExplicitBuckets,
    Base2Exponential,
}
