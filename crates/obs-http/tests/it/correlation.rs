//! One request, one set of ids: in its answer, in its row, and in the runs inside.

use obs_http::{Provenance, RequestIds};

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
        assert_eq!(row.span_id.as_deref(), Some("00f067aa0ba902b7"));
    }
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
    use obs_http::HttpLayer;
    use opentelemetry::{
        Context,
        trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
    };
    use tower::{Layer as _, ServiceExt as _};

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
