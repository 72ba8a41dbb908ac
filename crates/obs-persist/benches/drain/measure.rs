//! Time and processor time of one side, and what is said about many rounds.

use std::{fs, time::Duration};

use obs_core::Clock;
use serde_json::{Value, json};

/// How long it took, for so many rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) rows: usize,
    pub(crate) took: Duration,
    /// What the client's threads spent on a processor.
    pub(crate) cpu: Duration,
}

impl Sample {
    pub(crate) fn rows_per_second(&self) -> f64 {
        self.rows as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn cpu_us_per_row(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.rows as f64
    }
}

/// Measures what happens on threads of this name; `None` is the thread that calls.
pub(crate) fn measure(thread: Option<&str>, rows: usize, act: impl FnOnce()) -> Sample {
    let clock = Clock::default();
    let (cpu, start) = (cpu_of(thread), clock.now());
    act();
    let took = clock.now().since(start);
    Sample { rows, took, cpu: cpu_of(thread).saturating_sub(cpu) }
}

/// Time on a processor so far, to the nanosecond (Linux; elsewhere nothing is known).
fn cpu_of(thread: Option<&str>) -> Duration {
    let spent = |folder: &str| -> Option<u64> {
        fs::read_to_string(format!("{folder}/schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    let nanos = match thread {
        None => spent("/proc/thread-self").unwrap_or(0),
        Some(name) => fs::read_dir("/proc/self/task")
            .into_iter()
            .flatten()
            .filter_map(|task| Some(task.ok()?.path().to_str()?.to_owned()))
            .filter(|task| {
                fs::read_to_string(format!("{task}/comm")).is_ok_and(|comm| comm.trim() == name)
            })
            .filter_map(|task| spent(&task))
            .sum(),
    };
    Duration::from_nanos(nanos)
}

/// Median and middle half.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

pub(crate) fn summary(mut values: Vec<f64>) -> Summary {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    Summary { median: at(0.5), low: at(0.25), high: at(0.75) }
}

/// A figure with what it should be.
pub(crate) struct Ratio {
    pub(crate) name: &'static str,
    pub(crate) value: Summary,
    pub(crate) aim: f64,
    /// Smaller is better.
    pub(crate) at_most: bool,
}

impl Ratio {
    pub(crate) fn met(&self) -> bool {
        if self.at_most { self.value.median <= self.aim } else { self.value.median >= self.aim }
    }

    pub(crate) fn json(&self) -> Value {
        let Summary { median, low, high } = self.value;
        let aim = format!("{} {}", if self.at_most { "<=" } else { ">=" }, self.aim);
        json!({"name": self.name, "value": median, "spread": [low, high], "aim": aim, "met": self.met()})
    }
}
