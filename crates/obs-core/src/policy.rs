//! What may change while a process runs: which runs are kept, and how much of them.

mod cached;
mod error;
mod live;
mod state;

use std::time::Duration;

use crate::{
    keep::{KeepPolicy, KeepRules, Rate},
    label::clean,
    limits::{
        LABEL_BYTES_MAX, Limits, RULES_MAX, STRATEGY_ID_BYTES_MAX, TRACE_ENTRIES_MAX,
        VERSION_BYTES_MAX,
    },
    record::Timestamp,
};

pub(crate) use cached::Cached;
pub use error::PolicyError;
pub use live::LivePolicy;
pub(crate) use live::{InForce, Who};
pub use state::PolicyState;
pub(crate) use state::Standing;

/// Which runs are kept, and how much of them: what [`LivePolicy::set`] changes as a whole.
///
/// ```
/// use obs_core::{KeepPolicy, KeepRule, Limits, Policy, Rate};
///
/// let policy = Policy {
///     keep: KeepPolicy { ok_rate: Rate::new(0.01)?, ..KeepPolicy::default() },
///     limits: Limits { trace_entries: 50 },
///     rules: vec![KeepRule { kind: Some("dsl.execution".into()), keep_all: true, ..KeepRule::default() }],
/// };
/// let obs = obs_core::Obs::builder().build()?;
/// obs.policy().set(policy.clone())?;
/// assert_eq!(obs.policy().current(), policy);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// What holds where no rule matches and the kind has no policy of its own. A change of
    /// [`KeepPolicy::first`] holds for strategies that are made afterwards.
    pub keep: KeepPolicy,
    /// How much a row holds, for runs that start from now on.
    pub limits: Limits,
    /// Exceptions, at most 100. The first that matches and has not ended decides, and leaves what it says nothing
    /// of as it is without it.
    pub rules: Vec<KeepRule>,
}

/// An exception: which runs it is about, what holds for them, and until when. What is `None` is about all runs, or
/// changes nothing.
///
/// ```
/// use obs_core::{KeepRule, Rate};
///
/// let rule = KeepRule {
///     strategy: Some("welcome-bonus".into()),
///     realm: Some("acme".into()),
///     sample_rate: Some(Rate::new(0.5)?),
///     ..KeepRule::default()
/// };
/// # let _ = rule;
/// # Ok::<(), obs_core::RateError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeepRule {
    /// The kind of the runs.
    pub kind: Option<String>,
    /// The id of their strategy.
    pub strategy: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Their tenant.
    pub realm: Option<String>,
    /// The share of ok runs that is kept.
    pub sample_rate: Option<Rate>,
    /// Runs that take longer than this are kept; [`Duration::MAX`] switches that off.
    pub slow: Option<Duration>,
    /// Whether every run is kept, cancelled ones, too.
    pub keep_all: bool,
    /// When the rule ends, by the wall clock; `None`: when the policy changes.
    pub until: Option<Timestamp>,
}

impl Policy {
    /// Whether it could be put in force.
    ///
    /// # Errors
    /// As [`LivePolicy::set`].
    ///
    /// ```
    /// assert!(obs_core::Policy::default().check().is_ok());
    /// ```
    pub fn check(&self) -> Result<(), PolicyError> {
        self.clone().checked().map(drop)
    }

    /// The same with names as strategies have them, or what is wrong with it.
    pub(crate) fn checked(mut self) -> Result<Self, PolicyError> {
        let entries = self.limits.trace_entries;
        if entries > TRACE_ENTRIES_MAX {
            return Err(PolicyError::trace_entries(entries));
        }
        if self.rules.len() > RULES_MAX {
            return Err(PolicyError::rules(self.rules.len()));
        }
        for (index, rule) in self.rules.iter_mut().enumerate() {
            rule.check().map_err(|error| error.of_rule(index))?;
        }
        Ok(self)
    }

    /// What holds for the runs of a strategy, and the end of the rule that says so.
    pub(crate) fn rules_for(&self, who: &Who<'_>, ended: Timestamp) -> KeepRules {
        let mut keep = who.own.copied().unwrap_or(self.keep);
        let rule = self.rules.iter().find(|rule| rule.holds_after(ended) && rule.matches(who));
        if let Some(rule) = rule {
            rule.change(&mut keep);
        }
        KeepRules::new(keep, rule.and_then(|rule| rule.until))
    }
}

impl KeepRule {
    fn check(&mut self) -> Result<(), PolicyError> {
        if !self.keep_all && self.sample_rate.is_none() && self.slow.is_none() {
            return Err(PolicyError::says_nothing());
        }
        if self.keep_all && self.sample_rate.is_some() {
            return Err(PolicyError::says_two());
        }
        named("kind", &mut self.kind, LABEL_BYTES_MAX)?;
        named("strategy", &mut self.strategy, STRATEGY_ID_BYTES_MAX)?;
        named("version", &mut self.version, VERSION_BYTES_MAX)?;
        named("realm", &mut self.realm, LABEL_BYTES_MAX)?;
        for word in [&mut self.kind, &mut self.realm].into_iter().flatten() {
            *word = clean(word).into_owned();
        }
        Ok(())
    }

    pub(crate) fn holds_after(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }

    fn matches(&self, who: &Who<'_>) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        is(&self.kind, who.kind)
            && is(&self.strategy, who.id)
            && is(&self.version, who.version)
            && self.realm.as_ref().is_none_or(|wanted| who.realm == Some(wanted.as_str()))
    }

    fn change(&self, keep: &mut KeepPolicy) {
        if self.keep_all {
            keep.ok_rate = Rate::ALL;
            keep.cancelled_rate = Rate::ALL;
        }
        if let Some(rate) = self.sample_rate {
            keep.ok_rate = rate;
        }
        if let Some(slow) = self.slow {
            keep.slow = Some(slow);
        }
    }
}

/// A name as strategies have it: without blanks around it and control characters.
fn named(
    what: &'static str,
    name: &mut Option<String>,
    bytes_max: usize,
) -> Result<(), PolicyError> {
    let Some(text) = name else { return Ok(()) };
    let plain: String = text.trim().chars().filter(|c| !c.is_control()).collect();
    if plain.is_empty() {
        return Err(PolicyError::empty(what));
    }
    if plain.len() > bytes_max {
        return Err(PolicyError::too_long(what, &plain, bytes_max));
    }
    *text = plain;
    Ok(())
}

#[cfg(test)]
mod tests;
