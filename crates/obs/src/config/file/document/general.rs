//! What concerns every signal: limits, the resource, propagators, levels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Pairs, Unsupported, Whole, filled_if_any};

/// A count that is not bounded from above by us.
pub(crate) type Count = Whole<0, 4_294_967_295>;

/// Levels of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Limits of attributes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AttributeLimits {
    /// Characters of a text; without it there is no limit.
    #[schemars(extend("x-variable" = "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"))]
    pub(crate) attribute_value_length_limit: Option<Count>,
    /// Attributes.
    #[schemars(extend("default" = 128, "x-variable" = "OTEL_ATTRIBUTE_COUNT_LIMIT"))]
    pub(crate) attribute_count_limit: Option<Count>,
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub(crate) attribute_value_depth_limit: Option<Unsupported>,
}

/// Who we are.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Resource {
    /// Attributes; they win over `attributes_list`.
    #[schemars(length(min = 1), extend("x-variable" = "OTEL_SERVICE_NAME"))]
    #[serde(deserialize_with = "filled_if_any")]
    pub(crate) attributes: Option<Vec<Attribute>>,
    /// `key=value,key=value`, percent-encoded.
    #[serde(skip_serializing)]
    #[schemars(extend("x-variable" = "OTEL_RESOURCE_ATTRIBUTES"))]
    pub(crate) attributes_list: Option<Pairs>,
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub(crate) schema_url: Option<Unsupported>,
    #[serde(rename = "detection/development", skip_serializing)]
    #[schemars(skip)]
    pub(crate) detection: Option<Unsupported>,
}

/// One attribute.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "RawAttribute", into = "RawAttribute")]
#[schemars(with = "RawAttribute")]
pub(crate) struct Attribute {
    pub(crate) name: String,
    /// `None` where the value is null: the entry is ignored.
    pub(crate) value: Option<AttributeValue>,
}

/// An attribute as it is written.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Attribute")]
pub(crate) struct RawAttribute {
    /// The key, e.g. `service.name`.
    name: String,
    /// The value; its form is that of `type`.
    #[serde(default)]
    value: Option<AttributeValue>,
    /// What the value is.
    #[serde(rename = "type", default)]
    #[schemars(extend("default" = "string"))]
    kind: Option<AttributeKind>,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum AttributeValue {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Doubles(Vec<f64>),
    Texts(Vec<String>),
}

/// The form of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum AttributeKind {
    #[default]
    String,
    Bool,
    Int,
    Double,
    StringArray,
    BoolArray,
    IntArray,
    DoubleArray,
}

/// How a context travels.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Propagator {
    /// Propagators, in their order.
    #[schemars(length(min = 1))]
    #[serde(deserialize_with = "filled_if_any")]
    pub(crate) composite: Option<Vec<OnePropagator>>,
    /// Names with commas between them, appended to `composite`.
    #[serde(skip_serializing)]
    #[schemars(extend("x-variable" = "OTEL_PROPAGATORS"))]
    pub(crate) composite_list: Option<PropagatorList>,
}

/// One propagator.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum OnePropagator {
    /// W3C trace context.
    Tracecontext(Empty),
    /// W3C baggage.
    Baggage(Empty),
    #[schemars(skip)]
    B3(Unsupported),
    #[schemars(skip)]
    B3multi(Unsupported),
}

/// Takes no keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct Empty {}

/// `tracecontext,baggage`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PropagatorList(pub(crate) Vec<crate::config::model::Propagator>);

impl From<Attribute> for RawAttribute {
    fn from(attribute: Attribute) -> Self {
        let kind = attribute.value.as_ref().map(AttributeValue::kind);
        Self {
            name: attribute.name,
            value: attribute.value,
            kind: kind.filter(|kind| *kind != AttributeKind::String),
        }
    }
}

impl TryFrom<RawAttribute> for Attribute {
    type Error = String;

