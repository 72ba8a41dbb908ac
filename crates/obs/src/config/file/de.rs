//! From the tree to typed values, for every type that derives `Deserialize`. A problem knows its
//! line, its path and its value.

use std::{borrow::Cow, fmt};

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer as _, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::tree::{Content, Key, Node, Scalar};
use crate::config::known::nearest;

/// The name of a newtype whose value no message shows.
pub(super) const SECRET: &str = "Secret";
/// The name of a newtype that takes any single value as it is written.
pub(super) const ANY_SCALAR: &str = "Text";

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    /// From 1; 0 where it is not known yet.
    pub(super) line: usize,
    /// From the inside out.
    path: Vec<Segment>,
    pub(super) value: Option<String>,
    pub(super) rule: String,
    secret: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Problem {
    pub(super) fn at(line: usize, rule: impl Into<String>) -> Self {
        Self { line, path: Vec::new(), value: None, rule: rule.into(), secret: false }
    }

    /// The same, seen from one level up.
    pub(super) fn below(mut self, key: &str) -> Self {
        self.path.push(Segment::Key(key.to_owned()));
        self
    }

    pub(super) fn of_value(self, value: &str) -> Self {
        Self { value: Some(value.to_owned()), ..self }
    }

    fn in_entry(mut self, index: usize) -> Self {
        self.path.push(Segment::Index(index));
        self
    }

    /// `meter_provider.readers[0].periodic`; empty for the file itself.
    pub(super) fn path(&self) -> String {
        let mut path = String::new();
        for segment in self.path.iter().rev() {
            match segment {
                Segment::Key(key) if path.is_empty() => path.push_str(key),
                Segment::Key(key) => path.extend([".", key]),
                Segment::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }

    /// Fills in what only the place of the value knows.
    fn found_at(mut self, node: &Node) -> Self {
        if self.line == 0 {
            self.line = node.line;
            if let (Content::Scalar(scalar), false) = (&node.content, self.secret) {
                self.value = Some(scalar.raw.clone());
            }
        }
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.path(), self.rule)
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::at(0, message.to_string())
    }

    fn unknown_field(_field: &str, _expected: &'static [&'static str]) -> Self {
        // `fields_of` has said so before, with the line of the key.
        Self::at(0, "is not a key here: leave it out")
    }

    fn missing_field(field: &'static str) -> Self {
        Self::at(0, format!("has no {field}: it needs one"))
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        Self::at(0, format!("there is no such value: use {}", listed(expected)))
    }

    fn invalid_type(_unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::at(0, format!("not {expected}: write that"))
    }
}

/// `a, b or c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

/// Reads a typed value.
pub(super) fn from_node<'de, T: de::Deserialize<'de>>(node: &'de Node) -> Result<T, Problem> {
    T::deserialize(&Typed(node)).map_err(|problem| problem.found_at(node))
}

/// A node that says what it is.
struct Typed<'a>(&'a Node);

impl<'de> Typed<'de> {
    fn scalar(&self, rule: &str) -> Result<&'de Scalar, Problem> {
        match &self.0.content {
            Content::Scalar(scalar) => Ok(scalar),
            _ => Err(Problem::at(0, rule)),
        }
    }

    fn number(&self, rule: &str) -> Result<Number, Problem> {
        let scalar = self.scalar(rule)?;
        let number = if scalar.plain { Number::read(&scalar.text) } else { None };
        number.ok_or_else(|| Problem::at(0, rule))
    }
}

/// A number of YAML's core schema.
enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl Number {
    fn read(text: &str) -> Option<Self> {
        let radix =
            |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(Self::Unsigned);
        if let Some(digits) = text.strip_prefix("0x") {
            return radix(digits, 16);
        }
        if let Some(digits) = text.strip_prefix("0o") {
            return radix(digits, 8);
        }
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        match digits {
            ".inf" | ".Inf" | ".INF" => {
                let infinite =
                    if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY };
                return Some(Self::Float(infinite));
            }
            ".nan" | ".NaN" | ".NAN" if digits == text => return Some(Self::Float(f64::NAN)),
            _ => {}
        }
        if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        if let Ok(number) = unsigned.parse() {
            return Some(Self::Unsigned(number));
        }
        if let Ok(number) = unsigned.parse() {
            return Some(Self::Signed(number));
        }
        unsigned.parse().ok().map(Self::Float)
    }
}

