//! In place of a page for Prometheus, where the feature `http` is off: an error that says so.

use std::net::SocketAddr;

use obs_core::Obs;
use obs_persist::StoreWatch;
use opentelemetry::metrics::Meter;
use secrecy::SecretString;

use super::Reader;
use crate::config::model::Prometheus;

/// Why nobody can scrape.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    #[error(
        "OTEL_METRICS_EXPORTER=prometheus: this program cannot be scraped: build it with the feature `http` of \
         `obs`, or use otlp and let a Collector be scraped"
    )]
    Absent,
}

/// There is none.
#[derive(Debug)]
pub(crate) enum Pull {}

/// What a page would be made of.
#[expect(dead_code, reason = "only where there is a page")]
pub(crate) struct Source {
    pub(crate) obs: Obs,
    pub(crate) reader: Reader,
    pub(crate) store: Option<StoreWatch>,
    pub(crate) meter: Meter,
}

impl Pull {
    pub(crate) fn start(
        _settings: &Prometheus,
        _token: Option<&SecretString>,
        _source: Source,
    ) -> Result<Self, PullError> {
        Err(PullError::Absent)
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        match *self {}
    }

    pub(crate) const fn stop(&self) {
        match *self {}
    }
}
