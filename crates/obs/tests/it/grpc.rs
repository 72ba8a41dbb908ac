//! What a gRPC request carries, seen by an HTTP/2 server of our own.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use http::{HeaderMap, HeaderValue, Response};
use obs::{Environment, Exported, Protocol};

use crate::support::{PATIENCE, metrics_only};

/// A server that takes every call.
pub(crate) struct GrpcServer {
    pub(crate) port: u16,
    calls: mpsc::Receiver<(String, HeaderMap)>,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl GrpcServer {
    /// The message that calls are answered with from now on.
    pub(crate) fn answer(&self, message: Vec<u8>) {
        *self.answer.lock().unwrap() = message;
    }
}

/// Serves until the test's process ends.
pub(crate) fn serve() -> GrpcServer {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, calls) = mpsc::sync_channel(100);
    let answer: Arc<Mutex<Vec<u8>>> = Arc::default();
    let answers = Arc::clone(&answer);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_connection(stream, sender.clone(), Arc::clone(&answers)));
            }
        });
    });
    GrpcServer { port, calls, answer }
}

async fn serve_connection(
    stream: tokio::net::TcpStream,
    sender: mpsc::SyncSender<(String, HeaderMap)>,
    answers: Arc<Mutex<Vec<u8>>>,
) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut answer))) = connection.accept().await {
        let (parts, _body) = request.into_parts();
        sender.send((parts.uri.to_string(), parts.headers)).unwrap();
        let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut body = answer.send_response(head, false).unwrap();
        // Not compressed, four bytes of length, the message; then the status: ok.
        let message = answers.lock().unwrap().clone();
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        body.send_data(frame.into(), false).unwrap();
        let ok =
            HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
        body.send_trailers(ok).unwrap();
    }
}

#[test]
fn headers_and_compression_travel_with_a_grpc_export() {
    let server = serve();
    let port = server.port;
    let environment = Environment::from_iter([
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-token=a%20b,x-tenant=acme"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ]);
    let telemetry = metrics_only()
        .environment(environment)
        .endpoint(format!("http://127.0.0.1:{port}"))
        .protocol(Protocol::Grpc)
        .init()
        .unwrap();
    assert_eq!(telemetry.flush_blocking(PATIENCE).export, Ok(Exported::Done));
    let (path, headers) = server.calls.recv_timeout(PATIENCE).unwrap();
    let service = "opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    assert_eq!(path, format!("http://127.0.0.1:{port}/{service}"));
    assert_eq!(headers["x-token"], "a b");
    assert_eq!(headers["x-tenant"], "acme");
    assert_eq!(headers["grpc-encoding"], "gzip");
    assert!(headers["user-agent"].to_str().unwrap().starts_with("obs/"), "{headers:?}");
}
