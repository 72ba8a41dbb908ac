//! Views: another name, other buckets, fewer attributes, or nothing of an instrument.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Empty, Series, Whole, filled_if_any};

/// What becomes of the instruments that the selector matches.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct View {
    /// Which instruments; all that is given must match.
    pub(crate) selector: Selector,
    /// What is different.
    pub(crate) stream: Stream,
}

/// Which instruments.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Selector {
    /// The name; `*` and `?` match anything.
    pub(crate) instrument_name: Option<String>,
    /// The type.
    pub(crate) instrument_type: Option<InstrumentType>,
    /// The unit.
    pub(crate) unit: Option<String>,
    /// The name of the meter.
    pub(crate) meter_name: Option<String>,
    /// The version of the meter.
    pub(crate) meter_version: Option<String>,
    /// The schema of the meter.
    pub(crate) meter_schema_url: Option<String>,
}

/// Types of instruments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum InstrumentType {
    Counter,
    Gauge,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
}

/// What is different.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Stream {
    /// Another name.
    pub(crate) name: Option<String>,
    /// Another description.
    pub(crate) description: Option<String>,
    /// Another way to sum up.
    pub(crate) aggregation: Option<Aggregation>,
    /// Series it may have; what is over it becomes one more.
    pub(crate) aggregation_cardinality_limit: Option<Series>,
    /// Which attributes stay.
    pub(crate) attribute_keys: Option<IncludeExclude>,
}

/// Names.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct IncludeExclude {
    /// These only; `*` and `?` match anything.
    #[schemars(length(min = 1))]
    #[serde(deserialize_with = "filled_if_any")]
    pub(crate) included: Option<Vec<String>>,
    /// Without these; `*` and `?` match anything.
    #[schemars(length(min = 1))]
    #[serde(deserialize_with = "filled_if_any")]
    pub(crate) excluded: Option<Vec<String>>,
}

/// How measurements are summed up: one of these.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Aggregation {
    /// As the instrument has it.
    Default(Empty),
    /// Not at all.
    Drop(Empty),
    /// In buckets with given bounds.
    ExplicitBucketHistogram(ExplicitBuckets),
    /// In buckets that grow by a factor.
    Base2ExponentialBucketHistogram(Base2Exponential),
    /// The last value.
    LastValue(Empty),
    /// The sum.
    Sum(Empty),
}

/// Buckets with given bounds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExplicitBuckets {
    /// Bounds, in ascending order.
    pub(crate) boundaries: Option<Bounds>,
    /// Whether the least and the largest value are kept.
    #[schemars(extend("default" = true))]
    pub(crate) record_min_max: Option<bool>,
}

/// Numbers, in ascending order.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct Bounds(pub(crate) Vec<f64>);

/// Buckets that grow by a factor.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Base2Exponential {
    /// The finest scale.
    #[schemars(range(min = -10, max = 20), extend("default" = 20))]
    pub(crate) max_scale: Option<Scale>,
    /// Buckets for positive, and for negative values.
    #[schemars(extend("default" = 160))]
    pub(crate) max_size: Option<Whole<2, 16_384>>,
    /// Whether the least and the largest value are kept.
    #[schemars(extend("default" = true))]
    pub(crate) record_min_max: Option<bool>,
}

/// A scale, from -10 to 20.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct Scale(pub(crate) i8);

impl<'de> Deserialize<'de> for Scale {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match i64::deserialize(deserializer).map(i8::try_from)? {
            Ok(scale @ -10..=20) => Ok(Self(scale)),
            _ => Err(serde::de::Error::custom("outside -10 to 20: use a value inside")),
        }
    }
}

impl<'de> Deserialize<'de> for Bounds {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bounds = Vec::<f64>::deserialize(deserializer)?;
        let ascends = bounds.iter().all(|bound| bound.is_finite())
            && bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if ascends {
            return Ok(Self(bounds));
        }
        Err(serde::de::Error::custom("bounds ascend, and are finite: write e.g. [0.1, 1, 10]"))
    }
}
