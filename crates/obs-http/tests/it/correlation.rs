//! One request, one set of ids: in its answer, in its row, and in the runs inside.

use http::HeaderMap;
use obs_core::{Obs, span_id_of, trace_id_of};
use obs_http::{HttpLayer, Propagation, Provenance, RequestIds, inject};
use tower::{Layer as _, ServiceExt as _};

use crate::support::{header, rig};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn ask(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n{headers}\r\n")
}

#[test]
fn runs_inside_a_request_carry_its_ids_without_the_handler_doing_anything() {
    let rig = rig();
    let answer =
        rig.ask(&ask("/run", &format!("X-Request-Id: 4b0c1f\r\ntraceparent: {PARENT}\r\n")));
    assert_eq!(header(&answer, "x-request-id"), Some("4b0c1f"));
    rig.idle();
    for row in [&rig.rows("dsl")[0], &rig.rows("http.server")[0]] {
        assert_eq!(row.correlation_id.as_deref(), Some("4b0c1f"), "{}", row.kind);
        assert_eq!(row.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    }
    // The caller's span is around the request, and the request's around the run.
    let request = &rig.rows("http.server")[0];
    assert_eq!(request.span_id.as_deref(), Some("00f067aa0ba902b7"));
    let span = format!("{:016x}", span_id_of(request.run_id));
    assert_eq!(rig.rows("dsl")[0].span_id, Some(span.into()));
}

#[test]
fn a_request_that_comes_without_a_trace_is_one_with_the_runs_inside() {
    let rig = rig();
    rig.ask(&ask("/run", ""));
    rig.ask(&ask("/run", "traceparent: not one\r\n"));
    rig.idle();
    let (requests, runs) = (rig.rows("http.server"), rig.rows("dsl"));
    for (request, run) in requests.iter().zip(&runs) {
        assert_eq!(
            request.trace_id.as_deref(),
            Some(&*format!("{:032x}", trace_id_of(request.run_id)))
        );
        assert_eq!((&request.trace_id, &request.span_id), (&run.trace_id, &None), "it is the root");
        assert_eq!(run.span_id.as_deref(), Some(&*format!("{:016x}", span_id_of(request.run_id))));
    }
    assert_ne!(requests[0].trace_id, requests[1].trace_id);
}

#[test]
fn whom_a_run_calls_learns_of_the_trace_the_run_the_baggage_and_the_request() {
    let obs = Obs::builder().current_run(true).build().unwrap();
    let bonus = obs.kind("dsl").lookup("bonus", "3");
    let inner = tower::service_fn(async |_: http::Request<obs_http::RequestBody<String>>| {
        let mut in_request = HeaderMap::new();
        inject(&mut in_request);
        let mut in_run = HeaderMap::new();
        let run = |run: &mut obs_core::Run| {
            inject(&mut in_run);
            Ok::<_, String>(run.id())
        };
        let run_id = bonus.observe(&(), run).unwrap();
        let told = |headers: &HeaderMap, name: &str| headers[name].to_str().unwrap().to_owned();
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = format!("{trace}-{:016x}-01", span_id_of(run_id));
        assert_eq!(told(&in_run, "traceparent"), parent);
        assert!(told(&in_request, "traceparent").starts_with(trace));
        assert_ne!(told(&in_request, "traceparent"), PARENT, "the request is a span of its own");
        for headers in [&in_request, &in_run] {
            assert_eq!(told(headers, "tracestate"), "vendor=1");
            assert_eq!(told(headers, "baggage"), "tenant=acme");
            assert_eq!(told(headers, "x-request-id"), "4b0c1f");
        }
        let mut nothing = HeaderMap::new();
        Propagation { trace_context: false, baggage: false }.inject(&mut nothing);
        assert_eq!(nothing.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["x-request-id"]);
        Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
    });
    let request = || {
        http::Request::builder()
            .header("traceparent", PARENT)
            .header("tracestate", "vendor=1")
            .header("baggage", "tenant=acme")
            .header("x-request-id", "4b0c1f")
            .body(String::new())
            .unwrap()
    };
    let service = HttpLayer::builder().build().layer(inner);
    // A handler that panics, as where one of its assertions fails, is answered for.
    let answer = futures_executor::block_on(service.oneshot(request())).unwrap();
    assert_eq!(answer.status(), 200, "see the panic of the handler");

    let stranger = tower::service_fn(async |_: http::Request<obs_http::RequestBody<String>>| {
        let mut headers = HeaderMap::new();
        inject(&mut headers);
        assert!(
            !headers["traceparent"].to_str().unwrap().contains("4bf92f3577b34da6a3ce929d0e0e4736")
        );
        assert!(!headers.contains_key("baggage"));
        Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
    });
    let inside_only = Propagation { trace_context: false, baggage: false };
    let service = HttpLayer::builder().propagation(inside_only).build().layer(stranger);
    let answer = futures_executor::block_on(service.oneshot(request())).unwrap();
    assert_eq!(answer.status(), 200, "see the panic of the handler");
}

#[test]
fn a_spawned_task_carries_the_ids_if_it_is_asked_to() {
    let rig = rig();
    rig.ask(&ask("/spawn", "X-Correlation-Id: flow-7\r\n"));
    let ids: Vec<_> = rig.rows("dsl").into_iter().map(|row| row.correlation_id).collect();
    assert_eq!(ids, [Some("flow-7".into()), None]);
}

#[test]
fn requests_of_one_connection_do_not_inherit_each_others_ids() {
    let rig = rig();
    let first = "GET /run HTTP/1.1\r\nHost: shop\r\nX-Request-Id: first\r\n\r\n";
    rig.ask(&format!("{first}{}", ask("/run", "")));
    let ids: Vec<_> = rig.rows("dsl").into_iter().map(|row| row.correlation_id.unwrap()).collect();
    assert_eq!(ids[0], "first".into());
    assert_eq!(ids[1].len(), 36, "generated: {ids:?}");
}

#[test]
fn an_id_that_is_not_valid_is_replaced_and_the_row_says_so() {
    let rig = rig();
    for (sent, provenance) in [
        ("X-Request-Id: taken-1\r\n", "taken"),
        ("X-Request-Id: no good\r\n", "replaced"),
        ("", "generated"),
    ] {
        let answer = rig.ask(&ask("/users/7", sent));
        rig.idle();
        let row = rig.rows("http.server").pop().unwrap();
        let attributes: serde_json::Value =
            serde_json::from_str(row.attributes.as_ref().unwrap().as_str()).unwrap();
        assert_eq!(attributes["correlation.provenance"], provenance);
        assert_eq!(header(&answer, "x-request-id"), row.correlation_id.as_deref());
    }
}

#[test]
fn two_requests_with_one_id_are_two_requests() {
    let rig = rig();
    for _ in 0..2 {
        rig.ask(&ask("/run", "X-Request-Id: same\r\n"));
    }
    rig.idle();
    let rows = rig.rows("dsl");
    assert_eq!((rows.len(), rig.rows("http.server").len()), (2, 2));
    assert_ne!(rows[0].run_id, rows[1].run_id);
}

#[test]
fn a_span_that_is_current_already_is_nearer_than_the_callers() {
    use opentelemetry::{
        Context,
        trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
    };

    let near = SpanContext::new(
        TraceId::from_bytes([1; 16]),
        SpanId::from_bytes([2; 8]),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    let inner = tower::service_fn(async |request: http::Request<obs_http::RequestBody<String>>| {
        let ids = RequestIds::current().unwrap();
        assert_eq!(
            request.extensions().get::<RequestIds>().unwrap().provenance(),
            ids.provenance()
        );
        assert_eq!(ids.provenance(), Provenance::Generated);
        let trace = Context::map_current(|context| context.span().span_context().trace_id());
        Ok::<_, std::convert::Infallible>(http::Response::new(trace.to_string()))
    });
    let service = HttpLayer::builder().build().layer(inner);
    let request = http::Request::builder().header("traceparent", PARENT).body(String::new());
    let _attached = Context::new().with_remote_span_context(near).attach();
    let answer = futures_executor::block_on(service.oneshot(request.unwrap())).unwrap();
    let body = http_body_util::BodyExt::collect(answer.into_body());
    let body = futures_executor::block_on(body).unwrap().to_bytes();
    assert_eq!(body, "01".repeat(16));
}
