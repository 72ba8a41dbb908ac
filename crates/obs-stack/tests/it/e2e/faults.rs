//! Faults in the running stack fire their alerts, with the rules as they are shipped.

use std::time::Duration;

use super::quickstart::program;
use crate::stack::{Stack, until_within};

/// Two minutes, which the rules wait, and what a busy machine adds.
const WINDOW: Duration = Duration::from_secs(240);

#[test]
#[ignore = "starts the whole stack and waits for rules: just e2e"]
fn a_store_that_dies_and_a_gateway_that_dies_fire_their_alerts_and_nothing_fired_before() {
    let Some(mut stack) = Stack::start() else { return };
    let folder = stack.folder.clone();
    let mut running = program(&stack, "shop", "http/protobuf", &stack.http(), &folder)
        .args(["--runs", "100000000", "--threads", "1"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    stack.prometheus.comes_to("max(obs_store_state{job=\"shop\"})", 1.0);
    assert_eq!(stack.prometheus.firing(), Vec::<String>::new());

    stack.postgres.kill();
    stack.gateways[1].kill();
    let fired = ["ObsStoreDown", "ObsTargetDown"];
    until_within(
        WINDOW,
        || "both alerts",
        || {
            let firing = stack.prometheus.firing();
            fired.iter().all(|alert| firing.iter().any(|one| one == alert)).then_some(())
        },
    );
    let labels =
        stack.prometheus.ask("ALERTS{alertname=\"ObsStoreDown\",alertstate=\"firing\"}").unwrap();
    assert_eq!(labels[0].0["job"], "shop");
    assert_eq!(labels[0].0["severity"], "critical");

    stack.postgres.start_again();
    stack.gateways[1].start_again();
    until_within(
        WINDOW,
        || "both alerts gone",
        || {
            let firing = stack.prometheus.firing();
            fired.iter().all(|alert| firing.iter().all(|one| one != alert)).then_some(())
        },
    );
    running.kill().unwrap();
    running.wait().unwrap();
}
