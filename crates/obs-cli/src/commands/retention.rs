//! `obs retention`: drops what is past its retention, now.

use std::{fmt, thread, time::Duration};

use obs_core::{Class, Clock};
use obs_persist::{Migrations, Retention, StoreError, StoreUrl};
use serde::Serialize;

use crate::{commands::Ready, error::Failure, output::Output};

/// A call drops a bounded number of days, and somebody else may be at it: so many calls at most…
const ROUNDS_MAX: usize = 600;

/// … with this pause between them.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn run(
    url: &StoreUrl,
    retention: Retention,
    output: &mut Output,
) -> Result<(), Failure> {
    let clock = Clock::default();
    let mut ready = Ready::new(url, Migrations::External)?;
    let mut done = Done::new(&ready.name, retention);
    for round in 0.. {
        let now = clock.wall();
        let round_done = ready.step("retention", |store| store.maintain(now, retention))?;
        done.dropped += round_done.dropped;
        done.rows += round_done.rows;
        done.days_ahead = round_done.days_ahead;
        if let Some(problem) = round_done.problem {
            return Err(stuck(&done, problem));
        }
        if !round_done.more {
            break;
        }
        if round == ROUNDS_MAX {
            return Err(stuck(
                &done,
                "others hold what is to be dropped: try again later".to_owned(),
            ));
        }
        thread::sleep(PAUSE);
    }
    ready.close()?;
    output.say(&done)
}

fn stuck(done: &Done, problem: String) -> Failure {
    let what = format!("{} days dropped, then: {problem}", done.dropped);
    Failure::Store { store: done.store.clone(), source: Box::new(StoreError::permanent(what)) }
}

#[derive(Serialize)]
struct Done {
    store: String,
    /// Days of a class, rows and payloads together.
    dropped: usize,
    /// Rows that were deleted one by one, where there are no days to drop.
    rows: u64,
    /// For how many whole days after today there is room, in a store that needs it made.
    days_ahead: Option<u32>,
    /// How many days rows are kept; none is for ever.
    ok_days: Option<u64>,
    error_days: Option<u64>,
}

impl Done {
    fn new(store: &str, retention: Retention) -> Self {
        let days = |class| retention.of(class).map(|time| time.as_secs() / 86_400);
        Self {
            store: store.to_owned(),
            dropped: 0,
            rows: 0,
            days_ahead: None,
            ok_days: days(Class::Ok),
            error_days: days(Class::Error),
        }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = |days: Option<u64>| {
            days.map_or_else(|| "for ever".to_owned(), |days| format!("{days} days"))
        };
        if self.store.starts_with("sqlite:") {
            let rows = if self.rows == 1 { "row" } else { "rows" };
            write!(f, "{}: {} {rows} deleted", self.store, self.rows)?;
        } else {
            let days = if self.dropped == 1 { "day" } else { "days" };
            write!(f, "{}: {} {days} of rows dropped", self.store, self.dropped)?;
        }
        write!(f, " (ok rows are kept {}, errors {})", kept(self.ok_days), kept(self.error_days))?;
        match self.days_ahead {
            Some(days) => write!(f, "; there is room for {days} days ahead"),
            None => Ok(()),
        }
    }
}
