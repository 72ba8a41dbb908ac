//! The users: a thread each, arriving one after another, asking without a pause, leaving one after another.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    args::{Args, Ask, Class},
    client::Client,
    report::{Outcome, Report},
};

/// Attempts at a request, the pause after the first, and what the pause grows by.
const ATTEMPTS: u32 = 3;
const BACKOFF: Duration = Duration::from_millis(120);
const BACKOFF_GROWTH: u32 = 2;
/// Answers that are worth another attempt.
const AGAIN: [u16; 4] = [408, 502, 503, 504];
/// A user's stack: it needs little.
const STACK: usize = 256 << 10;

/// When the phases end.
#[derive(Clone, Copy)]
struct Plan {
    begins: Instant,
    measured: [Instant; 2],
    ends: Instant,
}

/// Lets all users work, and puts together what they saw.
pub(crate) fn drive(args: &Args) -> Report {
    let start = now();
    let warm = start + args.warm_up;
    let held = warm + args.hold;
    let share = |whole: Duration, user: usize| {
        whole * u32::try_from(user).unwrap_or(0) / u32::try_from(args.users).unwrap_or(1)
    };
    let mut report = Report::new(args.hold);
    thread::scope(|scope| {
        let users: Vec<_> = (0..args.users)
            .filter_map(|user| {
                let plan = Plan {
                    begins: start + share(args.warm_up, user),
                    measured: [warm, held],
                    ends: held + share(args.ramp_down, user),
                };
                let work = move || work(args, user, plan);
                thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).ok()
            })
            .collect();
        report.users = users.len();
        for user in users {
            if let Ok(seen) = user.join() {
                report.add(seen);
            }
        }
    });
    report
}

fn work(args: &Args, user: usize, plan: Plan) -> Report {
    let mut report = Report::new(args.hold);
    thread::sleep(plan.begins.saturating_duration_since(now()));
    let mut client = Client::new(&args.target);
    let mut dice = Dice::new(user);
    let mut requests = 0_u64;
    let whole: u32 = args.mix.iter().map(|ask| ask.weight).sum();
    loop {
        let begin = now();
        if begin >= plan.ends {
            return report;
        }
        let ask = chosen(&args.mix, dice.below(whole));
        requests += 1;
        let id = format!("load-{user}-{requests}");
        let outcome = attempt(&mut client, ask, &id, &mut report);
        let end = now();
        if begin >= plan.measured[0] && end <= plan.measured[1] {
            report.measure(ask.class, outcome, end.duration_since(begin));
        }
    }
}

/// A request with its further attempts; each answer is counted.
fn attempt(client: &mut Client, ask: &Ask, id: &str, report: &mut Report) -> Outcome {
    let mut pause = BACKOFF;
    for attempt in 1..=ATTEMPTS {
        let answer = client.send(&ask.method, &ask.path, ask.body.as_deref(), id);
        let outcome = match &answer {
            Ok((status, _)) => {
                report.count_answer(&ask.path, *status);
                if *status < 400 { Outcome::Done } else { Outcome::Failed(*status) }
            }
            Err(_) => {
                report.broken_connections += 1;
                Outcome::Lost
            }
        };
        if outcome != Outcome::Done && ask.class == Class::Write {
            let said = answer.map_or_else(|error| error.to_string(), |(_, body)| body);
            report.keep_failure(format_args!(
                "{id}: {} {} {outcome:?}: {said}",
                ask.method, ask.path
            ));
        }
        let again = match outcome {
            Outcome::Done => false,
            Outcome::Failed(status) => AGAIN.contains(&status),
            Outcome::Lost => true,
        };
        if !again || attempt == ATTEMPTS {
            return outcome;
        }
        thread::sleep(pause);
        pause *= BACKOFF_GROWTH;
    }
    Outcome::Lost
}

fn chosen(mix: &[Ask], mut at: u32) -> &Ask {
    for ask in mix {
        if at < ask.weight {
            return ask;
        }
        at -= ask.weight;
    }
    &mix[0]
}

/// Numbers that differ from user to user and not from time to time (splitmix64).
struct Dice(u64);

impl Dice {
    fn new(user: usize) -> Self {
        Self(user as u64)
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(limit.max(1))).unwrap_or(0)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what users experience is measured outside of the service"
)]
fn now() -> Instant {
    Instant::now()
}
