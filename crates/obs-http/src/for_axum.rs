//! The one module whose signatures name axum's types, which are below 1.0.
//!
//! ```
//! use axum::{Router, routing::get};
//! use obs_http::{Access, Endpoints, HttpLayer, RequestIds, for_axum};
//!
//! async fn handler(ids: RequestIds) -> String {
//!     ids.correlation_id().to_string()
//! }
//! let endpoints = Endpoints::builder(Access::token("0123456789abcdef0123")?).build();
//! let app: Router = Router::new()
//!     .route("/", get(handler))
//!     .merge(for_axum::router(&endpoints))
//!     .layer(HttpLayer::builder().build());
//! # let _ = app;
//! # Ok::<(), obs_http::TokenError>(())
//! ```

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, Request},
    routing::any,
};
use http::{StatusCode, request::Parts};

use crate::{correlation::RequestIds, endpoints::Endpoints};

const PATHS: [&str; 5] = ["/healthz", "/readyz", "/runtime", "/ledger", "/metrics"];

/// The endpoints as routes, to merge into a router of yours. How many clients may ask how often is up
/// to the router's server there.
///
/// ```
/// use obs_http::{Access, Endpoints, for_axum};
/// let endpoints = Endpoints::builder(Access::token("0123456789abcdef0123")?).build();
/// let router: axum::Router = for_axum::router(&endpoints);
/// # let _ = router;
/// # Ok::<(), obs_http::TokenError>(())
/// ```
pub fn router<S: Clone + Send + Sync + 'static>(endpoints: &Endpoints) -> Router<S> {
    PATHS.into_iter().fold(Router::new(), |router, path| {
        let endpoints = endpoints.clone();
        let handler = async move |request: Request| {
            let (mut parts, _) = request.into_parts();
            // Below a prefix the path is another one than it was registered under.
            parts.uri = http::Uri::from_static(path);
            endpoints.answer(&parts).map(Body::from)
        };
        router.route(path, any(handler))
    })
}

/// A handler may ask for the ids of its request.
impl<S: Sync> FromRequestParts<S> for RequestIds {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        const NO_LAYER: &str = "the ids of a request need obs-http's HttpLayer around the routes";
        parts.extensions.get::<Self>().cloned().ok_or((StatusCode::INTERNAL_SERVER_ERROR, NO_LAYER))
    }
}
