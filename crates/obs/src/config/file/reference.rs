//! The JSON schema of the file, and its table for people: both come from the types.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

use super::document::Document;

/// The JSON schema of the file.
pub(crate) fn schema() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    settings.into_generator().into_root_schema_for::<Document>().to_value()
}

/// Every key, as rows of a table in Markdown, below a heading for each block.
pub(crate) fn reference() -> String {
    let mut text = String::new();
    let mut block = "";
    let rows = rows();
    for row in &rows {
        let of = row.path.split(['.', '[']).next().unwrap_or_default();
        if of != block {
            block = of;
            let _ = write!(
                text,
                "\n## `{block}`\n\n| key | variable | type | unit | range | default | meaning |\n|---|---|---|---|---|---|---|\n"
            );
        }
        row.write(&mut text);
    }
    text
}

/// A key of the file.
pub(super) struct Row {
    pub(super) path: String,
    pub(super) variable: Option<String>,
    pub(super) kind: String,
    unit: String,
    range: String,
    default: String,
    meaning: String,
}

/// Every key, in the order of the schema.
pub(super) fn rows() -> Vec<Row> {
    let schema = schema();
    let mut walk = Walk { root: &schema, seen: BTreeMap::new(), rows: Vec::new() };
    walk.below(&schema, "");
    walk.rows
}

/// A walk over the schema that describes each type once.
struct Walk<'a> {
    root: &'a Value,
    /// Types, and where their keys are.
    seen: BTreeMap<&'a str, String>,
    rows: Vec<Row>,
}

impl<'a> Walk<'a> {
    fn below(&mut self, schema: &'a Value, path: &str) {
        for variant in
            ["oneOf", "anyOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten()
        {
            self.keys(variant, path, variant["description"].as_str());
        }
        self.keys(schema, path, None);
    }

    fn keys(&mut self, schema: &'a Value, path: &str, of_variant: Option<&str>) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let (value, mut name) = self.resolve(property);
            let mut inner = value;
            let mut path = path;
            if value["items"].is_object() {
                (inner, name) = self.resolve(&value["items"]);
                if holds_keys(inner) {
                    path.push_str("[]");
                }
            }
            let mut row = Row::of(path.clone(), property, value);
            if row.meaning.is_empty() {
                of_variant
                    .or_else(|| value["description"].as_str())
                    .unwrap_or_default()
                    .clone_into(&mut row.meaning);
            }
            let known = name.and_then(|name| self.seen.get(name).cloned());
            if let (Some(first), true) = (&known, holds_keys(inner)) {
                row.meaning.push_str(&format!(" Keys as below `{first}`."));
            }
            self.rows.push(row);
            if known.is_none() {
                self.seen.extend(name.map(|name| (name, path.clone())));
                self.below(inner, &path);
            }
        }
    }

    /// What a property is, without that it may be null, and the name of its type.
    fn resolve(&self, property: &'a Value) -> (&'a Value, Option<&'a str>) {
        let choices = property["anyOf"].as_array().filter(|choices| choices.len() == 2);
        let not_null =
            choices.and_then(|choices| choices.iter().find(|choice| choice["type"] != "null"));
        let property = not_null.unwrap_or(property);
        match property["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
            Some(name) => (&self.root["$defs"][name], Some(name)),
            None => (property, None),
        }
    }
}

fn holds_keys(schema: &Value) -> bool {
    let choices = ["oneOf", "anyOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten();
    let mut all = choices.chain([schema]);
    all.any(|schema| schema["properties"].as_object().is_some_and(|keys| !keys.is_empty()))
}

impl Row {
    fn of(path: String, property: &Value, value: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let either = |key: &str| if property[key].is_null() { &value[key] } else { &property[key] };
        let variable = property["x-variable"].as_str().map(str::to_owned);
        let range = match (&either("minimum"), &either("maximum")) {
            (Value::Number(min), Value::Number(max)) => format!("{min} to {max}"),
            (Value::Number(min), _) => format!("from {min}"),
            _ => String::new(),
        };
        let default = match &property["default"] {
            Value::Null => String::new(),
            Value::String(default) => format!("`{default}`"),
            default => format!("`{default}`"),
        };
        Self {
            path,
            variable,
            kind: kind(property, value),
            unit: text(either("x-unit")),
            range,
            default,
            meaning: text(&property["description"]).replace('\n', " ").replace('|', "\\|"),
        }
    }

    pub(super) fn write(&self, out: &mut String) {
        let variable = self.variable.as_ref().map(|name| format!("`{name}`")).unwrap_or_default();
        let Self { path, kind, unit, range, default, meaning, .. } = self;
        let cells = [
            format!("`{path}`"),
            variable,
            kind.clone(),
            unit.clone(),
            range.clone(),
            default.clone(),
            meaning.clone(),
        ];
        out.push('|');
        for cell in cells {
            let cell = if cell.is_empty() { "–" } else { cell.as_str() };
            let _ = write!(out, " {cell} |");
        }
        out.push('\n');
    }
}

/// In a word or two, or all words that may stand there.
fn kind(property: &Value, value: &Value) -> String {
    let words = value["enum"].as_array().or_else(|| property["enum"].as_array());
    if let Some(words) = words {
        let words = words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`"));
        return words.collect::<Vec<_>>().join(", ");
    }
    if let Some(choices) = value["oneOf"].as_array() {
        let constants: Vec<_> =
            choices.iter().filter_map(|choice| choice["const"].as_str()).collect();
        if constants.len() == choices.len() {
            return constants
                .into_iter()
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", ");
        }
        return "one of the keys below".to_owned();
    }
    if value["x-secret"] == true || property["x-secret"] == true {
        return "secret".to_owned();
    }
    let named = match &value["type"] {
        Value::Array(types) => types.iter().find(|kind| *kind != "null").and_then(Value::as_str),
        kind => kind.as_str(),
    };
    let number_or_word = value["type"].as_array().is_some_and(|types| {
        types.iter().any(|kind| kind == "number") && types.iter().any(|kind| kind == "string")
    });
    match named {
        _ if number_or_word => "number or word",
        Some("boolean") => "switch",
        Some("integer") => "whole number",
        Some("number") => "number",
        Some("string") => "text",
        Some("array") => "list",
        Some("object") => "group",
        _ => "value",
    }
    .to_owned()
}
