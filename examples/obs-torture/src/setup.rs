//! Telemetry as this program's users configure it, with every run kept.

use std::{error::Error, thread, time::Duration};

use obs::{BuildError, Clock, KeepPolicy, Rate, StoreState, Strategy, Telemetry};

use crate::{
    args::{Args, Durability},
    signals::Stop,
};

/// With nothing settled for so long, what is left will not be.
const ADOPTION_PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

pub(crate) fn telemetry(args: &Args) -> Result<Telemetry, Box<dyn Error>> {
    let all = Rate::new(1.0)?;
    let policy = KeepPolicy {
        slow: None,
        first: 0,
        cancelled_rate: all,
        ok_rate: all,
        ..KeepPolicy::default()
    };
    let mut builder = obs::builder().policy(policy).rows(args.db.is_some()).logs(args.log_lines);
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

/// Waits until nothing of dead processes is on its way any more; `false` if nothing moves.
pub(crate) fn wait_until_adopted(telemetry: &Telemetry, stop: &Stop) -> bool {
    let Some(store) = telemetry.store_watch() else { return true };
    let clock = Clock::default();
    let (mut settled, mut moved) = (None, clock.now());
    while !stop.is_set() {
        // In this order: what is taken over between the two is pending.
        let looked = store.state() == StoreState::Up && !store.is_adopting();
        let ledger = telemetry.ledger();
        let pending = [&ledger.ok, &ledger.error].map(|class| class.in_queue + class.spooled);
        if looked && pending == [0, 0] {
            return true;
        }
        let now = [&ledger.ok, &ledger.error]
            .map(|class| (class.adopted, class.persisted, class.quarantined));
        if settled.replace(now) != Some(now) {
            moved = clock.now();
        }
        if clock.now().since(moved) > ADOPTION_PATIENCE {
            let why = store.last_error().unwrap_or_else(|| "the store says nothing".to_owned());
            eprintln!("warning: nothing was settled for {ADOPTION_PATIENCE:?}: {why}");
            return false;
        }
        thread::park_timeout(POLL);
    }
    true
}
