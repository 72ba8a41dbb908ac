//! The rules of the policy: exceptions for some runs, perhaps for some time.

use std::{borrow::Cow, time::Duration};

use obs_core::{KeepRule, Rate, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{NumberOrText, Share, Text, schemas};
use crate::config::parse;

/// An exception: which runs it is about, what holds for them, and until when.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rule {
    /// The kind of the runs; without it, every one.
    #[schemars(with = "String")]
    pub(crate) kind: Option<Text>,
    /// The id of their strategy; without it, every one.
    #[schemars(with = "NumberOrText")]
    pub(crate) strategy: Option<Text>,
    /// Its version; without it, every one.
    #[schemars(with = "NumberOrText")]
    pub(crate) version: Option<Text>,
    /// Their tenant; without it, every one and none.
    #[schemars(with = "NumberOrText")]
    pub(crate) realm: Option<Text>,
    /// The share of ok runs that is kept.
    pub(crate) sample_rate: Option<Share>,
    /// Slower runs are kept: seconds, or a number with `us`, `ms` or `s`; or `off`.
    pub(crate) slo: Option<Slo>,
    /// Whether every run is kept, cancelled ones, too; instead of a rate.
    pub(crate) keep_all: Option<bool>,
    /// When the rule ends, as `2026-11-21T18:00:00Z`; without it, when it is taken out.
    pub(crate) until: Option<Until>,
}

/// How long a run may take; `None` where any time is fine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slo(pub(crate) Option<Duration>);

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Until(pub(crate) Timestamp);

impl From<&Rule> for KeepRule {
    fn from(rule: &Rule) -> Self {
        let name = |text: &Option<Text>| text.as_ref().map(|text| text.0.clone());
        Self {
            kind: name(&rule.kind),
            strategy: name(&rule.strategy),
            version: name(&rule.version),
            realm: name(&rule.realm),
            // A share was checked as it was read.
            sample_rate: rule.sample_rate.and_then(|share| Rate::new(share.0).ok()),
            slow: rule.slo.map(|slo| slo.0.unwrap_or(Duration::MAX)),
            keep_all: rule.keep_all == Some(true),
            until: rule.until.map(|until| until.0),
        }
    }
}

impl From<&KeepRule> for Rule {
    fn from(rule: &KeepRule) -> Self {
        let name = |text: &Option<String>| text.clone().map(Text);
        Self {
            kind: name(&rule.kind),
            strategy: name(&rule.strategy),
            version: name(&rule.version),
            realm: name(&rule.realm),
            sample_rate: rule.sample_rate.map(|rate| Share(rate.get())),
            slo: rule.slow.map(|slow| Slo(Some(slow).filter(|slow| *slow != Duration::MAX))),
            keep_all: rule.keep_all.then_some(true),
            until: rule.until.map(Until),
        }
    }
}

impl<'de> Deserialize<'de> for Slo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self(None));
        }
        let duration = parse::duration("slo", &text);
        duration.map(|slo| Self(Some(slo))).map_err(|error| D::Error::custom(error.rule()))
    }
}

impl Serialize for Slo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(slo) => serializer.serialize_str(&slo.as_secs_f64().to_string()),
            None => serializer.serialize_str("off"),
        }
    }
}

impl<'de> Deserialize<'de> for Until {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        Timestamp::from_rfc3339(&text).map(Self).ok_or_else(|| {
            D::Error::custom("not a moment: write date, time and zone, e.g. 2026-11-21T18:00:00Z")
        })
    }
}

impl Serialize for Until {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_rfc3339())
    }
}

schemas! {
    Slo { "type": ["number", "string"], "x-unit": "s" },
    Until { "type": "string", "format": "date-time" }
}
