//! The way to a Collector, hop by hop: where it ends for whom nothing arrives.

use std::time::Duration;

use http::Uri;
use obs_core::Escaped;
use tokio::{
    net::{TcpStream, lookup_host},
    time,
};

use super::{
    connect::{AUTHORITY, Connector},
    send::SenderError,
    sentence,
};
use crate::config::{Protocol, model::TlsFiles};

/// Addresses of one name that are tried.
pub(crate) const ADDRESSES_MAX: usize = 4;

/// The hop at which something stopped, and why.
///
/// ```
/// use obs::{Configuration, Environment};
/// use std::time::Duration;
///
/// // Nobody listens on port 1.
/// let environment = Environment::from_iter([("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")]);
/// let settings = Configuration::read(None, &environment)?;
/// let unreached = settings.destinations()[0].try_out(Duration::from_secs(5)).unwrap_err();
/// assert_eq!(unreached.hop, "the connection");
/// # Ok::<(), obs::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped at {hop}: {reason}")]
#[non_exhaustive]
pub struct Unreached {
    /// How far it got, in two or three words.
    pub hop: &'static str,
    /// What happened there, with the way out where there is one.
    pub reason: String,
}

impl Unreached {
    pub(crate) fn at(hop: &'static str, reason: impl Into<String>) -> Self {
        Self { hop, reason: reason.into() }
    }
}

/// Who is trusted, and the settings that say so.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    pub(crate) files: TlsFiles,
    pub(crate) variable: &'static str,
    pub(crate) in_file: &'static str,
}

impl From<&TlsFiles> for Trust {
    /// Of a Collector.
    fn from(files: &TlsFiles) -> Self {
        Self { files: files.clone(), variable: AUTHORITY, in_file: "tls" }
    }
}

/// Goes as far as a connection that could carry a request.
pub(crate) async fn reach(
    endpoint: &Uri,
    protocol: Protocol,
    trust: &Trust,
    hop: Duration,
) -> Result<(), Unreached> {
    let Trust { files, variable, in_file } = trust;
    let connector = Connector::new(endpoint, protocol, files).map_err(|error| {
        Unreached::at("the certificates", sentence(&SenderError::from(error.of(variable))))
    })?;
    let stream = connect(&connector, hop).await?;
    let Some((tls, name)) = connector.tls() else { return Ok(()) };
    match time::timeout(hop, tls.connect(name.clone(), stream)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Unreached::at(
            "the TLS handshake",
            format!(
                "{}: look at {variable} (`{in_file}` in a file), and whether it speaks TLS there",
                Escaped(&connector.unanswered(&error))
            ),
        )),
        Err(_) => Err(Unreached::at(
            "the TLS handshake",
            format!("no answer within {hop:?}: look whether it speaks TLS there"),
        )),
    }
}

async fn connect(connector: &Connector, hop: Duration) -> Result<TcpStream, Unreached> {
    let (host, port) = connector.address();
    let found = match time::timeout(hop, lookup_host((host, port))).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            let reason = format!("{host} is not found ({error}): look at its spelling");
            return Err(Unreached::at("the name", reason));
        }
        Err(_) => {
            let reason = format!("{host} was not found within {hop:?}: look at the resolver");
            return Err(Unreached::at("the name", reason));
        }
    };
    let mut last = "it has no address".to_owned();
    for address in found.take(ADDRESSES_MAX) {
        match time::timeout(hop, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = format!("{address}: {error}"),
            Err(_) => last = format!("{address}: no answer within {hop:?}"),
        }
    }
    let reason = format!("{last}: look whether it listens there, and at firewalls");
    Err(Unreached::at("the connection", reason))
}