const WHOLE: &str = "not a whole number: use digits only, e.g. 1000";
const NUMBER: &str = "not a number: use a decimal number, e.g. 0.05";
const SWITCH: &str = "not a switch: use true or false";
const TEXT: &str = "not text: put it into quotes";
const GROUP: &str = "not a group of keys: write them below it, further to the right";
const LIST: &str = "not a list: write its entries below it, each after a dash";

macro_rules! whole {
    ($($method:ident)+) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
            match self.number(WHOLE)? {
                Number::Unsigned(number) => visitor.visit_u64(number),
                Number::Signed(number) => visitor.visit_i64(number),
                Number::Float(_) => Err(Problem::at(0, WHOLE)),
            }
        }
    )+ };
}

impl<'de> Deserializer<'de> for &Typed<'de> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.0.content {
            Content::List(_) => self.deserialize_seq(visitor),
            Content::Group(_) => self.deserialize_map(visitor),
            Content::Scalar(scalar) if scalar.is_null() => visitor.visit_unit(),
            Content::Scalar(scalar) if !scalar.plain => visitor.visit_str(&scalar.text),
            Content::Scalar(scalar) => match (switch(scalar), Number::read(&scalar.text)) {
                (Some(switch), _) => visitor.visit_bool(switch),
                (_, Some(Number::Unsigned(number))) => visitor.visit_u64(number),
                (_, Some(Number::Signed(number))) => visitor.visit_i64(number),
                (_, Some(Number::Float(number))) => visitor.visit_f64(number),
                (None, None) => visitor.visit_str(&scalar.text),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let switch = switch(self.scalar(SWITCH)?).ok_or_else(|| Problem::at(0, SWITCH))?;
        visitor.visit_bool(switch)
    }

    whole! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_f64(visitor)
    }

    #[expect(clippy::cast_precision_loss, reason = "a number with a fraction is wanted")]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_f64(match self.number(NUMBER)? {
            Number::Unsigned(number) => number as f64,
            Number::Signed(number) => number as f64,
            Number::Float(number) => number,
        })
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let scalar = self.scalar(TEXT)?;
        // A number that a variable holds may be meant as text; one that stands here is a mistake.
        let written = scalar.plain && scalar.raw == scalar.text;
        if written && (switch(scalar).is_some() || Number::read(&scalar.text).is_some()) {
            return Err(Problem::at(0, TEXT));
        }
        visitor.visit_str(&scalar.text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.0.content {
            _ if self.0.is_null() => visitor.visit_unit(),
            Content::Group(entries) if entries.is_empty() => visitor.visit_unit(),
            _ => Err(Problem::at(0, "takes no keys: leave them out")),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        if name == ANY_SCALAR {
            return visitor.visit_str(&self.scalar("not a single value: write one")?.text);
        }
        let read = visitor.visit_newtype_struct(self);
        read.map_err(|problem| Problem { secret: problem.secret || name == SECRET, ..problem })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.0.content {
            Content::List(nodes) => visitor.visit_seq(Entries { nodes: nodes.iter(), at: 0 }),
            _ => Err(Problem::at(0, LIST)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_map(Fields::of(self.0)?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let entries = Fields::of(self.0)?;
        refuse_unknown(entries.entries, fields)?;
        visitor.visit_map(entries)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match &self.0.content {
            Content::Scalar(scalar) if !scalar.is_null() => {
                visitor.visit_enum(scalar.text.as_str().into_deserializer())
            }
            Content::Group(entries) if entries.len() == 1 => {
                let (key, node) = &entries[0];
                refuse_unknown(entries, variants)?;
                visitor.visit_enum(Chosen { key, node })
            }
            _ => {
                let rule =
                    format!("chooses nothing, or more than one: write one of {}", listed(variants));
                Err(Problem::at(0, rule))
            }
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }
}

fn switch(scalar: &Scalar) -> Option<bool> {
    match scalar.text.as_str() {
        "true" | "True" | "TRUE" if scalar.plain => Some(true),
        "false" | "False" | "FALSE" if scalar.plain => Some(false),
        _ => None,
    }
}

fn refuse_unknown(entries: &[(Key, Node)], known: &'static [&'static str]) -> Result<(), Problem> {
    let unknown = entries.iter().find(|(key, _)| !known.contains(&key.name.as_str()));
    let Some((key, _)) = unknown else { return Ok(()) };
    let rule = match nearest(&key.name, known.iter().copied()) {
        Some((near, distance)) if distance <= key.name.len() / 3 => {
            format!("is not a key here: did you mean {near}? Rename or leave it out")
        }
        _ => format!("is not a key here: leave it out, or use {}", listed(known)),
    };
    Err(Problem::at(key.line, rule).below(&key.name))
}

/// The entries of a list, one after the other.
struct Entries<'de> {
    nodes: std::slice::Iter<'de, Node>,
    at: usize,
}

impl<'de> SeqAccess<'de> for Entries<'de> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Problem> {
        let Some(node) = self.nodes.next() else { return Ok(None) };
        let at = self.at;
        self.at += 1;
        let element = seed.deserialize(&Typed(node));
        element.map(Some).map_err(|problem| problem.found_at(node).in_entry(at))
    }
}

