//! Names that a kind may give its instruments and labels, so that dashboards somebody already has
//! go on working.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::BuildError,
    label::Label,
    registry::{Metric, metric},
};

/// The instruments that a kind may rename.
///
/// ```
/// assert_eq!(obs_core::Instrument::Duration.default_name(), "obs.run.duration");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Instrument {
    /// Histogram of run durations, in seconds.
    Duration,
    /// Histogram of nodes per run.
    Nodes,
    /// Counter of failures.
    Errors,
    /// Counter of started runs.
    Started,
    /// Runs in flight.
    Active,
    /// The time limit that the kind states.
    TimeLimit,
    /// Counter of lost records.
    Dropped,
    /// Histogram of how long runs waited for their start, in seconds.
    QueueDuration,
    /// Age of the oldest run in flight, in seconds.
    OldestAge,
}

impl Instrument {
    /// Every instrument that can be renamed.
    pub const ALL: [Self; 9] = [
        Self::Duration,
        Self::Nodes,
        Self::Errors,
        Self::Started,
        Self::Active,
        Self::TimeLimit,
        Self::Dropped,
        Self::QueueDuration,
        Self::OldestAge,
    ];

    /// What the registry says of it.
    pub(crate) const fn metric(self) -> &'static Metric {
        match self {
            Self::Duration => &metric::OBS_RUN_DURATION,
            Self::Nodes => &metric::OBS_RUN_NODES,
            Self::Errors => &metric::OBS_RUN_ERRORS,
            Self::Started => &metric::OBS_RUN_STARTED,
            Self::Active => &metric::OBS_RUN_ACTIVE,
            Self::TimeLimit => &metric::OBS_RUN_TIME_LIMIT,
            Self::Dropped => &metric::OBS_RECORD_DROPPED,
            Self::QueueDuration => &metric::OBS_RUN_QUEUE_DURATION,
            Self::OldestAge => &metric::OBS_RUN_OLDEST_AGE,
        }
    }

    /// The name without a mapping.
    ///
    /// ```
    /// assert_eq!(obs_core::Instrument::Dropped.default_name(), "obs.record.dropped");
    /// ```
    #[must_use]
    pub const fn default_name(self) -> &'static str {
        self.metric().name
    }

    /// What comes after a mapping's prefix.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Nodes => "nodes",
            Self::Errors => "errors",
            Self::Started => "started",
            Self::Active => "active",
            Self::TimeLimit => "time_limit",
            Self::Dropped => "record.dropped",
            Self::QueueDuration => "queue.duration",
            Self::OldestAge => "oldest.age",
        }
    }

    /// The instrument that a configuration calls so: the default name, or what follows `obs.run.`.
    ///
    /// ```
    /// use obs_core::Instrument;
    /// assert_eq!(Instrument::from_name("duration"), Some(Instrument::Duration));
    /// assert_eq!(Instrument::from_name("obs.run.active"), Some(Instrument::Active));
    /// assert_eq!(Instrument::from_name("latency"), None);
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|instrument| instrument.default_name() == name || instrument.suffix() == name)
    }
}

/// How a kind's instruments and labels are called.
///
/// These names make the series of an engine that was watched before obs come out as they were:
///
/// ```
/// use obs_core::{Instrument, Label, MetricsMapping};
///
/// let mapping = MetricsMapping::default()
///     .prefix("dsl.execution")
///     .name(Instrument::Nodes, "dsl.execution.nodes_per_run")
///     .name(Instrument::Dropped, "dsl.execution.log.dropped")
///     .nodes_total("dsl.execution.nodes")
///     .label(Label::Realm, "realm")
///     .label(Label::StrategyType, "strategy_type")
///     .label(Label::Status, "status")
///     .label(Label::ErrorType, "code")
///     .omit(Label::Kind)
///     .omit(Label::Class)
///     .omit(Label::Reason);
/// # let _ = mapping;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsMapping {
    /// Stands in place of `obs.run` in every name that has none of its own.
    pub prefix: Option<String>,
    /// Instruments renamed one by one.
    pub names: BTreeMap<Instrument, String>,
    /// Label keys renamed.
    pub labels: BTreeMap<Label, String>,
    /// Labels left out; what they told apart is added up.
    pub omit: BTreeSet<Label>,
    /// The name of a counter of nodes, beside the histogram.
    pub nodes_total: Option<String>,
}

impl MetricsMapping {
    /// Replaces `obs.run` in every name that has none of its own.
    ///
    /// ```
    /// let _mapping = obs_core::MetricsMapping::default().prefix("conserver.vcons");
    /// ```
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Renames one instrument.
    ///
    /// ```
    /// use obs_core::{Instrument, MetricsMapping};
    /// let _mapping = MetricsMapping::default().name(Instrument::Active, "conserver.vcons.inflight");
    /// ```
    #[must_use]
    pub fn name(mut self, instrument: Instrument, name: impl Into<String>) -> Self {
        self.names.insert(instrument, name.into());
        self
    }

    /// Renames one label.
    ///
    /// ```
    /// use obs_core::{Label, MetricsMapping};
    /// let _mapping = MetricsMapping::default().label(Label::StrategyType, "chain.name");
    /// ```
    #[must_use]
    pub fn label(mut self, label: Label, key: impl Into<String>) -> Self {
        self.labels.insert(label, key.into());
        self
    }

    /// Leaves one label out.
    ///
    /// ```
    /// use obs_core::{Label, MetricsMapping};
    /// let _mapping = MetricsMapping::default().omit(Label::Kind);
    /// ```
    #[must_use]
    pub fn omit(mut self, label: Label) -> Self {
        self.omit.insert(label);
        self
    }

