//! A real rules engine on real earthquakes, watched by obs.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people: it prints what it saw"
)]

mod args;
mod engine;
mod error;
mod events;
mod nearby;
mod operators;
mod plan;
mod rules;
mod work;

use std::{collections::BTreeMap, env, error::Error, process::ExitCode, sync::Mutex, thread};

use crate::{
    args::{Args, HELP},
    engine::Engine,
    plan::Plan,
};

fn main() -> ExitCode {
    let args = match Args::parse(env::args_os().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    if args.help {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let engine = Engine::new(events::load()?)?;
    let (files, shares): (Vec<_>, Vec<_>) = rules::files()?.into_iter().unzip();
    let rules =
        files.into_iter().map(|file| engine.compile(file)).collect::<Result<Vec<_>, _>>()?;
    let plan = Plan::new(&shares, engine.events().len(), args.seed);

    let ends = Mutex::new(BTreeMap::<_, u64>::new());
    work::share(args.runs, args.threads, |run| {
        let step = plan.step(run);
        let rule = &rules[step.rule];
        let end = match engine.score(rule, step.event, |_| ()) {
            Ok(score) => rule.case(score).unwrap_or("below every case").to_owned(),
            Err(error) => error.code.to_string(),
        };
        let mut ends = ends.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *ends.entry((&*rule.strategy, &*rule.version, &*rule.type_, end)).or_default() += 1;
    });
    let ends = ends.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    for ((strategy, version, type_, end), count) in ends {
        println!("{strategy:16} v{version} {type_:10} {end:18} {count:8}");
    }
    thread::sleep(args.hold);
    Ok(())
}

/// The whole chain of an error in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    line
}
