//! Values that misbehave.

use std::{
    fmt::{self, Display},
    panic::panic_any,
};

use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap as _},
};
use serde_json::value::RawValue;

/// Returns an error whose text must not be seen.
pub(super) struct Fails;

impl Serialize for Fails {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("secret"))
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum PanicKind {
    Text,
    InDisplay,
    PayloadPanicsWhenDropped,
}

pub(super) struct Panics(pub(super) PanicKind);

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            PanicKind::Text => panic_any("panics on purpose"),
            PanicKind::InDisplay => serializer.collect_str(&ShowsAndPanics),
            PanicKind::PayloadPanicsWhenDropped => panic_any(PanicsWhenDropped),
        }
    }
}

struct ShowsAndPanics;

impl Display for ShowsAndPanics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half a text")?;
        panic_any("panics on purpose")
    }
}

/// What it panics with does the same again when it is dropped.
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic_any(Self);
    }
}

/// A tree of everything that a `Serialize` can produce.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Signed(i128),
    Unsigned(u128),
    Double(f64),
    Single(f32),
    Text(String),
    Shown(String),
    Bytes(Vec<u8>),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Variant(Box<Self>),
    Some(Box<Self>),
    /// JSON text, checked by whoever made it.
    Raw(Box<RawValue>),
    Fails,
    Panics(PanicKind),
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Signed(value) => serializer.serialize_i128(*value),
            Self::Unsigned(value) => serializer.serialize_u128(*value),
            Self::Double(value) => serializer.serialize_f64(*value),
            Self::Single(value) => serializer.serialize_f32(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Shown(text) => serializer.collect_str(text),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::Array(parts) => serializer.collect_seq(parts),
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(None)?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Variant(value) => {
                serializer.serialize_newtype_variant("Tree", 0, "Variant\0", value)
            }
            Self::Some(value) => serializer.serialize_some(value),
            Self::Raw(raw) => raw.serialize(serializer),
            Self::Fails => Fails.serialize(serializer),
            Self::Panics(kind) => Panics(*kind).serialize(serializer),
        }
    }
}
