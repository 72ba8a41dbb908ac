//! `obs doctor` against the real Collector: every signal over both protocols, with TLS, and each way in which
//! TLS goes wrong.

use std::path::Path;

use super::{finding, findings};
use crate::{
    collector::{Collector, Tls},
    support::{Operator, Said, until},
};

const SIGNALS: [&str; 4] = ["metrics", "traces", "logs", "rows"];

/// Every signal to one Collector.
fn operator(address: &str, protocol: &str) -> Operator {
    Operator::new()
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        .with("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .with("OTEL_TRACES_EXPORTER", "otlp")
        .with("OTEL_LOGS_EXPORTER", "otlp")
        .with("OBS_STORE", "otlp")
        .with("OBS_SPOOL", "off")
        .with("OTEL_SERVICE_NAME", format!("doctor-{}", protocol.replace('/', "-")))
}

fn with_file(operator: Operator, variable: &'static str, path: &Path) -> Operator {
    operator.with(variable, path.to_str().unwrap())
}

fn all_arrive(said: &Said) {
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    for signal in SIGNALS {
        assert_eq!(finding(&findings(said), signal)["state"], "ok", "{signal}: {said:?}");
    }
}

/// Every signal stops at one of these hops, with these words.
fn all_stop(said: &Said, hops: &[&str], words: &str) {
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("4 parts do not work"), "{said:?}");
    for signal in SIGNALS {
        let finding = finding(&findings(said), signal).clone();
        let (hop, detail) = (finding["stopped_at"].as_str(), finding["detail"].as_str().unwrap());
        assert!(hops.contains(&hop.unwrap_or_default()), "{signal}: {said:?}");
        assert!(detail.contains(words), "{signal}: {said:?}");
    }
}

#[test]
fn every_signal_arrives_over_both_protocols_and_the_wrong_protocol_is_an_answer() {
    let Some(collector) = Collector::start(None, false) else { return };
    for (protocol, address, other) in [
        ("grpc", collector.grpc("http"), collector.http("http")),
        ("http/protobuf", collector.http("http"), collector.grpc("http")),
    ] {
        all_arrive(&operator(&address, protocol).call(&["doctor", "--json"]));
        let service = format!("service.name: Str(doctor-{})", protocol.replace('/', "-"));
        until("the canaries", || {
            let said = collector.said();
            let parts = [&*service, "canary of obs doctor", "obs.kind: Str(obs.doctor)"];
            parts.iter().all(|part| said.contains(part))
        });
        let said = operator(&other, protocol).call(&["doctor", "--json"]);
        all_stop(&said, &["the answer"], "");
    }
}

#[test]
fn with_tls_every_signal_arrives_and_what_is_wrong_with_it_is_named() {
    let (tls, strangers) = (Tls::new(), Tls::new());
    let Some(collector) = Collector::start(Some(&tls), false) else { return };
    for (protocol, secure, plain) in [
        ("grpc", collector.grpc("https"), collector.grpc("http")),
        ("http/protobuf", collector.http("https"), collector.http("http")),
    ] {
        let trusting =
            |path| with_file(operator(&secure, protocol), "OTEL_EXPORTER_OTLP_CERTIFICATE", path);
        all_arrive(&trusting(&tls.authority).call(&["doctor", "--json"]));
        let said = trusting(&strangers.authority).call(&["doctor", "--json"]);
        all_stop(&said, &["the TLS handshake"], "invalid peer certificate");
        let said = trusting(Path::new("nowhere.pem")).call(&["doctor", "--json"]);
        all_stop(&said, &["the certificates"], "nowhere.pem");
        all_stop(&operator(&plain, protocol).call(&["doctor", "--json"]), &["the answer"], "");
    }
}

#[test]
fn a_collector_that_wants_to_know_who_we_are_is_told_or_named() {
    let tls = Tls::new();
    let Some(collector) = Collector::start(Some(&tls), true) else { return };
    for (protocol, address) in
        [("grpc", collector.grpc("https")), ("http/protobuf", collector.http("https"))]
    {
        let trusting = || {
            with_file(
                operator(&address, protocol),
                "OTEL_EXPORTER_OTLP_CERTIFICATE",
                &tls.authority,
            )
        };
        // A server of TLS 1.3 refuses a client after the handshake is over for the client.
        let said = trusting().call(&["doctor", "--json"]);
        all_stop(
            &said,
            &["the TLS handshake", "the answer"],
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        );
        let known = with_file(trusting(), "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &tls.client);
        let known = with_file(known, "OTEL_EXPORTER_OTLP_CLIENT_KEY", &tls.client_key);
        all_arrive(&known.call(&["doctor", "--json"]));
    }
}
