//! What a Collector takes a part of is a loss: counted, said once, and in the report.

use obs::{Environment, ExportError, Protocol};
use tracing::Level;

use crate::{
    grpc::serve,
    logs::Lines,
    support::{FakeCollector, PATIENCE, metrics_only, total, two_runs},
};

/// `ExportMetricsServiceResponse { partial_success: { rejected_data_points, error_message } }`.
fn partial(rejected: u8, said: &str) -> Vec<u8> {
    let mut inside = Vec::new();
    if rejected > 0 {
        inside.extend([0x08, rejected]);
    }
    inside.push(0x12);
    inside.push(u8::try_from(said.len()).unwrap());
    inside.extend(said.as_bytes());
    let mut outside = vec![0x0a, u8::try_from(inside.len()).unwrap()];
    outside.extend(inside);
    outside
}

fn rejections_are_losses(protocol: Protocol, url: &str, answer: &dyn Fn(Vec<u8>)) {
    let telemetry = metrics_only()
        .environment(Environment::empty())
        .endpoint(url)
        .protocol(protocol)
        .snapshots(true)
        .init()
        .unwrap();
    two_runs(&telemetry);
    answer(partial(3, "too \x1b[31mold"));
    for _ in 0..2 {
        match telemetry.flush_blocking(PATIENCE).export.unwrap_err() {
            ExportError::Rejected { target, rejected: 3, reason } => {
                assert!(target.starts_with(url), "{target}");
                assert!(reason.starts_with("too ") && !reason.contains('\x1b'), "{reason}");
            }
            other => panic!("{protocol:?}: {other}"),
        }
    }
    answer(partial(0, "use the new address"));
    assert!(telemetry.flush_blocking(PATIENCE).is_complete());
    answer(Vec::new());
    assert!(telemetry.flush_blocking(PATIENCE).is_complete());
    // What is no answer of OTLP rejects nothing.
    answer(b"<html>".to_vec());
    assert!(telemetry.flush_blocking(PATIENCE).is_complete());

    let snapshot = telemetry.snapshot().unwrap();
    let metrics = [("signal", "metrics")];
    assert_eq!(total(&snapshot, "obs.export.failures", &metrics), 2.0, "{protocol:?}");
    assert_eq!(total(&snapshot, "obs.export.rejected", &metrics), 6.0, "{protocol:?}");
    let lines = Lines::about(url);
    let levels: Vec<Level> = lines.iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::WARN, Level::WARN], "{lines:?}");
    assert!(lines[0].1.contains("rejected 3 data points"), "{lines:?}");
    assert!(lines[1].1.contains("use the new address"), "{lines:?}");
}

#[test]
fn over_http_what_was_rejected_is_counted_and_said_once() {
    Lines::listen();
    let collector = FakeCollector::start();
    rejections_are_losses(Protocol::HttpProtobuf, &collector.url(), &|body| {
        collector.answer_body(body);
    });
}

#[test]
fn over_grpc_what_was_rejected_is_counted_and_said_once() {
    Lines::listen();
    let server = serve();
    let url = format!("http://127.0.0.1:{}", server.port);
    rejections_are_losses(Protocol::Grpc, &url, &|body| server.answer(body));
}
