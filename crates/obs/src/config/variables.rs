//! OpenTelemetry's environment variables, as its specification says them, become the model.
//!
//! Code wins over a variable, a variable over the default. A value that cannot be used is an error,
//! also where OpenTelemetry's Rust libraries ignore it.

mod batch;
mod metrics;
mod otlp;
mod traces;

use std::collections::BTreeMap;

use opentelemetry::Value;

use super::{
    Environment, Given,
    error::ConfigError,
    model::{Model, Otlp, Propagator, Resource, Signal},
    parse,
};

pub(super) fn model(given: &Given, environment: &Environment) -> Result<Model, ConfigError> {
    let resource = resource(given, environment)?;
    let disabled = parse::boolean(environment, "OTEL_SDK_DISABLED")?.unwrap_or(false);
    let log_level = log_level(environment)?;
    if disabled {
        // Settings of exporters that are not used are not looked at: a shared environment may hold
        // those of another program.
        return Ok(Model { disabled, resource, log_level, ..Model::default() });
    }
    let attribute_limits = traces::attribute_limits(environment)?;
    Ok(Model {
        disabled,
        log_level,
        attribute_limits,
        resource,
        meter_provider: metrics::provider(given, environment)?,
        tracer_provider: traces::tracer_provider(given, environment, attribute_limits)?,
        logger_provider: traces::logger_provider(given, environment, attribute_limits)?,
        propagators: propagators(environment)?,
    })
}

/// Where rows go that leave as log events.
pub(super) fn logs_target(given: &Given, environment: &Environment) -> Result<Otlp, ConfigError> {
    otlp::exporter(given, environment, Signal::Logs)
}

/// What code says over a file, and headers from a file of their own.
pub(super) fn over_file(
    given: &Given,
    environment: &Environment,
    mut model: Model,
) -> Result<Model, ConfigError> {
    // Of OpenTelemetry's variables there is none here: what this reads is code.
    let resource = resource(given, environment)?;
    if resource.service_name.is_some() {
        model.resource.service_name = resource.service_name;
    }
    model.resource.attributes.extend(resource.attributes);
    let code_chooses =
        given.exporter.is_some() || given.endpoint.is_some() || given.protocol.is_some();
    if code_chooses && !model.disabled {
        model.meter_provider.readers = metrics::provider(given, environment)?.readers;
    }
    metrics::code_times(given, &mut model.meter_provider)?;
    otlp::headers_for_all(environment, &mut model)?;
    Ok(model)
}

/// The names in a variable with a list of exporters; `None` where it is unset.
fn exporters(
    environment: &Environment,
    (variable, known): (&'static str, &[&'static str]),
) -> Result<Option<Vec<&'static str>>, ConfigError> {
    let Some(text) = environment.get(variable)? else { return Ok(None) };
    let mut chosen = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let lower = name.to_ascii_lowercase();
        let Some(known) = known.iter().find(|known| **known == lower) else {
            let list = listed(known);
            let rule = format!("there is no such exporter: use {list}");
            return Err(ConfigError::new(variable, text, rule));
        };
        if chosen.contains(known) {
            let rule = format!("names {known} twice: once is enough");
            return Err(ConfigError::new(variable, text, rule));
        }
        chosen.push(*known);
    }
    if chosen.len() > 1 && chosen.contains(&"none") {
        let rule = "none stands alone: leave it out, or the others";
        return Err(ConfigError::new(variable, text, rule));
    }
    chosen.retain(|name| *name != "none");
    Ok(Some(chosen))
}

/// `a, b or c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

/// Whether an endpoint is set for a signal.
fn has_endpoint(given: &Given, environment: &Environment, signal: Signal) -> bool {
    let names = otlp::OtlpNames::of(signal);
    given.endpoint.is_some() || names.endpoint.iter().any(|name| environment.is_set(name))
}

fn propagators(environment: &Environment) -> Result<Vec<Propagator>, ConfigError> {
    const NAME: &str = "OTEL_PROPAGATORS";
    let Some(text) = environment.get(NAME)? else {
        return Ok(vec![Propagator::TraceContext, Propagator::Baggage]);
    };
    Propagator::list(text).map_err(|rule| ConfigError::new(NAME, text, rule))
}

fn log_level(environment: &Environment) -> Result<Option<tracing::Level>, ConfigError> {
    const NAME: &str = "OTEL_LOG_LEVEL";
    let Some(text) = environment.get(NAME)? else { return Ok(None) };
    match text.parse() {
        Ok(level) => Ok(Some(level)),
        Err(_) => Err(ConfigError::new(
            NAME,
            text,
            "there is no such level: use error, warn, info, debug or trace",
        )),
    }
}

fn resource(given: &Given, environment: &Environment) -> Result<Resource, ConfigError> {
    Ok(Resource {
        service_name: service_name(given, environment)?,
        attributes: attributes(given, environment)?,
    })
}

fn service_name(given: &Given, environment: &Environment) -> Result<Option<String>, ConfigError> {
    match given.service_name.as_deref().map(str::trim) {
        Some("") => {
            let rule =
                "a service needs a name: use e.g. \"orders\", or leave it to OTEL_SERVICE_NAME";
            Err(ConfigError::new("Builder::service_name", "", rule))
        }
        Some(name) => Ok(Some(name.to_owned())),
        None => Ok(environment.get("OTEL_SERVICE_NAME")?.map(str::to_owned)),
    }
}

fn attributes(
    given: &Given,
    environment: &Environment,
) -> Result<BTreeMap<String, Value>, ConfigError> {
    const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let mut attributes = BTreeMap::new();
    if let Some(text) = environment.get(NAME)? {
        let pairs = parse::pairs(text).map_err(|rule| ConfigError::new(NAME, text, rule))?;
        attributes.extend(pairs.into_iter().map(|(key, value)| (key, value.into())));
    }
    for (key, value) in &given.resource_attributes {
        if key.trim().is_empty() {
            let rule = "a resource attribute needs a key: use e.g. \"deployment.environment.name\"";
            return Err(ConfigError::new("Builder::resource_attribute", value, rule));
        }
        attributes.insert(key.clone(), value.clone().into());
    }
    Ok(attributes)
}
