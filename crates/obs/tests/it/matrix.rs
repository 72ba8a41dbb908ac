//! Every way in which a Collector can fail, over both protocols, on every runtime: no flush and no shutdown
//! takes longer than it may, and each failure is counted.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use obs::{ExportError, Protocol, Report, Telemetry};
use tokio::net::TcpSocket;

use crate::{
    deadlines::RUNNERS,
    ports::free_port,
    support::{Server, Stalled, metrics_only, patiently, timed, total, two_runs},
};

/// Each combination so often: with 4 failures, 2 protocols and 5 ways to run, 120 times…
const ROUNDS: u32 = 3;
/// … and 4,000 times in a soak.
const ROUNDS_OF_A_SOAK: u32 = 100;
/// What a busy machine may add to two deadlines.
const SLACK: Duration = Duration::from_secs(2);
const PACE: Duration = Duration::from_millis(20);

/// A way to fail, for as long as it lives.
enum Fault {
    Refused(u16),
    Stalled(Stalled),
    Blackholed(Blackhole),
    Slow(Slow),
}

impl Fault {
    fn port(&self) -> u16 {
        match self {
            Self::Refused(port) => *port,
            Self::Stalled(server) => server.port(),
            Self::Blackholed(hole) => hole.address.port(),
            Self::Slow(slow) => slow.server.address.port(),
        }
    }
}

/// Whoever connects waits: nobody takes connections, and the queue of those that wait is full.
struct Blackhole {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
    _listener: tokio::net::TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Blackhole {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
            socket.listen(1).unwrap()
        };
        let address = listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100));
        let mut waiting = Vec::new();
        while let Ok(stream) = connect() {
            waiting.push(stream);
            assert!(waiting.len() < 100, "the queue of connections is never full");
        }
        Self { address, _runtime: runtime, _listener: listener, _waiting: waiting }
    }
}

/// Answers, a byte at a time, for ever.
struct Slow {
    server: Server,
    over: Arc<AtomicBool>,
}

impl Slow {
    fn start(protocol: Protocol) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let server = Server::start(move |mut stream| {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                // The settings that open an HTTP/2 connection, then pings without end; or a head of
                // HTTP/1.1 that gets longer and longer.
                let (first, again): (&[u8], &[u8]) = match protocol {
                    Protocol::Grpc => (
                        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
                        &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
                    ),
                    _ => (b"HTTP/1.1 200 OK\r\nx: ", b"x"),
                };
                let mut sent = stream.write_all(first);
                while sent.is_ok() && !ended.load(Ordering::SeqCst) {
                    thread::sleep(PACE);
                    sent = stream.write_all(again);
                }
            });
        });
        Self { server, over }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

fn faults(protocol: Protocol) -> [(&'static str, Fault); 4] {
    [
        ("refused", Fault::Refused(free_port())),
        ("stalled", Fault::Stalled(Stalled::start())),
        ("blackholed", Fault::Blackholed(Blackhole::start())),
        ("slow", Fault::Slow(Slow::start(protocol))),
    ]
}

fn rounds_of_each() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "how the scripts ask for more")]
    let soak = std::env::var("OBS_TEST_SOAK").is_ok();
    if soak { ROUNDS_OF_A_SOAK } else { ROUNDS }
}

/// One combination.
fn rounds(protocol: Protocol, fault: &Fault, name: &str, run: fn(Telemetry) -> (Report, Report)) {
    for _ in 0..rounds_of_each() {
        let telemetry = metrics_only()
            .endpoint(format!("http://127.0.0.1:{}", fault.port()))
            .protocol(protocol)
            .snapshots(true)
            .init()
            .unwrap();
        two_runs(&telemetry);
        let ((flush, shutdown), took) = patiently(move || timed(|| run(telemetry)));
        assert!(took < 2 * crate::deadlines::DEADLINE + SLACK, "{protocol:?} {name}: {took:?}");
        for report in [flush, shutdown] {
            let error = report.export.unwrap_err();
            assert!(
                matches!(error, ExportError::Deadline { .. } | ExportError::Failed { .. }),
                "{protocol:?} {name}: {error}"
            );
        }
    }
}

fn every_combination(protocol: Protocol) {
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (fault_name, fault) in faults(protocol) {
            let failed = &failed;
            scope.spawn(move || {
                for (runner, run) in RUNNERS {
                    let name = format!("{fault_name}, {runner}");
                    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        rounds(protocol, &fault, &name, run);
                    }));
                    if checked.is_err() {
                        failed.lock().unwrap().push(name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{protocol:?}: {failed:?}");
}

#[test]
fn over_grpc_no_failure_on_no_runtime_holds_up_a_flush_or_a_shutdown() {
    every_combination(Protocol::Grpc);
}

#[test]
fn over_http_no_failure_on_no_runtime_holds_up_a_flush_or_a_shutdown() {
    every_combination(Protocol::HttpProtobuf);
}

#[test]
fn every_failure_is_counted_whatever_it_is() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        for (name, fault) in faults(protocol) {
            let telemetry = metrics_only()
                .endpoint(format!("http://127.0.0.1:{}", fault.port()))
                .protocol(protocol)
                .snapshots(true)
                .init()
                .unwrap();
            for _ in 0..3 {
                assert!(telemetry.flush_blocking(crate::deadlines::DEADLINE).export.is_err());
            }
            let snapshot = telemetry.snapshot().unwrap();
            let metrics = [("signal", "metrics")];
            let failures = total(&snapshot, "obs.export.failures", &metrics);
            assert_eq!(failures, 3.0, "{protocol:?} {name}");
            let ours = snapshot.metrics.iter().all(|metric| metric.name.starts_with("obs."));
            assert!(ours, "exports are not measured themselves: {snapshot:?}");
            let _ = telemetry.shutdown_blocking(Duration::from_millis(10));
        }
    }
}
