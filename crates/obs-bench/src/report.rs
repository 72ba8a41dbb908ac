//! What was measured: lines for people, or one JSON object for programs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::windows::{Variant, median, spread};

/// What a ratio should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

impl Aim {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(aim) => value >= aim,
            Self::AtMost(aim) => value <= aim,
        }
    }

    pub(crate) fn text(self) -> String {
        match self {
            Self::AtLeast(aim) => format!(">= {aim}"),
            Self::AtMost(aim) => format!("<= {aim}"),
        }
    }
}

struct Ratio {
    name: String,
    /// `None` where nothing was measured; then `note` says why.
    value: Option<f64>,
    spread: Option<[f64; 2]>,
    aim: Aim,
    note: Option<String>,
}

pub(crate) struct Report {
    json: bool,
    ratios: Vec<Ratio>,
    nanos: BTreeMap<String, f64>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, ratios: Vec::new(), nanos: BTreeMap::new() }
    }

    pub(crate) fn nanos(&mut self, name: &str, nanos: f64) {
        self.line(&format!("{name:<52} {nanos:>10.1}"));
        self.nanos.insert(name.to_owned(), (nanos * 10.0).round() / 10.0);
    }

    pub(crate) fn variants(&mut self, variants: &[Variant]) {
        for variant in variants {
            self.nanos(variant.name, median(&variant.nanos));
        }
    }

    pub(crate) fn title(&self, title: &str) {
        self.line(&format!("\n{title}"));
    }

    pub(crate) fn line(&self, line: &str) {
        if !self.json {
            println!("{line}");
        }
    }

    /// `above` over `below`, both of windows that took turns.
    pub(crate) fn ratio(&mut self, name: &str, above: &[f64], below: &[f64], aim: Aim) {
        let value = median(above) / median(below);
        self.value(name, value, Some(spread(above, below)), aim);
    }

    pub(crate) fn value(&mut self, name: &str, value: f64, spread: Option<[f64; 2]>, aim: Aim) {
        self.ratios.push(Ratio {
            name: name.to_owned(),
            value: Some(value),
            spread,
            aim,
            note: None,
        });
    }

    pub(crate) fn not_measured(&mut self, name: &str, aim: Aim, note: &str) {
        self.ratios.push(Ratio {
            name: name.to_owned(),
            value: None,
            spread: None,
            aim,
            note: Some(note.to_owned()),
        });
    }

    pub(crate) fn print(&self) {
        if self.json {
            println!("{}", self.object());
            return;
        }
        println!("\n{:<46} {:>8} {:>16} {:>9}  met", "ratio", "value", "middle half", "aim");
        for ratio in &self.ratios {
            let value = ratio.value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
            let spread = ratio
                .spread
                .map_or_else(String::new, |[low, high]| format!("{low:.2} to {high:.2}"));
            let met = match ratio.value {
                Some(value) if ratio.aim.met(value) => "yes",
                Some(_) => "NO",
                None => ratio.note.as_deref().unwrap_or("not measured"),
            };
            println!("{:<46} {value:>8} {spread:>16} {:>9}  {met}", ratio.name, ratio.aim.text());
        }
        println!("\nEvery variant exported as many runs as it made.");
    }

    fn object(&self) -> Value {
        let ratios: Vec<Value> = self
            .ratios
            .iter()
            .map(|ratio| {
                let met = ratio.value.is_some_and(|value| ratio.aim.met(value));
                let mut object = Map::new();
                object.insert("name".to_owned(), json!(ratio.name));
                object.insert("value".to_owned(), json!(ratio.value));
                object.insert("spread".to_owned(), json!(ratio.spread));
                object.insert("aim".to_owned(), json!(ratio.aim.text()));
                object.insert("met".to_owned(), json!(met));
                if let Some(note) = &ratio.note {
                    object.insert("note".to_owned(), json!(note));
                }
                Value::Object(object)
            })
            .collect();
        json!({ "ratios": ratios, "ns": self.nanos, "versions": versions() })
    }
}

/// What stood side by side, as the workspace's lock file has it.
fn versions() -> Map<String, Value> {
    const OF: [&str; 10] = [
        "metrics",
        "metrics-exporter-prometheus",
        "metrique",
        "opentelemetry",
        "opentelemetry_sdk",
        "prometheus",
        "quanta",
        "rand_chacha",
        "tracing",
        "tracing-opentelemetry",
    ];
    let lock = include_str!("../../../Cargo.lock");
    let mut versions = Map::new();
    let mut name = "";
    for line in lock.lines() {
        let text = |key: &str| Some(line.strip_prefix(key)?.trim_matches('"'));
        if let Some(next) = text("name = ") {
            name = next;
        } else if let Some(version) = text("version = ")
            && OF.contains(&name)
        {
            versions.insert(name.to_owned(), json!(version));
        }
    }
    versions
}
