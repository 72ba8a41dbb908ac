//! Bodies that count: the request's bytes as the service reads them, and the answer's as they leave.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as TaskContext, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use obs_core::otel::Context;

use super::{
    answer::Answer,
    flight::{End, Flight},
};

pin_project_lite::pin_project! {
    /// The body of a request that counts what the service reads of it.
    ///
    /// ```
    /// # use obs_http::RequestBody;
    /// fn is_a_body<B: http_body::Body<Data = bytes::Bytes>>(_: fn(RequestBody<B>)) {}
    /// ```
    #[derive(Debug)]
    pub struct RequestBody<B> {
        #[pin]
        inner: B,
        bytes: Option<Arc<AtomicU64>>,
    }
}

impl<B> RequestBody<B> {
    pub(super) const fn new(inner: B, bytes: Option<Arc<AtomicU64>>) -> Self {
        Self { inner, bytes }
    }
}

impl<B: Body<Data = Bytes>> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if let (Some(bytes), Some(Ok(frame))) = (this.bytes, &frame)
            && let Some(data) = frame.data_ref()
        {
            bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

pin_project_lite::pin_project! {
    /// The body of an answer. With it the request ends: when its last byte was taken, or when it is
    /// dropped before that, e.g. because the caller hung up.
    ///
    /// ```
    /// # use obs_http::ResponseBody;
    /// fn is_a_body<B: http_body::Body<Data = bytes::Bytes>>(_: fn(ResponseBody<B>)) {}
    /// ```
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        // Before the flight, so that what a body does when it is dropped is still inside.
        #[pin]
        inner: Answer<B>,
        length: Option<u64>,
        context: Option<Context>,
        flight: Option<Flight>,
    }
}

impl<B: Body<Data = Bytes>> ResponseBody<B> {
    /// `length` is what the answer's head says; a server takes no more than that.
    pub(super) fn new(
        inner: Answer<B>,
        length: Option<u64>,
        context: Context,
        flight: Option<Flight>,
    ) -> Self {
        let mut body = Self { inner, length, context: Some(context), flight };
        // A server does not ask such a body for anything.
        if body.inner.is_end_stream() || body.length == Some(0) {
            end(&mut body.flight, End::Complete);
        }
        body
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let attached = this.context.clone().map(Context::attach);
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        drop(attached);
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(flight), Some(data)) = (&mut *this.flight, frame.data_ref()) {
                    flight.sent(data.len());
                }
                let sent = this.flight.as_ref().map_or(0, Flight::response_bytes);
                // A server asks no further then, and drops the body.
                if this.inner.is_end_stream() || this.length.is_some_and(|length| sent >= length) {
                    end(this.flight, End::Complete);
                }
            }
            Some(Err(_)) => end(this.flight, End::Failed),
            None => end(this.flight, End::Complete),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn end(flight: &mut Option<Flight>, end: End) {
    if let Some(mut flight) = flight.take() {
        flight.end(end);
    }
}
