//! Whole sessions over TLS with a real Postgres: rows arrive, or nothing does.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use obs_core::testing::record;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::{TempDir, tempdir};

use crate::support::{Live, count, postgres, until};

/// An authority, what it signed, and a server that shows one of them.
struct Tls {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A Postgres that speaks TLS. It ends with its stdin.
struct Server {
    url: String,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

impl Tls {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn roots(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A server with a certificate that is signed by the authority.
    fn server(&self, host: &str, change: impl FnOnce(&mut CertificateParams)) -> Server {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.start(&certificate.pem(), &key)
    }

    fn self_signed_server(&self, host: &str) -> (Server, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let file = self.folder.path().join("self.pem");
        std::fs::write(&file, &certificate).unwrap();
        (self.start(&certificate, &key), file)
    }

    fn start(&self, certificate: &str, key: &KeyPair) -> Server {
        use std::os::unix::fs::PermissionsExt;
        let (cert_file, key_file) =
            (self.folder.path().join("server.pem"), self.folder.path().join("server.key"));
        std::fs::write(&cert_file, certificate).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(self.folder.path(), 0o755);
        mode(&cert_file, 0o644);
        mode(&key_file, 0o600);
        // Where the tests run as root, the server runs as somebody else, who must own its key.
        for user in ["postgres", "nobody"] {
            let owned =
                Command::new("chown").arg(user).arg(&key_file).stderr(Stdio::null()).status();
            if owned.is_ok_and(|status| status.success()) {
                break;
            }
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/private-postgres");
        let mut process = Command::new(script)
            .args(["-c", "ssl=on"])
            .args(["-c", &format!("ssl_cert_file={}", cert_file.display())])
            .args(["-c", &format!("ssl_key_file={}", key_file.display())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("postgres://"), "no server: {url}");
        Server { url: url.trim().replace("127.0.0.1", "localhost"), process }
    }
}

/// The address with verified TLS, against these roots.
fn verified(server: &Server, roots: &Path) -> String {
    format!("{}?sslmode=verify-full&sslrootcert={}", server.url, roots.display())
}

/// Nothing came through, and the error says that the certificate is why.
fn is_refused(server: &Server, roots: &Path, why: &str) {
    let live = Live::open(&verified(server, roots));
    live.submit(record("bonus", "1"));
    until("it is refused", || live.persister.last_error().is_some());
    let error = live.persister.last_error().unwrap();
    assert!(error.contains("certificate") && error.contains(why), "{error}");
    assert_eq!(postgres(&server.url, "SELECT to_regnamespace('obs') IS NULL"), ["t"]);
}

#[test]
fn rows_travel_encrypted_to_a_server_that_proves_to_be_the_right_one() {
    let tls = Tls::new();
    let server = tls.server("localhost", |_| {});
    let live = Live::open(&verified(&server, &tls.roots()));
    (0..300).for_each(|_| live.submit(record("bonus", "1")));
    live.flush();
    assert_eq!(count(&server.url, "obs.run"), 300);
    let session = "SELECT ssl, version LIKE 'TLSv1.%' AND bits >= 128 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                   WHERE application_name = 'obs-persist'";
    assert_eq!(postgres(&server.url, session), ["t|t"]);
    // What an address asks for without it is not encrypted, so this is no accident.
    let plain = Live::open(&format!("{}?sslmode=disable&application_name=plain", server.url));
    plain.submit(record("bonus", "1"));
    plain.flush();
    let session = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'plain'";
    assert_eq!(postgres(&server.url, session), ["f"]);
}

#[test]
fn a_certificate_for_another_host_is_refused_by_a_whole_session() {
    let tls = Tls::new();
    let server = tls.server("db.example.com", |_| {});
    is_refused(&server, &tls.roots(), "not valid for name");
}

#[test]
fn an_expired_certificate_is_refused() {
    let tls = Tls::new();
    let server = tls.server("localhost", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    is_refused(&server, &tls.roots(), "expired");
}

#[test]
fn a_self_signed_certificate_is_refused_unless_it_is_the_one_to_trust() {
    let tls = Tls::new();
    let (server, itself) = tls.self_signed_server("localhost");
    is_refused(&server, &tls.roots(), "invalid peer certificate");
    let live = Live::open(&verified(&server, &itself));
    live.submit(record("bonus", "1"));
    live.flush();
    assert_eq!(count(&server.url, "obs.run"), 1);
}
