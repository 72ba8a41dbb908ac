//! Addresses of Collectors.

use http::Uri;

use super::{Protocol, model::Signal};

/// What is wrong with an address.
#[derive(Debug)]
pub(super) enum BadEndpoint {
    /// The address holds a password, and is not shown.
    Secret(&'static str),
    Plain(&'static str),
}

/// What the path of an address over HTTP is.
#[derive(Clone, Copy, Debug)]
pub(super) enum PathOf {
    /// A base, to which the path of a signal is added.
    Base(Signal),
    /// All there is to it.
    Complete,
}

/// Where a Collector listens if nobody says so.
pub(super) const fn base_default(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::HttpProtobuf => "http://localhost:4318",
        Protocol::Grpc => "http://localhost:4317",
    }
}

/// The same, complete for a signal.
pub(super) fn default(protocol: Protocol, signal: Signal) -> Uri {
    Uri::from_static(match (protocol, signal) {
        (Protocol::HttpProtobuf, Signal::Traces) => "http://localhost:4318/v1/traces",
        (Protocol::HttpProtobuf, Signal::Metrics) => "http://localhost:4318/v1/metrics",
        (Protocol::HttpProtobuf, Signal::Logs) => "http://localhost:4318/v1/logs",
        (Protocol::Grpc, _) => "http://localhost:4317/",
    })
}

/// An address that is complete: scheme, host, path.
pub(super) fn parse(text: &str, protocol: Protocol, path_of: PathOf) -> Result<Uri, BadEndpoint> {
    const WANTED: BadEndpoint = BadEndpoint::Plain(
        "not the address of a Collector: use http://host:port, or https://host:port for TLS",
    );
    if text.contains('@') {
        return Err(BadEndpoint::Secret(
            "an endpoint carries no user name or password: put them into OTEL_EXPORTER_OTLP_HEADERS",
        ));
    }
    let uri: Uri = text.parse().map_err(|_| WANTED)?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(WANTED);
    }
    if uri.query().is_some() {
        return Err(BadEndpoint::Plain(
            "an endpoint has no query: leave out what follows the question mark",
        ));
    }
    let path = uri.path().trim_end_matches('/');
    let path = match (protocol, path_of) {
        (Protocol::Grpc, _) if path.is_empty() => "/".to_owned(),
        (Protocol::Grpc, _) => {
            return Err(BadEndpoint::Plain(
                "gRPC has no path: leave it out, or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            ));
        }
        (Protocol::HttpProtobuf, PathOf::Base(signal)) => format!("{path}{}", signal.path()),
        (Protocol::HttpProtobuf, PathOf::Complete) => uri.path().to_owned(),
    };
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(path.parse().map_err(|_| WANTED)?);
    Uri::from_parts(parts).map_err(|_| WANTED)
}
