//! What the process environment may change, and what it may not.

use std::{env, process::Command, time::Duration};

use crate::support::{FakeCollector, metrics_only};

/// Says to the child process where to send.
const TARGET: &str = "OBS_TEST_TARGET";

/// The OTLP exporter underneath reads `OTEL_*` by itself, and lets its headers win over code. So
/// this test runs itself again in a process whose environment says other things than the code.
#[test]
fn a_program_that_brings_its_own_environment_is_not_touched_by_that_of_the_process() {
    #[expect(clippy::disallowed_methods, reason = "how the parent talks to its child")]
    if let Ok(target) = env::var(TARGET) {
        let telemetry = metrics_only().endpoint(target).init().unwrap();
        let report = telemetry.shutdown_blocking(Duration::from_secs(10));
        assert!(report.is_complete(), "{report}");
        return;
    }
    let collector = FakeCollector::start();
    let name = "environment::a_program_that_brings_its_own_environment_is_not_touched_by_that_of_the_process";
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name])
        .env(TARGET, collector.url())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-token=from-the-process")
        .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1/elsewhere")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "0")
        .env("OTEL_SERVICE_NAME", "service-of-the-process")
        .env("OTEL_RESOURCE_ATTRIBUTES", "a=attribute-of-the-process")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let requests = collector.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].head.starts_with("post /v1/metrics "), "{}", requests[0].head);
    assert!(!requests[0].head.contains("x-token"), "{}", requests[0].head);
    let body = String::from_utf8_lossy(&requests[0].body).into_owned();
    assert!(body.contains("unknown_service:"), "{body}");
    assert!(!body.contains("of-the-process"), "{body}");
}

#[test]
fn the_environment_of_the_process_is_what_init_reads_by_default() {
    #[expect(clippy::disallowed_methods, reason = "how the parent talks to its child")]
    if env::var(TARGET).is_ok() {
        let error = obs::init().unwrap_err().to_string();
        assert!(error.starts_with("OBS_SAMPLE_RATE=\"2\": rate 2 is not in [0, 1]"), "{error}");
        return;
    }
    let output = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "environment::the_environment_of_the_process_is_what_init_reads_by_default",
        ])
        .env(TARGET, "child")
        .env("OBS_SAMPLE_RATE", "2")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
