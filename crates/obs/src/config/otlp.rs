//! The settings of the OTLP exporter, as OpenTelemetry names them.

use std::{path::PathBuf, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use secrecy::ExposeSecret as _;

use super::{Environment, Given, Protocol, error::ConfigError, parse, secret::secret};

/// Each of these alone chooses the OTLP exporter.
pub(super) const ENDPOINTS: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
/// A file with such headers, which are secrets.
const HEADERS_FILE: &str = "OBS_OTLP_HEADERS_FILE";
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const COMPRESSIONS: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];
const CERTIFICATES: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
const CLIENT_CERTIFICATES: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"];
const CLIENT_KEYS: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"];
const TEMPORALITY: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";

/// The default of `OTEL_EXPORTER_OTLP_TIMEOUT`: one request with its retries.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// What OTLP over HTTP appends to a base address.
const METRICS_PATH: &str = "/v1/metrics";

/// A Collector, and how to talk to it.
#[derive(Clone, Debug)]
pub(crate) struct Otlp {
    /// Complete: scheme, host, and for HTTP the path. No user name or password.
    pub(crate) endpoint: Uri,
    pub(crate) protocol: Protocol,
    /// Values are marked sensitive, so that `Debug` does not show them.
    pub(crate) headers: HeaderMap,
    pub(crate) timeout: Duration,
    pub(crate) gzip: bool,
    pub(crate) tls: TlsFiles,
}

/// PEM files for `https`.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    /// Trusted instead of the system's certificates.
    pub(crate) authority: Option<PathBuf>,
    /// Shown to a Collector that asks who we are: certificates and key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

/// Whether an export says everything since the start, or what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temporality {
    Cumulative,
    Delta,
    LowMemory,
}

pub(super) fn temporality(environment: &Environment) -> Result<Temporality, ConfigError> {
    let Some(text) = environment.get(TEMPORALITY)? else { return Ok(Temporality::Cumulative) };
    match text.to_ascii_lowercase().as_str() {
        "cumulative" => Ok(Temporality::Cumulative),
        "delta" => Ok(Temporality::Delta),
        "lowmemory" => Ok(Temporality::LowMemory),
        _ => Err(ConfigError::new(
            TEMPORALITY,
            text,
            "there is no such temporality: use cumulative, delta or lowmemory",
        )),
    }
}

pub(super) fn check(given: &Given, environment: &Environment) -> Result<Otlp, ConfigError> {
    let protocol = match given.protocol {
        Some(protocol) => protocol,
        None => protocol_variable(environment)?.unwrap_or(Protocol::HttpProtobuf),
    };
    let timeout = match environment.first(&TIMEOUTS)? {
        Some((name, text)) => parse::millis(name, text)?,
        None => TIMEOUT_DEFAULT,
    };
    Ok(Otlp {
        endpoint: endpoint(given, environment, protocol)?,
        protocol,
        headers: headers(environment)?,
        timeout,
        gzip: gzip(environment)?,
        tls: tls_files(environment)?,
    })
}

fn protocol_variable(environment: &Environment) -> Result<Option<Protocol>, ConfigError> {
    let Some((name, text)) = environment.first(&PROTOCOLS)? else { return Ok(None) };
    match text.to_ascii_lowercase().as_str() {
        "grpc" => Ok(Some(Protocol::Grpc)),
        "http/protobuf" => Ok(Some(Protocol::HttpProtobuf)),
        _ => Err(ConfigError::new(
            name,
            text,
            "there is no such protocol: use grpc or http/protobuf",
        )),
    }
}

fn endpoint(
    given: &Given,
    environment: &Environment,
    protocol: Protocol,
) -> Result<Uri, ConfigError> {
    let http = protocol == Protocol::HttpProtobuf;
    // The address of one signal is complete; any other is a base to which HTTP adds the path.
    let (setting, text, is_base) = match (&given.endpoint, environment.first(&ENDPOINTS)?) {
        (Some(text), _) => ("Builder::endpoint", text.expose_secret().trim(), true),
        (None, Some((name, text))) => (name, text, name != ENDPOINTS[0]),
        (None, None) if http => ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318", true),
        (None, None) => ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317", true),
    };
    if text.contains('@') {
        let rule = "an endpoint carries no user name or password: put them into OTEL_EXPORTER_OTLP_HEADERS";
        return Err(ConfigError::hidden(setting, rule));
    }
    let refuse = |rule: &str| ConfigError::new(setting, text, rule);
    let wanted =
        "not the address of a Collector: use http://host:port, or https://host:port for TLS";
    let uri: Uri = text.parse().map_err(|_| refuse(wanted))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(refuse(wanted));
    }
    if uri.query().is_some() {
        return Err(refuse("an endpoint has no query: leave out what follows the question mark"));
    }
    let path = uri.path().trim_end_matches('/');
    let path = match (http, is_base) {
        (false, _) if path.is_empty() => "/".to_owned(),
        (false, _) => {
            return Err(refuse(
                "gRPC has no path: leave it out, or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            ));
        }
        (true, true) => format!("{path}{METRICS_PATH}"),
        (true, false) => uri.path().to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().map_err(|_| refuse(wanted))?);
    Uri::from_parts(parts).map_err(|_| refuse(wanted))
}

fn headers(environment: &Environment) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    let variable = HEADERS.into_iter().find(|name| environment.is_set(name)).unwrap_or(HEADERS[1]);
    let Some((name, text)) = secret(environment, variable, HEADERS_FILE)? else {
        return Ok(headers);
    };
    // Headers carry tokens: no message shows the value.
    for (key, value) in
        parse::pairs(text.expose_secret()).map_err(|rule| ConfigError::hidden(name, rule))?
    {
        let header = HeaderName::try_from(&key).map_err(|_| {
            let key: String = key.chars().filter(|c| !c.is_control()).take(32).collect();
            ConfigError::hidden(
                name,
                format!("{key:?} is not the name of a header: use e.g. x-api-key"),
            )
        })?;
        let mut value = HeaderValue::try_from(&value).map_err(|_| {
            let rule = format!(
                "the value of {header:?} has characters that a header cannot carry: use plain ASCII"
            );
            ConfigError::hidden(name, rule)
        })?;
        value.set_sensitive(true);
        headers.append(header, value);
    }
    Ok(headers)
}

fn gzip(environment: &Environment) -> Result<bool, ConfigError> {
    let Some((name, text)) = environment.first(&COMPRESSIONS)? else { return Ok(false) };
    match text.to_ascii_lowercase().as_str() {
        "gzip" => Ok(true),
        "none" => Ok(false),
        _ => Err(ConfigError::new(name, text, "there is no such compression: use gzip or none")),
    }
}

fn tls_files(environment: &Environment) -> Result<TlsFiles, ConfigError> {
    let path = |names: &[&'static str]| {
        Ok::<_, ConfigError>(environment.first(names)?.map(|(_, text)| PathBuf::from(text)))
    };
    let client = match (path(&CLIENT_CERTIFICATES)?, path(&CLIENT_KEYS)?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            return Err(ConfigError::hidden(
                CLIENT_CERTIFICATES[1],
                "is of no use without its key: set OTEL_EXPORTER_OTLP_CLIENT_KEY too",
            ));
        }
        (None, Some(_)) => {
            return Err(ConfigError::hidden(
                CLIENT_KEYS[1],
                "is of no use without its certificate: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE too",
            ));
        }
    };
    Ok(TlsFiles { authority: path(&CERTIFICATES)?, client })
}
