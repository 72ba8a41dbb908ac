//! Requests of OTLP to one Collector: over either protocol, tried again where OTLP allows it, and with the
//! answer read.
//!
//! OpenTelemetry's exporter reads the answer, too, but keeps to itself what was rejected.

use std::{fmt, time::Duration};

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
/// What is quoted of a Collector's words.
pub(super) const SAID_BYTES_MAX: usize = 256;
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
}

impl Service {
    const fn method(self) -> &'static str {
        match self {
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
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
        Ok(Self { target, timeout: settings.timeout, way })
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
            let reason = last.map_or(late.clone(), |last| format!("{last}; and {late}"));
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
        }?;
        Ok(taken(&answer))
    }
}

/// What an answer says. The answers of all services have the same numbers for the same things; one that
/// is no answer of OTLP rejects nothing.
fn taken(answer: &[u8]) -> Taken {
    let partial =
        ExportMetricsServiceResponse::decode(answer).ok().and_then(|it| it.partial_success);
    let partial = partial.unwrap_or_default();
    Taken {
        rejected: u64::try_from(partial.rejected_data_points).unwrap_or(0),
        said: cut(&partial.error_message),
    }
}

fn jitter() -> Duration {
    // Without randomness there is no jitter, and nothing worse.
    let random = getrandom::u64().unwrap_or(0);
    Duration::from_millis(random % (RETRY_JITTER_MAX_MS + 1))
}

/// What another program says, escaped and short.
pub(super) fn cut(said: &str) -> String {
    let mut at = said.len().min(SAID_BYTES_MAX);
    while !said.is_char_boundary(at) {
        at -= 1;
    }
    let text = Escaped(&said[..at]).to_string();
    text.trim().to_owned()
}
