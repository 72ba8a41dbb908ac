//! Prometheus' text format, as far as a Collector writes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

pub(super) type Labels = BTreeMap<String, String>;

/// What every series of one process carries.
const OF_PROCESS: [&str; 2] = ["job", "instance"];

/// One scrape: the value of every series.
pub(super) struct Scrape(Vec<(String, Labels, f64)>);

impl Scrape {
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(
            lines
                .map(|line| series(line).unwrap_or_else(|| panic!("not a series: {line}")))
                .collect(),
        )
    }

    pub(super) fn value(&self, name: &str, labels: &Labels) -> Option<f64> {
        self.0.iter().find(|(n, l, _)| n == name && l == labels).map(|(_, _, value)| *value)
    }

    /// The sum over one process' series.
    pub(super) fn total(&self, name: &str, instance: &str) -> f64 {
        self.of(name, instance).map(|(_, value)| value).sum()
    }

    /// The label keys of one process' series, but for those that every series has.
    pub(super) fn label_keys(&self, name: &str, instance: &str) -> BTreeSet<String> {
        let keys = self.of(name, instance).flat_map(|(labels, _)| labels.keys());
        keys.filter(|key| !OF_PROCESS.contains(&key.as_str())).cloned().collect()
    }

    /// Upper bounds and what lies below them.
    pub(super) fn buckets(&self, name: &str, labels: &Labels) -> Vec<(f64, f64)> {
        let name = format!("{name}_bucket");
        let mut buckets = Vec::new();
        for (_, bucket, value) in self.0.iter().filter(|(n, _, _)| *n == name) {
            let mut rest = bucket.clone();
            let bound = rest.remove("le").unwrap();
            if rest == *labels {
                buckets.push((bound.replace("+Inf", "inf").parse().unwrap(), *value));
            }
        }
        buckets
    }

    pub(super) fn has_instance(&self, instance: &str) -> bool {
        self.0.iter().any(|(_, labels, _)| labels.get("instance").is_some_and(|i| i == instance))
    }

    fn of<'a>(
        &'a self,
        name: &'a str,
        instance: &'a str,
    ) -> impl Iterator<Item = (&'a Labels, f64)> {
        self.0
            .iter()
            .filter(move |(n, l, _)| n == name && l.get("instance").is_some_and(|i| i == instance))
            .map(|(_, labels, value)| (labels, *value))
    }
}

impl fmt::Display for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, labels, value)| writeln!(f, "{name}{labels:?} {value}"))
    }
}

/// `name{key="value",key="value"} number`
fn series(line: &str) -> Option<(String, Labels, f64)> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let mut labels = Labels::new();
    let mut rest = rest.strip_prefix('{').unwrap_or(rest);
    while let Some((key, after)) = rest.split_once("=\"") {
        let end = end_of_value(after)?;
        let value = after[..end].replace("\\\"", "\"").replace("\\n", "\n").replace("\\\\", "\\");
        labels.insert(key.trim_start_matches(',').to_owned(), value);
        rest = &after[end + 1..];
    }
    let number = rest.trim_start_matches('}').split_whitespace().next()?;
    Some((name.to_owned(), labels, number.parse().ok()?))
}

fn end_of_value(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at)
    })
}
