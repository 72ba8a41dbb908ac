//! A family of runs with one set of labels and limits.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use crate::{
    capture::Capture,
    error::BuildError,
    keep::KeepPolicy,
    label::clean,
    limits::{LABEL_BYTES_MAX, STRATEGY_ID_BYTES_MAX, VERSION_BYTES_MAX},
    mapping::{MetricsMapping, Names},
    obs::Core,
    strategies::{Strategies, StrategyKey, scope},
    strategy::{Strategy, StrategyBuilder},
};

/// What a kind is, before its first run.
///
/// ```
/// use obs_core::{KindSpec, Obs};
/// use std::time::Duration;
///
/// let obs = Obs::builder().build()?;
/// let kind = obs.define_kind(
///     KindSpec::new("dsl.execution")
///         .label_strategy(true)
///         .time_limit(Duration::from_millis(500))
///         .error_types(["DSL_TIMEOUT", "DSL_LIMIT_EXCEEDED"]),
/// )?;
/// # let _ = kind;
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct KindSpec {
    name: String,
    mapping: MetricsMapping,
    label_strategy: bool,
    time_limit: Option<Duration>,
    error_types: Vec<String>,
    policy: Option<KeepPolicy>,
    capture: Option<Capture>,
}

impl KindSpec {
    /// A kind with the fixed names and without limits.
    ///
    /// ```
    /// let _spec = obs_core::KindSpec::new("conserver.vcons");
    /// ```
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            mapping: MetricsMapping::default(),
            label_strategy: false,
            time_limit: None,
            error_types: Vec::new(),
            policy: None,
            capture: None,
        }
    }

    /// Renames the kind's instruments and labels.
    ///
    /// ```
    /// use obs_core::{KindSpec, MetricsMapping};
    /// let _spec = KindSpec::new("dsl").metrics(MetricsMapping::default().prefix("dsl.execution"));
    /// ```
    #[must_use]
    pub fn metrics(mut self, mapping: MetricsMapping) -> Self {
        self.mapping = mapping;
        self
    }

    /// Makes id and version of strategies labels. At most 64 ids, the rest folds to `_OTHER`.
    ///
    /// ```
    /// let _spec = obs_core::KindSpec::new("dsl").label_strategy(true);
    /// ```
    #[must_use]
    pub fn label_strategy(mut self, label_strategy: bool) -> Self {
        self.label_strategy = label_strategy;
        self
    }

    /// States the time limit of the kind's runs, so that "approaching the limit" can alert. obs
    /// does not enforce it.
    ///
    /// ```
    /// let _spec = obs_core::KindSpec::new("dsl").time_limit(std::time::Duration::from_secs(1));
    /// ```
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = Some(time_limit);
        self
    }

    /// Names error types that may come, so that their counters exist, with 0, before the first.
    ///
    /// ```
    /// let _spec = obs_core::KindSpec::new("dsl").error_types(["DIV_BY_ZERO"]);
    /// ```
    #[must_use]
    pub fn error_types(mut self, codes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.error_types = codes.into_iter().map(Into::into).collect();
        self
    }

    /// Which runs of this kind are kept, instead of the policy of all: rules ([`KeepRule`](crate::KeepRule)) change
    /// that, another policy of all does not.
    ///
    /// ```
    /// use obs_core::{KeepPolicy, KindSpec, Rate};
    /// let one_in_a_hundred = KeepPolicy { ok_rate: Rate::new(0.01)?, ..KeepPolicy::default() };
    /// let _spec = KindSpec::new("http.server").policy(one_in_a_hundred);
    /// # Ok::<(), obs_core::RateError>(())
    /// ```
    #[must_use]
    pub const fn policy(mut self, policy: KeepPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// How much of the inputs of this kind is stored, instead of what holds for all.
    ///
    /// ```
    /// use obs_core::{Capture, KindSpec};
    /// let _spec = KindSpec::new("kyc.check").capture_input(Capture::Off);
    /// ```
    #[must_use]
    pub const fn capture_input(mut self, capture: Capture) -> Self {
        self.capture = Some(capture);
        self
    }
}

