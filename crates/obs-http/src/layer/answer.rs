//! The body of an answer: the service's, or ours where it panicked.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};

/// All that a caller learns about a panic.
const PANIC_TEXT: &str = "internal server error\n";

pin_project_lite::pin_project! {
    /// The body of an answer where a panic was caught, or the service's own.
    ///
    /// ```
    /// # use obs_http::Answer;
    /// fn is_a_body<B: http_body::Body<Data = bytes::Bytes>>(_: fn(Answer<B>)) {}
    /// ```
    #[derive(Debug)]
    pub struct Answer<B> {
        #[pin]
        inner: Option<B>,
        text: Option<Bytes>,
    }
}

impl<B> Answer<B> {
    pub(crate) const fn of_service(inner: B) -> Self {
        Self { inner: Some(inner), text: None }
    }
}

impl<B: Body<Data = Bytes>> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        match this.inner.as_pin_mut() {
            Some(inner) => inner.poll_frame(cx),
            None => Poll::Ready(this.text.take().map(|text| Ok(Frame::data(text)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().map_or_else(|| self.text.is_none(), B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let text = || SizeHint::with_exact(self.text.as_ref().map_or(0, |text| text.len() as u64));
        self.inner.as_ref().map_or_else(text, B::size_hint)
    }
}

/// Marks the answer to a panic, so that a layer further out can tell it from a 500 of the service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panicked;

/// What a caller gets for a panic: no message and no stack, which are not theirs to know.
pub(crate) fn panic_answer<B>() -> Response<Answer<B>> {
    let text = Bytes::from_static(PANIC_TEXT.as_bytes());
    let mut response = Response::new(Answer { inner: None, text: Some(text) });
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, plain);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.extensions_mut().insert(Panicked);
    response
}
