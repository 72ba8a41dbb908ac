//! What a gRPC request carries, seen by an HTTP/2 server of our own.

use std::{net::Ipv4Addr, sync::mpsc, thread};

use http::{HeaderMap, HeaderValue, Response};
use obs::{Environment, Exported, Protocol};

use crate::support::{PATIENCE, metrics_only};

/// Serves one export and gives its path and headers.
fn serve_once() -> (u16, mpsc::Receiver<(String, HeaderMap)>) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut answer))) = connection.accept().await {
                let (parts, _body) = request.into_parts();
                sender.send((parts.uri.to_string(), parts.headers)).unwrap();
                let head = Response::builder()
                    .header("content-type", "application/grpc")
                    .body(())
                    .unwrap();
                let mut body = answer.send_response(head, false).unwrap();
                // An empty message, then the status: ok.
                body.send_data(vec![0, 0, 0, 0, 0].into(), false).unwrap();
                let ok = HeaderMap::from_iter([(
                    "grpc-status".parse().unwrap(),
                    HeaderValue::from_static("0"),
                )]);
                body.send_trailers(ok).unwrap();
            }
        });
    });
    (port, receiver)
}

#[test]
fn headers_and_compression_travel_with_a_grpc_export() {
    let (port, received) = serve_once();
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
    let (path, headers) = received.recv_timeout(PATIENCE).unwrap();
    let service = "opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    assert_eq!(path, format!("http://127.0.0.1:{port}/{service}"));
    assert_eq!(headers["x-token"], "a b");
    assert_eq!(headers["x-tenant"], "acme");
    assert_eq!(headers["grpc-encoding"], "gzip");
    assert!(headers["user-agent"].to_str().unwrap().starts_with("obs/"), "{headers:?}");
}
