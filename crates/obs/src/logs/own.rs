//! Lines of ours, so many of a kind in a while: what is wrong with telemetry must not fill the logs of the
//! program that it is about.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use obs_core::Tick;
use tracing::callsite::Identifier;

/// Lines of one place in our code, per window.
pub(super) const LINES_MAX: u32 = 10;
/// After this, a place may speak again, and says how many of its lines were held back.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Places that are told apart: more than there are.
const PLACES_MAX: usize = 256;

/// The crates of ours.
pub(super) const CRATES: [&str; 4] = ["obs", "obs_core", "obs_http", "obs_persist"];

/// Whether a target is one of ours: `obs`, `obs::…`, `obs_persist::…`.
pub(super) fn is_own(target: &str) -> bool {
    CRATES.contains(&target.split("::").next().unwrap_or_default())
}

/// What of our own lines is written.
#[derive(Debug, Default)]
pub(super) struct OwnLines(Mutex<HashMap<Identifier, Place>>);

#[derive(Debug)]
struct Place {
    since: Tick,
    lines: u32,
    held_back: u64,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is written, after so many like it that were not.
    Write {
        held_back: u64,
    },
    HoldBack,
}

impl OwnLines {
    pub(super) fn judge(&self, place: Identifier, now: Tick) -> Verdict {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= PLACES_MAX && !places.contains_key(&place) {
            places.retain(|_, place| now.since(place.since) < WINDOW);
            if places.len() >= PLACES_MAX {
                return Verdict::HoldBack;
            }
        }
        let place = places.entry(place).or_insert(Place { since: now, lines: 0, held_back: 0 });
        if now.since(place.since) >= WINDOW {
            *place = Place { since: now, lines: 0, held_back: place.held_back };
        }
        if place.lines == LINES_MAX {
            place.held_back += 1;
            return Verdict::HoldBack;
        }
        place.lines += 1;
        Verdict::Write { held_back: std::mem::take(&mut place.held_back) }
    }
}
