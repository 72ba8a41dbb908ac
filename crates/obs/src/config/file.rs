//! The file: `obs.yaml`, or whatever `OTEL_CONFIG_FILE` names.
//!
//! Text becomes a tree that knows its lines ([`tree`]), the tree becomes typed values ([`de`],
//! [`document`]), and these become the [`Model`] that variables fill, too ([`lift`]). The block `obs`
//! is read by the rules of the variables: each of its keys counts as the variable of that name, unless
//! the variable itself is set.

mod de;
mod document;
mod lift;
mod reference;
mod show;
mod substitute;
mod tree;

use std::{fs::File as Handle, io::Read as _, path::Path};

use obs_core::{KeepRule, Policy};

use self::{
    de::Problem,
    document::Document,
    tree::{Content, Node},
};
use super::{Environment, Origin, error::ConfigError, known::KEYS, model::Model};

pub(crate) use reference::{reference, schema};
pub(super) use show::show;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file that is valid by itself.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(super) name: String,
    text: String,
    root: Node,
    document: Document,
}

impl File {
    /// Reads a file that a setting names.
    pub(super) fn read(
        setting: &str,
        path: &Path,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        Self::parse(&path.to_string_lossy(), Self::text(setting, path)?, environment)
    }

    /// What stands in such a file.
    pub(super) fn text(setting: &str, path: &Path) -> Result<String, ConfigError> {
        let name = path.to_string_lossy().into_owned();
        let refuse = |rule: String| ConfigError::new(setting, &name, rule);
        let unreadable = |error| {
            refuse(format!("cannot be read ({error}): name a file that this process may read"))
        };
        let mut text = String::new();
        let file = Handle::open(path).map_err(unreadable)?;
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(refuse(format!(
                "is longer than {FILE_BYTES_MAX} bytes: name a file of settings"
            )));
        }
        Ok(text)
    }

    pub(super) fn parse(
        name: &str,
        text: String,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let wrong = |problem: Problem| {
            ConfigError::in_file(name, problem.line, &problem.path(), problem.value, problem.rule)
        };
        let root = tree::read(&text, environment).map_err(wrong)?;
        let document: Document = de::from_node(&root).map_err(wrong)?;
        if root.at(["file_format"].into_iter()).is_none_or(Node::is_null) {
            return Err(wrong(Problem::at(
                1,
                "has no file_format: begin it with file_format: \"1.0\"",
            )));
        }
        let file = Self { name: name.to_owned(), text, root, document };
        match file.document.impossible() {
            None => Ok(file),
            Some((path, rule)) => {
                Err(ConfigError::in_file(name, file.line_of(&path), &path, None, rule))
            }
        }
    }

    /// OpenTelemetry's part.
    pub(super) fn model(&self) -> Model {
        Model::from(&self.document)
    }

    /// The part of ours, as the variables that say the same.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&'static str, String, Origin)> {
        KEYS.into_iter().filter_map(|(variable, key)| {
            let node = self.root.at(["obs"].into_iter().chain(key.split('.')))?;
            let (text, raw) = text_of(node)?;
            let key = format!("obs.{key}");
            Some((variable, text, Origin { file: self.name.clone(), line: node.line, key, raw }))
        })
    }

    /// The rules of the policy.
    pub(super) fn rules(&self) -> Result<Vec<KeepRule>, ConfigError> {
        let policy = self.document.obs.as_ref().and_then(|ours| ours.policy.as_ref());
        let rules = policy.and_then(|policy| policy.rules.as_deref()).unwrap_or_default();
        let policy =
            Policy { rules: rules.iter().map(KeepRule::from).collect(), ..Policy::default() };
        let Err(error) = policy.check() else { return Ok(policy.rules) };
        let path = match error.rule() {
            Some(index) => format!("obs.policy.rules[{index}]"),
            None => "obs.policy.rules".to_owned(),
        };
        let line = self.line_of(&path);
        Err(ConfigError::in_file(&self.name, line, &path, None, error.reason()))
    }

    /// The line of the nearest key that stands in the file.
    pub(super) fn line_of(&self, path: &str) -> usize {
        let dotted = path.replace('[', ".[");
        let mut keys: Vec<&str> = dotted.split('.').collect();
        while !keys.is_empty() {
            if let Some(node) = self.root.at(keys.iter().copied()) {
                return node.line;
            }
            keys.pop();
        }
        1
    }

    /// Whether the file asks for a variable.
    pub(super) fn refers_to(&self, variable: &str) -> bool {
        let ends = |rest: &str| rest.starts_with(['}', ':']);
        ["${", "${env:"].into_iter().any(|prefix| {
            let reference = format!("{prefix}{variable}");
            self.text
                .match_indices(&reference)
                .any(|(at, found)| ends(&self.text[at + found.len()..]))
        })
    }
}

/// A value or a list of values as a variable would say it, and as the file does.
fn text_of(node: &Node) -> Option<(String, String)> {
    match &node.content {
        Content::Scalar(scalar) if scalar.is_null() => None,
        Content::Scalar(scalar) => Some((scalar.text.clone(), scalar.raw.clone())),
        Content::List(nodes) => {
            let (texts, raws): (Vec<_>, Vec<_>) = nodes.iter().filter_map(text_of).unzip();
            Some((texts.join(","), raws.join(",")))
        }
        Content::Group(_) => None,
    }
}

#[cfg(test)]
mod tests;
