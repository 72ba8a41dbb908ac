//! Log records and spans at the real Collector: what it takes in is what the program did, under the same ids.

use obs::{Environment, Protocol, span_id_of, trace_id_of};
use tracing_subscriber::layer::SubscriberExt as _;

use super::process::Collector;
use crate::support::{PATIENCE, until};

#[test]
fn over_grpc_lines_and_spans_of_a_run_share_its_ids() {
    let Some(collector) = Collector::start(None) else { return };
    lines_and_spans_of_a_run_share_its_ids(&collector, Protocol::Grpc, collector.grpc());
}

#[test]
fn over_http_lines_and_spans_of_a_run_share_its_ids() {
    let Some(collector) = Collector::start(None) else { return };
    lines_and_spans_of_a_run_share_its_ids(&collector, Protocol::HttpProtobuf, collector.http());
}

fn lines_and_spans_of_a_run_share_its_ids(
    collector: &Collector,
    protocol: Protocol,
    address: String,
) {
    let variables = [("OTEL_LOGS_EXPORTER", "otlp"), ("OTEL_TRACES_EXPORTER", "otlp")];
    let telemetry = obs::builder()
        .environment(Environment::from_iter(variables))
        .rows(false)
        .endpoint(address)
        .protocol(protocol)
        .service_name("orders")
        .init()
        .unwrap();
    let bonus = telemetry.kind("dsl").lookup("bonus", "3");
    let mut run_id = None;
    let subscriber = tracing_subscriber::registry().with(obs::for_tracing::layer(&telemetry));
    tracing::subscriber::with_default(subscriber, || {
        let _: Result<(), String> = bonus.observe(&(), |run| {
            run_id = Some(run.id());
            run.node("big-spender").branch("match");
            tracing::warn!(target: "orders", user = 7, "no points for them");
            Err("out of points".to_owned())
        });
    });
    let report = telemetry.flush_blocking(PATIENCE);
    assert!(report.is_complete(), "{report}");
    assert!(report.to_string().contains("logs exported; traces exported"), "{report}");

    let run_id = run_id.unwrap();
    let (trace, span) =
        (format!("{:032x}", trace_id_of(run_id)), format!("{:016x}", span_id_of(run_id)));
    let said = until("the record and the spans", || {
        let said = collector.said();
        let all = said.contains("no points for them") && said.contains("-> obs.node.branch");
        all.then_some(said)
    });
    let line = block(&said, "LogRecord #0", "no points for them");
    for part in [
        "SeverityText: WARN",
        "Body: Str(no points for them)",
        "-> user: Int(7)",
        &format!("-> obs.run.id: Str({run_id})"),
        &format!("Trace ID: {trace}"),
        &format!("Span ID: {span}"),
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    let run = block(&said, "Span #0", &span);
    for part in [
        "Name           : dsl bonus",
        "Status code    : Error",
        "Status message : out of points",
        &format!("Trace ID       : {trace}"),
        &format!("ID             : {span}"),
        &format!("-> obs.run.id: Str({run_id})"),
        "-> obs.run.keep_reason: Str(failure)",
    ] {
        assert!(run.contains(part), "{part} is not in {run}");
    }
    let node = block(&said, "Span #1", "big-spender");
    for part in ["Name           : big-spender", &format!("Parent ID      : {span}")] {
        assert!(node.contains(part), "{part} is not in {node}");
    }
    assert!(said.contains("-> service.name: Str(orders)"));
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
}

/// The part of what the Collector says that begins with this head and is about that.
fn block<'s>(said: &'s str, head: &str, about: &str) -> &'s str {
    let mut parts = said.split(head).skip(1);
    parts.find(|part| part.contains(about)).unwrap_or_default()
}
