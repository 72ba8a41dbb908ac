//! The command line.

use std::{ffi::OsString, ops::RangeInclusive, time::Duration};

use lexopt::{Arg, Parser, ValueExt};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Scores earthquakes with a rules engine and shows what `obs` sees of it.

Usage: cargo run -p quickstart -- [OPTIONS]

Options:
  --runs N         how many runs, 1 to 100000000 (default 20000)
  --threads N      how many threads share them, 1 to 64 (default 2)
  --seed N         fixes the order of the events and which ok runs become rows;
                   the same rows again need --threads 1
  --hold SECONDS   stay alive after the last run, e.g. for a scrape, 0 to 86400 (default 0)
  --json           print one JSON object instead of tables
  --help           print this

Environment:
  OBS_STORE=postgres://user@localhost/db   where the rows go (default: a SQLite file, ./obs.sqlite)
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318   where the metrics go (default: nowhere)
";

const RUNS: RangeInclusive<u64> = 1..=100_000_000;
const THREADS: RangeInclusive<u64> = 1..=64;
const HOLD_SECONDS: RangeInclusive<u64> = 0..=86_400;

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) runs: u64,
    pub(crate) threads: u64,
    pub(crate) seed: Option<u64>,
    pub(crate) hold: Duration,
    pub(crate) json: bool,
    pub(crate) help: bool,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            runs: 20_000,
            threads: 2,
            seed: None,
            hold: Duration::ZERO,
            json: false,
            help: false,
        }
    }
}

/// Something on the command line that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArgsError {
    #[error("`{flag} {value}` is not a whole number from {} to {}: {way_out}", .range.start(), .range.end())]
    Value { flag: &'static str, value: String, range: RangeInclusive<u64>, way_out: &'static str },
    #[error("`{flag}` needs a whole number from {} to {} after it: {way_out}", .range.start(), .range.end())]
    NoValue { flag: &'static str, range: RangeInclusive<u64>, way_out: &'static str },
    #[error("`{argument}` is not an option: `--help` lists them")]
    Unknown { argument: String },
    #[error("an option cannot be read: `--help` lists them")]
    Syntax(#[source] lexopt::Error),
}

impl Args {
    /// # Errors
    /// When an option is unknown, or its value is missing or out of range.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ArgsError> {
        let mut parser = Parser::from_args(arguments);
        let mut args = Self::default();
        while let Some(argument) = parser.next().map_err(ArgsError::Syntax)? {
            match argument {
                Arg::Long("runs") => args.runs = RUNS_FLAG.value(&mut parser)?,
                Arg::Long("threads") => args.threads = THREADS_FLAG.value(&mut parser)?,
                Arg::Long("seed") => args.seed = Some(SEED_FLAG.value(&mut parser)?),
                Arg::Long("hold") => args.hold = Duration::from_secs(HOLD_FLAG.value(&mut parser)?),
                Arg::Long("json") => args.json = true,
                Arg::Long("help") | Arg::Short('h') => args.help = true,
                other => return Err(unknown(&other)),
            }
        }
        Ok(args)
    }
}

/// An option that takes a number.
struct NumberFlag {
    name: &'static str,
    range: RangeInclusive<u64>,
    way_out: &'static str,
}

const RUNS_FLAG: NumberFlag =
    NumberFlag { name: "--runs", range: RUNS, way_out: "leave it out for 20000" };
const THREADS_FLAG: NumberFlag =
    NumberFlag { name: "--threads", range: THREADS, way_out: "leave it out for 2" };
const SEED_FLAG: NumberFlag =
    NumberFlag { name: "--seed", range: 0..=u64::MAX, way_out: "leave it out for a fresh one" };
const HOLD_FLAG: NumberFlag =
    NumberFlag { name: "--hold", range: HOLD_SECONDS, way_out: "leave it out to end at once" };

impl NumberFlag {
    fn value(self, parser: &mut Parser) -> Result<u64, ArgsError> {
        let Self { name: flag, range, way_out } = self;
        let Ok(value) = parser.value() else {
            return Err(ArgsError::NoValue { flag, range, way_out });
        };
        match value.parse::<u64>() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => {
                let value = value.to_string_lossy().into_owned();
                Err(ArgsError::Value { flag, value, range, way_out })
            }
        }
    }
}

fn unknown(argument: &Arg<'_>) -> ArgsError {
    let argument = match argument {
        Arg::Short(letter) => format!("-{letter}"),
        Arg::Long(name) => format!("--{name}"),
        Arg::Value(value) => value.to_string_lossy().into_owned(),
    };
    ArgsError::Unknown { argument }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, ArgsError> {
        Args::parse(line.split_whitespace().map(OsString::from))
    }

    fn refusal(line: &str) -> String {
        parse(line).unwrap_err().to_string()
    }

    #[test]
    fn nothing_asked_for_is_the_default() {
        assert_eq!(parse("").unwrap(), Args::default());
    }

    #[test]
    fn every_option_is_read() {
        let args = parse("--runs 5 --threads=3 --seed 7 --hold 9 --json").unwrap();
        let hold = Duration::from_secs(9);
        let expected = Args { runs: 5, threads: 3, seed: Some(7), hold, json: true, help: false };
        assert_eq!(args, expected);
        assert!(parse("-h").unwrap().help);
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_the_value_the_rule_and_the_way_out() {
        assert_eq!(
            refusal("--threads 65"),
            "`--threads 65` is not a whole number from 1 to 64: leave it out for 2"
        );
        assert_eq!(
            refusal("--runs -1"),
            "`--runs -1` is not a whole number from 1 to 100000000: leave it out for 20000"
        );
        assert_eq!(
            refusal("--hold 86401"),
            "`--hold 86401` is not a whole number from 0 to 86400: leave it out to end at once"
        );
        assert!(refusal("--seed 1.5").starts_with("`--seed 1.5` is not a whole number from 0 to"));
        assert!(parse("--threads 64").is_ok());
        assert!(parse("--runs 0").is_err());
    }

    #[test]
    fn a_missing_value_and_an_unknown_option_are_refused() {
        assert_eq!(
            refusal("--runs"),
            "`--runs` needs a whole number from 1 to 100000000 after it: leave it out for 20000"
        );
        assert_eq!(refusal("--run 5"), "`--run` is not an option: `--help` lists them");
        assert_eq!(refusal("-x"), "`-x` is not an option: `--help` lists them");
        assert_eq!(refusal("fast"), "`fast` is not an option: `--help` lists them");
        assert_eq!(refusal("--json=1"), "an option cannot be read: `--help` lists them");
    }
}
