//! A small HTTP client for OTLP: one POST per connection, which is what an export a minute needs.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use opentelemetry_http::{Bytes, HttpClient, HttpError};

use super::connect::Connector;

/// A longer answer is not read: a Collector's has a few bytes.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;

/// Sends one request at a time, over a connection of its own.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) connector: Connector,
    /// Ours, instead of those that the exporter read from the environment by its own rules.
    pub(super) headers: HeaderMap,
    /// Of one request: the exporter's own timeout only ends its retries.
    pub(super) timeout: Duration,
    pub(super) failure: LastFailure,
}

/// Why the last request did not reach the Collector. The exporter's own error says only "network
/// error".
#[derive(Clone, Default)]
pub(crate) struct LastFailure(Arc<Mutex<Option<String>>>);

impl LastFailure {
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, failure: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

impl fmt::Debug for LastFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastFailure")
    }
}

impl Client {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let stream = self.connector.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let request = self.prepared(request)?;
        let exchange = async {
            let (parts, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, RESPONSE_BYTES_MAX).collect().await?.to_bytes();
            Ok(Response::from_parts(parts, body))
        };
        // Driven here and not in a task, so that the connection ends with this future. When it
        // ends first, or fails, the exchange says so.
        let driven = async {
            let _ = connection.await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            response = exchange => response,
            never = driven => match never {},
        }
    }

    /// The request as HTTP/1.1 sends it: path and host apart, and with our headers.
    fn prepared(&self, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, HttpError> {
        let (parts, body) = request.into_parts();
        let host = parts.uri.authority().ok_or("the endpoint has no host")?.as_str();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut prepared =
            Request::builder().method(parts.method).uri(path).body(Full::new(body))?;
        let headers = prepared.headers_mut();
        headers.insert(header::HOST, HeaderValue::try_from(host)?);
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::USER_AGENT] {
            if let Some(value) = parts.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        headers.extend(self.headers.clone());
        Ok(prepared)
    }
}

// What `async fn send_bytes` means; written out, so that no macro crate is needed.
impl HttpClient for Client {
    fn send_bytes<'a, 'f>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let sent = match tokio::time::timeout(self.timeout, self.send(request)).await {
                Ok(sent) => sent,
                Err(_) => Err(format!("no answer within {:?}", self.timeout).into()),
            };
            self.failure.set(sent.as_ref().err().map(|error| super::sentence(&**error)));
            sent
        })
    }
}
