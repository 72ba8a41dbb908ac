//! The registry as it stands in `registry/*.yaml`: OpenTelemetry's semantic conventions, as Weaver reads them.

mod form;

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::error::RegistryError;
use form::{Document, Group};

/// The folder below the root.
const FOLDER: &str = "registry";

/// What is not a registry of groups in that folder.
const MANIFEST: &str = "registry_manifest.yaml";

/// Everything obs emits.
///
/// ```
/// let registry = obs_stack::Registry::read(&obs_stack::root())?;
/// assert!(registry.attribute("obs.kind").is_some());
/// # Ok::<(), obs_stack::RegistryError>(())
/// ```
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Registry {
    /// Attributes by key.
    pub attributes: BTreeMap<String, Attribute>,
    /// Metrics, in the order of the files.
    pub metrics: Vec<Metric>,
    /// Events: log records with a name.
    pub events: Vec<Event>,
    /// Spans.
    pub spans: Vec<Span>,
}

/// How far something may be relied on.
///
/// ```
/// assert!(obs_stack::Stability::Development != obs_stack::Stability::Stable);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stability {
    /// May change with any release before 1.0.
    Development,
    /// Changes with a major release only.
    Stable,
}

/// What a metric is measured with.
///
/// ```
/// assert_ne!(obs_stack::Instrument::Counter, obs_stack::Instrument::Gauge);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Instrument {
    /// Only grows.
    Counter,
    /// Goes up and down by steps.
    UpDownCounter,
    /// A level.
    Gauge,
    /// A distribution over buckets.
    Histogram,
}

/// Whether an attribute is always there.
///
/// ```
/// assert_eq!(obs_stack::Requirement::default(), obs_stack::Requirement::Recommended);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Requirement {
    /// Always.
    Required,
    /// Whenever this holds.
    ConditionallyRequired(String),
    /// Where it is known.
    #[default]
    Recommended,
    /// Where somebody asks for it.
    OptIn,
}

/// An attribute.
///
/// ```
/// let registry = obs_stack::Registry::read(&obs_stack::root())?;
/// let status = registry.attribute("obs.run.status").ok_or("no such attribute")?;
/// assert!(status.members.contains(&"panicked".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Attribute {
    /// Its key.
    pub name: String,
    /// `string`, `int`, `double`, `boolean`, or `enum`.
    pub kind: String,
    /// The values of an `enum`.
    pub members: Vec<String>,
    /// What it says, in a sentence.
    pub brief: String,
    /// The rest, for whoever wants to know.
    pub note: String,
    /// Values it may have.
    pub examples: Vec<String>,
    /// How far it may be relied on.
    pub stability: Stability,
}

/// An attribute of a metric, an event or a span.
///
/// ```
/// let registry = obs_stack::Registry::read(&obs_stack::root())?;
/// let metric = registry.metric("obs.run.errors").ok_or("no such metric")?;
/// assert!(metric.attributes.iter().any(|attribute| attribute.name == "error.type"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Reference {
    /// The attribute's key.
    pub name: String,
    /// Whether it is always there.
    pub requirement: Requirement,
}

/// A metric.
///
/// ```
/// let registry = obs_stack::Registry::read(&obs_stack::root())?;
/// let metric = registry.metric("obs.run.nodes").ok_or("no such metric")?;
/// assert_eq!((metric.unit.as_str(), metric.bounds.len()), ("{node}", 13));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Its unit, in UCUM.
    pub unit: String,
    /// What it is measured with.
    pub instrument: Instrument,
    /// What it says; the instrument's description.
    pub brief: String,
    /// The rest.
    pub note: String,
    /// How far it may be relied on.
    pub stability: Stability,
    /// What it carries.
    pub attributes: Vec<Reference>,
    /// The explicit bounds of a histogram.
    pub bounds: Vec<f64>,
    /// What a program must have for the metric to be there, where it is not always.
    pub needs: String,
    /// As Prometheus calls it, without the endings of a histogram's series.
    pub prometheus: String,
}

/// A log record with a name.
///
/// ```
/// let registry = obs_stack::Registry::read(&obs_stack::root())?;
/// assert!(registry.events.iter().all(|event| !event.brief.is_empty()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// Its name.
    pub name: String,
    /// What it says.
    pub brief: String,
    /// The rest.
    pub note: String,
    /// How far it may be relied on.
    pub stability: Stability,
    /// What it carries.
    pub attributes: Vec<Reference>,
}

/// A span.
///
/// ```
/// let registry = obs_stack::Registry::read(&obs_stack::root())?;
/// assert!(registry.spans.iter().all(|span| !span.kind.is_empty()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Span {
    /// What follows `span.` in its id.
    pub name: String,
    /// `internal`, `server`, …
    pub kind: String,
    /// What it says.
    pub brief: String,
    /// The rest.
    pub note: String,
    /// How far it may be relied on.
    pub stability: Stability,
    /// What it carries.
    pub attributes: Vec<Reference>,
}

