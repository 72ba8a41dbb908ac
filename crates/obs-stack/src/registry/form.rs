//! The form of the files. Unknown keys are errors: a key with a slip in it would be a fact that nobody reads.

use serde::Deserialize;

use super::{Attribute, Event, Instrument, Metric, Reference, Requirement, Span, Stability};
use crate::error::RegistryError;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    brief: String,
    #[serde(default)]
    note: String,
    stability: Option<Stability>,
    // Of attribute groups, for Weaver.
    #[serde(rename = "display_name")]
    _display_name: Option<String>,
    metric_name: Option<String>,
    instrument: Option<Instrument>,
    unit: Option<String>,
    name: Option<String>,
    span_kind: Option<String>,
    #[serde(default)]
    annotations: Annotations,
    #[serde(default)]
    attributes: Vec<AttributeForm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotations {
    #[serde(default)]
    obs: Ours,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ours {
    #[serde(default)]
    bounds: Vec<f64>,
    #[serde(default)]
    needs: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttributeForm {
    id: Option<String>,
    #[serde(rename = "ref")]
    refers: Option<String>,
    requirement_level: Option<Requirement>,
    #[serde(rename = "type")]
    kind: Option<AttributeType>,
    stability: Option<Stability>,
    #[serde(default)]
    brief: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    examples: Vec<Example>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum AttributeType {
    Named(String),
    Enumerated { members: Vec<Member> },
}

#[derive(Debug, Deserialize)]
struct Member {
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Example {
    Int(i64),
    Text(String),
}

impl Group {
    pub(super) fn attributes(self) -> Result<Vec<Attribute>, RegistryError> {
        self.attributes.into_iter().map(|form| form.defined(&self.id)).collect()
    }

    pub(super) fn metric(self) -> Result<Metric, RegistryError> {
        let name = self.named("metric", self.metric_name.as_deref())?;
        let missing = |what: &str| RegistryError::rule(&name, format!("{what} is missing"));
        let instrument = self.instrument.ok_or_else(|| missing("instrument"))?;
        let unit = self.unit.clone().ok_or_else(|| missing("unit"))?;
        Ok(Metric {
            instrument,
            brief: self.brief.clone(),
            note: self.note.clone(),
            stability: self.stability.ok_or_else(|| missing("stability"))?,
            bounds: self.annotations.obs.bounds.clone(),
            needs: self.annotations.obs.needs.clone(),
            prometheus: prometheus_name(&name, &unit, instrument),
            attributes: references(self.attributes, &name)?,
            name,
            unit,
        })
    }

    pub(super) fn event(self) -> Result<Event, RegistryError> {
        let name = self.named("event", self.name.as_deref())?;
        let missing = || RegistryError::rule(&name, "stability is missing");
        Ok(Event {
            stability: self.stability.ok_or_else(missing)?,
            brief: self.brief,
            note: self.note,
            attributes: references(self.attributes, &name)?,
            name,
        })
    }

    pub(super) fn span(self) -> Result<Span, RegistryError> {
        let name = self.id.strip_prefix("span.").unwrap_or(&self.id).to_owned();
        let missing = |what: &str| RegistryError::rule(&name, format!("{what} is missing"));
        Ok(Span {
            stability: self.stability.ok_or_else(|| missing("stability"))?,
            kind: self.span_kind.ok_or_else(|| missing("span_kind"))?,
            brief: self.brief,
            note: self.note,
            attributes: references(self.attributes, &name)?,
            name,
        })
    }

    /// The name, which the id repeats.
    fn named(&self, kind: &str, name: Option<&str>) -> Result<String, RegistryError> {
        match name {
            Some(name) if self.id == format!("{kind}.{name}") => Ok(name.to_owned()),
            _ => {
                let rule = format!("the id of a {kind} is `{kind}.` and its name, here {name:?}");
                Err(RegistryError::rule(&self.id, rule))
            }
        }
    }
}

impl AttributeForm {
    fn defined(self, group: &str) -> Result<Attribute, RegistryError> {
        let name = self
            .id
            .ok_or_else(|| RegistryError::rule(group, "an attribute of a group has an id"))?;
        let missing = |what: &str| RegistryError::rule(&name, format!("{what} is missing"));
        let (kind, members) = match self.kind.ok_or_else(|| missing("type"))? {
            AttributeType::Named(kind) => (kind, Vec::new()),
            AttributeType::Enumerated { members } => {
                ("enum".to_owned(), members.into_iter().map(|member| member.value).collect())
            }
        };
        let examples = self.examples.into_iter().map(|example| match example {
            Example::Int(number) => number.to_string(),
            Example::Text(text) => text,
        });
        Ok(Attribute {
            stability: self.stability.ok_or_else(|| missing("stability"))?,
            examples: examples.collect(),
            brief: self.brief,
            note: self.note,
            kind,
            members,
            name,
        })
    }
}

fn references(forms: Vec<AttributeForm>, name: &str) -> Result<Vec<Reference>, RegistryError> {
    let reference = |form: AttributeForm| {
        let rule = "attributes stand in attributes.yaml, here with `ref`";
        let key = form.refers.ok_or_else(|| RegistryError::rule(name, rule))?;
        Ok(Reference { name: key, requirement: form.requirement_level.unwrap_or_default() })
    };
    forms.into_iter().map(reference).collect()
}

/// By OpenTelemetry's rules for Prometheus, as the Collector and `obs` apply them.
fn prometheus_name(name: &str, unit: &str, instrument: Instrument) -> String {
    let unit = match unit {
        "s" => "_seconds",
        "By" => "_bytes",
        _ => "",
    };
    let total = if instrument == Instrument::Counter { "_total" } else { "" };
    format!("{}{unit}{total}", name.replace('.', "_"))
}
