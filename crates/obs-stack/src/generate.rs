//! What is made from the registry: `registry/templates` filled in.

use std::{fs, path::Path};

use minijinja::{
    Environment, Error, ErrorKind, UndefinedBehavior, Value, context, syntax::SyntaxConfig,
    value::Serde,
};

use crate::{
    error::RegistryError,
    registry::{Instrument, Metric, Registry, Requirement},
};

/// Templates, and where what they make is committed.
pub const OUTPUTS: [(&str, &str); 8] = [
    ("registry.rs.j2", "crates/obs-core/src/registry.rs"),
    ("metrics.md.j2", "docs/metrics.md"),
    ("recording.yaml.j2", "prometheus/rules/recording.yaml"),
    ("alerts.yaml.j2", "prometheus/rules/alerts.yaml"),
    ("overview.json.j2", "grafana/dashboards/overview.json"),
    ("strategy.json.j2", "grafana/dashboards/strategy.json"),
    ("pipeline.json.j2", "grafana/dashboards/pipeline.json"),
    ("runs.json.j2", "grafana/dashboards/runs.json"),
];

/// What the templates of dashboards have in common.
const SHARED: &str = "dashboard.j2";

/// A generated file.
///
/// ```
/// let registry = obs_stack::Registry::read(&obs_stack::root())?;
/// let files = obs_stack::generate(&obs_stack::root(), &registry)?;
/// assert!(files.iter().any(|file| file.path == "docs/metrics.md"));
/// # Ok::<(), obs_stack::RegistryError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct File {
    /// Below the root.
    pub path: &'static str,
    /// What is to stand in it.
    pub text: String,
}

/// Fills every template in.
///
/// ```
/// let registry = obs_stack::Registry::read(&obs_stack::root())?;
/// assert_eq!(obs_stack::generate(&obs_stack::root(), &registry)?.len(), obs_stack::OUTPUTS.len());
/// # Ok::<(), obs_stack::RegistryError>(())
/// ```
///
/// # Errors
///
/// A template that cannot be read, or that names what the registry does not have.
pub fn generate(root: &Path, registry: &Registry) -> Result<Vec<File>, RegistryError> {
    let folder = root.join("registry/templates");
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|source| RegistryError::Read { path, source })
    };
    let failed =
        |template| move |source| RegistryError::Template { template, source: Box::new(source) };
    let mut environment = environment(registry).map_err(failed(SHARED))?;
    environment.add_template_owned(SHARED, read(SHARED)?).map_err(failed(SHARED))?;
    let mut files = Vec::new();
    for (template, path) in OUTPUTS {
        environment.add_template_owned(template, read(template)?).map_err(failed(template))?;
        let filled = environment
            .get_template(template)
            .and_then(|filled| filled.render(context! { registry => Value::from(Serde(registry)) }))
            .map_err(failed(template))?;
        let text = if path.ends_with(".json") { pretty(path, &filled)? } else { filled };
        files.push(File { path, text });
    }
    Ok(files)
}

/// JSON, indented, so that a change shows in a diff.
fn pretty(path: &'static str, text: &str) -> Result<String, RegistryError> {
    let broken = |source| RegistryError::Json { path, source };
    let value: serde_json::Value = serde_json::from_str(text).map_err(broken)?;
    Ok(serde_json::to_string_pretty(&value).map_err(broken)? + "\n")
}

fn environment(registry: &Registry) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    // A line that holds a tag only leaves nothing behind.
    let mut syntax = SyntaxConfig::builder();
    let syntax =
        syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?;
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    let metrics = registry.metrics.clone();
    environment.add_function("m", move |name: &str, part: Option<&str>| {
        series(&metrics, name, part.unwrap_or_default())
    });
    let attributes = registry.attributes.clone();
    environment.add_function("l", move |key: &str| {
        let known = attributes.contains_key(key);
        known.then(|| key.replace('.', "_")).ok_or_else(|| unknown("attribute", key))
    });
    environment.add_filter("constant", |name: &str| name.replace('.', "_").to_uppercase());
    environment.add_filter("float", |number: f64| format!("{number:?}"));
    environment.add_filter("json", |value: Value| {
        serde_json::to_string(&value)
            .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
    });
    environment.add_filter("sentence", |text: &str| format!("{}.", text.trim_end_matches('.')));
    environment.add_filter("cell", |text: &str| text.replace('|', "\\|"));
    environment.add_filter("requirement", |value: Value| {
        serde_json::to_value(&value).ok().and_then(|value| serde_json::from_value(value).ok()).map(
            |requirement: Requirement| match requirement {
                Requirement::Required => String::new(),
                Requirement::ConditionallyRequired(when) => format!(" ({when})"),
                Requirement::Recommended => " (where known)".to_owned(),
                Requirement::OptIn => " (on request)".to_owned(),
            },
        )
    });
    Ok(environment)
}

/// The Prometheus name of a metric's series: `m("obs.run.duration", "bucket")`.
fn series(metrics: &[Metric], name: &str, part: &str) -> Result<String, Error> {
    let metric =
        metrics.iter().find(|metric| metric.name == name).ok_or_else(|| unknown("metric", name))?;
    let is_histogram = metric.instrument == Instrument::Histogram;
    match part {
        "" if !is_histogram => Ok(metric.prometheus.clone()),
        "bucket" | "sum" | "count" if is_histogram => Ok(format!("{}_{part}", metric.prometheus)),
        _ => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!(
                "{name}: a histogram has bucket, sum and count, anything else one series; not {part:?}"
            ),
        )),
    }
}

fn unknown(what: &str, name: &str) -> Error {
    Error::new(ErrorKind::UndefinedError, format!("the registry has no {what} {name:?}"))
}
