//! TLS from programs to the agent, and mutual TLS from the agent to the gateways: totals are exact, and strangers get nowhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

use obs::{Environment, Protocol, Telemetry};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::stack::{Load, Made, PATIENCE, Shape, Stack, until};

const JOB: &str = "tls";
/// Of the programs that trust somebody else.
const STRANGER: &str = "stranger";

#[test]
#[ignore = "starts the whole stack: just e2e"]
fn over_tls_totals_are_exact_and_whoever_is_vouched_for_by_another_authority_is_refused_and_counted()
 {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    authority.vouch("server", &["localhost", "127.0.0.1", "127.0.0.2", "gateway.test"]);
    authority.vouch("client", &["agent"]);
    let settings = vec![("OBS_COLLECTOR_TLS", folder.path().display().to_string())];
    let (agent, gateway) = (Some("agent-tls.yaml".into()), Some("gateway-tls.yaml".into()));
    let Some(mut stack) = Stack::start_as(Shape { agent, gateway, settings }) else { return };
    let ours = authority.certificate();
    let load = Load::start(telemetry(&stack, JOB, &ours, Protocol::Grpc));
    stack.prometheus_sees_more_than(JOB, 100.0);

    let strangers = tempfile::tempdir().unwrap();
    let stranger = Authority::new(strangers.path());
    stack.refuses_programs_that_trust(&stranger);

    // An agent whom the gateways do not know keeps what it has, and says how much.
    stack.agent.kill();
    stranger.vouch("client", &["agent"]);
    let put = |from: &Path| {
        for file in ["client.pem", "client-key.pem"] {
            fs::copy(from.join(file), folder.path().join(file)).unwrap();
        }
    };
    put(strangers.path());
    stack.agent.start_again();
    let waiting = "max(otelcol_exporter_queue_size{exporter=\"otlp_grpc/gateway\"})";
    until(
        || format!("requests that wait, last {:?}", stack.prometheus.number(waiting)),
        || stack.prometheus.number(waiting).filter(|requests| *requests > 5.0),
    );
    assert!(stack.agent.said().contains("remote error: tls:"), "the gateways refuse it");

    stack.agent.kill();
    authority.vouch("client", &["agent"]);
    stack.agent.start_again();
    let Made { runs, .. } = load.end();
    stack.has_exactly(JOB, runs);
    // By now it would have arrived, as what was made after it has.
    let arrived = |job: &str| {
        stack
            .prometheus
            .number(&format!("sum(max_over_time(obs_run_started_total{{job=\"{job}\"}}[1h]))"))
    };
    assert_eq!((arrived(JOB).is_some(), arrived(STRANGER)), (true, None));
}

impl Stack {
    /// Over both protocols, and the loss is in the program's own counts.
    fn refuses_programs_that_trust(&self, stranger: &Authority) {
        for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
            let telemetry = telemetry(self, STRANGER, &stranger.certificate(), protocol);
            let strategy = telemetry.kind("load").lookup("bonus", "1");
            let _: Result<(), String> = strategy.observe(&(), |_| Ok(()));
            let report = telemetry.flush_blocking(PATIENCE);
            let error = report.export.unwrap_err();
            let mut said = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                said = format!("{said}: {cause}");
                source = cause.source();
            }
            assert!(said.contains("UnknownIssuer"), "{said}");
            let snapshot = telemetry.snapshot().unwrap();
            let failures = snapshot.metric("obs.export.failures").unwrap().series.iter();
            let failures: f64 = failures.filter_map(|series| series.value.number()).sum();
            assert!(failures >= 1.0, "{failures}");
            let _ = telemetry.shutdown_blocking(PATIENCE);
        }
    }
}

fn telemetry(stack: &Stack, job: &str, trusted: &Path, protocol: Protocol) -> Telemetry {
    let plain = if protocol == Protocol::Grpc { stack.grpc() } else { stack.http() };
    let settings = [
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", trusted.to_str().unwrap()),
    ];
    obs::builder()
        .environment(Environment::from_iter(settings))
        .service_name(job)
        .endpoint(plain.replace("http://", "https://"))
        .protocol(protocol)
        .store(&stack.postgres.url)
        .spool_dir(stack.folder.join(format!("spool-of-{job}-{protocol:?}")))
        .snapshots(true)
        .init()
        .unwrap()
}

/// Who vouches, and the folder in which the certificates are.
struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(folder: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Of the same name they would be taken for each other until a signature is looked at.
        params.distinguished_name.push(DnType::CommonName, folder.display().to_string());
        fs::write(folder.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder: folder.to_owned(), issuer: Issuer::new(params, key) }
    }

    fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Writes `who.pem` and `who-key.pem`.
    fn vouch(&self, who: &str, names: &[&str]) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.folder.join(format!("{who}.pem")), certificate.pem()).unwrap();
        fs::write(self.folder.join(format!("{who}-key.pem")), key.serialize_pem()).unwrap();
    }
}
