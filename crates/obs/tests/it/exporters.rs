//! Exporters by configuration: one, several at once, none.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use obs::{Environment, Exported, Telemetry};

use crate::{
    prometheus::Prometheus,
    support::{FakeCollector, PATIENCE, metrics_only, runs, two_runs},
};

fn start(variables: &[(&str, &str)]) -> Result<Telemetry, obs::InitError> {
    metrics_only().environment(Environment::from_iter(variables.iter().copied())).init()
}

/// Head and body of the answer to a request.
fn get(address: SocketAddr, path: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

const ANY_PORT: [(&str, &str); 2] =
    [("OTEL_METRICS_EXPORTER", "prometheus"), ("OTEL_EXPORTER_PROMETHEUS_PORT", "0")];

#[test]
fn prometheus_scrapes_what_the_environment_alone_has_set_up() {
    let telemetry = start(&ANY_PORT).unwrap();
    let address = telemetry.prometheus_address().unwrap();
    assert!(address.ip().is_loopback());
    runs(&telemetry.kind("dsl"), 10);
    let Some(prometheus) = Prometheus::scraping(address.port()) else { return };
    prometheus.until_number("sum(obs_run_started_total{obs_kind=\"dsl\"})", 10.0);
    runs(&telemetry.kind("dsl"), 5);
    prometheus.until_number("sum(obs_run_started_total{obs_kind=\"dsl\"})", 15.0);
    assert_eq!(telemetry.shutdown_blocking(PATIENCE).export, Ok(Exported::Off));
}

#[test]
fn the_page_speaks_both_formats_and_ends_with_the_telemetry() {
    let telemetry = start(&ANY_PORT).unwrap();
    let address = telemetry.prometheus_address().unwrap();
    two_runs(&telemetry);
    let (head, body) = get(address, "/metrics", "");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("obs_run_started_total{") && !body.contains("# EOF"), "{body}");
    let (head, body) = get(address, "/metrics", "Accept: application/openmetrics-text\r\n");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    assert!(get(address, "/healthz", "").0.starts_with("http/1.1 200"));
    drop(telemetry);
    crate::support::until("nobody listens", || TcpStream::connect(address).err());
}

#[test]
fn who_can_be_reached_from_elsewhere_needs_a_token() {
    let open = [ANY_PORT[0], ANY_PORT[1], ("OTEL_EXPORTER_PROMETHEUS_HOST", "0.0.0.0")];
    let error = start(&open).unwrap_err().to_string();
    assert!(error.contains("0.0.0.0:0 can be reached from elsewhere"), "{error}");
    let token = "0123456789abcdef0123";
    let telemetry = start(&[&open[..], &[("OBS_PROMETHEUS_TOKEN", token)]].concat()).unwrap();
    let port = telemetry.prometheus_address().unwrap().port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    assert!(get(address, "/metrics", "").0.starts_with("http/1.1 401"));
    let header = format!("Authorization: Bearer {token}\r\n");
    assert!(get(address, "/metrics", &header).0.starts_with("http/1.1 200"));
    assert!(!format!("{telemetry:?}").contains(token));
}

#[test]
fn a_port_that_is_taken_and_a_name_that_is_none_are_errors_that_say_so() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = start(&[ANY_PORT[0], ("OTEL_EXPORTER_PROMETHEUS_PORT", &port)]).unwrap_err();
    assert!(error.to_string().contains("use another port"), "{error}");
    let host = ("OTEL_EXPORTER_PROMETHEUS_HOST", "metrics.example");
    let error = start(&[ANY_PORT[0], ANY_PORT[1], host]).unwrap_err().to_string();
    assert!(error.contains("metrics.example") && error.contains("use localhost"), "{error}");
    let error = start(&[ANY_PORT[0], ANY_PORT[1], ("OBS_PROMETHEUS_TOKEN", "short")]).unwrap_err();
    assert!(error.to_string().contains("the token has 5 bytes"), "{error}");
}

#[test]
fn several_exporters_say_the_same_at_once() {
    let collector = FakeCollector::start();
    let url = collector.url();
    let telemetry = start(&[
        ("OTEL_METRICS_EXPORTER", "otlp,prometheus,console"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "0"),
    ])
    .unwrap();
    runs(&telemetry.kind("dsl"), 10);
    let sales = telemetry.instruments("shop").counter("shop.sales", "{sale}", "Sold").unwrap();
    sales.with([("country", "at")]).add(7);
    assert_eq!(telemetry.flush_blocking(PATIENCE).export, Ok(Exported::Done));
    let request = collector.requests().remove(0);
    assert!(String::from_utf8_lossy(&request.body).contains("shop.sales"));
    let address = telemetry.prometheus_address().unwrap();
    let (_, scraped) = get(address, "/metrics", "");
    let started = scraped.lines().find(|line| line.starts_with("obs_run_started_total{"));
    assert!(started.unwrap().ends_with(" 10"), "{scraped}");
    assert!(scraped.contains("\nshop_sales_total{country=\"at\"} 7\n"), "{scraped}");
    // Nobody measures how we export.
    let mut names = scraped.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let known = ["obs_", "shop_", "target_info"];
    assert!(names.all(|name| known.iter().any(|known| name.starts_with(known))), "{scraped}");

    // One that fails is in the report; the other goes on.
    collector.answer_with(400);
    let report = telemetry.flush_blocking(PATIENCE);
    let error = report.export.unwrap_err().to_string();
    assert!(error.contains(&url) && error.contains("400"), "{error}");
    let (_, scraped) = get(address, "/metrics", "");
    assert!(scraped.contains("obs_export_failures_total{signal=\"metrics\"} 1\n"), "{scraped}");
}

#[test]
fn none_is_none_and_everything_else_works() {
    let telemetry = start(&[("OTEL_METRICS_EXPORTER", "none")]).unwrap();
    two_runs(&telemetry);
    assert_eq!(telemetry.prometheus_address(), None);
    assert_eq!(telemetry.flush_blocking(PATIENCE).export, Ok(Exported::Off));
    assert_eq!(telemetry.ledger().runs.finished, 2);
}

#[test]
fn whoever_looks_at_the_page_before_a_program_starts_knows_whether_it_is_ours() {
    let look = |port: u16, token: &str| {
        let port = port.to_string();
        let variables = [
            ("OTEL_METRICS_EXPORTER", "prometheus"),
            ("OTEL_EXPORTER_PROMETHEUS_PORT", &*port),
            ("OBS_PROMETHEUS_TOKEN", token),
        ];
        let settings = obs::Configuration::read(None, &Environment::from_iter(variables)).unwrap();
        settings.destinations()[0].try_out(PATIENCE)
    };
    let token = "0123456789abcdef0123";
    let guarded = [ANY_PORT[0], ANY_PORT[1], ("OBS_PROMETHEUS_TOKEN", token)];
    let telemetry = start(&guarded).unwrap();
    let port = telemetry.prometheus_address().unwrap().port();
    assert_eq!(look(port, token), Ok("a program of ours serves it"));
    let refused = look(port, "another-token-of-20-b").unwrap_err();
    assert_eq!(refused.hop, "the answer");
    assert!(refused.reason.contains("wants another token"), "{refused}");
    drop(telemetry);
    crate::support::until("nobody listens", || {
        look(port, token).ok().filter(|it| it.contains("free"))
    });
}
