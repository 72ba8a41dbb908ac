//! Tasks that a handler spawns, inside its request.

use std::{
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use obs_core::otel::Context;

/// Takes the request along into a task of its own: runs that start in `future` carry the request's ids.
/// In the handler itself nothing is needed.
///
/// ```
/// use obs_http::in_request;
///
/// async fn handler() {
///     tokio::spawn(in_request(async {
///         // Runs that start here carry the ids of the request.
///     }));
/// }
/// ```
pub fn in_request<F>(future: F) -> InRequest<F> {
    InRequest { inner: future, context: Context::current() }
}

pin_project_lite::pin_project! {
    /// What [`in_request`] makes of a future.
    ///
    /// ```
    /// let carried: obs_http::InRequest<_> = obs_http::in_request(std::future::ready(1));
    /// # let _ = carried;
    /// ```
    #[derive(Debug)]
    pub struct InRequest<F> {
        #[pin]
        inner: F,
        context: Context,
    }
}

impl<F: Future> Future for InRequest<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        let attached = this.context.clone().attach();
        let polled = this.inner.poll(cx);
        drop(attached);
        polled
    }
}
