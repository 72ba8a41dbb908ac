//! A service behind a real socket, and exports that can be read as numbers.

mod export;

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use http_body_util::channel::{Channel, Sender};
use obs_core::{Clock, KeepPolicy, Rate, RunRecord, Strategy, testing::TestObs};
use obs_http::{
    HttpLayer, HttpLayerBuilder, RequestRecords, Runtime, in_request, otel::HttpMetrics,
};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use tokio::sync::Notify;

pub(crate) use export::Export;

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// What the handlers of the test service share.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) bonus: Strategy,
    /// Handlers of `/gate` wait for it.
    pub(crate) gate: Arc<Notify>,
    /// The ends that feed the bodies of `/stream`.
    pub(crate) streams: Arc<Mutex<Vec<Sender<Bytes, io::Error>>>>,
}

pub(crate) struct Rig {
    pub(crate) test: TestObs,
    pub(crate) runtime: Runtime,
    pub(crate) shop: Shop,
    pub(crate) address: SocketAddr,
    // Exports and server end with the rig.
    pub(crate) exports: Exports,
    pub(crate) server: tokio::runtime::Runtime,
}

pub(crate) struct Exports {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

impl Exports {
    pub(crate) fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
        Self { provider, exporter }
    }

    pub(crate) fn meter(&self) -> opentelemetry::metrics::Meter {
        self.provider.meter("obs")
    }

    /// Collects and reads what was exported.
    pub(crate) fn read(&self) -> Export {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        Export::of(&self.exporter.get_finished_metrics().unwrap())
    }
}

/// Rows of every request and of every run.
pub(crate) fn keep_all() -> KeepPolicy {
    KeepPolicy { ok_rate: Rate::new(1.0).unwrap(), ..KeepPolicy::default() }
}

pub(crate) fn rig() -> Rig {
    rig_with(|builder| builder, |router, layer| router.layer(layer))
}

pub(crate) fn rig_with(
    change: impl FnOnce(HttpLayerBuilder) -> HttpLayerBuilder,
    wrap: impl FnOnce(Router<Shop>, HttpLayer) -> Router<Shop>,
) -> Rig {
    let test = TestObs::with(|builder| builder.policy(keep_all()).clock(Clock::default())).unwrap();
    let exports = Exports::new();
    let runtime = Runtime::of(test.obs());
    let shop = Shop {
        bonus: test.obs().kind("dsl").lookup("bonus", "3"),
        gate: Arc::default(),
        streams: Arc::default(),
    };
    let builder = HttpLayer::builder()
        .metrics(HttpMetrics::new(&exports.meter()))
        .records(RequestRecords::new(test.obs(), keep_all()).unwrap().version("1.4.0"))
        .runtime(&runtime);
    let router = wrap(routes(), change(builder).build()).with_state(shop.clone());
    let server =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = server.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    server.spawn(async move { axum::serve(listener, router).await });
    Rig { test, runtime, shop, address, exports, server }
}

fn routes() -> Router<Shop> {
    Router::new()
        .route("/users/{id}", get(async || "ada"))
        .route("/echo", post(async |body: Bytes| body))
        .route("/ignore", post(async || StatusCode::NO_CONTENT))
        .route("/fail", get(async || (StatusCode::BAD_GATEWAY, "no")))
        .route("/panic", get(panics))
        .route("/gate", get(gate))
        .route("/stream", get(stream))
        .route("/run", get(run))
        .route("/spawn", get(spawn))
        .route("/healthz", get(async || "up"))
}

async fn panics() -> &'static str {
    panic!("a secret of the handler")
}

async fn gate(State(shop): State<Shop>) -> &'static str {
    shop.gate.notified().await;
    "through"
}

async fn stream(State(shop): State<Shop>) -> Body {
    let (sender, body) = Channel::new(4);
    shop.streams.lock().unwrap().push(sender);
    Body::new(body)
}

async fn run(State(shop): State<Shop>) -> &'static str {
    tokio::task::yield_now().await;
    let _: Result<(), String> = shop.bonus.observe(&(), |_run| Ok(()));
    "ran"
}

async fn spawn(State(shop): State<Shop>) -> &'static str {
    let inside = shop.clone();
    let carried = tokio::spawn(in_request(async move {
        tokio::task::yield_now().await;
        let _: Result<(), String> = inside.bonus.observe(&(), |_run| Ok(()));
    }));
    carried.await.unwrap();
    let bare = tokio::spawn(async move {
        let _: Result<(), String> = shop.bonus.observe(&(), |_run| Ok(()));
    });
    bare.await.unwrap();
    "ran"
}

impl Rig {
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Sends a request without a body, and reads the whole answer.
    pub(crate) fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
    }

    /// Sends this as it is, and reads the whole answer.
    pub(crate) fn ask(&self, request: &str) -> String {
        ask(self.address, request)
    }

    /// Waits until no request is inside.
    pub(crate) fn idle(&self) {
        until("no request is in flight", || self.runtime.snapshot().requests.in_flight == 0);
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.runtime.snapshot().requests.in_flight
    }

    /// The rows of requests, or those of runs.
    pub(crate) fn rows(&self, kind: &str) -> Vec<RunRecord> {
        self.test.records().into_iter().filter(|record| &*record.kind == kind).collect()
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

pub(crate) fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A server that has said enough may reset the connection.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The value of a header in an answer.
pub(crate) fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Waits until something is true.
pub(crate) fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    const PAUSE: Duration = Duration::from_millis(2);
    let clock = Clock::default();
    let start = clock.now();
    while !is_true() {
        assert!(clock.now().since(start) < LONG, "never: {what}");
        std::thread::park_timeout(PAUSE);
    }
}
