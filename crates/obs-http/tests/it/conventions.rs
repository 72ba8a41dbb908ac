//! OpenTelemetry's conventions for HTTP servers.

use axum::{Router, routing::get};

use crate::support::{LONG, rig, rig_with};

const OK: [(&str, &str); 5] = [
    ("http.request.method", "GET"),
    ("http.response.status_code", "200"),
    ("http.route", "/users/{id}"),
    ("network.protocol.version", "1.1"),
    ("url.scheme", "http"),
];

#[test]
fn a_request_has_the_duration_sizes_units_and_bounds_of_the_conventions() {
    let rig = rig();
    assert!(rig.get("/users/7").ends_with("ada"));
    rig.idle();
    let export = rig.exports.read();
    let duration = export.histogram("http.server.request.duration", &OK).unwrap();
    let bounds = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
    assert_eq!((&*duration.bounds, duration.count), (&bounds[..], 1));
    assert!(duration.sum > 0.0 && duration.sum < LONG.as_secs_f64());
    assert_eq!(export.histogram("http.server.response.body.size", &OK).unwrap().sum, 3.0);
    assert_eq!(export.histogram("http.server.request.body.size", &OK).unwrap().sum, 0.0);
    for (name, unit) in [
        ("http.server.request.duration", "s"),
        ("http.server.active_requests", "{request}"),
        ("http.server.request.body.size", "By"),
        ("http.server.response.body.size", "By"),
    ] {
        assert_eq!(export.units[name], unit);
    }
}

#[test]
fn raw_paths_never_get_onto_metrics_and_templates_do() {
    let rig = rig();
    for path in ["/users/7", "/users/8", "/users/secret-9?token=1", "/no/such/path-1", "/path-2"] {
        rig.get(path);
    }
    rig.idle();
    let export = rig.exports.read();
    let points = &export.histograms["http.server.request.duration"];
    let routes: Vec<_> = points.keys().map(|point| point.get("http.route").cloned()).collect();
    assert_eq!(routes, [Some("/users/{id}".to_owned()), None]);
    assert_eq!(points.values().map(|point| point.count).collect::<Vec<_>>(), [3, 2]);
    let snapshot = rig.runtime.snapshot().requests;
    assert_eq!(snapshot.by_route.keys().collect::<Vec<_>>(), ["/users/{id}"]);
    assert_eq!(snapshot.unrouted.classes.client_error, 2);
}

#[test]
fn the_template_of_a_nested_router_is_the_whole_one() {
    let rig = rig_with(
        |builder| builder,
        |router, layer| {
            let items = Router::new().route("/items/{id}", get(async || "item"));
            router.nest("/api/{tenant}", items).layer(layer)
        },
    );
    assert!(rig.get("/api/acme/items/7").ends_with("item"));
    rig.idle();
    let routes = rig.runtime.snapshot().requests.by_route;
    assert_eq!(routes.keys().collect::<Vec<_>>(), ["/api/{tenant}/items/{id}"]);
}

#[test]
fn a_server_error_has_its_status_as_error_type_and_a_client_error_has_none() {
    let rig = rig();
    rig.get("/fail");
    rig.get("/nothing");
    rig.idle();
    let export = rig.exports.read();
    let points = &export.histograms["http.server.request.duration"];
    let of = |status: &str| {
        let mut found = points.keys().filter(|point| point["http.response.status_code"] == status);
        found.next().unwrap().get("error.type").cloned()
    };
    assert_eq!(of("502").as_deref(), Some("502"));
    assert_eq!(of("404"), None);
}

