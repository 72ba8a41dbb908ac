//! Whom a connection trusts: a server that speaks TLS, played by the test.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use obs_persist::StoreUrl;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring, pki_types::PrivateKeyDer};
use tempfile::{TempDir, tempdir};

use crate::support::{Live, database, until};

/// The eight bytes with which a client asks for TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A server's configuration for a host name.
    fn server(&self, host: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

/// A server that takes one connection; what it heard in plaintext and what inside of TLS.
struct Server {
    port: u16,
    heard: Arc<Mutex<Heard>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug, Default)]
struct Heard {
    plain: Vec<u8>,
    secret: Vec<u8>,
}

impl Server {
    /// With a configuration it agrees to TLS, without one it declines.
    fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let notes = Arc::clone(&heard);
        let thread = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 8];
            socket.read_exact(&mut request).unwrap();
            assert_eq!(request, SSL_REQUEST);
            match tls {
                None => {
                    socket.write_all(b"N").unwrap();
                    let plain = listen(&mut socket);
                    notes.lock().unwrap().plain = plain;
                }
                Some(config) => {
                    socket.write_all(b"S").unwrap();
                    let connection = ServerConnection::new(config).unwrap();
                    let mut stream: StreamOwned<_, TcpStream> =
                        StreamOwned::new(connection, socket);
                    let secret = listen(&mut stream);
                    notes.lock().unwrap().secret = secret;
                }
            }
        });
        Self { port, heard, thread: Some(thread) }
    }

    fn heard(mut self) -> Heard {
        self.thread.take().unwrap().join().unwrap();
        self.heard.lock().unwrap().clone()
    }
}

/// One message, or whatever comes before the connection ends.
fn listen(stream: &mut impl Read) -> Vec<u8> {
    let mut message = vec![0; 4_096];
    let length = stream.read(&mut message).unwrap_or(0);
    message.truncate(length);
    message
}

fn url(port: u16, roots: &Path) -> String {
    let roots = roots.display();
    format!("postgres://app:hunter2@localhost:{port}/game?sslmode=verify-full&sslrootcert={roots}")
}

/// Why connecting failed. It always does: nobody here speaks more of the protocol than its begin.
fn error(url: &str) -> String {
    let live = Live::open(url);
    until("it is down", || live.persister.last_error().is_some());
    let error = live.persister.last_error().unwrap();
    assert!(!error.contains("hunter2"), "{error}");
    error
}

#[test]
fn a_server_with_the_right_certificate_is_told_who_comes_inside_of_tls_only() {
    let authority = Authority::new();
    let server = Server::start(Some(authority.server("localhost")));
    error(&url(server.port, &authority.file()));
    let heard = server.heard();
    let secret = String::from_utf8_lossy(&heard.secret).into_owned();
    assert!(secret.contains("obs-persist") && secret.contains("app"), "{secret}");
    assert!(heard.plain.is_empty());
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let server = Server::start(Some(Authority::new().server("localhost")));
    let error = error(&url(server.port, &Authority::new().file()));
    assert!(error.contains("certificate"), "{error}");
    assert!(server.heard().secret.is_empty());
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let authority = Authority::new();
    let server = Server::start(Some(authority.server("elsewhere.example.com")));
    let error = error(&url(server.port, &authority.file()));
    assert!(error.contains("certificate"), "{error}");
    assert!(server.heard().secret.is_empty());
}

#[test]
fn a_server_that_declines_tls_hears_nothing_more() {
    let authority = Authority::new();
    let server = Server::start(None);
    let error = error(&url(server.port, &authority.file()));
    assert!(error.contains("server does not support TLS"), "{error}");
    assert!(server.heard().plain.is_empty());
}

#[test]
fn require_asks_a_real_server_without_tls_for_tls() {
    let url = format!("{}?sslmode=require", database());
    assert!(StoreUrl::parse(&url).is_ok());
    let error = error(&url);
    assert!(error.contains("server does not support TLS"), "{error}");
}
