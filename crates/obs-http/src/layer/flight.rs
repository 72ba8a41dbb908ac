//! A request in flight: it ends exactly once, whatever becomes of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use http::{StatusCode, request::Parts};
use obs_core::{Tick, Timestamp};

use super::{Shared, request};
use crate::{correlation::RequestIds, runtime::RequestClass};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The whole answer was handed over.
    Complete,
    /// The caller hung up, or the server gave the request up, before that.
    Cancelled,
    /// A handler or its body panicked.
    Panicked,
    /// The service, or the body of its answer, failed.
    Failed,
}

/// Everything about a request that has ended.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) method: &'static str,
    pub(crate) scheme: &'static str,
    pub(crate) protocol_version: Option<&'static str>,
    pub(crate) route: Option<&'a Arc<str>>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) end: End,
    pub(crate) nanos: u64,
    pub(crate) started_at: Timestamp,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) ids: &'a RequestIds,
}

impl Ended<'_> {
    /// `error.type`, from a closed set: a status from 500 to 999, `panic`, `cancelled`, `_OTHER`.
    pub(crate) fn error_type(&self) -> Option<String> {
        match self.end {
            End::Panicked => Some("panic".to_owned()),
            End::Cancelled => Some("cancelled".to_owned()),
            End::Failed => Some("_OTHER".to_owned()),
            End::Complete => self
                .status
                .filter(|status| status.as_u16() >= 500)
                .map(|status| status.as_str().to_owned()),
        }
    }

    fn class(&self) -> RequestClass {
        match (self.end, self.status) {
            (End::Complete, Some(status)) => RequestClass::of(status),
            (End::Cancelled, _) => RequestClass::Cancelled,
            _ => RequestClass::Failed,
        }
    }
}

/// Counted as active from its start to its end.
#[derive(Debug)]
pub(crate) struct Flight {
    shared: Arc<Shared>,
    method: &'static str,
    scheme: &'static str,
    protocol_version: Option<&'static str>,
    route: Option<Arc<str>>,
    ids: RequestIds,
    started: Tick,
    started_at: Timestamp,
    status: Option<StatusCode>,
    panicked: bool,
    request_bytes: Arc<AtomicU64>,
    response_bytes: u64,
    /// The thread was unwinding already when the request came: then a drop is no panic of the request.
    started_in_unwind: bool,
    /// False once the request has ended.
    open: bool,
}

impl Flight {
    pub(super) fn start(shared: &Arc<Shared>, parts: &Parts, ids: RequestIds) -> Self {
        let method = request::method(&parts.method);
        let scheme = request::scheme(&parts.headers, &parts.uri);
        let route = (shared.route_of)(parts).map(|template| shared.routes.admit(&template));
        if let Some(metrics) = &shared.metrics {
            metrics.active(1, method, scheme);
        }
        if let Some(runtime) = &shared.runtime {
            runtime.request_started();
        }
        Self {
            shared: Arc::clone(shared),
            method,
            scheme,
            protocol_version: request::protocol_version(parts.version),
            route,
            ids,
            started: shared.clock.now(),
            started_at: shared.clock.wall(),
            status: None,
            panicked: false,
            request_bytes: Arc::default(),
            response_bytes: 0,
            started_in_unwind: thread::panicking(),
            open: true,
        }
    }

    /// Where the bytes are counted that the service reads.
    pub(super) fn request_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.request_bytes)
    }

    /// The service has answered; its body is still to come.
    pub(super) fn answered(&mut self, status: StatusCode, panicked: bool) {
        self.status = Some(status);
        self.panicked = panicked;
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.response_bytes = self.response_bytes.saturating_add(bytes);
    }

    pub(super) const fn response_bytes(&self) -> u64 {
        self.response_bytes
    }

    pub(super) fn end(&mut self, end: End) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let took = self.shared.clock.now().since(self.started);
        let end = if self.panicked && end != End::Failed { End::Panicked } else { end };
        let ended = Ended {
            method: self.method,
            scheme: self.scheme,
            protocol_version: self.protocol_version,
            route: self.route.as_ref(),
            status: self.status,
            end,
            nanos: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            started_at: self.started_at,
            request_bytes: self.request_bytes.load(Ordering::Relaxed),
            response_bytes: self.response_bytes,
            ids: &self.ids,
        };
        if let Some(metrics) = &self.shared.metrics {
            metrics.active(-1, self.method, self.scheme);
            metrics.ended(&ended);
        }
        if let Some(records) = &self.shared.records {
            records.record(&ended);
        }
        // Last, so that whoever sees nothing in flight finds everything else done.
        if let Some(runtime) = &self.shared.runtime {
            runtime.request_ended(ended.route, ended.class(), took);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let panicked = thread::panicking() && !self.started_in_unwind;
        self.end(if panicked { End::Panicked } else { End::Cancelled });
    }
}
