//! A panic of a handler becomes an answer, inside of whatever adds headers to answers.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::layer::{Answer, panic_answer};

/// Answers a panic with 500, so that layers outside see an answer: one that adds CORS headers, and
/// [`HttpLayer`](crate::HttpLayer), which measures it as `error.type` `panic`.
///
/// `HttpLayer` catches panics itself. This layer is for services whose CORS layer is inside of it.
/// Neither helps a program that is built with `panic = "abort"`.
///
/// ```
/// use axum::{Router, routing::get};
/// use obs_http::{CatchPanicLayer, HttpLayer};
///
/// async fn handler() -> &'static str {
///     "hello"
/// }
/// let app: Router = Router::new()
///     .route("/", get(handler))
///     .layer(CatchPanicLayer)
///     // .layer(CorsLayer::permissive())
///     .layer(HttpLayer::builder().build());
/// # let _ = app;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CatchPanicLayer;

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic { inner }
    }
}

/// What a [`CatchPanicLayer`] makes of a service.
///
/// ```
/// use obs_http::{CatchPanic, CatchPanicLayer};
/// use tower_layer::Layer as _;
/// let service: CatchPanic<&str> = CatchPanicLayer.layer("a tower service");
/// # let _ = service;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CatchPanic<S> {
    inner: S,
}

impl<S, A, B> Service<Request<A>> for CatchPanic<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<Answer<B>>;
    type Error = S::Error;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(inner) => CatchPanicFuture { inner: Some(inner) },
            Err(payload) => {
                discard(payload);
                CatchPanicFuture { inner: None }
            }
        }
    }
}

pin_project_lite::pin_project! {
    /// The answer of a [`CatchPanic`].
    ///
    /// ```
    /// # use obs_http::CatchPanicFuture;
    /// fn is_named<F>(_: fn(CatchPanicFuture<F>)) {}
    /// ```
    #[derive(Debug)]
    pub struct CatchPanicFuture<F> {
        // `None` once it has panicked.
        #[pin]
        inner: Option<F>,
    }
}

impl<F, B, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Answer<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        poll_caught(self.project().inner, cx)
    }
}

/// Polls the service's future; one that has panicked is dropped, and answered for.
pub(crate) fn poll_caught<F, B, E>(
    mut future: Pin<&mut Option<F>>,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<Answer<B>>, E>>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    let Some(inner) = future.as_mut().as_pin_mut() else { return Poll::Ready(Ok(panic_answer())) };
    match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
        Ok(polled) => polled.map_ok(|answer| answer.map(Answer::of_service)),
        Err(payload) => {
            discard(payload);
            // What is left of it may panic again when it is dropped.
            catch_unwind(AssertUnwindSafe(|| future.set(None))).unwrap_or_else(discard);
            Poll::Ready(Ok(panic_answer()))
        }
    }
}

/// Lets go of what a panic carried. Dropping it may panic, too; what that one carries is leaked.
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        Box::leak(again);
    }
}
