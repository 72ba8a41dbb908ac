//! What a process answers about itself.

use std::time::Duration;

use axum::Router;
use http::{Request, StatusCode, header};
use obs_core::{Obs, StoreMetrics, StoreState};
use obs_http::{
    Access, Endpoints, EndpointsBuilder, HealthStatus, HttpLayer, RequestIds, Runtime, for_axum,
};
use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{LONG, until};

const TOKEN: &str = "0123456789abcdef0123";

fn guarded() -> EndpointsBuilder {
    Endpoints::builder(Access::token(TOKEN).unwrap())
}

/// Status, headers and body of an answer.
fn ask(endpoints: &Endpoints, path: &str, token: Option<&str>) -> (StatusCode, String, Value) {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let answer = endpoints.answer(&parts);
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let json = serde_json::from_str(answer.body()).unwrap_or_default();
    (answer.status(), answer.into_body(), json)
}

/// A persister whose store a test can take away.
struct Stored {
    store: MemoryStore,
    persister: Persister,
    obs: Obs,
}

fn stored() -> Stored {
    let store = MemoryStore::new();
    let config = PersistConfig::default();
    let persister =
        Persister::start(config, Box::new(store.clone()), StoreMetrics::default()).unwrap();
    let policy = crate::support::keep_all();
    let obs = Obs::builder().sink(persister.sink()).policy(policy).build().unwrap();
    Stored { store, persister, obs }
}

impl Stored {
    fn run(&self) {
        let strategy = self.obs.kind("dsl").lookup("bonus", "3");
        strategy.observe(&(), |_run| Ok::<_, String>(())).unwrap();
    }

    fn endpoints(&self) -> EndpointsBuilder {
        guarded().obs(&self.obs).store(self.persister.watch())
    }
}

#[test]
fn liveness_does_not_depend_on_the_store_and_readiness_does_if_it_is_told_to() {
    let stored = stored();
    let (needs, does_not) =
        (stored.endpoints().ready_needs_store(true).build(), stored.endpoints().build());
    stored.run();
    assert!(stored.persister.flush_blocking(LONG).complete);
    for endpoints in [&needs, &does_not] {
        assert_eq!(ask(endpoints, "/readyz", None).0, 200);
    }
    stored.store.set_down(true);
    stored.run();
    until("the store is down", || stored.persister.last_error().is_some());
    for endpoints in [&needs, &does_not] {
        assert_eq!(ask(endpoints, "/healthz", None).2, json!({ "status": "up" }));
        assert_eq!(ask(endpoints, "/healthz", Some(TOKEN)).0, 200);
    }
    let (status, _, body) = ask(&needs, "/readyz", None);
    assert_eq!((status.as_u16(), body), (503, json!({ "status": "down" })));
    let (status, _, body) = ask(&does_not, "/readyz", None);
    assert_eq!((status.as_u16(), body), (200, json!({ "status": "degraded" })));
    stored.store.set_down(false);
    until("the store is back", || stored.persister.state() == StoreState::Up);
    assert_eq!(ask(&needs, "/readyz", None).0, 200);
}

