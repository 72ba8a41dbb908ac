//! Variables about traces and logs: exporters, batches, limits, the sampler.

use super::{
    batch::{BatchNames, batch},
    exporters, listed, otlp,
};
use crate::config::{
    Environment, Given,
    error::ConfigError,
    model::{
        AttributeLimits, Exporter, LoggerProvider, Processor, RecordLimits, Sampler, Signal,
        SpanLimits, TracerProvider,
        tracer::{RECORD_DELAY_DEFAULT, SPAN_DELAY_DEFAULT},
    },
    parse,
};

static SPANS: BatchNames = BatchNames {
    schedule_delay: ("OTEL_BSP_SCHEDULE_DELAY", SPAN_DELAY_DEFAULT),
    export_timeout: "OTEL_BSP_EXPORT_TIMEOUT",
    max_queue_size: "OTEL_BSP_MAX_QUEUE_SIZE",
    max_export_batch_size: "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
};
static RECORDS: BatchNames = BatchNames {
    schedule_delay: ("OTEL_BLRP_SCHEDULE_DELAY", RECORD_DELAY_DEFAULT),
    export_timeout: "OTEL_BLRP_EXPORT_TIMEOUT",
    max_queue_size: "OTEL_BLRP_MAX_QUEUE_SIZE",
    max_export_batch_size: "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
};

/// Limits that count where nothing more special is said.
pub(super) fn attribute_limits(environment: &Environment) -> Result<AttributeLimits, ConfigError> {
    let names = ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT");
    special_limits(environment, names, AttributeLimits::default())
}

pub(super) fn tracer_provider(
    given: &Given,
    environment: &Environment,
    general: AttributeLimits,
) -> Result<TracerProvider, ConfigError> {
    const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
    let processors = processors(given, environment, (EXPORTER, Signal::Traces, &SPANS))?;
    if processors.is_empty() {
        return Ok(TracerProvider::default());
    }
    Ok(TracerProvider {
        processors,
        limits: span_limits(environment, general)?,
        sampler: sampler(environment)?,
    })
}

pub(super) fn logger_provider(
    given: &Given,
    environment: &Environment,
    general: AttributeLimits,
) -> Result<LoggerProvider, ConfigError> {
    const EXPORTER: &str = "OTEL_LOGS_EXPORTER";
    let processors = processors(given, environment, (EXPORTER, Signal::Logs, &RECORDS))?;
    if processors.is_empty() {
        return Ok(LoggerProvider::default());
    }
    let names =
        ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT");
    let limits = RecordLimits { attributes: special_limits(environment, names, general)? };
    Ok(LoggerProvider { processors, limits })
}

/// One processor for each exporter that the variable names. An endpoint alone chooses none: until
/// somebody asks, metrics are what leaves.
fn processors(
    given: &Given,
    environment: &Environment,
    (variable, signal, names): (&'static str, Signal, &BatchNames),
) -> Result<Vec<Processor>, ConfigError> {
    const KNOWN: [&str; 3] = ["otlp", "console", "none"];
    let chosen = exporters(environment, (variable, &KNOWN))?.unwrap_or_default();
    let processor = |name| {
        Ok(match name {
            // People read it as it happens.
            "console" => Processor::Simple(Exporter::Console),
            _ => {
                let otlp = otlp::exporter(given, environment, signal)?;
                Processor::Batch(batch(environment, names, Exporter::Otlp(Box::new(otlp)))?)
            }
        })
    };
    chosen.into_iter().map(processor).collect()
}

fn special_limits(
    environment: &Environment,
    (length, count): (&'static str, &'static str),
    general: AttributeLimits,
) -> Result<AttributeLimits, ConfigError> {
    Ok(AttributeLimits {
        value_length: parse::whole(environment, length)?.or(general.value_length),
        count: parse::whole(environment, count)?.unwrap_or(general.count),
    })
}

fn span_limits(
    environment: &Environment,
    general: AttributeLimits,
) -> Result<SpanLimits, ConfigError> {
    let default = SpanLimits::default();
    let count = |name, default| Ok(parse::whole(environment, name)?.unwrap_or(default));
    let names = ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT");
    Ok(SpanLimits {
        attributes: special_limits(environment, names, general)?,
        events: count("OTEL_SPAN_EVENT_COUNT_LIMIT", default.events)?,
        links: count("OTEL_SPAN_LINK_COUNT_LIMIT", default.links)?,
        event_attributes: count("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", default.event_attributes)?,
        link_attributes: count("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", default.link_attributes)?,
    })
}

fn sampler(environment: &Environment) -> Result<Sampler, ConfigError> {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    const KNOWN: [&str; 6] = [
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ];
    let Some(text) = environment.get(NAME)? else { return Ok(Sampler::default()) };
    Ok(match text.to_ascii_lowercase().as_str() {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => ratio(environment)?,
        "parentbased_always_on" => Sampler::parent_based(Sampler::AlwaysOn),
        "parentbased_always_off" => Sampler::parent_based(Sampler::AlwaysOff),
        "parentbased_traceidratio" => Sampler::parent_based(ratio(environment)?),
        _ => {
            let rule = format!("there is no such sampler here: use {}", listed(&KNOWN));
            return Err(ConfigError::new(NAME, text, rule));
        }
    })
}

fn ratio(environment: &Environment) -> Result<Sampler, ConfigError> {
    const NAME: &str = "OTEL_TRACES_SAMPLER_ARG";
    let Some((name, shown, ratio)) = parse::number(environment, NAME)? else {
        return Ok(Sampler::TraceIdRatio(1.0));
    };
    if (0.0..=1.0).contains(&ratio) {
        return Ok(Sampler::TraceIdRatio(ratio));
    }
    let rule = "not a share of traces: use a number from 0 to 1, e.g. 0.1";
    Err(ConfigError::new(name, &shown, rule))
}
