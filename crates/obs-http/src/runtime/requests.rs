//! Requests by route template and by class of their end.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::StatusCode;

use super::snapshot::{ClassCounts, RequestSnapshot, RouteCounts};
use crate::routes::ROUTES_MAX;

/// How a request ended, in seven words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestClass {
    Informational,
    Success,
    Redirection,
    ClientError,
    ServerError,
    Cancelled,
    Failed,
}

impl RequestClass {
    pub(crate) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            ..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct RequestState {
    pub(super) started: u64,
    finished: u64,
    by_route: HashMap<Arc<str>, RouteCounts>,
    unrouted: RouteCounts,
    other: RouteCounts,
}

impl RequestState {
    pub(super) fn ended(&mut self, route: Option<&Arc<str>>, class: RequestClass, took: Duration) {
        self.finished += 1;
        let counts = match route {
            None => &mut self.unrouted,
            Some(route)
                if self.by_route.contains_key(route) || self.by_route.len() <= ROUTES_MAX =>
            {
                self.by_route.entry(Arc::clone(route)).or_default()
            }
            Some(_) => &mut self.other,
        };
        counts.classes.add(class);
        counts.seconds += took.as_secs_f64();
    }

    pub(super) const fn in_flight(&self) -> u64 {
        self.started.saturating_sub(self.finished)
    }

    pub(super) fn snapshot(&self) -> RequestSnapshot {
        let by_route =
            self.by_route.iter().map(|(route, counts)| (route.to_string(), *counts)).collect();
        RequestSnapshot {
            started: self.started,
            finished: self.finished,
            in_flight: self.in_flight(),
            by_route,
            unrouted: self.unrouted,
            other: self.other,
        }
    }
}

impl ClassCounts {
    fn add(&mut self, class: RequestClass) {
        *match class {
            RequestClass::Informational => &mut self.informational,
            RequestClass::Success => &mut self.success,
            RequestClass::Redirection => &mut self.redirection,
            RequestClass::ClientError => &mut self.client_error,
            RequestClass::ServerError => &mut self.server_error,
            RequestClass::Cancelled => &mut self.cancelled,
            RequestClass::Failed => &mut self.failed,
        } += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_class() {
        for (status, class) in [
            (101, RequestClass::Informational),
            (200, RequestClass::Success),
            (299, RequestClass::Success),
            (304, RequestClass::Redirection),
            (404, RequestClass::ClientError),
            (500, RequestClass::ServerError),
            (999, RequestClass::ServerError),
        ] {
            assert_eq!(RequestClass::of(StatusCode::from_u16(status).unwrap()), class, "{status}");
        }
    }

    #[test]
    fn routes_are_bounded_even_when_two_layers_bring_more_and_no_request_is_lost() {
        let mut state = RequestState::default();
        for number in 0..2 * ROUTES_MAX {
            state.started += 1;
            let route: Arc<str> = format!("/{number}").into();
            state.ended(Some(&route), RequestClass::Success, Duration::from_millis(500));
        }
        let snapshot = state.snapshot();
        assert_eq!(snapshot.by_route.len(), ROUTES_MAX + 1);
        assert_eq!(snapshot.other.classes.success, ROUTES_MAX as u64 - 1);
        assert_eq!(snapshot.classes().total(), snapshot.finished);
    }
}
