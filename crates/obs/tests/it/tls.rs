//! TLS to a Collector: who is trusted, and who is not.

use std::{fs, path::PathBuf};

use obs::Environment;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::support::{FakeCollector, PATIENCE, metrics_only};

/// An authority of our own and a server it vouches for, as PEM files.
pub(crate) struct Certificates {
    pub(crate) authority: PathBuf,
    pub(crate) server: PathBuf,
    pub(crate) server_key: PathBuf,
    pub(crate) client: PathBuf,
    pub(crate) client_key: PathBuf,
    _folder: tempfile::TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let authority_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(params, authority_key);
        let server_key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let server = params.signed_by(&server_key, &issuer).unwrap();
        let client_key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["orders".to_owned()]).unwrap();
        let client = params.signed_by(&client_key, &issuer).unwrap();
        fs::write(path("authority.pem"), authority.pem()).unwrap();
        fs::write(path("server.pem"), server.pem()).unwrap();
        fs::write(path("server.key"), server_key.serialize_pem()).unwrap();
        fs::write(path("client.pem"), client.pem()).unwrap();
        fs::write(path("client.key"), client_key.serialize_pem()).unwrap();
        Self {
            authority: path("authority.pem"),
            server: path("server.pem"),
            server_key: path("server.key"),
            client: path("client.pem"),
            client_key: path("client.key"),
            _folder: folder,
        }
    }

    /// The same, and we say who we are.
    pub(crate) fn mutual(&self) -> Environment {
        Environment::from_iter([
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", self.authority.as_os_str()),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", self.client.as_os_str()),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", self.client_key.as_os_str()),
        ])
    }

    /// An environment in which this authority is trusted.
    pub(crate) fn trusted(&self) -> Environment {
        let path = self.authority.as_os_str();
        Environment::from_iter([("OTEL_EXPORTER_OTLP_CERTIFICATE", path)])
    }
}

#[test]
fn a_certificate_file_that_cannot_be_read_is_an_error_that_names_it() {
    let collector = FakeCollector::start();
    for (content, says) in [
        (None, "no certificate can be read there: name a PEM file"),
        (Some(""), "the file holds no certificate: name a PEM file with at least one"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("authority.pem");
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        let environment =
            Environment::from_iter([("OTEL_EXPORTER_OTLP_CERTIFICATE", file.as_os_str())]);
        let https = collector.url().replace("http", "https");
        let error = metrics_only().environment(environment).endpoint(https).init().unwrap_err();
        assert_eq!(error.to_string(), format!("OTEL_EXPORTER_OTLP_CERTIFICATE={file:?}: {says}"));
    }
}

#[test]
fn https_to_a_server_without_tls_fails_and_says_so() {
    let collector = FakeCollector::start();
    let certificates = Certificates::new();
    let telemetry = metrics_only()
        .environment(certificates.trusted())
        .endpoint(collector.url().replace("http", "https"))
        .init()
        .unwrap();
    let error = telemetry.flush_blocking(PATIENCE).export.unwrap_err().to_string();
    assert!(error.starts_with("metrics did not reach https://127.0.0.1:"), "{error}");
    assert!(collector.requests().is_empty());
}