    fn try_from(raw: RawAttribute) -> Result<Self, String> {
        if raw.name.trim().is_empty() {
            return Err("an attribute needs a name: use e.g. service.name".to_owned());
        }
        let kind = raw.kind.unwrap_or_default();
        let value = match raw.value {
            None => None,
            Some(value) => Some(value.cast(kind).ok_or_else(|| {
                let kind = serde_json::to_string(&kind).unwrap_or_default();
                format!("the value is not of the type {kind}: write such a value, or another type")
            })?),
        };
        Ok(Self { name: raw.name, value })
    }
}

impl AttributeValue {
    const fn kind(&self) -> AttributeKind {
        match self {
            Self::Bool(_) => AttributeKind::Bool,
            Self::Int(_) => AttributeKind::Int,
            Self::Double(_) => AttributeKind::Double,
            Self::Text(_) => AttributeKind::String,
            Self::Bools(_) => AttributeKind::BoolArray,
            Self::Ints(_) => AttributeKind::IntArray,
            Self::Doubles(_) => AttributeKind::DoubleArray,
            Self::Texts(_) => AttributeKind::StringArray,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a number with a fraction was asked for")]
    fn cast(self, kind: AttributeKind) -> Option<Self> {
        match (kind, self) {
            (AttributeKind::Double, Self::Int(value)) => Some(Self::Double(value as f64)),
            (AttributeKind::DoubleArray, Self::Ints(values)) => {
                Some(Self::Doubles(values.into_iter().map(|value| value as f64).collect()))
            }
            (kind, value) => (value.kind() == kind).then_some(value),
        }
    }
}

/// By hand, because an untagged enum would forget the lines.
impl<'de> Deserialize<'de> for AttributeValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;

        impl<'de> serde::de::Visitor<'de> for Values {
            type Value = AttributeValue;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value, or a list of values of one kind")
            }

            fn visit_bool<E>(self, value: bool) -> Result<AttributeValue, E> {
                Ok(AttributeValue::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<AttributeValue, E> {
                Ok(AttributeValue::Int(value))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<AttributeValue, E> {
                let value = i64::try_from(value);
                value
                    .map(AttributeValue::Int)
                    .map_err(|_| E::custom("larger than an attribute can be: put it into quotes"))
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<AttributeValue, E> {
                if value.is_finite() {
                    return Ok(AttributeValue::Double(value));
                }
                Err(E::custom("not a finite number: put it into quotes"))
            }

            fn visit_str<E>(self, value: &str) -> Result<AttributeValue, E> {
                Ok(AttributeValue::Text(value.to_owned()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut entries: A,
            ) -> Result<AttributeValue, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = entries.next_element()? {
                    values.push(value);
                }
                AttributeValue::list(values).ok_or_else(|| {
                    serde::de::Error::custom(
                        "a list has entries, all of one kind: write such a list",
                    )
                })
            }
        }

        deserializer.deserialize_any(Values)
    }
}

impl AttributeValue {
    fn list(values: Vec<Self>) -> Option<Self> {
        let kind = values.first()?.kind();
        let mut list = match kind {
            AttributeKind::Bool => Self::Bools(Vec::new()),
            AttributeKind::Int => Self::Ints(Vec::new()),
            AttributeKind::Double => Self::Doubles(Vec::new()),
            AttributeKind::String => Self::Texts(Vec::new()),
            _ => return None,
        };
        for value in values {
            match (&mut list, value) {
                (Self::Bools(list), Self::Bool(value)) => list.push(value),
                (Self::Ints(list), Self::Int(value)) => list.push(value),
                (Self::Doubles(list), Self::Double(value)) => list.push(value),
                (Self::Texts(list), Self::Text(value)) => list.push(value),
                _ => return None,
            }
        }
        Some(list)
    }
}

impl<'de> Deserialize<'de> for PropagatorList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let list = crate::config::model::Propagator::list(&text);
        list.map(Self).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for PropagatorList {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PropagatorList".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}
