//! Values that are checked as they are read.

use std::{borrow::Cow, time::Duration};

use http::Uri;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::config::{
    Protocol,
    endpoint::{self, BadEndpoint, PathOf},
    file::de::SECRET,
    headers, parse,
};

/// What a secret looks like when it is shown.
pub(crate) const MASK: &str = "***";

/// `1.0`, or any other 1.x.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FileFormat(pub(crate) String);

/// Something of OpenTelemetry's format that nothing here consumes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Unsupported;

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Whole<const MIN: u64, const MAX: u64>(pub(crate) u64);

/// Milliseconds above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Millis(pub(crate) Duration);

/// A share, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Share(pub(crate) f64);

/// A complete address over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpEndpoint(pub(crate) Uri);

/// Host and port for gRPC.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GrpcEndpoint(pub(crate) Uri);

/// A text that nobody is shown.
#[derive(Clone, PartialEq)]
pub(crate) struct Secret(pub(crate) String);

/// `key=value,key=value`, percent-encoded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

/// The same for headers, whose values are secrets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeaderPairs(pub(crate) http::HeaderMap);

/// A list with something in it, as OpenTelemetry's schema wants them: an empty one could mean nothing, or the
/// default.
pub(super) fn filled<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let list = Vec::deserialize(deserializer)?;
    if list.is_empty() {
        return Err(D::Error::custom(
            "is an empty list: write an entry below it, or leave out the group that it is in",
        ));
    }
    Ok(list)
}

/// The same, where the key may be left out.
pub(super) fn filled_if_any<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let list: Option<Vec<T>> = Option::deserialize(deserializer)?;
    if list.as_ref().is_some_and(Vec::is_empty) {
        return Err(D::Error::custom("is an empty list: write an entry below it, or leave it out"));
    }
    Ok(list)
}

impl Default for FileFormat {
    fn default() -> Self {
        Self("1.0".to_owned())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

impl<'de> Deserialize<'de> for FileFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let minor = text.strip_prefix("1.").and_then(|minor| minor.parse::<u16>().ok());
        match minor {
            Some(_) => Ok(Self(text)),
            None => {
                Err(D::Error::custom("not a format that is read here: use \"1.0\" or another 1.x"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(
            "OpenTelemetry's format has this, and obs does not support it: leave it out",
        ))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i128::deserialize(deserializer)?;
        match u64::try_from(number) {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Self(number)),
            _ => Err(D::Error::custom(format!("outside {MIN} to {MAX}: use a value inside"))),
        }
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            0 => Err(D::Error::custom(parse::ZERO_MILLIS)),
            millis => Ok(Self(Duration::from_millis(millis))),
        }
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX))
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(deserializer)?;
        if (0.0..=1.0).contains(&share) {
            return Ok(Self(share));
        }
        Err(D::Error::custom("not a share: use a number from 0 to 1, e.g. 0.1"))
    }
}

/// How much of a bad address a message shows, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// A mistake in an address may be a password, which stands before an `@`.
fn address(text: &str, protocol: Protocol) -> Result<Uri, String> {
    endpoint::parse(text, protocol, PathOf::Complete).map_err(|bad| match bad {
        BadEndpoint::Plain(rule) => {
            let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
            format!("{shown:?}: {rule}")
        }
        BadEndpoint::Secret(_) => {
            "an endpoint carries no user name or password: put them into headers".to_owned()
        }
    })
}

macro_rules! endpoints {
    ($($name:ident $protocol:ident),+) => { $(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                hidden(deserializer, |text| address(&text, Protocol::$protocol).map(Self))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }
    )+ };
}

endpoints!(HttpEndpoint HttpProtobuf, GrpcEndpoint Grpc);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hidden(deserializer, |text| Ok(Self(text)))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// Reads a text whose value no message shows.
pub(super) fn hidden<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(String) -> Result<T, String>,
) -> Result<T, D::Error> {
    struct Hidden<F>(F);

    impl<'de, T, F: FnOnce(String) -> Result<T, String>> serde::de::Visitor<'de> for Hidden<F> {
        type Value = T;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("text")
        }

        fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<T, D::Error> {
            (self.0)(String::deserialize(inner)?).map_err(D::Error::custom)
        }
    }

    deserializer.deserialize_newtype_struct(SECRET, Hidden(read))
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse::pairs(&text).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for HeaderPairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hidden(deserializer, |text| headers::list(&text).map(Self))
    }
}

/// Schemas that say what the types check as they are read.
macro_rules! schemas {
    ($($name:ident $schema:tt),+ $(,)?) => { $(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+ };
}

pub(super) use schemas;

schemas! {
    FileFormat { "type": "string", "pattern": "^1\\.[0-9]+$", "default": "1.0" },
    Unsupported {},
    Millis { "type": "integer", "minimum": 1, "x-unit": "ms" },
    Share { "type": "number", "minimum": 0, "maximum": 1 },
    HttpEndpoint { "type": "string", "format": "uri" },
    GrpcEndpoint { "type": "string", "format": "uri" },
    Secret { "type": "string", "x-secret": true },
    Pairs { "type": "string" },
    HeaderPairs { "type": "string", "x-secret": true },
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Whole<MIN, MAX> {
    fn schema_name() -> Cow<'static, str> {
        format!("Whole{MIN}To{MAX}").into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}
