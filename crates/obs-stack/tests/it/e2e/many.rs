//! Many processes of one service: sums in PromQL are right, and stay right when one is killed and comes again.

use std::{collections::BTreeSet, process::Child};

use serde_json::Value;

use super::quickstart::program;
use crate::stack::{Stack, until};

const JOB: &str = "fleet";
const RUNS: u64 = 3000;

#[test]
#[ignore = "starts the whole stack: just e2e"]
fn four_processes_have_an_instance_each_and_a_killed_one_costs_no_run_of_the_others() {
    let Some(stack) = Stack::start() else { return };
    let start = |number: usize| {
        let folder = stack.folder.join(format!("process-{number}"));
        std::fs::create_dir_all(&folder).unwrap();
        let runs = RUNS.to_string();
        let arguments = ["--runs", &runs, "--threads", "1", "--json", "--hold", "600"];
        let endpoint = stack.http();
        program(&stack, JOB, "http/protobuf", &endpoint, &folder).args(arguments).spawn().unwrap()
    };
    let mut fleet = Fleet((0..4).map(start).collect());
    let sum = format!("sum(obs_run_duration_seconds_count{{job=\"{JOB}\"}})");
    stack.prometheus.comes_to(&sum, 4.0 * RUNS as f64);
    assert_eq!(instances(&stack).len(), 4);

    // Every run of the killed one was exported: its sum stays, and its successor counts from nothing under another name.
    fleet.kill(0);
    fleet.0.push(start(0));
    stack.prometheus.comes_to(&sum, 5.0 * RUNS as f64);
    assert_eq!(instances(&stack).len(), 5);
    let restarts = format!("sum(resets(obs_run_duration_seconds_count{{job=\"{JOB}\"}}[10m]))");
    assert_eq!(stack.prometheus.number(&restarts), Some(0.0), "no series went back");
    let ended = format!("sum by (instance) (obs_record_imbalance{{job=\"{JOB}\"}}) != 0");
    assert!(stack.prometheus.ask(&ended).unwrap().is_empty());
    // A rate sees no jump down and no run twice: what it adds up is at most what was made.
    let increase = format!("sum(increase(obs_run_duration_seconds_count{{job=\"{JOB}\"}}[10m]))");
    let increase = stack.prometheus.number(&increase).unwrap_or(0.0);
    assert!(increase <= 5.0 * RUNS as f64 * 1.1, "{increase}");
    fleet.say_the_same(4.0);
}

fn instances(stack: &Stack) -> BTreeSet<String> {
    let query = format!("count by (instance) (obs_run_started_total{{job=\"{JOB}\"}})");
    until(
        || "instances",
        || {
            let found = stack.prometheus.ask(&query).unwrap();
            (!found.is_empty()).then(|| {
                found
                    .into_iter()
                    .map(|(mut labels, _)| labels.remove("instance").unwrap())
                    .collect()
            })
        },
    )
}

/// Processes that end with the test.
struct Fleet(Vec<Child>);

impl Fleet {
    fn kill(&mut self, which: usize) {
        let mut child = self.0.remove(which);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Each printed as many runs as it was told to make.
    fn say_the_same(mut self, processes: f64) {
        let mut printed = 0.0;
        for mut child in self.0.drain(..) {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            let said: Value = serde_json::from_slice(&output.stdout).unwrap();
            let lines = said["runs"].as_array().unwrap();
            printed += lines.iter().filter_map(|line| line["count"].as_f64()).sum::<f64>();
        }
        assert_eq!(printed, processes * RUNS as f64);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
