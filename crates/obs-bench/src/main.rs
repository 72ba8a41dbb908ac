//! `just bench`: what obs costs, side by side with what people use today, in one process.
//!
//! All variants of a table take turns in short windows, so that whatever else the machine does hits all of
//! them; figures are medians, nothing is left out. A ratio is between two medians of one run; its spread is
//! that of the ratios of windows that stood next to each other. At the end the totals of every variant are
//! checked against what it exported: a wrong fast number is a failed benchmark.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "a benchmark may stop when something is wrong")]

mod allocations;
mod drain;
mod engine;
mod growth;
mod hot;
#[cfg(feature = "peers")]
mod peers;
mod report;
mod spooled;
mod store;
mod tail;
mod windows;

use std::{env, process::ExitCode};

use report::Report;

/// How long the tables take: `--full` takes five times as many windows.
#[derive(Clone, Copy, Debug)]
struct Effort {
    rounds: usize,
    pairs: usize,
}

const SHORT: Effort = Effort { rounds: 41, pairs: 24 };
const FULL: Effort = Effort { rounds: 201, pairs: 40 };

/// Names the benchmark of the drain, which is another program: it belongs to obs-persist.
const DRAIN: &str = "--drain=";

/// Only one of the tables.
const ONLY: &str = "--only=";
const TABLES: [&str; 7] = ["hot", "tail", "stores", "spool", "request", "drain", "growth"];

fn main() -> ExitCode {
    let options: Vec<String> = env::args().skip(1).collect();
    let value_of = |name| options.iter().find_map(|option| option.strip_prefix(name));
    let known = |option: &&String| {
        ["--json", "--full"].contains(&option.as_str())
            || option.starts_with(DRAIN)
            || option.strip_prefix(ONLY).is_some_and(|table| TABLES.contains(&table))
    };
    if let Some(unknown) = options.iter().find(|option| !known(option)) {
        println!(
            "unknown option {unknown}: there are --json, --full, {DRAIN}PROGRAM, and {ONLY} with one of {}",
            TABLES.join(", ")
        );
        return ExitCode::from(64);
    }
    let full = options.iter().any(|option| option == "--full");
    let effort = if full { FULL } else { SHORT };
    let mut report = Report::new(options.iter().any(|option| option == "--json"));
    let only = value_of(ONLY);
    for table in TABLES.into_iter().filter(|table| only.is_none_or(|only| only == *table)) {
        match table {
            "hot" => {
                hot::run(effort, &mut report);
                allocations::run(&mut report);
            }
            "tail" => tail::run(effort, &mut report),
            "stores" => store::stores(effort, &mut report),
            "spool" => store::spool(effort, &mut report),
            "request" => engine::run(effort, &mut report),
            "drain" => drain::run(value_of(DRAIN), full, &mut report),
            _ if full || only.is_some() => growth::run(&mut report),
            _ => {}
        }
    }
    report.print();
    ExitCode::SUCCESS
}
