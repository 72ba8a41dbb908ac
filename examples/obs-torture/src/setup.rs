//! Telemetry as this program's users configure it, with every run kept.

use std::{error::Error, path::PathBuf, thread, time::Duration};

use obs::{BuildError, Clock, KeepPolicy, Rate, StoreState, Strategy, Telemetry};
use obs_persist::inspect;

use crate::{
    args::{Args, Durability},
    signals::Stop,
};

/// With nothing settled for so long, what is left will not be.
const ADOPTION_PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// How often nothing must be pending, one look after the other: what dead processes left is found
/// while others of it are settled already.
const QUIET_LOOKS: u32 = 20;

pub(crate) fn telemetry(args: &Args) -> Result<Telemetry, Box<dyn Error>> {
    let all = Rate::new(1.0)?;
    let policy = KeepPolicy { slow: None, first: 0, cancelled_rate: all, ok_rate: all };
    let mut builder = obs::builder().policy(policy).rows(args.db.is_some());
    if let Some(url) = &args.db {
        builder = builder.store(url);
    }
    if let Some(dir) = args.spool.as_deref().filter(|_| args.durability() != Durability::Memory) {
        builder = builder.spool_dir(dir);
    }
    Ok(builder.init()?)
}

pub(crate) fn strategy(telemetry: &Telemetry) -> Result<Strategy, BuildError> {
    telemetry.kind("torture").strategy("torture").version("1").type_("TEST").realm("acme").build()
}

/// The directories that dead processes left in the spool; what cannot be read is nobody's.
pub(crate) fn left_by_the_dead(args: &Args) -> Vec<PathBuf> {
    let epochs =
        args.spool.as_deref().and_then(|dir| inspect::epochs(dir).ok()).unwrap_or_default();
    epochs.into_iter().filter(|epoch| !epoch.alive).map(|epoch| epoch.directory).collect()
}

/// Waits until nothing of dead processes is on its way any more, or nothing moves.
pub(crate) fn wait_until_adopted(telemetry: &Telemetry, left: &[PathBuf], stop: &Stop) {
    if telemetry.store_url().is_none() {
        return;
    }
    let clock = Clock::default();
    let (mut settled, mut moved, mut quiet) = (None, clock.now(), 0);
    while quiet < QUIET_LOOKS && clock.now().since(moved) < ADOPTION_PATIENCE && !stop.is_set() {
        thread::park_timeout(POLL);
        let ledger = telemetry.ledger();
        let pending = [&ledger.ok, &ledger.error].map(|class| class.in_queue + class.spooled);
        // What dead processes left is taken over when the store is there to take it, and not at once: it may be
        // busy with its partitions first. A directory goes with the last record in it.
        let is_quiet = pending == [0, 0]
            && telemetry.store_state() == Some(StoreState::Up)
            && !left.iter().any(|directory| directory.exists());
        quiet = if is_quiet { quiet + 1 } else { 0 };
        let now = [&ledger.ok, &ledger.error]
            .map(|class| (class.adopted, class.persisted, class.quarantined));
        if settled.replace(now) != Some(now) {
            moved = clock.now();
        }
    }
}
