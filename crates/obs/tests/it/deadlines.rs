//! A deadline is a deadline: for grpc and http, refused and stalled, on any runtime and on none.

use std::{future::Future, task::Poll, time::Duration};

use obs::{Environment, ExportError, Protocol, Report, Telemetry};

use crate::{
    ports::free_port,
    support::{FakeCollector, PATIENCE, Stalled, metrics_only, patiently, timed, two_runs},
};

pub(crate) const DEADLINE: Duration = Duration::from_millis(300);
/// What a busy machine may add. The SDK's own shutdown takes 2 to 5 seconds here, or never ends.
const SLACK: Duration = Duration::from_millis(700);

pub(crate) type Runner = fn(Telemetry) -> (Report, Report);

/// Flush, then shutdown, each on the runtime of its name.
pub(crate) const RUNNERS: [(&str, Runner); 5] = [
    ("no runtime, blocking", |telemetry| {
        (telemetry.flush_blocking(DEADLINE), telemetry.shutdown_blocking(DEADLINE))
    }),
    ("current-thread", |telemetry| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(both(telemetry))
    }),
    ("current-thread, blocking inside", |telemetry| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            (telemetry.flush_blocking(DEADLINE), telemetry.shutdown_blocking(DEADLINE))
        })
    }),
    ("one worker, in a task", |telemetry| spawned(1, both(telemetry))),
    ("two workers, in a task", |telemetry| spawned(2, both(telemetry))),
];

async fn both(telemetry: Telemetry) -> (Report, Report) {
    (telemetry.flush(DEADLINE).await, telemetry.shutdown(DEADLINE).await)
}

fn spawned<T: Send + 'static>(workers: usize, work: impl Future<Output = T> + Send + 'static) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).build().unwrap();
    runtime.block_on(async { tokio::spawn(work).await.unwrap() })
}

fn every_runner_keeps_the_deadline(protocol: Protocol, port: u16) {
    for (name, run) in RUNNERS {
        let telemetry = metrics_only()
            .endpoint(format!("http://127.0.0.1:{port}"))
            .protocol(protocol)
            .init()
            .unwrap();
        two_runs(&telemetry);
        let ((flush, shutdown), took) = timed(|| run(telemetry));
        assert!(took < 2 * DEADLINE + SLACK, "{name}: {took:?}");
        for report in [flush, shutdown] {
            let error = report.export.unwrap_err();
            assert!(!matches!(error, ExportError::Stopped), "{name}: {error}");
            assert!(error.to_string().contains(&port.to_string()), "{name}: {error}");
        }
    }
}

#[test]
fn http_to_a_collector_that_never_answers_keeps_the_deadline() {
    let stalled = Stalled::start();
    every_runner_keeps_the_deadline(Protocol::HttpProtobuf, stalled.port());
}

#[test]
fn http_to_a_port_that_refuses_keeps_the_deadline() {
    every_runner_keeps_the_deadline(Protocol::HttpProtobuf, free_port());
}

#[test]
fn grpc_to_a_collector_that_never_answers_keeps_the_deadline() {
    let stalled = Stalled::start();
    every_runner_keeps_the_deadline(Protocol::Grpc, stalled.port());
}

#[test]
fn grpc_to_a_port_that_refuses_keeps_the_deadline() {
    every_runner_keeps_the_deadline(Protocol::Grpc, free_port());
}

#[test]
fn a_flush_waits_for_the_export_under_way_only_as_long_as_its_own_deadline() {
    let stalled = Stalled::start();
    let telemetry = metrics_only()
        .endpoint(format!("http://127.0.0.1:{}", stalled.port()))
        // An export is under way all the time.
        .export_interval(Duration::from_millis(1))
        .init()
        .unwrap();
    let (report, took) = timed(|| telemetry.flush_blocking(DEADLINE));
    assert!(took < DEADLINE + SLACK, "{took:?}");
    assert!(matches!(report.export, Err(ExportError::Deadline { .. })), "{report}");
    let (report, took) = timed(|| telemetry.shutdown_blocking(DEADLINE));
    assert!(took < DEADLINE + SLACK, "{took:?}");
    assert!(matches!(report.export, Err(ExportError::Deadline { .. })), "{report}");
}

#[test]
fn the_timeout_of_a_request_ends_it_long_before_the_deadline() {
    let stalled = Stalled::start();
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        let telemetry = metrics_only()
            .environment(Environment::from_iter([("OTEL_EXPORTER_OTLP_TIMEOUT", "200")]))
            .endpoint(format!("http://127.0.0.1:{}", stalled.port()))
            .protocol(protocol)
            .init()
            .unwrap();
        let (report, took) = timed(|| telemetry.flush_blocking(PATIENCE));
        assert!(took < DEADLINE + SLACK, "{protocol:?}: {took:?}");
        assert!(matches!(report.export, Err(ExportError::Failed { .. })), "{report}");
    }
}

#[test]
fn blocking_in_a_task_that_has_used_up_its_turn_ends_all_the_same() {
    let report = patiently(|| {
        let collector = FakeCollector::start();
        let telemetry = metrics_only().endpoint(collector.url()).init().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(after_its_turn(|| telemetry.flush_blocking(PATIENCE)))
    });
    assert!(report.is_complete(), "{report}");
}

/// A task may take 128 steps at a turn; then tokio's own primitives say "not yet" until it gives
/// up the thread, which a blocking call does not.
async fn after_its_turn<T>(mut work: impl FnMut() -> T) -> T {
    std::future::poll_fn(|context| {
        for _ in 0..1_000 {
            let (sender, mut receiver) = tokio::sync::oneshot::channel();
            sender.send(()).unwrap();
            if std::pin::Pin::new(&mut receiver).poll(context).is_pending() {
                return Poll::Ready(work());
            }
        }
        panic!("the turn never ends");
    })
    .await
}

#[test]
fn a_callback_that_blocks_does_not_hold_up_the_shutdown() {
    use obs::otel::opentelemetry::metrics::MeterProvider as _;
    let stalled = Stalled::start();
    let telemetry =
        metrics_only().endpoint(format!("http://127.0.0.1:{}", stalled.port())).init().unwrap();
    let (release, blocked) = std::sync::mpsc::sync_channel::<()>(0);
    let blocked = std::sync::Mutex::new(blocked);
    let meter = obs::otel::meter_provider(&telemetry).meter("application");
    let _gauge = meter
        .u64_observable_gauge("stuck")
        .with_callback(move |_| {
            let _ = blocked.lock().unwrap().recv();
        })
        .build();
    let (report, took) = patiently(move || timed(|| telemetry.shutdown_blocking(DEADLINE)));
    assert!(took < DEADLINE + SLACK, "{took:?}");
    assert!(matches!(report.export, Err(ExportError::Deadline { .. })), "{report}");
    drop(release);
}

#[test]
fn a_shutdown_whose_future_is_dropped_can_be_asked_for_again() {
    let stalled = Stalled::start();
    let telemetry =
        metrics_only().endpoint(format!("http://127.0.0.1:{}", stalled.port())).init().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let given_up = runtime.block_on(async {
        let impatient = Duration::from_millis(20);
        tokio::time::timeout(impatient, telemetry.shutdown(Duration::from_secs(60))).await
    });
    assert!(given_up.is_err());
    let (report, took) = timed(|| telemetry.shutdown_blocking(DEADLINE));
    assert!(took < DEADLINE + SLACK, "{took:?}");
    assert!(matches!(report.export, Err(ExportError::Deadline { .. })), "{report}");
}
