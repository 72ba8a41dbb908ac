//! Requests of OTLP to one Collector: over either protocol, tried again where OTLP allows it, and with the
//! answer read.
//!
//! OpenTelemetry's exporter reads the answer, too, but keeps to itself what was rejected.

use std::{cmp::Reverse, fmt, time::Duration};

use ::http::HeaderMap;
use bytes::Bytes;
use obs_core::Escaped;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;

use super::{
    connect::{Connector, TlsError},
    grpc, http,
};
use crate::config::{Protocol, model::Otlp};

/// What our requests say they come from.
pub(super) const USER_AGENT: &str = concat!("obs/", env!("CARGO_PKG_VERSION"));
/// What is looked at of a Collector's words.
const HEARD_BYTES_MAX: usize = 4 * 1024;
/// What is quoted of them.
const SAID_BYTES_MAX: usize = 256;
/// How often a request is tried again. Its timeout ends it earlier.
const RETRIES_MAX: u32 = 3;
/// The wait before the first of them; it doubles from one to the next.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Up to so much is added to a wait, so that many processes do not come back in step.
const RETRY_JITTER_MAX_MS: u64 = 100;

/// What OTLP has a service for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Metrics,
    Logs,
    Traces,
}

impl Service {
    const fn method(self) -> &'static str {
        match self {
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }
}

/// Sends to one service of one Collector.
#[derive(Debug)]
pub(crate) struct Sender {
    target: String,
    timeout: Duration,
    way: Way,
    secrets: Secrets,
}

#[derive(Debug)]
enum Way {
    Http(Box<http::Client>),
    Grpc(Box<grpc::Client>),
}

/// Settings that looked right, and with which nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SenderError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("gRPC cannot use the endpoint {endpoint}: use http://host:port, or https://host:port")]
    Endpoint { endpoint: String, source: tonic::transport::Error },
}

/// What a Collector took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Items that it did not take, out of those that were sent.
    pub(crate) rejected: u64,
    /// Why, or a warning; escaped.
    pub(crate) said: String,
}

/// Why a Collector took nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A sentence.
    pub(crate) reason: String,
    pub(crate) again: Again,
}

/// Whether the same request may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    No,
    Yes,
    /// Not before so much time has passed: the Collector says so.
    After(Duration),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Sender {
    /// Must be called inside the runtime that requests are sent on.
    pub(crate) fn new(settings: &Otlp, service: Service) -> Result<Self, SenderError> {
        let target = settings.endpoint.to_string();
        let connector = Connector::new(&settings.endpoint, settings.protocol, &settings.tls)?;
        let way = match settings.protocol {
            Protocol::HttpProtobuf => Way::Http(Box::new(http::Client {
                connector,
                endpoint: settings.endpoint.clone(),
                headers: settings.headers.clone(),
                content_type: http::PROTOBUF,
                gzip: settings.gzip,
            })),
            Protocol::Grpc => {
                let client = grpc::Client::new(settings, connector, service.method());
                Way::Grpc(Box::new(client.map_err(|source| SenderError::Endpoint {
                    endpoint: target.clone(),
                    source,
                })?))
            }
        };
        let secrets = Secrets::of(&settings.headers);
        Ok(Self { target, timeout: settings.timeout, way, secrets })
    }

    /// Where it sends.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Sends, and tries again where that may help, within the timeout.
    pub(crate) async fn send(&self, request: Bytes) -> Result<Taken, Refusal> {
        let mut last = None;
        let sent = tokio::time::timeout(self.timeout, self.send_again(&request, &mut last)).await;
        sent.unwrap_or_else(|_| {
            let late = format!("no answer within {:?}", self.timeout);
            let reason = match last {
                Some(last) => format!("{last}; and {late}"),
                None => late,
            };
            Err(Refusal { reason, again: Again::Yes })
        })
    }

    async fn send_again(
        &self,
        request: &Bytes,
        last: &mut Option<String>,
    ) -> Result<Taken, Refusal> {
        let mut wait = RETRY_FIRST;
        for _ in 0..RETRIES_MAX {
            let refusal = match self.send_once(request.clone()).await {
                Ok(taken) => return Ok(taken),
                Err(refusal) => refusal,
            };
            let pause = match refusal.again {
                Again::No => return Err(refusal),
                Again::Yes => wait + jitter(),
                Again::After(asked_for) => asked_for + jitter(),
            };
            *last = Some(refusal.reason);
            tokio::time::sleep(pause).await;
            wait *= 2;
        }
        self.send_once(request.clone()).await
    }

    /// Sends once, without a limit of time.
    pub(crate) async fn send_once(&self, request: Bytes) -> Result<Taken, Refusal> {
        let answer = match &self.way {
            Way::Http(client) => client.post(request).await,
            Way::Grpc(client) => client.call(request).await,
        };
        match answer {
            Ok(answer) => {
                let (rejected, said) = partial(&answer);
                Ok(Taken { rejected, said: self.secrets.quote(&said) })
            }
            Err(Refusal { reason, again }) => {
                Err(Refusal { reason: self.secrets.quote(&reason), again })
            }
        }
    }
}