/// A family of runs. Cheap to clone; made by [`Obs::kind`](crate::Obs::kind).
///
/// ```
/// use obs_core::Obs;
/// let obs = Obs::builder().build()?;
/// let strategy = obs.kind("dsl.execution").strategy("welcome-bonus").version("3").build()?;
/// # let _ = strategy;
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Kind {
    shared: Arc<KindShared>,
    realm: Option<Arc<str>>,
    strategy_type: Option<Arc<str>>,
    /// What realm and type come to in the hash of a look-up.
    scope: u64,
}

/// What all handles of a kind share.
pub(crate) struct KindShared {
    pub(crate) core: Arc<Core>,
    pub(crate) name: Arc<str>,
    pub(crate) names: Names,
    pub(crate) label_strategy: bool,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) error_types: Vec<String>,
    pub(crate) policy: Option<KeepPolicy>,
    pub(crate) capture: Option<Capture>,
    pub(crate) strategies: Strategies,
}

impl KindSpec {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Kind {
    /// A kind with the fixed names.
    pub(crate) fn plain(core: &Arc<Core>, name: &str) -> Self {
        let spec = KindSpec::new(name);
        Self::with_names(core, spec, Names::default())
    }

    pub(crate) fn new(core: &Arc<Core>, spec: KindSpec) -> Result<Self, BuildError> {
        let names = spec.mapping.check()?;
        Ok(Self::with_names(core, spec, names))
    }

    fn with_names(core: &Arc<Core>, spec: KindSpec, names: Names) -> Self {
        let shared = Arc::new(KindShared {
            core: Arc::clone(core),
            name: clean(&spec.name).into(),
            names,
            label_strategy: spec.label_strategy,
            time_limit: spec.time_limit,
            error_types: spec.error_types,
            policy: spec.policy,
            capture: spec.capture,
            strategies: Strategies::default(),
        });
        Self { shared, realm: None, strategy_type: None, scope: scope(None, None) }
    }

    /// The name, as it stands on metrics and in rows.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// assert_eq!(obs.kind(" dsl ").name(), "dsl");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The same kind with a realm for the strategies that it builds or looks up.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// let acme = obs.kind("dsl").realm("acme");
    /// let strategy = acme.lookup("tenant-rule-99", "4");
    /// assert_eq!(strategy.realm(), Some("acme"));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn realm(&self, realm: &str) -> Self {
        self.scoped(Some(clean(realm).into()), self.strategy_type.clone())
    }

    /// The same kind with a type for the strategies that it builds or looks up.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// let chains = obs.kind("dsl").type_("chain");
    /// # let _ = chains;
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn type_(&self, strategy_type: &str) -> Self {
        self.scoped(self.realm.clone(), Some(clean(strategy_type).into()))
    }

    /// Begins a strategy that is known when the program starts.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// let strategy = obs.kind("dsl").strategy("welcome-bonus").version("3").build()?;
    /// # let _ = strategy;
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn strategy(&self, id: impl Into<String>) -> StrategyBuilder {
        StrategyBuilder::new(self.clone(), id.into())
    }

    /// A strategy that was authored at run time. It never fails: ids and versions that are too long
    /// are shortened and end in a hash. The kind remembers at least 5,000 strategies; one that was
    /// forgotten, because it was not used for longest, starts anew with its first runs.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// let strategy = obs.kind("dsl").lookup("tenant-rule-99", "4");
    /// assert_eq!((strategy.id(), strategy.version()), ("tenant-rule-99", "4"));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn lookup(&self, id: &str, version: &str) -> Strategy {
        // As it is, it is nearly always one of the thread's latest; if not, it is made valid first.
        let given = self.key(Cow::Borrowed(id), Cow::Borrowed(version));
        match self.shared.strategies.known(self.scope, &given) {
            Some(known) => known,
            None => self.look_up(id, version),
        }
    }

    fn key<'a>(&'a self, id: Cow<'a, str>, version: Cow<'a, str>) -> StrategyKey<'a> {
        let (realm, strategy_type) = (self.realm.as_deref(), self.strategy_type.as_deref());
        StrategyKey { id, version, realm, strategy_type, hash: None }
    }

    #[cold]
    fn look_up(&self, id: &str, version: &str) -> Strategy {
        let id = shortened(id, STRATEGY_ID_BYTES_MAX);
        self.intern(&self.key(id, shortened(version, VERSION_BYTES_MAX)))
    }

    /// The strategy with these facts: the known one, or a new one.
    pub(crate) fn intern(&self, key: &StrategyKey<'_>) -> Strategy {
        self.shared.strategies.get_or_make(key, || Strategy::make(&self.shared, key))
    }

    fn scoped(&self, realm: Option<Arc<str>>, strategy_type: Option<Arc<str>>) -> Self {
        let scope = scope(realm.as_deref(), strategy_type.as_deref());
        Self { shared: Arc::clone(&self.shared), realm, strategy_type, scope }
    }

    pub(crate) fn defaults(&self) -> (Option<Arc<str>>, Option<Arc<str>>) {
        (self.realm.clone(), self.strategy_type.clone())
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind")
            .field("name", &self.shared.name)
            .field("realm", &self.realm)
            .field("type", &self.strategy_type)
            .finish()
    }
}

