//! Connections to a Collector: TCP, and TLS where the endpoint says `https`.
//!
//! Both protocols share this connector, so there is one TLS stack and one meaning of the
//! certificate settings.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore, SignatureScheme,
    client::ResolvesClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::sentence;
use crate::config::{Protocol, model::TlsFiles};

/// What can be read and written: a TCP stream, or TLS over one.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Names the file of who is trusted, unless a target has a setting of its own.
pub(super) const AUTHORITY: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const CLIENT: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
const CLIENT_KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";

/// Opens connections to one Collector.
#[derive(Clone)]
pub(super) struct Connector {
    host: Arc<str>,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    nobody: Arc<Nobody>,
}

/// Who we say we are where no certificate is set, and whether a server wanted to know. One of TLS 1.3 turns a client
/// away after the handshake is over for the client: mostly it still says why, but often enough all that arrives is a
/// connection that was cut.
#[derive(Debug, Default)]
struct Nobody {
    was_asked: AtomicBool,
}

impl ResolvesClientCert for Nobody {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// A certificate or key that cannot be used, or a host that TLS cannot name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The file is missing, unreadable, or not PEM.
    #[error("{variable}={path:?}: no certificate can be read there: name a PEM file")]
    Certificates { variable: &'static str, path: PathBuf, source: rustls::pki_types::pem::Error },
    /// The file is PEM, but holds nothing that is needed here.
    #[error(
        "{variable}={path:?}: the file holds no certificate: name a PEM file with at least one"
    )]
    NoCertificate { variable: &'static str, path: PathBuf },
    /// The key is missing, unreadable, or not PEM.
    #[error("{CLIENT_KEY}={path:?}: no private key can be read there: name a PEM file")]
    Key { path: PathBuf, source: rustls::pki_types::pem::Error },
    /// The machine trusts nobody.
    #[error(
        "this machine has no certificate authorities: install ca-certificates, \
         or name a PEM file in {variable}"
    )]
    NoAuthorities { variable: &'static str },
    /// The certificates do not fit together.
    #[error(
        "the certificates of {AUTHORITY}, {CLIENT} and {CLIENT_KEY} cannot be used: name PEM files that fit together"
    )]
    Rejected(#[from] rustls::Error),
    /// The same where there is only one.
    #[error("{variable}: the certificates cannot be used: name a PEM file of whom to trust")]
    Unusable { variable: &'static str, source: rustls::Error },
    /// The host is neither a DNS name nor an address.
    #[error("{host:?} is not a host name that TLS can verify: use a DNS name or an address")]
    Host { host: String },
}

impl TlsError {
    /// The same of a file that another setting names.
    pub(super) fn of(self, variable: &'static str) -> Self {
        match self {
            Self::NoAuthorities { .. } => Self::NoAuthorities { variable },
            Self::Rejected(source) if variable != AUTHORITY => Self::Unusable { variable, source },
            Self::Certificates { path, source, .. } => {
                Self::Certificates { variable, path, source }
            }
            Self::NoCertificate { path, .. } => Self::NoCertificate { variable, path },
            other => other,
        }
    }
}

impl Connector {
    /// Reads certificates, if the endpoint needs any.
    pub(super) fn new(
        endpoint: &Uri,
        protocol: Protocol,
        files: &TlsFiles,
    ) -> Result<Self, TlsError> {
        // An IPv6 address stands in brackets in a URI, and without them everywhere else.
        let host = endpoint.host().unwrap_or_default().trim_matches(['[', ']']);
        let https = endpoint.scheme_str() == Some("https");
        let port = endpoint.port_u16().unwrap_or(if https { 443 } else { 80 });
        let nobody = Arc::default();
        let tls = if https {
            let name = ServerName::try_from(host.to_owned())
                .map_err(|_| TlsError::Host { host: host.to_owned() })?;
            Some((TlsConnector::from(Arc::new(tls_config(protocol, files, &nobody)?)), name))
        } else {
            None
        };
        Ok(Self { host: host.into(), port, tls, nobody })
    }

    /// What to say of an exchange that ended without an answer.
    pub(super) fn unanswered(&self, error: &dyn Error) -> String {
        let said = sentence(error);
        if self.nobody.was_asked.load(Ordering::Relaxed) {
            format!(
                "the server asks for a client certificate and was shown none: name one in {CLIENT} and its key in \
                 {CLIENT_KEY} ({said})"
            )
        } else {
            said
        }
    }

    /// Host and port.
    pub(super) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// How to speak TLS, where the endpoint wants it.
    pub(super) const fn tls(&self) -> Option<&(TlsConnector, ServerName<'static>)> {
        self.tls.as_ref()
    }

    pub(super) async fn connect(&self) -> io::Result<TokioIo<Box<dyn Stream>>> {
        // Of this connection: a server that asked once, and is away now, is not away for that.
        self.nobody.was_asked.store(false, Ordering::Relaxed);
        let tcp = TcpStream::connect((&*self.host, self.port)).await?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some((tls, name)) => Box::new(tls.connect(name.clone(), tcp).await?),
        };
        Ok(TokioIo::new(stream))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

/// How gRPC's channel asks for a connection. The address is the connector's own.
impl tonic::codegen::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await })
    }
}

fn tls_config(
    protocol: Protocol,
    files: &TlsFiles,
    nobody: &Arc<Nobody>,
) -> Result<ClientConfig, TlsError> {
    // Named, so that a program that installs another provider for itself changes nothing here.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities(files)?);
    let mut config = match &files.client {
        None => builder.with_client_cert_resolver(Arc::<Nobody>::clone(nobody)),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|source| TlsError::Key { path: key.clone(), source })?;
            builder.with_client_auth_cert(certificates(CLIENT, certificate)?, key)?
        }
    };
    config.alpn_protocols = match protocol {
        Protocol::Grpc => vec![b"h2".to_vec()],
        Protocol::HttpProtobuf => vec![b"http/1.1".to_vec()],
    };
    Ok(config)
}

fn authorities(files: &TlsFiles) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &files.authority {
        for certificate in certificates(AUTHORITY, path)? {
            roots.add(certificate)?;
        }
        return Ok(roots);
    }
    // Some certificates of a machine may be unreadable or odd; only having none at all is an error.
    let (_added, _ignored) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoAuthorities { variable: AUTHORITY }) } else { Ok(roots) }
}

fn certificates(
    variable: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| TlsError::Certificates { variable, path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { variable, path: path.to_owned() });
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_asked_who_we_are_and_is_away_now_is_just_away() {
        let nobody = Uri::from_static("http://127.0.0.1:1");
        let connector = Connector::new(&nobody, Protocol::Grpc, &TlsFiles::default()).unwrap();
        connector.nobody.resolve(&[], &[]);
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(connector.unanswered(&broken).contains(CLIENT));
        let Err(refused) = connector.connect().await else { panic!("somebody listens on port 1") };
        assert!(!connector.unanswered(&refused).contains(CLIENT));
    }
}