/// How many items were rejected, and why. The answers of all services have the same numbers for the same
/// things; one that is no answer of OTLP rejects nothing.
fn partial(answer: &[u8]) -> (u64, String) {
    let partial =
        ExportMetricsServiceResponse::decode(answer).ok().and_then(|it| it.partial_success);
    let partial = partial.unwrap_or_default();
    (u64::try_from(partial.rejected_data_points).unwrap_or(0), partial.error_message)
}

fn jitter() -> Duration {
    // Without randomness there is no jitter, and nothing worse.
    let random = getrandom::u64().unwrap_or(0);
    Duration::from_millis(random % (RETRY_JITTER_MAX_MS + 1))
}

/// What must not come back in a Collector's words: the values of headers, and their parts, since a value
/// may be `Bearer` and a token.
struct Secrets(Vec<String>);

impl Secrets {
    /// Shorter parts are no secrets, and would make any text unreadable.
    const BYTES_MIN: usize = 4;

    fn of(headers: &HeaderMap) -> Self {
        let values = headers.values().filter_map(|value| value.to_str().ok());
        let parts = values.flat_map(|value| std::iter::once(value).chain(value.split_whitespace()));
        let mut secrets: Vec<String> =
            parts.filter(|part| part.len() >= Self::BYTES_MIN).map(str::to_owned).collect();
        // The whole before its parts.
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        secrets.dedup();
        Self(secrets)
    }

    /// Words of others: without secrets, escaped and short.
    fn quote(&self, said: &str) -> String {
        let mut text = cut(said, HEARD_BYTES_MAX).to_owned();
        for secret in &self.0 {
            text = text.replace(secret, "***");
        }
        Escaped(cut(text.trim(), SAID_BYTES_MAX)).to_string()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let mut at = text.len().min(bytes_max);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    &text[..at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_are_quoted_without_our_secrets_escaped_and_short() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer hunter2".parse().unwrap());
        headers.insert("x-tenant", "a".parse().unwrap());
        let secrets = Secrets::of(&headers);
        let quoted = secrets.quote("no: Bearer hunter2, nor hunter2 alone\n");
        assert_eq!(quoted, "no: ***, nor *** alone");
        assert_eq!(secrets.quote("red \x1b[31m"), "red \\u{1b}[31m");
        assert!(secrets.quote(&"ä".repeat(10_000)).len() <= SAID_BYTES_MAX);
        // A secret that is cut in the middle is not left in parts.
        let before = "x".repeat(SAID_BYTES_MAX - 3);
        assert!(!secrets.quote(&format!("{before}hunter2")).contains("hun"));
        assert!(!format!("{secrets:?}").contains("hunter2"));
    }

    #[test]
    fn a_part_that_was_rejected_is_read_and_anything_else_is_none() {
        assert_eq!(partial(&[]), (0, String::new()));
        assert_eq!(partial(b"<html>"), (0, String::new()));
        // Field 1: { field 1: 7, field 2: "old" }.
        let answer = [0x0a, 7, 0x08, 7, 0x12, 3, b'o', b'l', b'd'];
        assert_eq!(partial(&answer), (7, "old".to_owned()));
        // Less than nothing is nothing.
        let mut negative = vec![0x0a, 11, 0x08];
        negative.extend([0xff; 9]);
        negative.push(0x01);
        assert_eq!(partial(&negative).0, 0);
    }
}
