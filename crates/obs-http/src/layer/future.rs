//! The answer to come: polled inside the request's context, its panics caught.

use std::{
    pin::Pin,
    task::{Context as TaskContext, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::Body;
use obs_core::otel::Context;

use super::{
    answer::{Answer, Panicked},
    body::ResponseBody,
    flight::{End, Flight},
};
use crate::{correlation::RequestIds, panic::poll_caught};

pin_project_lite::pin_project! {
    /// The answer of an [`HttpService`](crate::HttpService).
    ///
    /// ```
    /// # use obs_http::ResponseFuture;
    /// fn is_named<F>(_: fn(ResponseFuture<F>)) {}
    /// ```
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        // `None` once it has panicked. Before the flight, so that what it does when it is dropped is
        // still inside.
        #[pin]
        inner: Option<F>,
        pending: Option<Pending>,
    }
}

/// What is needed until the answer is there.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ids: RequestIds,
    pub(super) context: Context,
    /// `None` for a path that is left out.
    pub(super) flight: Option<Flight>,
    /// The answer to a `HEAD` has no body, whatever its length says.
    pub(super) bodyless: bool,
}

impl<F> ResponseFuture<F> {
    pub(super) const fn new(inner: Option<F>, pending: Pending) -> Self {
        Self { inner, pending: Some(pending) }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let attached = this.pending.as_ref().map(|pending| pending.context.clone().attach());
        let answer = ready!(poll_caught(this.inner.as_mut(), cx));
        drop(attached);
        let Some(pending) = this.pending.take() else { return Poll::Pending };
        Poll::Ready(pending.answer(answer))
    }
}

impl Pending {
    fn answer<B, E>(
        self,
        answer: Result<Response<Answer<B>>, E>,
    ) -> Result<Response<ResponseBody<B>>, E>
    where
        B: Body<Data = Bytes>,
    {
        let Self { ids, context, mut flight, bodyless } = self;
        let mut response = match answer {
            Ok(response) => response,
            Err(error) => {
                if let Some(flight) = &mut flight {
                    flight.end(End::Failed);
                }
                return Err(error);
            }
        };
        if let Some(flight) = &mut flight {
            let panicked = response.extensions().get::<Panicked>().is_some();
            flight.answered(response.status(), panicked);
        }
        ids.echo(response.headers_mut());
        let length = if bodyless || has_no_body(response.status()) {
            Some(0)
        } else {
            content_length(response.headers())
        };
        Ok(response.map(|body| ResponseBody::new(body, length, context, flight)))
    }
}

fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
