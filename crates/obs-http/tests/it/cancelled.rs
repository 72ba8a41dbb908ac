//! A request ends exactly once, also when nobody waits for its answer.

use std::io::{Read, Write};

use bytes::Bytes;
use obs_core::Status;

use crate::support::{LONG, Rig, rig, until};

const REQUEST: &[u8] = b"GET /gate HTTP/1.1\r\nHost: shop\r\n\r\n";

fn error_types(rig: &Rig) -> Vec<(Option<String>, u64)> {
    let export = rig.exports.read();
    let points = export.histograms["http.server.request.duration"].iter();
    points.map(|(at, of)| (at.get("error.type").cloned(), of.count)).collect()
}

#[test]
fn a_caller_that_hangs_up_before_the_answer_is_one_cancelled_request() {
    let rig = rig();
    let mut connection = rig.connect();
    connection.write_all(REQUEST).unwrap();
    until("the request is inside", || rig.in_flight() == 1);
    let active = rig.exports.read().total("http.server.active_requests");
    assert_eq!(active, 1.0);
    drop(connection);
    rig.idle();
    assert_eq!(rig.exports.read().total("http.server.active_requests"), 0.0);
    assert_eq!(error_types(&rig), [(Some("cancelled".to_owned()), 1)]);
    let rows = rig.rows("http.server");
    assert_eq!((rows.len(), rows[0].status), (1, Status::Cancelled));
    rig.test.assert_balanced();
}

#[test]
fn a_stream_is_in_flight_until_its_last_byte() {
    let rig = rig();
    let mut connection = rig.connect();
    connection.write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    until("the stream is open", || !rig.shop.streams.lock().unwrap().is_empty());
    let mut sender = rig.shop.streams.lock().unwrap().remove(0);
    rig.server.block_on(sender.send_data(Bytes::from_static(b"first"))).unwrap();
    let mut seen = [0; 256];
    let count = connection.read(&mut seen).unwrap();
    assert!(count > 0 && rig.in_flight() == 1);
    rig.server.block_on(sender.send_data(Bytes::from_static(b"second"))).unwrap();
    drop(sender);
    rig.idle();
    assert_eq!(error_types(&rig), [(None, 1)]);
    let export = rig.exports.read();
    let sizes = &export.histograms["http.server.response.body.size"];
    assert_eq!(sizes.values().map(|size| size.sum).sum::<f64>(), 11.0);
}

#[test]
fn a_stream_that_the_caller_leaves_half_way_ends_the_request() {
    let rig = rig();
    let mut connection = rig.connect();
    connection.write_all(b"GET /stream HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
    until("the stream is open", || !rig.shop.streams.lock().unwrap().is_empty());
    let mut sender = rig.shop.streams.lock().unwrap().remove(0);
    rig.server.block_on(sender.send_data(Bytes::from_static(b"half"))).unwrap();
    let mut seen = [0; 64];
    assert!(connection.read(&mut seen).unwrap() > 0);
    drop(connection);
    rig.idle();
    assert_eq!(error_types(&rig), [(Some("cancelled".to_owned()), 1)]);
    assert_eq!(rig.exports.read().total("http.server.active_requests"), 0.0);
}

#[test]
fn a_stream_that_breaks_off_is_a_failed_request() {
    let rig = rig();
    let mut connection = rig.connect();
    connection.write_all(b"GET /stream HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
    until("the stream is open", || !rig.shop.streams.lock().unwrap().is_empty());
    let sender = rig.shop.streams.lock().unwrap().remove(0);
    sender.abort(std::io::Error::other("broken"));
    rig.idle();
    assert_eq!(error_types(&rig), [(Some("_OTHER".to_owned()), 1)]);
    assert_eq!(rig.rows("http.server")[0].status, Status::Error);
}

#[test]
fn answers_without_a_body_and_to_head_requests_are_complete() {
    let rig = rig();
    let head = "HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n";
    rig.ask(&format!("HEAD /users/7 {head}\r\n"));
    rig.ask(&format!("POST /ignore {head}Content-Length: 0\r\n\r\n"));
    rig.idle();
    assert!(error_types(&rig).iter().all(|(error, _)| error.is_none()), "{:?}", error_types(&rig));
    let classes = rig.runtime.snapshot().requests.classes();
    assert_eq!((classes.success, classes.total()), (2, 2));
}

/// Callers that come, ask, and leave at once or later, while others are served.
#[test]
fn under_load_with_cancelled_connections_in_flight_returns_to_zero() {
    const CALLERS: usize = 4;
    const ROUNDS: usize = 100;
    let rig = rig();
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let rig = &rig;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    match (caller + round) % 4 {
                        0 => assert!(rig.get("/users/7").ends_with("ada")),
                        1 => drop(rig.get("/panic")),
                        leaves => {
                            let path = if leaves == 2 { "/gate" } else { "/stream" };
                            let mut connection = rig.connect();
                            let request = format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n");
                            connection.write_all(request.as_bytes()).unwrap();
                        }
                    }
                }
            });
        }
    });
    rig.idle();
    until("the metric says so, too", || {
        rig.exports.read().total("http.server.active_requests") == 0.0
    });
    // Callers that left early may still wait to be accepted: with the server goes the last of them.
    rig.server.shutdown_timeout(LONG);
    let requests = rig.runtime.snapshot().requests;
    assert_eq!(requests.started, requests.finished);
    assert_eq!(requests.classes().total(), requests.finished);
    assert!(requests.classes().cancelled > 0, "{requests:?}");
    let export = rig.exports.read();
    assert_eq!(export.total("http.server.active_requests"), 0.0);
    let ended: u64 =
        export.histograms["http.server.request.duration"].values().map(|of| of.count).sum();
    assert_eq!(ended, requests.finished);
    let rows = rig.test.records();
    let rows = rows.iter().filter(|row| &*row.kind == "http.server").count();
    assert_eq!(rows as u64, requests.finished);
    rig.test.assert_balanced();
}