impl Registry {
    /// Reads `registry/*.yaml` below `root`, and checks that names are of one form and stand once, and that every reference
    /// leads somewhere.
    ///
    /// ```
    /// assert!(obs_stack::Registry::read(&obs_stack::root()).is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// What cannot be read, is not of the form, or breaks a rule.
    pub fn read(root: &Path) -> Result<Self, RegistryError> {
        let folder = root.join(FOLDER);
        let cannot = |source| RegistryError::Read { path: folder.clone(), source };
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            let is_yaml = path.extension().is_some_and(|end| end == "yaml");
            if is_yaml && !path.ends_with(MANIFEST) {
                files.push(path);
            }
        }
        files.sort();
        let mut registry = Self::default();
        for path in files {
            let text = fs::read_to_string(&path)
                .map_err(|source| RegistryError::Read { path: path.clone(), source })?;
            let document: Document = serde_saphyr::from_str(&text)
                .map_err(|source| RegistryError::Form { path, source: Box::new(source) })?;
            for group in document.groups {
                registry.add(group)?;
            }
        }
        registry.check()?;
        Ok(registry)
    }

    /// The metric of this name.
    ///
    /// ```
    /// let registry = obs_stack::Registry::read(&obs_stack::root())?;
    /// assert!(registry.metric("obs.run.latency").is_none());
    /// # Ok::<(), obs_stack::RegistryError>(())
    /// ```
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }

    /// The attribute of this key.
    ///
    /// ```
    /// let registry = obs_stack::Registry::read(&obs_stack::root())?;
    /// assert!(registry.attribute("user.id").is_none());
    /// # Ok::<(), obs_stack::RegistryError>(())
    /// ```
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&Attribute> {
        self.attributes.get(key)
    }

    fn add(&mut self, group: Group) -> Result<(), RegistryError> {
        match group.kind.as_str() {
            "attribute_group" => self.add_attributes(group)?,
            "metric" => self.metrics.push(group.metric()?),
            "event" => self.events.push(group.event()?),
            "span" => self.spans.push(group.span()?),
            other => {
                let rule =
                    format!("type {other:?} is none of attribute_group, metric, event, span");
                return Err(RegistryError::rule(&group.id, rule));
            }
        }
        Ok(())
    }

    fn add_attributes(&mut self, group: Group) -> Result<(), RegistryError> {
        for attribute in group.attributes()? {
            let name = attribute.name.clone();
            if self.attributes.insert(name.clone(), attribute).is_some() {
                return Err(RegistryError::rule(&name, "stands twice: keep one of them"));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), RegistryError> {
        let mut names = std::collections::BTreeSet::new();
        for metric in &self.metrics {
            metric.check()?;
            if !names.insert(&metric.prometheus) {
                let rule = format!("{} is the Prometheus name of another one", metric.prometheus);
                return Err(RegistryError::rule(&metric.name, rule));
            }
        }
        let of_metrics = self.metrics.iter().map(|metric| (&metric.name, &metric.attributes));
        let of_events = self.events.iter().map(|event| (&event.name, &event.attributes));
        let of_spans = self.spans.iter().map(|span| (&span.name, &span.attributes));
        for (name, attributes) in of_metrics.chain(of_events).chain(of_spans) {
            for attribute in attributes {
                if !self.attributes.contains_key(&attribute.name) {
                    let rule =
                        format!("refers to {}, which no attribute group has", attribute.name);
                    return Err(RegistryError::rule(name, rule));
                }
            }
        }
        Ok(())
    }
}

impl Metric {
    /// As Prometheus calls it, without `_bucket`, `_sum` and `_count` of a histogram.
    ///
    /// ```
    /// let registry = obs_stack::Registry::read(&obs_stack::root())?;
    /// let size = registry.metric("obs.spool.size").ok_or("no such metric")?;
    /// assert_eq!(size.prometheus_name(), "obs_spool_size_bytes");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn prometheus_name(&self) -> &str {
        &self.prometheus
    }

    fn check(&self) -> Result<(), RegistryError> {
        let broken = |rule: &str| Err(RegistryError::rule(&self.name, rule));
        if self.instrument == Instrument::Histogram && self.bounds.is_empty() {
            return broken("a histogram states its bounds: annotations.obs.bounds");
        }
        if self.instrument != Instrument::Histogram && !self.bounds.is_empty() {
            return broken("only a histogram has bounds");
        }
        if !self.bounds.windows(2).all(|pair| pair[0] < pair[1]) {
            return broken("bounds ascend");
        }
        Ok(())
    }
}
