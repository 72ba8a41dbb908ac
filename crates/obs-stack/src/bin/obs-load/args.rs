//! What the command line says.

use std::{ffi::OsString, time::Duration};

pub(crate) const HELP: &str = "\
Drives a service over HTTP with many users and checks thresholds, the ledger and the totals in Prometheus.

Usage: obs-load [OPTIONS] --target HOST:PORT

Options:
  --target HOST:PORT      the service
  --users N               users at once, 1 to 2000 (default 100)
  --warm-up SECONDS       over which the users arrive; not measured (default 30)
  --hold SECONDS          with all of them; measured (default 120)
  --ramp-down SECONDS     over which they leave; not measured (default 30)
  --request 'WEIGHT CLASS METHOD PATH [BODY]'
                          one of the mix, CLASS read, write or aggregate; may be given again
                          (default: 70 read, 25 write, 5 aggregate of examples/axum-service)
  --ledger PATH           where the service shows its ledger; `off` for none (default /ledger)
  --prometheus HOST:PORT  compare the totals of requests there with our own
  --job NAME              the service's name there (default axum-service)
  --help                  print this

Exit codes: 0 all thresholds hold, 1 one is broken, 64 a wrong call.
";

/// Users at most: each is a thread.
const USERS_MAX: usize = 2000;
/// A phase lasts at most a day.
const SECONDS_MAX: u64 = 86_400;

/// The default mix: the routes of `examples/axum-service`.
const MIX: [&str; 6] = [
    "30 read GET /price/chair",
    "20 read GET /price/table",
    "20 read GET /parcel/at",
    r#"15 write POST /orders {"item":"lamp","country":"is"}"#,
    r#"10 write POST /orders {"item":"chair","country":"de"}"#,
    "5 aggregate GET /runtime",
];

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Read,
    Write,
    Aggregate,
}

/// One of the mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) weight: u32,
    pub(crate) class: Class,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) target: String,
    pub(crate) users: usize,
    pub(crate) warm_up: Duration,
    pub(crate) hold: Duration,
    pub(crate) ramp_down: Duration,
    pub(crate) mix: Vec<Ask>,
    pub(crate) ledger: Option<String>,
    pub(crate) prometheus: Option<String>,
    pub(crate) job: String,
}

impl Args {
    /// `None` when help is asked for.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Option<Self>, Box<dyn std::error::Error>> {
        use lexopt::prelude::*;
        let mut args = Self {
            target: String::new(),
            users: 100,
            warm_up: Duration::from_secs(30),
            hold: Duration::from_secs(120),
            ramp_down: Duration::from_secs(30),
            mix: Vec::new(),
            ledger: Some("/ledger".to_owned()),
            prometheus: None,
            job: "axum-service".to_owned(),
        };
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("target") => args.target = parser.value()?.string()?,
                Long("users") => args.users = parser.value()?.parse()?,
                Long("warm-up") => args.warm_up = seconds(&parser.value()?.string()?)?,
                Long("hold") => args.hold = seconds(&parser.value()?.string()?)?,
                Long("ramp-down") => args.ramp_down = seconds(&parser.value()?.string()?)?,
                Long("request") => args.mix.push(Ask::parse(&parser.value()?.string()?)?),
                Long("ledger") => {
                    args.ledger = Some(parser.value()?.string()?).filter(|path| path != "off");
                }
                Long("prometheus") => args.prometheus = Some(parser.value()?.string()?),
                Long("job") => args.job = parser.value()?.string()?,
                Long("help") => return Ok(None),
                other => return Err(Box::new(other.unexpected())),
            }
        }
        if args.target.is_empty() {
            return Err(
                "--target is missing: say where the service listens, e.g. 127.0.0.1:8080".into()
            );
        }
        if !(1..=USERS_MAX).contains(&args.users) {
            return Err(format!("--users {}: 1 to {USERS_MAX}", args.users).into());
        }
        if args.mix.is_empty() {
            args.mix = MIX.iter().map(|ask| Ask::parse(ask)).collect::<Result<_, _>>()?;
        }
        Ok(Some(args))
    }
}

impl Ask {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "--request '{text}': WEIGHT CLASS METHOD PATH [BODY], e.g. '70 read GET /price/chair'"
            )
        };
        let mut words = text.splitn(5, ' ');
        let mut word = || words.next().ok_or_else(wrong);
        let weight = word()?.parse().ok().filter(|weight| *weight > 0).ok_or_else(wrong)?;
        let class = match word()? {
            "read" => Class::Read,
            "write" => Class::Write,
            "aggregate" => Class::Aggregate,
            _ => return Err(wrong()),
        };
        let (method, path) = (word()?.to_owned(), word()?.to_owned());
        if !path.starts_with('/') {
            return Err(wrong());
        }
        Ok(Self { weight, class, method, path, body: words.next().map(str::to_owned) })
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<u64>().ok().filter(|seconds| *seconds <= SECONDS_MAX);
    seconds.map(Duration::from_secs).ok_or_else(|| format!("{text} seconds: 0 to {SECONDS_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Option<Args>, String> {
        Args::parse(words.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_mix_it_is_the_one_of_the_example() {
        let args = parse(&["--target", "127.0.0.1:1"]).ok().flatten();
        let weights = args.map(|args| args.mix.iter().map(|ask| ask.weight).sum::<u32>());
        assert_eq!(weights, Some(100));
    }

    #[test]
    fn a_wrong_word_is_an_error_that_shows_it_and_the_way_out() {
        for (words, said) in [
            (&["--users", "0", "--target", "a:1"][..], "--users 0: 1 to 2000"),
            (&["--hold", "-1"], "-1 seconds: 0 to 86400"),
            (&["--request", "70 peek GET /"], "e.g. '70 read GET /price/chair'"),
            (&["--request", "0 read GET /"], "--request '0 read GET /'"),
            (&[], "--target is missing"),
        ] {
            let error = parse(words).err().unwrap_or_default();
            assert!(error.contains(said), "{error}");
        }
    }
}
