//! A small HTTP client: one POST per connection, which is what an export a minute needs.

use std::{convert::Infallible, error::Error, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use prost::Message as _;

use super::{
    connect::Connector,
    send::{Again, Refusal, USER_AGENT},
};

/// A longer answer is not read: a Collector's has a few bytes.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// Longer waits that a Collector asks for are cut to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// What OTLP sends.
pub(super) const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// Posts to one address.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) connector: Connector,
    pub(super) endpoint: Uri,
    pub(super) headers: HeaderMap,
    pub(super) content_type: HeaderValue,
    pub(super) gzip: bool,
}

pub(super) type Failed = Box<dyn Error + Send + Sync>;

impl Client {
    pub(super) async fn post(&self, body: Bytes) -> Result<Bytes, Refusal> {
        let response = self.exchange(body).await.map_err(|error| {
            let reason = self.connector.unanswered(&*error);
            Refusal { reason, again: Again::Yes }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let again = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                retry_after(response.headers()).map_or(Again::Yes, Again::After)
            }
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Again::Yes,
            _ => Again::No,
        };
        let said = said(response.body());
        let gap = if said.is_empty() { "" } else { ": " };
        Err(Refusal { reason: format!("the answer is HTTP {status}{gap}{said}"), again })
    }

    /// Posts once, and answers with whatever the server says.
    pub(super) async fn exchange(&self, body: Bytes) -> Result<Response<Bytes>, Failed> {
        let request = self.request(body)?;
        let stream = self.connector.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
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

    /// The request as HTTP/1.1 sends it: path and host apart.
    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, Failed> {
        let host = self.endpoint.authority().ok_or("the endpoint has no host")?.as_str();
        let path = self.endpoint.path_and_query().map_or("/", |path| path.as_str());
        let body = if self.gzip { gzipped(&body)? } else { body };
        let request = Request::builder().method(Method::POST).uri(path);
        let mut request = request.body(Full::new(body))?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::try_from(host)?);
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if self.gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.extend(self.headers.clone());
        Ok(request)
    }
}

fn gzipped(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, body)?;
    encoder.finish().map(Bytes::from)
}

/// Seconds; a date is as good as nothing.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// What the Collector says in its answer. What is no answer of OTLP, e.g. a proxy's page, is not quoted.
fn said(body: &[u8]) -> String {
    tonic_types::Status::decode(body).map(|status| status.message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_quoted_where_it_is_one_of_otlp() {
        let message = "no such tenant".to_owned();
        let status = tonic_types::Status { code: 3, message, details: vec![] };
        assert_eq!(said(&status.encode_to_vec()), "no such tenant");
        assert_eq!(said(b"<h1>Not Found</h1>"), "");
        assert_eq!(said(b""), "");
    }

    #[test]
    fn a_wait_that_is_asked_for_is_taken_up_to_a_limit() {
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(after("2"), Some(Duration::from_secs(2)));
        assert_eq!(after("86400"), Some(RETRY_AFTER_MAX));
        assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
