//! The service that the layer makes of another.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    Shared,
    body::{RequestBody, ResponseBody},
    flight::Flight,
    future::{Pending, ResponseFuture},
};
use crate::{correlation::RequestIds, panic::discard};

/// What an [`HttpLayer`](crate::HttpLayer) makes of a service.
///
/// ```
/// use obs_http::{HttpLayer, HttpService};
/// use tower_layer::Layer as _;
/// let service: HttpService<&str> = HttpLayer::builder().build().layer("a tower service");
/// # let _ = service;
/// ```
#[derive(Clone, Debug)]
pub struct HttpService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> HttpService<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, A, B> Service<Request<A>> for HttpService<S>
where
    S: Service<Request<RequestBody<A>>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        // 1 Who asks, and in which trace.
        let (mut parts, body) = request.into_parts();
        let propagation = self.shared.propagation;
        let ids = RequestIds::read(&parts.headers, propagation, self.shared.clock.wall());
        let context = propagation.with_baggage(ids.context(), &parts.headers);
        // 2 In flight, but for our own paths.
        let flight = (!self.shared.excludes(parts.uri.path()))
            .then(|| Flight::start(&self.shared, &parts, ids.clone()));
        let bodyless = parts.method == Method::HEAD;
        let body = RequestBody::new(body, flight.as_ref().map(Flight::request_bytes));
        parts.extensions.insert(ids.clone());
        // 3 The service, inside the request's context; a panic is answered, not passed on.
        let attached = context.clone().attach();
        let request = Request::from_parts(parts, body);
        let inner = match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(inner) => Some(inner),
            Err(payload) => {
                discard(payload);
                None
            }
        };
        drop(attached);
        ResponseFuture::new(inner, Pending { ids, context, flight, bodyless })
    }
}