#[test]
fn health_says_what_became_of_the_policy_and_shows_no_credentials_of_it() {
    let stored = stored();
    let policy = stored.obs.policy();
    policy.set(policy.current()).unwrap();
    policy.refused("obs.yaml:3: store=\"postgres://svc:hunter2@db/obs\": no");
    let (_, text, health) = ask(&stored.endpoints().build(), "/healthz", Some(TOKEN));
    let shown = &health["policy"];
    assert_eq!(
        (&shown["changes"], &shown["refused"], &shown["rules"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert!(shown["problem"].as_str().unwrap().contains("obs.yaml:3"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(health["status"], "up", "the policy before it is as good");
}

#[test]
fn health_shows_queue_losses_last_write_and_last_error_to_who_is_authorised_only() {
    let stored = stored();
    let endpoints = stored.endpoints().build();
    stored.run();
    assert!(stored.persister.flush_blocking(LONG).complete);
    stored.store.set_down(true);
    stored.run();
    until("the store is down", || stored.persister.last_error().is_some());
    let (_, _, health) = ask(&endpoints, "/readyz", Some(TOKEN));
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["queue"]["ok"]["in_queue"], 1);
    assert_eq!(health["queue"]["ok"]["persisted"], 1);
    assert_eq!(health["imbalance"], 0);
    assert_eq!(health["store"]["state"], "down");
    assert_eq!(health["store"]["error_ack"], "memory", "there is no spool");
    assert!(health["store"]["last_write_age_seconds"].as_f64().unwrap() >= 0.0);
    assert!(!health["store"]["last_error"].as_str().unwrap().is_empty());
    stored.persister.shutdown_blocking(Duration::from_millis(50));
    let (_, _, health) = ask(&endpoints, "/readyz", Some(TOKEN));
    assert_eq!(health["queue"]["ok"]["dropped"], json!({ "shutdown_deadline": 1 }));
    for path in ["/healthz", "/readyz"] {
        let (_, text, _) = ask(&endpoints, path, Some("0123456789abcdef0124"));
        assert!(text.len() < 25 && !text.contains("queue"), "{text}");
    }
}

#[test]
fn checks_of_the_application_decide_readiness_and_one_that_panics_has_failed() {
    let endpoints = guarded()
        .check("config", || Err("no keys in postgres://app:s3cret@db/x".to_owned()))
        .check("fine", || Ok(()))
        .check("panics", || panic!("a secret"))
        .build();
    let (status, text, health) = ask(&endpoints, "/readyz", Some(TOKEN));
    assert_eq!(status, 503);
    assert_eq!(health["checks"]["config"], "no keys in postgres://***@db/x");
    assert_eq!(health["checks"]["fine"], "ok");
    assert_eq!(health["checks"]["panics"], "the check panicked");
    assert!(!text.contains("secret"));
    let (status, text, _) = ask(&endpoints, "/readyz", None);
    assert_eq!((status.as_u16(), &*text), (503, "{\"status\":\"down\"}"));
    assert_eq!(ask(&endpoints, "/healthz", None).0, 200);
    assert_eq!(endpoints.health().status, HealthStatus::Down);
}

#[test]
fn snapshot_ledger_and_metrics_are_for_who_knows_the_token() {
    let obs = Obs::builder().build().unwrap();
    let endpoints = guarded()
        .obs(&obs)
        .runtime(&Runtime::of(&obs))
        .metrics_text(|| Ok("up 1\n".to_owned()))
        .build();
    for path in ["/runtime", "/ledger", "/metrics"] {
        for wrong in [None, Some("0123456789abcdef0124"), Some("")] {
            let (status, _, body) = ask(&endpoints, path, wrong);
            assert_eq!(
                (status.as_u16(), body),
                (401, json!({ "error": "a bearer token is needed" }))
            );
        }
    }
    let (_, _, runtime) = ask(&endpoints, "/runtime", Some(TOKEN));
    assert_eq!(runtime["process"]["instance_id"], obs.epoch().to_string());
    assert_eq!(runtime["requests"]["started"], 0);
    let (_, _, ledger) = ask(&endpoints, "/ledger", Some(TOKEN));
    assert_eq!((&ledger["imbalance"], &ledger["runs"]["active"]), (&json!(0), &json!(0)));
    assert_eq!(ask(&endpoints, "/metrics", Some(TOKEN)).1, "up 1\n");
}

#[test]
fn failures_say_nothing_of_what_is_inside() {
    let endpoints =
        Endpoints::builder(Access::Open).metrics_text(|| Err("a secret".to_owned())).build();
    let (status, text, _) = ask(&endpoints, "/metrics", None);
    assert_eq!((status.as_u16(), text.contains("secret")), (500, false));
    let endpoints = Endpoints::builder(Access::Open).metrics_text(|| panic!("a secret")).build();
    let (status, text, _) = ask(&endpoints, "/metrics", None);
    assert_eq!((status.as_u16(), text.contains("secret")), (500, false));
    let (status, _, body) = ask(&endpoints, "/../etc/passwd", None);
    assert_eq!((status.as_u16(), body), (404, json!({ "error": "nothing here" })));
    assert_eq!(ask(&endpoints, "/ledger", None).0, 404);
}

#[test]
fn only_reading_is_possible_and_long_bodies_are_refused() {
    let endpoints = Endpoints::builder(Access::Open).build();
    let status = |method: &str, length: &str| {
        let request = Request::builder().method(method).uri("/healthz");
        let request = request.header(header::CONTENT_LENGTH, length).body(()).unwrap();
        endpoints.answer(&request.into_parts().0).status().as_u16()
    };
    assert_eq!((status("GET", "0"), status("HEAD", "0")), (200, 200));
    assert_eq!((status("POST", "0"), status("DELETE", "0")), (405, 405));
    assert_eq!((status("GET", "65536"), status("GET", "65537")), (200, 413));
    assert_eq!(status("GET", "-1"), 413);
}

#[test]
fn a_router_serves_them_beside_the_application_and_its_layer_leaves_them_out() {
    let runtime = Runtime::new();
    let endpoints = guarded().runtime(&runtime).build();
    let app: Router = Router::new()
        .route("/ids", axum::routing::get(async |ids: RequestIds| ids.correlation_id().to_string()))
        .merge(for_axum::router(&endpoints))
        .layer(HttpLayer::builder().runtime(&runtime).build());
    let ask = |path: &str| {
        let request = Request::get(path).header("x-request-id", "id-7");
        let request = request.header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        let answer = app.clone().oneshot(request.body(axum::body::Body::empty()).unwrap());
        let answer = futures_executor::block_on(answer).unwrap();
        let body = http_body_util::BodyExt::collect(answer.into_body());
        let body = futures_executor::block_on(body).unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    };
    assert_eq!(ask("/ids"), "id-7");
    assert!(ask("/healthz?verbose").starts_with("{\"status\":\"up\""));
    let seen: Value = serde_json::from_str(&ask("/runtime")).unwrap();
    assert_eq!(seen["requests"]["started"], 1);
    assert_eq!(seen["requests"]["by_route"]["/ids"]["classes"]["success"], 1);
}
