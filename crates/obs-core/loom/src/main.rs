//! Every interleaving with at most three interruptions: of the ledger, of the values that threads have for themselves, of a
//! bucket of the sharded recorder, and of a slot, with the very files that obs-core is built from, and the checker's locks
//! and atomics in them.
//!
//!   just loom            every model
//!   just loom NAME...    only these
//!
//! The words of a page are plain to the checker: each belongs to a shard, whose lock is the checker's.

#![expect(dead_code, unused_imports, reason = "not all of the files is modelled")]
#![expect(clippy::print_stdout, reason = "a tool prints")]

#[path = "../../src"]
mod tree {
    pub(crate) mod ledger;
    pub(crate) mod page;
    pub(crate) mod per_thread;
    pub(crate) mod status;
}
#[path = "../../src/recorder/sharded/bucket.rs"]
mod bucket;
mod models;
mod record;
#[path = "../../src/in_flight/slots.rs"]
mod slots;
mod sync;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

pub(crate) use tree::{ledger, page, per_thread, status};

/// How often a thread may be interrupted where it would not have to wait.
const PREEMPTIONS: usize = 3;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known = |name: &&String| models::ALL.iter().any(|(model, _)| model == *name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names: Vec<_> = models::ALL.iter().map(|(name, _)| *name).collect();
        println!("there is no model {unknown}: take one of {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    for (name, model) in models::ALL {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            check(name, model);
        }
    }
    ExitCode::SUCCESS
}

/// Panics at the first interleaving in which the model does not hold.
fn check(name: &str, model: fn()) {
    let interleavings = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&interleavings);
    let start = Instant::now();
    let mut checker = loom::model::Builder::new();
    checker.preemption_bound = Some(PREEMPTIONS);
    checker.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let seconds = start.elapsed().as_secs_f64();
    let interleavings = interleavings.load(Ordering::Relaxed);
    println!("{name}: holds in {interleavings} interleavings ({seconds:.1} s)");
}
