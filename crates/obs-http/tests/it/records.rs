//! Rows of requests.

use obs_core::{KeepPolicy, KeepReason, Rate, Status};
use obs_http::RequestRecords;

use crate::support::{rig, rig_with};

#[test]
fn a_row_says_route_method_status_duration_and_version() {
    let rig = rig();
    rig.get("/users/7");
    rig.get("/nothing/here");
    rig.get("/fail");
    rig.idle();
    let rows = rig.rows("http.server");
    let of = |at: usize| (&*rows[at].strategy_id, &*rows[at].strategy_version, rows[at].status);
    assert_eq!(of(0), ("/users/{id}", "1.4.0", Status::Ok));
    assert_eq!(of(1), ("_UNROUTED", "1.4.0", Status::Ok));
    assert_eq!(of(2), ("/fail", "1.4.0", Status::Error));
    assert_eq!(rows[2].error_type.as_deref(), Some("502"));
    assert!(!rows[0].duration.is_zero());
    let attributes: serde_json::Value =
        serde_json::from_str(rows[2].attributes.as_ref().unwrap().as_str()).unwrap();
    assert_eq!(attributes["http.request.method"], "GET");
    assert_eq!(attributes["http.response.status_code"], 502);
    assert_eq!(attributes["http.response.body.size"], 2);
    assert!(!serde_json::to_string(&rows[1]).unwrap().contains("/nothing/here"));
}

#[test]
fn requests_are_kept_at_a_rate_of_their_own() {
    let test =
        obs_core::testing::TestObs::with(|builder| builder.policy(crate::support::keep_all()));
    let test = test.unwrap();
    let none = Rate::new(0.0).unwrap();
    let policy = KeepPolicy { ok_rate: none, first: 1, ..KeepPolicy::default() };
    let records = RequestRecords::new(test.obs(), policy).unwrap();
    let rig = rig_with(|builder| builder.records(records), |router, layer| router.layer(layer));
    for _ in 0..5 {
        rig.get("/run");
    }
    rig.get("/fail");
    rig.idle();
    let rows = test.records();
    let kept: Vec<_> = rows.iter().map(|row| (&*row.strategy_id, row.keep_reason)).collect();
    assert_eq!(kept, [("/run", KeepReason::First), ("/fail", KeepReason::Failure)]);
    assert_eq!(rig.rows("dsl").len(), 5, "the rate of runs is theirs");
    test.assert_balanced();
}

#[test]
fn requests_do_not_count_among_the_runs_in_flight() {
    use std::io::Write as _;
    let rig = rig();
    let mut connection = rig.connect();
    connection.write_all(b"GET /gate HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n").unwrap();
    crate::support::until("the request is inside", || rig.in_flight() == 1);
    assert_eq!(rig.test.obs().ledger().runs.active, 0);
    rig.shop.gate.notify_waiters();
    rig.idle();
    assert_eq!(rig.test.obs().ledger().runs.finished, 1);
    rig.test.assert_balanced();
}
