//! The policy in force: one for an `Obs`, behind a lock that a run takes only after it has changed.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{Cached, KeepRule, Policy, PolicyError, PolicyState, Standing, cached::WRITING};
use crate::{
    keep::{Bar, KeepPolicy},
    obs::Core,
    record::Timestamp,
    status::Status,
    strategy::StrategyShared,
    sync::lock_after_fork,
};

/// Whom a rule may match: what a strategy is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
    pub(crate) version: &'a str,
    pub(crate) realm: Option<&'a str>,
    /// The policy of its kind, where that has one of its own.
    pub(crate) own: Option<&'a KeepPolicy>,
}

/// The policy in force, and its number. What each run reads comes first.
#[repr(C)]
pub(crate) struct InForce {
    /// Changes whenever another answer is possible: with the policy, and when a rule ends.
    number: AtomicU32,
    /// How many entries the trace of a run has that starts now.
    entries_max: AtomicU32,
    state: Mutex<State>,
    standing: Arc<Standing>,
}

struct State {
    policy: Arc<Policy>,
    /// Rules whose ends are not after this have ended, for good, whatever the clock says later.
    ended: Timestamp,
}

impl InForce {
    /// How much of it a run reads, in bytes from its beginning.
    pub(crate) const HOT_BYTES: usize = std::mem::offset_of!(Self, state);

    pub(crate) fn new(policy: Policy, now: Timestamp) -> Self {
        let entries_max = entries_max(&policy);
        let state = State { policy: Arc::new(policy), ended: now };
        Self {
            number: AtomicU32::new(WRITING + 1),
            entries_max: AtomicU32::new(entries_max),
            state: Mutex::new(state),
            standing: Arc::default(),
        }
    }

    /// The number of the policy in force: all that most runs ask.
    #[inline(always)]
    pub(crate) fn number(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn entries_max(&self) -> u32 {
        self.entries_max.load(Ordering::Relaxed)
    }

    /// How it is doing, for whoever says so to others.
    pub(crate) const fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// What holds for a strategy that is being made, and how many of its first runs are kept.
    pub(crate) fn first_copy(&self, who: &Who<'_>) -> (Cached, u32) {
        let (state, number) = match lock_after_fork(&self.state) {
            Some(state) => (State { policy: Arc::clone(&state.policy), ..*state }, self.number()),
            // Who holds the lock is gone: the copy counts as old, and each run looks again.
            None => (State::default(), WRITING),
        };
        let first = who.own.unwrap_or(&state.policy.keep).first;
        (Cached::new((number, &state.policy.rules_for(who, state.ended))), first)
    }

    /// What decides about a run that ends so, where the strategy's copy alone does not say: it is made anew if
    /// the policy is another, or if the rule that it is made of has ended.
    fn ask(&self, cached: &Cached, (who, status): (&Who<'_>, Status), now: Timestamp) -> Bar {
        if let Some(bar) = cached.bar_at(self.number(), status, now) {
            return bar;
        }
        let Some(mut state) = lock_after_fork(&self.state) else {
            return cached.as_it_is(status);
        };
        if state.end_rules(now) {
            self.renumber();
        }
        let rules = state.policy.rules_for(who, state.ended);
        cached.write(self.number(), &rules);
        rules.bar(status)
    }

    /// Puts what `change` makes of the policy in its place, if that is valid.
    fn change(
        &self,
        now: Timestamp,
        change: impl FnOnce(&Policy) -> Policy,
    ) -> Result<(), PolicyError> {
        let changed = self.try_change(now, change);
        self.standing.note(&changed);
        changed
    }

    fn try_change(
        &self,
        now: Timestamp,
        change: impl FnOnce(&Policy) -> Policy,
    ) -> Result<(), PolicyError> {
        let mut state = lock_after_fork(&self.state).ok_or_else(PolicyError::forked)?;
        if state.end_rules(now) {
            self.renumber();
        }
        let policy = change(&state.in_force()).checked()?;
        // A clock that was set back since must not end rules that are new.
        state.ended = now;
        self.entries_max.store(entries_max(&policy), Ordering::Relaxed);
        let old = std::mem::replace(&mut state.policy, Arc::new(policy));
        self.renumber();
        drop(state);
        drop(old);
        Ok(())
    }

    /// Under the lock: copies that were made before are old.
    fn renumber(&self) {
        let next = self.number().wrapping_add(1);
        self.number.store(if next == WRITING { WRITING + 1 } else { next }, Ordering::Relaxed);
    }
}

impl StrategyShared {
    /// What decides about a run that ends now, and so; `None` after the policy has changed.
    #[inline(always)]
    pub(crate) fn bar(&self, status: Status) -> Option<Bar> {
        self.keep.bar(self.core.policy.number(), status)
    }

    /// The same, from the policy itself.
    pub(crate) fn ask(&self, status: Status) -> Bar {
        let who = Who {
            kind: &self.kind,
            id: &self.id,
            version: &self.version,
            realm: self.realm.as_deref(),
            own: self.own_policy.as_ref(),
        };
        self.core.policy.ask(&self.keep, (&who, status), self.core.clock.wall())
    }
}

impl Default for State {
    fn default() -> Self {
        Self { policy: Arc::default(), ended: Timestamp::from_micros(0) }
    }
}

impl State {
    /// Whether a rule has ended that held until now.
    fn end_rules(&mut self, now: Timestamp) -> bool {
        let ends = |rule: &KeepRule| rule.holds_after(self.ended) && !rule.holds_after(now);
        let some = self.policy.rules.iter().any(ends);
        if some {
            self.ended = now;
        }
        some
    }

    /// The policy without the rules that have ended.
    fn in_force(&self) -> Policy {
        let mut policy = Policy::clone(&self.policy);
        policy.rules.retain(|rule| rule.holds_after(self.ended));
        policy
    }
}

fn entries_max(policy: &Policy) -> u32 {
    u32::try_from(policy.limits.trace_entries).unwrap_or(u32::MAX)
}

/// The policy of an [`Obs`](crate::Obs), which may change while runs go on.
///
/// A change is seen by every run that ends after it, of every strategy, at once; a run that has decided already keeps
/// its row as it is, with the rate that it was chosen by. Between two changes the policy costs a run the comparison of
/// two numbers; a run for which a rule holds that will end also reads the clock.
///
/// ```
/// use obs_core::{KeepRule, Obs};
/// use std::time::Duration;
///
/// let obs = Obs::builder().build()?;
/// let all_of_bonus = KeepRule { strategy: Some("bonus".into()), keep_all: true, ..KeepRule::default() };
/// obs.policy().add_for(all_of_bonus, Duration::from_secs(600))?;
/// assert_eq!(obs.policy().current().rules.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LivePolicy(pub(crate) Arc<Core>);

impl LivePolicy {
    /// Puts another policy in force, or leaves the old one as it is.
    ///
    /// # Errors
    /// When the trace has too many entries, there are too many rules, or one of them says nothing, two things, or
    /// names something that cannot exist; and in a forked child, when a thread of its parent was changing the policy
    /// at the fork.
    ///
    /// ```
    /// use obs_core::{KeepPolicy, Obs, Policy, Rate};
    ///
    /// let obs = Obs::builder().build()?;
    /// let mut policy = obs.policy().current();
    /// policy.keep.ok_rate = Rate::new(0.5)?;
    /// obs.policy().set(policy)?;
    /// assert_eq!(obs.policy().changes(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set(&self, policy: Policy) -> Result<(), PolicyError> {
        self.0.policy.change(self.0.clock.wall(), |_| policy)
    }

    /// Adds a rule before all others, which ends after `time`.
    ///
    /// # Errors
    /// When the rule cannot be used, or there is no room for another one; and in a forked child, as for
    /// [`set`](Self::set).
    ///
    /// ```
    /// use obs_core::{KeepRule, Obs};
    /// let obs = Obs::builder().build()?;
    /// let error = obs.policy().add_for(KeepRule::default(), std::time::Duration::from_secs(600)).unwrap_err();
    /// assert!(error.to_string().starts_with("rules[0] changes nothing"));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn add_for(&self, rule: KeepRule, time: Duration) -> Result<(), PolicyError> {
        let now = self.0.clock.wall();
        let rule = KeepRule { until: Some(now.after(time)), ..rule };
        self.0.policy.change(now, |old| {
            let mut rules = vec![rule];
            rules.extend(old.rules.iter().cloned());
            Policy { rules, ..old.clone() }
        })
    }

