//! Servers that behave, stall or refuse, and waiting without sleeping longer than needed.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use obs::{Builder, Clock, Environment, Kind, MetricsSnapshot, Telemetry};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A builder that sees nothing of this process' environment and stores nothing.
pub(crate) fn metrics_only() -> Builder {
    obs::builder().environment(Environment::empty()).rows(false)
}

/// One ok run and one failure.
pub(crate) fn two_runs(telemetry: &Telemetry) {
    runs(&telemetry.kind("dsl.execution"), 2);
}

/// So many runs, the second, fourth … of which fail.
pub(crate) fn runs(kind: &Kind, count: u32) {
    let strategy =
        kind.strategy("bonus").version("1").realm("acme").type_("DSL_FULL").build().unwrap();
    for run in 0..count {
        let result = if run % 2 == 0 { Ok(run) } else { Err("no points".to_owned()) };
        let _ = strategy.observe(&run, |node| {
            node.node("first").branch("match");
            result
        });
    }
}

/// The sum of a metric's numbers over the series that carry these attributes.
pub(crate) fn total(snapshot: &MetricsSnapshot, name: &str, attributes: &[(&str, &str)]) -> f64 {
    let Some(metric) = snapshot.metric(name) else { return 0.0 };
    metric.series_with(attributes).filter_map(|series| series.value.number()).sum()
}

/// How long something took, and what it gave.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let clock = Clock::default();
    let start = clock.now();
    let output = work();
    (output, clock.now().since(start))
}

/// Looks until there is something to see.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::default();
    let start = clock.now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(clock.now().since(start) < PATIENCE, "not seen in {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs what might never end on a thread of its own, and gives up on it in time.
#[track_caller]
pub(crate) fn patiently<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        // The test may have given up meanwhile.
        let _ = sender.send(work());
    });
    receiver.recv_timeout(PATIENCE).unwrap()
}

/// A server that takes connections and never answers.
pub(crate) struct Stalled {
    server: Server,
}

impl Stalled {
    pub(crate) fn start() -> Self {
        let held = Mutex::new(Vec::new());
        Self { server: Server::start(move |stream| held.lock().unwrap().push(stream)) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.address.port()
    }
}

/// A server that speaks just enough HTTP to take OTLP.
pub(crate) struct FakeCollector {
    server: Server,
    requests: Arc<Mutex<Vec<Request>>>,
    status: Arc<AtomicU16>,
    body: Arc<Mutex<Vec<u8>>>,
    takes: Arc<AtomicUsize>,
    headers: Arc<Mutex<String>>,
}

/// What was posted.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The request line and the headers, one per line, in lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl FakeCollector {
    pub(crate) fn start() -> Self {
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let status = Arc::new(AtomicU16::new(200));
        let body: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (taken, answer) = (Arc::clone(&requests), Arc::clone(&status));
        let answers = Arc::clone(&body);
        let takes = Arc::new(AtomicUsize::new(usize::MAX));
        let limit = Arc::clone(&takes);
        let headers: Arc<Mutex<String>> = Arc::default();
        let more = Arc::clone(&headers);
        let server = Server::start(move |mut stream| {
            let Some(request) = read_request(&stream) else { return };
            let too_large = request.body.len() > limit.load(Ordering::SeqCst);
            taken.lock().unwrap().push(request);
            let status = if too_large { 503 } else { answer.load(Ordering::SeqCst) };
            let body = answers.lock().unwrap().clone();
            let (length, more) = (body.len(), more.lock().unwrap().clone());
            let _ = write!(
                stream,
                "HTTP/1.1 {status} Whatever\r\n{more}content-length: {length}\r\n\r\n"
            );
            let _ = stream.write_all(&body);
        });
        Self { server, requests, status, body, takes, headers }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    pub(crate) fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// A header of the next answers.
    #[cfg_attr(
        not(feature = "sentry"),
        expect(dead_code, reason = "only reports of errors heed any")
    )]
    pub(crate) fn answer_header(&self, name: &str, value: &str) {
        *self.headers.lock().unwrap() = format!("{name}: {value}\r\n");
    }

    /// What is larger is answered with 503.
    pub(crate) fn refuse_larger_than(&self, bytes: usize) {
        self.takes.store(bytes, Ordering::SeqCst);
    }

    pub(crate) fn answer_body(&self, body: Vec<u8>) {
        *self.body.lock().unwrap() = body;
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

pub(crate) fn read_request(stream: impl Read) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim_end().is_empty() {
            break;
        }
        head.push_str(&line.to_ascii_lowercase());
    }
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: "))?.trim().parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { head, body })
}

/// A listener on a thread, until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(serve: impl Fn(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                serve(stream);
            }
        });
        Self { address, over }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the listener, so that its thread sees the end.
        let _ = TcpStream::connect(self.address);
    }
}