#[test]
fn a_method_that_the_conventions_do_not_know_is_other() {
    let rig = rig();
    for method in ["PROPFIND", "X-1", "get"] {
        rig.ask(&format!("{method} /users/7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    }
    rig.idle();
    let export = rig.exports.read();
    let points = &export.histograms["http.server.request.duration"];
    let methods = points.iter().map(|(at, of)| (&*at["http.request.method"], of.count));
    assert_eq!(methods.collect::<Vec<_>>(), [("_OTHER", 3)]);
}

#[test]
fn the_bytes_that_are_read_and_sent_are_measured() {
    let rig = rig();
    let body = "x".repeat(5_000);
    let head = "HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: 5000\r\n\r\n";
    assert!(rig.ask(&format!("POST /echo {head}{body}")).ends_with(&body));
    rig.ask(&format!("POST /ignore {head}{body}"));
    rig.idle();
    let export = rig.exports.read();
    let sum = |name: &str, route: &str| {
        let points = export.histograms[name].iter();
        points.filter(|(at, _)| at["http.route"] == route).map(|(_, of)| of.sum).sum::<f64>()
    };
    assert_eq!(sum("http.server.request.body.size", "/echo"), 5_000.0);
    assert_eq!(sum("http.server.response.body.size", "/echo"), 5_000.0);
    // What the service did not read was not received by it.
    assert_eq!(sum("http.server.request.body.size", "/ignore"), 0.0);
}

#[test]
fn our_own_paths_are_left_out_of_everything() {
    let rig =
        rig_with(|builder| builder.exclude("/users/probe"), |router, layer| router.layer(layer));
    for path in ["/healthz", "/healthz?verbose", "/users/probe", "/users/7"] {
        assert!(rig.get(path).starts_with("HTTP/1.1 200"));
    }
    rig.idle();
    let export = rig.exports.read();
    let points = &export.histograms["http.server.request.duration"];
    assert_eq!(points.values().map(|point| point.count).sum::<u64>(), 1);
    assert_eq!(rig.runtime.snapshot().requests.started, 1);
    assert_eq!(rig.rows("http.server").len(), 1);
}

#[test]
fn a_closure_may_name_the_routes_and_raw_paths_from_it_are_bounded() {
    let rig = rig_with(
        |builder| builder.route(|request| Some(request.uri.path().to_owned())),
        |router, layer| router.layer(layer),
    );
    for number in 0..=obs_http::ROUTES_MAX {
        rig.get(&format!("/users/{number}"));
    }
    rig.idle();
    let export = rig.exports.read();
    let points = &export.histograms["http.server.request.duration"];
    let count = |route: &str| {
        let of_route = points.iter().filter(|(at, _)| at["http.route"] == route);
        of_route.map(|(_, of)| of.count).sum::<u64>()
    };
    assert_eq!((count("/users/0"), count("/users/200"), count("_OTHER")), (1, 0, 1));
}

#[test]
fn any_tower_service_will_do_and_its_error_is_measured_and_passed_on() {
    use http_body_util::Full;
    use obs_http::{HttpLayer, RequestBody, Runtime, otel::HttpMetrics};
    use tower::{Layer as _, ServiceExt as _};

    let exports = crate::support::Exports::new();
    let runtime = Runtime::new();
    let layer = HttpLayer::builder()
        .metrics(HttpMetrics::new(&exports.meter()))
        .runtime(&runtime)
        .route(|_| Some("/any".to_owned()))
        .build();
    type Asked = http::Request<RequestBody<Full<bytes::Bytes>>>;
    let inner = tower::service_fn(async |request: Asked| {
        if request.uri().path() == "/broken" {
            return Err("broken");
        }
        Ok(http::Response::new(Full::new(bytes::Bytes::from_static(b"hello"))))
    });
    let service = layer.layer(inner);
    let ask = |path: &str| {
        let request = http::Request::builder().uri(path).body(Full::<bytes::Bytes>::default());
        futures_executor::block_on(service.clone().oneshot(request.unwrap()))
    };
    assert_eq!(ask("/broken").err(), Some("broken"));
    let answer = ask("/fine").unwrap();
    assert_eq!(runtime.snapshot().requests.in_flight, 1, "until its body has been sent");
    drop(futures_executor::block_on(http_body_util::BodyExt::collect(answer.into_body())).unwrap());
    let export = exports.read();
    let points = &export.histograms["http.server.request.duration"];
    let errors: Vec<_> = points.keys().map(|at| at.get("error.type").map(String::as_str)).collect();
    assert_eq!(errors, [Some("_OTHER"), None]);
    assert_eq!(export.total("http.server.active_requests"), 0.0);
    assert_eq!(runtime.snapshot().requests.unrouted.classes.total(), 0);
}