    /// The policy in force, without rules that have ended.
    ///
    /// In a forked child it is the default, whatever is in force, if a thread of the parent was changing the policy at
    /// the fork. What is made of that cannot be put in force there: [`set`](Self::set) says so.
    ///
    /// ```
    /// let obs = obs_core::Obs::builder().build()?;
    /// assert_eq!(obs.policy().current(), obs_core::Policy::default());
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn current(&self) -> Policy {
        let now = self.0.clock.wall();
        let Some(state) = lock_after_fork(&self.0.policy.state) else { return Policy::default() };
        let mut policy = state.in_force();
        drop(state);
        policy.rules.retain(|rule| rule.holds_after(now));
        policy
    }

    /// How often another policy was put in force. A rule that ends is no change.
    ///
    /// ```
    /// let obs = obs_core::Obs::builder().build()?;
    /// assert_eq!(obs.policy().changes(), 0);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// How it is doing: how often it changed, and why the last one that was offered was refused.
    ///
    /// ```
    /// use obs_core::{KeepRule, Obs};
    /// use std::time::Duration;
    /// let obs = Obs::builder().build()?;
    /// let _ = obs.policy().add_for(KeepRule::default(), Duration::from_secs(600));
    /// assert!(obs.policy().state().problem.unwrap().starts_with("rules[0] changes nothing"));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn state(&self) -> PolicyState {
        self.0.policy.standing.now()
    }

    /// Says of a policy from elsewhere, e.g. of a file, that it was refused before it came here: metrics and health
    /// tell of that as of one that [`set`](Self::set) refuses.
    ///
    /// ```
    /// let obs = obs_core::Obs::builder().build()?;
    /// obs.policy().refused("obs.yaml:3: sample_rate: 7 is not in [0, 1]");
    /// assert_eq!(obs.policy().state().refused, 1);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn refused(&self, problem: &str) {
        self.0.policy.standing.refused(problem);
    }

    /// Says that what was refused has been taken back: there is no problem any more, and nothing to change.
    ///
    /// ```
    /// let obs = obs_core::Obs::builder().build()?;
    /// obs.policy().refused("obs.yaml:3: sample_rate: 7 is not in [0, 1]");
    /// obs.policy().mended();
    /// assert_eq!(obs.policy().state().problem, None);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn mended(&self) {
        self.0.policy.standing.mended();
    }
}

impl fmt::Debug for LivePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LivePolicy").field(&self.current()).finish()
    }
}

#[cfg(test)]
mod tests;
