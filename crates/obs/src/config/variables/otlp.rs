//! The variables of the OTLP exporters: general ones, and twins for one signal, which win.

use std::path::PathBuf;

use http::{HeaderMap, Uri};
use secrecy::ExposeSecret as _;

use crate::config::{
    Environment, Given, Protocol,
    endpoint::{self, BadEndpoint},
    error::ConfigError,
    headers,
    model::{Exporter, Model, Otlp, Signal, TlsFiles, exporter::OTLP_TIMEOUT_DEFAULT},
    parse,
    secret::secret,
};

/// A file with headers, which are secrets.
const HEADERS_FILE: &str = "OBS_OTLP_HEADERS_FILE";
/// The name of a variable for one signal, and the general one.
type Names = [&'static str; 2];

/// The names of an exporter's variables.
#[derive(Debug)]
pub(super) struct OtlpNames {
    pub(super) endpoint: Names,
    protocol: Names,
    headers: Names,
    timeout: Names,
    compression: Names,
    insecure: Names,
    certificate: Names,
    client_certificate: Names,
    client_key: Names,
}

macro_rules! names {
    ($signal:literal) => {
        names!(
            $signal: endpoint "ENDPOINT", protocol "PROTOCOL", headers "HEADERS", timeout "TIMEOUT",
            compression "COMPRESSION", insecure "INSECURE", certificate "CERTIFICATE",
            client_certificate "CLIENT_CERTIFICATE", client_key "CLIENT_KEY"
        )
    };
    ($signal:literal: $($field:ident $name:literal),+) => {
        OtlpNames { $($field: [
            concat!("OTEL_EXPORTER_OTLP_", $signal, "_", $name),
            concat!("OTEL_EXPORTER_OTLP_", $name),
        ]),+ }
    };
}

static TRACES: OtlpNames = names!("TRACES");
static METRICS: OtlpNames = names!("METRICS");
static LOGS: OtlpNames = names!("LOGS");

impl OtlpNames {
    pub(super) fn of(signal: Signal) -> &'static Self {
        match signal {
            Signal::Traces => &TRACES,
            Signal::Metrics => &METRICS,
            Signal::Logs => &LOGS,
        }
    }
}

pub(super) fn exporter(
    given: &Given,
    environment: &Environment,
    signal: Signal,
) -> Result<Otlp, ConfigError> {
    let names = OtlpNames::of(signal);
    let protocol = match given.protocol {
        Some(protocol) => protocol,
        None => protocol_variable(environment, names)?.unwrap_or(Protocol::HttpProtobuf),
    };
    let timeout = match environment.first(&names.timeout)? {
        Some((name, text)) => parse::millis(name, text)?,
        None => OTLP_TIMEOUT_DEFAULT,
    };
    Ok(Otlp {
        endpoint: address(given, environment, (signal, names), protocol)?,
        protocol,
        headers: header_variables(environment, names)?,
        timeout,
        gzip: gzip(environment, names)?,
        tls: tls_files(environment, names)?,
    })
}

/// Headers from a file of their own, for every exporter that has none.
pub(super) fn headers_for_all(
    environment: &Environment,
    model: &mut Model,
) -> Result<(), ConfigError> {
    let Some((name, text)) = secret(environment, "", HEADERS_FILE)? else { return Ok(()) };
    let headers =
        headers::list(text.expose_secret()).map_err(|rule| ConfigError::hidden(name, rule))?;
    for exporter in model.exporters_mut() {
        if let Exporter::Otlp(otlp) = exporter
            && otlp.headers.is_empty()
        {
            otlp.headers.clone_from(&headers);
        }
    }
    Ok(())
}

fn protocol_variable(
    environment: &Environment,
    names: &OtlpNames,
) -> Result<Option<Protocol>, ConfigError> {
    let Some((name, text)) = environment.first(&names.protocol)? else { return Ok(None) };
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

fn address(
    given: &Given,
    environment: &Environment,
    (signal, names): (Signal, &OtlpNames),
    protocol: Protocol,
) -> Result<Uri, ConfigError> {
    // The address of one signal is complete; any other is a base to which HTTP adds the path.
    let (setting, text, is_base) = match (&given.endpoint, environment.first(&names.endpoint)?) {
        (Some(text), _) => ("Builder::endpoint", text.expose_secret().trim(), true),
        (None, Some((name, text))) => (name, text, name != names.endpoint[0]),
        (None, None) => (names.endpoint[1], endpoint::base_default(protocol), true),
    };
    let insecure = match environment.first(&names.insecure)? {
        Some((name, text)) => parse::switch(name, text)?,
        None => None,
    };
    let text = match insecure {
        // Only an address without a scheme leaves the question open.
        Some(insecure) if protocol == Protocol::Grpc && !text.contains("://") => {
            &format!("{}://{text}", if insecure { "http" } else { "https" })
        }
        _ => text,
    };
    let path = if is_base { endpoint::PathOf::Base(signal) } else { endpoint::PathOf::Complete };
    endpoint::parse(text, protocol, path).map_err(|bad| match bad {
        BadEndpoint::Secret(rule) => ConfigError::hidden(setting, rule),
        BadEndpoint::Plain(rule) => ConfigError::new(setting, text, rule),
    })
}

fn header_variables(
    environment: &Environment,
    names: &OtlpNames,
) -> Result<HeaderMap, ConfigError> {
    let variable =
        names.headers.into_iter().find(|name| environment.is_set(name)).unwrap_or(names.headers[1]);
    let Some((name, text)) = secret(environment, variable, HEADERS_FILE)? else {
        return Ok(HeaderMap::new());
    };
    // Headers carry tokens: no message shows the value.
    headers::list(text.expose_secret()).map_err(|rule| ConfigError::hidden(name, rule))
}

fn gzip(environment: &Environment, names: &OtlpNames) -> Result<bool, ConfigError> {
    let Some((name, text)) = environment.first(&names.compression)? else { return Ok(false) };
    parse::gzip(&text.to_ascii_lowercase()).map_err(|rule| ConfigError::new(name, text, rule))
}

fn tls_files(environment: &Environment, names: &OtlpNames) -> Result<TlsFiles, ConfigError> {
    let path = |names: &[&'static str]| {
        Ok::<_, ConfigError>(environment.first(names)?.map(|(_, text)| PathBuf::from(text)))
    };
    let client = match (path(&names.client_certificate)?, path(&names.client_key)?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            return Err(ConfigError::hidden(
                names.client_certificate[1],
                "is of no use without its key: set OTEL_EXPORTER_OTLP_CLIENT_KEY too",
            ));
        }
        (None, Some(_)) => {
            return Err(ConfigError::hidden(
                names.client_key[1],
                "is of no use without its certificate: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE too",
            ));
        }
    };
    Ok(TlsFiles { authority: path(&names.certificate)?, client })
}