    /// Adds a counter of nodes beside the histogram.
    ///
    /// ```
    /// let _mapping = obs_core::MetricsMapping::default().nodes_total("dsl.execution.nodes");
    /// ```
    #[must_use]
    pub fn nodes_total(mut self, name: impl Into<String>) -> Self {
        self.nodes_total = Some(name.into());
        self
    }

    /// Lifts the mapping into names that OpenTelemetry accepts.
    pub(crate) fn check(&self) -> Result<Names, BuildError> {
        let instruments = Instrument::ALL.map(|instrument| self.name_of(instrument));
        let mut seen = BTreeSet::new();
        for name in instruments.iter().chain(&self.nodes_total) {
            if !is_metric_name(name) {
                return Err(BuildError::metric_name(name));
            }
            if !seen.insert(name.to_lowercase()) {
                return Err(BuildError::same_name("instruments", name));
            }
        }
        let keys = Label::ALL.map(|label| self.key_of(label));
        let mut seen = BTreeSet::new();
        for key in keys.iter().flatten() {
            if !is_label_key(key) {
                return Err(BuildError::label_key(key));
            }
            if !seen.insert(key) {
                return Err(BuildError::same_name("labels", key));
            }
        }
        Ok(Names { instruments, keys, nodes_total: self.nodes_total.clone() })
    }

    fn name_of(&self, instrument: Instrument) -> String {
        match (self.names.get(&instrument), &self.prefix) {
            (Some(name), _) => name.clone(),
            (None, Some(prefix)) => format!("{prefix}.{}", instrument.suffix()),
            (None, None) => instrument.default_name().to_owned(),
        }
    }

    fn key_of(&self, label: Label) -> Option<String> {
        if self.omit.contains(&label) {
            return None;
        }
        Some(self.labels.get(&label).cloned().unwrap_or_else(|| label.key().to_owned()))
    }
}

/// A mapping after the check: every name valid, no two the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Names {
    instruments: [String; Instrument::ALL.len()],
    keys: [Option<String>; Label::ALL.len()],
    pub(crate) nodes_total: Option<String>,
}

/// The fixed names.
impl Default for Names {
    fn default() -> Self {
        Self {
            instruments: Instrument::ALL.map(|instrument| instrument.default_name().to_owned()),
            keys: Label::ALL.map(|label| Some(label.key().to_owned())),
            nodes_total: None,
        }
    }
}

impl Names {
    #[expect(clippy::indexing_slicing, reason = "each instrument has a name")]
    pub(crate) fn of(&self, instrument: Instrument) -> &str {
        &self.instruments[instrument as usize]
    }

    /// The key of a label, or `None` where the mapping leaves it out.
    #[expect(clippy::indexing_slicing, reason = "each label has a place")]
    pub(crate) fn key(&self, label: Label) -> Option<&str> {
        self.keys[label as usize].as_deref()
    }
}

/// OpenTelemetry's syntax of instrument names, at most 255 characters.
fn is_metric_name(name: &str) -> bool {
    name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/'))
}

fn is_label_key(key: &str) -> bool {
    key.len() <= 128
        && key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_the_order_of_their_discriminants() {
        for (at, instrument) in Instrument::ALL.into_iter().enumerate() {
            assert_eq!(instrument as usize, at);
        }
        for (at, label) in Label::ALL.into_iter().enumerate() {
            assert_eq!(label as usize, at);
        }
    }

    #[test]
    fn without_a_mapping_names_and_keys_are_the_fixed_ones() {
        let names = MetricsMapping::default().check().unwrap();
        assert_eq!(names, Names::default());
        for instrument in Instrument::ALL {
            assert_eq!(names.of(instrument), instrument.default_name());
        }
        for label in Label::ALL {
            assert_eq!(names.key(label), Some(label.key()));
        }
    }

    #[test]
    fn a_prefix_stands_for_obs_run_and_a_single_name_wins_over_it() {
        let mapping =
            MetricsMapping::default().prefix("dsl.execution").name(Instrument::Active, "dsl.now");
        let names = mapping.check().unwrap();
        assert_eq!(names.of(Instrument::Duration), "dsl.execution.duration");
        assert_eq!(names.of(Instrument::Active), "dsl.now");
    }

    #[test]
    fn a_name_that_opentelemetry_refuses_is_an_error_that_shows_it() {
        for bad in ["", "1st", "has space", "über", &"x".repeat(256)] {
            let error =
                MetricsMapping::default().name(Instrument::Duration, bad).check().unwrap_err();
            let shown: String = bad.chars().take(64).collect();
            assert!(error.to_string().contains(&format!("{shown:?}")), "{error}");
        }
        assert!(
            MetricsMapping::default().name(Instrument::Duration, "x".repeat(255)).check().is_ok()
        );
    }

    #[test]
    fn two_instruments_or_labels_of_one_name_are_an_error() {
        let clash = MetricsMapping::default().nodes_total("obs.run.nodes").check().unwrap_err();
        assert!(clash.to_string().contains("obs.run.nodes"), "{clash}");
        let clash = MetricsMapping::default().label(Label::Realm, "obs.kind").check().unwrap_err();
        assert!(clash.to_string().contains("obs.kind"), "{clash}");
        let apart = MetricsMapping::default().label(Label::Realm, "obs.kind").omit(Label::Kind);
        assert!(apart.check().is_ok());
    }
}
