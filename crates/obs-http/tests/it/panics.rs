//! A panic becomes an answer.

use http::Method;
use obs_core::Status;
use obs_http::CatchPanicLayer;
use tower_http::cors::{Any, CorsLayer};

use crate::support::{Rig, header, rig, rig_with};

const CROSS: &str =
    "GET /panic HTTP/1.1\r\nHost: shop\r\nOrigin: http://a.example\r\nConnection: close\r\n\r\n";

fn cors() -> CorsLayer {
    CorsLayer::new().allow_origin(Any).allow_methods([Method::GET])
}

fn assert_answered_with_cors(rig: &Rig) {
    let answer = rig.ask(CROSS);
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
    assert!(header(&answer, "x-request-id").is_some());
    assert!(!answer.contains("secret"), "{answer}");
    rig.idle();
    let export = rig.exports.read();
    let points = &export.histograms["http.server.request.duration"];
    let point = points.keys().next().unwrap();
    assert_eq!((&*point["error.type"], &*point["http.response.status_code"]), ("panic", "500"));
    assert_eq!(export.total("http.server.active_requests"), 0.0);
    assert_eq!(rig.rows("http.server")[0].status, Status::Panicked);
    assert_eq!(rig.runtime.snapshot().requests.classes().failed, 1);
}

#[test]
fn a_panic_is_a_500_that_a_cors_layer_outside_still_sees() {
    assert_answered_with_cors(&rig_with(
        |it| it,
        |router, layer| router.layer(layer).layer(cors()),
    ));
}

#[test]
fn where_cors_is_inside_a_panic_that_is_caught_still_further_inside_has_its_headers_too() {
    assert_answered_with_cors(&rig_with(
        |it| it,
        |router, layer| router.layer(CatchPanicLayer).layer(cors()).layer(layer),
    ));
}

#[test]
fn the_connection_lives_on_after_a_panic() {
    let rig = rig();
    let answers = rig.ask(
        "GET /panic HTTP/1.1\r\nHost: a\r\n\r\nGET /users/7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    assert!(answers.starts_with("HTTP/1.1 500") && answers.ends_with("ada"), "{answers}");
}
