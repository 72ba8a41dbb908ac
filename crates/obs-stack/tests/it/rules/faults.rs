//! Faults that begin after half an hour, and what they set off; and what looks like a fault and is none.

use super::world::{
    BEFORE, Expected, OUTCOMES, PROCESS, Pace, RUN, STEPS, World, changes, fires, grows, level,
};

const OF_RUN: &str = r#"job="orders",obs_kind="dsl",obs_realm="acme""#;
const OF_TYPE: &str = r#"job="orders",obs_kind="dsl",obs_realm="acme",obs_strategy_type="A""#;
const WARNING: &str = "warning";
const CRITICAL: &str = "critical";

type Fault = (&'static str, World, Vec<Expected>);

/// Every fault.
pub(super) fn all() -> Vec<Fault> {
    let mut faults = of_runs();
    faults.extend(of_records());
    faults.extend(of_exports());
    faults
}

fn of_runs() -> Vec<Fault> {
    let with_runs = |status: &str, pace, rates| {
        let mut world = World::healthy();
        world.runs(status, pace, rates);
        world
    };
    let (limit, oldest) = ("obs_run_time_limit_seconds", "obs_run_oldest_age_seconds");
    vec![
        (
            "a twentieth of the runs fails",
            with_runs("error", Pace::Fast, [0.3, 3.0]),
            vec![fires(45, "ObsErrorRatio", WARNING, OF_RUN)],
        ),
        (
            "ok runs are above the objective",
            with_runs("ok", Pace::Slow, [60.0, 60.0]),
            vec![
                // The hour's window, half an hour of which is healthy, is above 14.4 % after nine minutes.
                fires(50, "ObsLatencyBurnFast", CRITICAL, OF_RUN),
                fires(50, "ObsLatencyBurnSlow", WARNING, OF_RUN),
                fires(50, "ObsLatencyP99", WARNING, OF_TYPE),
            ],
        ),
        (
            "one ok run in eleven is above the objective",
            with_runs("ok", Pace::Fast, [60.0, 54.0]).map(|series, samples| {
                // All of them end, six of 60 a step above 0.25 s.
                let all = series.starts_with("obs_run_duration_seconds")
                    && series.contains(r#"status="ok""#)
                    && ![r#"le="0.1""#, r#"le="0.25""#].iter().any(|bound| series.contains(bound));
                vec![(series.to_owned(), if all { grows(60.0, 60.0) } else { samples.to_owned() })]
            }),
            vec![fires(40, "ObsLatencyP99", WARNING, OF_TYPE)],
        ),
        (
            "runs take nearly as long as they may",
            with_runs("timeout", Pace::Stuck, [0.0, 3.0]).change(limit, "", &level(6.0)),
            vec![
                fires(49, "ObsNearTimeLimit", WARNING, OF_TYPE),
                fires(49, "ObsErrorRatio", WARNING, OF_RUN),
            ],
        ),
        (
            "a run is older than twice its limit",
            World::healthy().change(oldest, "", &changes(0.2, 11.0)),
            vec![fires(33, "ObsOldestRun", WARNING, RUN)],
        ),
        (
            "a run without a limit is older than ten minutes",
            World::healthy().without(limit).change(oldest, "", &changes(0.2, 700.0)),
            vec![fires(33, "ObsOldestRun", WARNING, RUN)],
        ),
        (
            "requests are answered with 5xx",
            World::healthy().change(
                "http_server_request_duration_seconds_count",
                r#"status_code="500""#,
                &grows(0.1, 6.0),
            ),
            vec![fires(42, "ObsHttpErrorRatio", WARNING, r#"job="orders""#)],
        ),
    ]
}

fn of_records() -> Vec<Fault> {
    let queue_full = r#"class="ok",outcome="dropped",reason="queue_full""#;
    let crash = r#"job="orders",instance="b",class="error",outcome="dropped",reason="crash""#;
    vec![
        (
            "ok records find no room",
            World::healthy().change(OUTCOMES, queue_full, &grows(0.0, 2.0)),
            vec![fires(
                32,
                "ObsRecordLoss",
                WARNING,
                r#"job="orders",instance="a",class="ok",reason="queue_full""#,
            )],
        ),
        (
            "a process begins with losses of the one that died",
            World::healthy().with(OUTCOMES, crash, format!("_x{BEFORE} 5x{}", STEPS - BEFORE)),
            vec![fires(
                31,
                "ObsRecordLoss",
                WARNING,
                r#"job="orders",instance="b",class="error",reason="crash""#,
            )],
        ),
        (
            "the queue is nearly full",
            World::healthy().change("obs_record_pending", r#"class="ok""#, &changes(5.0, 900.0)),
            vec![fires(36, "ObsQueueFilling", WARNING, r#"job="orders",instance="a",class="ok""#)],
        ),
        (
            "the spool is half full",
            World::healthy().change("obs_spool_size_bytes", "", &changes(4e6, 150e6)),
            vec![fires(36, "ObsSpoolFilling", WARNING, PROCESS)],
        ),
        days_run_out(),
        (
            "the store is down",
            World::healthy()
                .change("obs_store_state", "", &changes(1.0, 2.0))
                .change(OUTCOMES, r#"class="ok",outcome="persisted""#, &grows(6.0, 0.0))
                .change(OUTCOMES, r#"class="error",outcome="persisted""#, &grows(0.3, 0.0)),
            // Which it says once, however long: not as stalled, too.
            vec![
                fires(33, "ObsStoreDown", CRITICAL, PROCESS),
                fires(55, "ObsStoreDown", CRITICAL, PROCESS),
            ],
        ),
        (
            "runs are kept and no row is written",
            World::healthy()
                .change(OUTCOMES, r#"class="ok",outcome="persisted""#, &grows(6.0, 0.0))
                .change(OUTCOMES, r#"class="error",outcome="persisted""#, &grows(0.3, 0.0)),
            vec![fires(46, "ObsStoreStalled", CRITICAL, PROCESS)],
        ),
        (
            "the ledger does not balance",
            World::healthy().change("obs_record_imbalance", "", &changes(0.0, -1.0)),
            vec![fires(32, "ObsLedgerImbalance", CRITICAL, PROCESS)],
        ),
        policy_refused(),
        (
            "realms fold",
            World::healthy().change("obs_label_folded_total", "obs.realm", &grows(0.0, 1.0)),
            vec![fires(
                33,
                "ObsLabelFolding",
                WARNING,
                r#"job="orders",instance="a",which="obs.realm""#,
            )],
        ),
    ]
}

fn days_run_out() -> Fault {
    let world = World::healthy().change("obs_store_days_ahead", "", &changes(7.0, 3.0));
    ("partitions run out", world, vec![fires(36, "ObsDaysRunOut", WARNING, PROCESS)])
}

fn policy_refused() -> Fault {
    let world = World::healthy().change("obs_policy_refused", "", &changes(0.0, 1.0));
    ("a policy is refused", world, vec![fires(36, "ObsPolicyRefused", WARNING, PROCESS)])
}

fn of_exports() -> Vec<Fault> {
    vec![
        (
            "exports fail",
            World::healthy().change("obs_export_failures_total", "", &grows(0.0, 1.0)),
            vec![fires(
                34,
                "ObsExportFailures",
                WARNING,
                r#"job="orders",instance="a",signal="metrics""#,
            )],
        ),
        (
            "a target does not answer",
            World::healthy().change("up", "", &changes(1.0, 0.0)),
            vec![fires(
                33,
                "ObsTargetDown",
                CRITICAL,
                r#"job="otel-collector",instance="agent:8888""#,
            )],
        ),
        (
            "a Collector cannot send",
            World::healthy().change("otelcol_exporter_queue_size", "", &changes(3.0, 800.0)),
            vec![fires(
                36,
                "ObsCollectorQueue",
                WARNING,
                r#"job="otel-collector",instance="agent:8888",exporter="otlp/gateway""#,
            )],
        ),
    ]
}

/// A run in five minutes, every second of which fails and takes as long as it may; a request likewise.
pub(super) fn low_traffic() -> World {
    let mut world = World::healthy();
    world.runs("ok", Pace::Slow, [0.0, 0.05]);
    world.runs("error", Pace::Stuck, [0.0, 0.05]);
    let requests = "http_server_request_duration_seconds_count";
    let few = grows(0.05, 0.05);
    world.change(requests, "", &few).change(OUTCOMES, "persisted", &few)
}

/// Every counter begins again at 0 after half an hour, under the same name.
pub(super) fn restart_in_place() -> World {
    World::healthy().map(|series, samples| {
        vec![(
            series.to_owned(),
            if is_counter(series) { again(samples) } else { samples.to_owned() },
        )]
    })
}

/// The process ends after half an hour, and another one goes on.
pub(super) fn restart_as_another() -> World {
    World::healthy().map(|series, samples| {
        let (before, _) = samples.split_once(' ').unwrap_or((samples, ""));
        let before = before.replace(&format!("x{STEPS}"), &format!("x{BEFORE}"));
        let other = series.replace(r#"instance="a""#, r#"instance="b""#);
        if other == series {
            return vec![(series.to_owned(), samples.to_owned())];
        }
        let first = before.clone();
        vec![(series.to_owned(), format!("{before} stale")), (other, format!("_x{BEFORE} {first}"))]
    })
}

fn is_counter(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    ["_total", "_count", "_bucket"].iter().any(|end| name.ends_with(end))
}

/// The first half, twice.
fn again(samples: &str) -> String {
    match samples.split_once(' ') {
        Some((first, _)) => format!("{first} {first}"),
        None => samples.to_owned(),
    }
}