/// The keys of a group, one after the other. A key without a value counts as absent.
struct Fields<'de> {
    entries: &'de [(Key, Node)],
    value: Option<&'de (Key, Node)>,
}

impl<'de> Fields<'de> {
    fn of(node: &'de Node) -> Result<Self, Problem> {
        match &node.content {
            Content::Group(entries) => Ok(Self { entries, value: None }),
            _ if node.is_null() => Ok(Self { entries: &[], value: None }),
            _ => Err(Problem::at(0, GROUP)),
        }
    }
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Problem> {
        while let [entry, rest @ ..] = self.entries {
            self.entries = rest;
            if !entry.1.is_null() {
                self.value = Some(entry);
                let name: Cow<'de, str> = Cow::Borrowed(&entry.0.name);
                return seed.deserialize(name.into_deserializer()).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let Some((key, node)) = self.value.take() else {
            return Err(Problem::at(0, "has no value: write key: value"));
        };
        let value = seed.deserialize(&Typed(node));
        value.map_err(|problem| problem.found_at(node).below(&key.name))
    }
}

/// The one key of a group that chooses.
struct Chosen<'de> {
    key: &'de Key,
    node: &'de Node,
}

impl<'de> EnumAccess<'de> for Chosen<'de> {
    type Error = Problem;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Problem> {
        let name: Cow<'de, str> = Cow::Borrowed(&self.key.name);
        Ok((seed.deserialize(name.into_deserializer())?, self))
    }
}

impl Chosen<'_> {
    fn place(&self, problem: Problem) -> Problem {
        problem.found_at(self.node).below(&self.key.name)
    }
}

impl<'de> VariantAccess<'de> for Chosen<'de> {
    type Error = Problem;

    fn unit_variant(self) -> Result<(), Problem> {
        let unit = de::Deserialize::deserialize(&Typed(self.node));
        unit.map_err(|problem| self.place(problem))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Problem> {
        let value = seed.deserialize(&Typed(self.node));
        value.map_err(|problem| self.place(problem))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Problem> {
        Typed(self.node).deserialize_seq(visitor).map_err(|problem| self.place(problem))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let read = Typed(self.node).deserialize_struct("", fields, visitor);
        read.map_err(|problem| self.place(problem))
    }
}
