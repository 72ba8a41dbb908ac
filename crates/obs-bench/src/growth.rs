//! How the cost of a run grows with the number of strategies and of nodes.

use std::{hint::black_box, time::Instant};

use crate::{
    hot::{self, Exported},
    report::Report,
};

const RUNS: usize = 20_000;
const ROUNDS: usize = 7;

pub(crate) fn run(report: &mut Report) {
    report.title("nanoseconds a run, not kept, as work grows");
    for strategies in [1, 10, 100, 1_000, 10_000] {
        let exported = Exported::new();
        let kind = hot::kind(&exported, hot::NEVER, false);
        let ids: Vec<String> = (0..strategies).map(|id| format!("tenant-rule-{id}")).collect();
        let nanos = fastest_of(|run| hot::plain_ok(&kind.lookup(&ids[run % ids.len()], "1")));
        report.nanos(&format!("{strategies} strategies by lookup"), nanos);
    }
    for nodes in [0, 1, 10, 50, 200] {
        let exported = Exported::new();
        let strategy = hot::strategy(&exported, hot::NEVER, false);
        let nanos = fastest_of(|_| {
            let result: Result<(), String> = strategy.observe(&(), |run| {
                for _ in 0..black_box(nodes) {
                    run.node("n-compare-1").kind("compare").branch("match");
                }
                Ok(())
            });
            black_box(result).unwrap();
        });
        report.nanos(&format!("a trace of {nodes} nodes"), nanos);
    }
}

fn fastest_of(run: impl Fn(usize)) -> f64 {
    let window = |_| {
        let before = Instant::now();
        (0..RUNS).for_each(&run);
        before.elapsed().as_secs_f64() * 1e9 / RUNS as f64
    };
    (0..ROUNDS).map(window).fold(f64::INFINITY, f64::min)
}