impl fmt::Debug for KindShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindShared").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Checks a text that the caller may still correct.
pub(crate) fn checked(
    what: &'static str,
    example: &'static str,
    text: &str,
    bytes_max: usize,
) -> Result<String, BuildError> {
    let text: String = text.trim().chars().filter(|c| !c.is_control()).collect();
    if text.is_empty() {
        return Err(BuildError::empty(what, example));
    }
    if text.len() > bytes_max {
        return Err(BuildError::too_long(what, &text, bytes_max));
    }
    Ok(text)
}

/// A realm or type as it stands in rows: cleaned like a label.
pub(crate) fn word(text: &str) -> Arc<str> {
    const { assert!(LABEL_BYTES_MAX <= STRATEGY_ID_BYTES_MAX) };
    clean(text).into()
}

/// A text that must do: what is too long keeps its beginning and ends in a hash of the whole, so
/// that two long texts stay two.
fn shortened(text: &str, bytes_max: usize) -> Cow<'_, str> {
    let trimmed = text.trim();
    let clean = if may_have_control(trimmed) && trimmed.contains(char::is_control) {
        Cow::Owned(trimmed.chars().filter(|c| !c.is_control()).collect())
    } else {
        Cow::Borrowed(trimmed)
    };
    if clean.is_empty() {
        return Cow::Borrowed(crate::label::UNKNOWN);
    }
    if clean.len() <= bytes_max {
        return clean;
    }
    let hash = crate::strategies::hash_of(&[&clean]);
    let head = crate::label::cut(&clean, bytes_max - HASH_TEXT_BYTES);
    Cow::Owned(format!("{head}~{hash:016x}"))
}

/// Whether a text may have control characters: whoever chooses ids chooses how long they are, and this look at
/// one that has none takes an eighth of the time. Beyond ASCII they begin with [`C1`].
fn may_have_control(text: &str) -> bool {
    /// The first byte of U+0080 to U+00BF.
    const C1: u8 = 0xc2;
    // Without an early end, so that many bytes are looked at together.
    let found = |found, byte: u8| found | byte.is_ascii_control() | (byte == C1);
    text.bytes().fold(false, found)
}

/// `~` and 16 hexadecimal digits.
const HASH_TEXT_BYTES: usize = 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_are_shortened_and_stay_apart() {
        let (one, two) = (format!("{}1", "x".repeat(300)), format!("{}2", "x".repeat(300)));
        let (short_one, short_two) = (shortened(&one, 200), shortened(&two, 200));
        assert_eq!((short_one.len(), short_two.len()), (200, 200));
        assert_ne!(short_one, short_two);
        assert_eq!(shortened(&"x".repeat(200), 200).len(), 200);
    }

    #[test]
    fn no_control_character_is_overlooked() {
        for c in (0..=0x0010_ffff).filter_map(char::from_u32) {
            assert!(!c.is_control() || may_have_control(&format!("id{c}")), "{c:?}");
        }
        assert!(!may_have_control("a plain id, and one of Łódź"));
        assert_eq!(shortened("a\u{7}b\u{85}c", 200), "abc");
    }

    #[test]
    fn an_empty_id_at_run_time_is_unknown() {
        assert_eq!(shortened(" \u{0} ", 200), "unknown");
    }
}
