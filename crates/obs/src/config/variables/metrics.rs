//! Variables about metrics: `OTEL_METRICS_*`, `OTEL_METRIC_*`, `OTEL_EXPORTER_PROMETHEUS_*`.

use super::{exporters, has_endpoint, otlp};
use crate::config::{
    Environment, Exporter as Chosen, Given,
    error::ConfigError,
    model::{
        CardinalityLimits, ExemplarFilter, Exporter, HistogramAggregation, MeterProvider,
        MetricExporter, Periodic, Prometheus, Pull, Reader, Signal, Temporality,
        meter::{INTERVAL_DEFAULT, TIMEOUT_DEFAULT},
    },
    parse,
};

const EXPORTER: &str = "OTEL_METRICS_EXPORTER";
const TEMPORALITY: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
const HISTOGRAM: &str = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";

pub(super) fn provider(
    given: &Given,
    environment: &Environment,
) -> Result<MeterProvider, ConfigError> {
    let interval = parse::millis_setting(
        environment,
        "OTEL_METRIC_EXPORT_INTERVAL",
        ("Builder::export_interval", given.export_interval),
    )?;
    let timeout = parse::millis_setting(
        environment,
        "OTEL_METRIC_EXPORT_TIMEOUT",
        ("Builder::export_timeout", given.export_timeout),
    )?;
    let (temporality, histogram_aggregation) =
        (temporality(environment)?, histogram_aggregation(environment)?);
    let periodic = |exporter| {
        Reader::Periodic(Box::new(Periodic {
            interval: interval.unwrap_or(INTERVAL_DEFAULT),
            timeout: timeout.unwrap_or(TIMEOUT_DEFAULT),
            exporter: MetricExporter { exporter, temporality, histogram_aggregation },
            cardinality_limits: CardinalityLimits::default(),
        }))
    };
    let mut readers = Vec::new();
    for name in chosen(given, environment)? {
        readers.push(match name {
            "console" => periodic(Exporter::Console),
            "prometheus" => Reader::Pull(Pull {
                prometheus: prometheus(environment)?,
                cardinality_limits: CardinalityLimits::default(),
            }),
            _ => periodic(Exporter::Otlp(Box::new(otlp::exporter(
                given,
                environment,
                Signal::Metrics,
            )?))),
        });
    }
    Ok(MeterProvider { readers, views: Vec::new(), exemplar_filter: exemplar_filter(environment)? })
}

/// Times that code says of every reader, over a file.
pub(super) fn code_times(given: &Given, metrics: &mut MeterProvider) -> Result<(), ConfigError> {
    let nothing = Environment::empty();
    let time = |method, given| parse::millis_setting(&nothing, "", (method, given));
    let interval = time("Builder::export_interval", given.export_interval)?;
    let timeout = time("Builder::export_timeout", given.export_timeout)?;
    for reader in &mut metrics.readers {
        if let Reader::Periodic(reader) = reader {
            reader.interval = interval.unwrap_or(reader.interval);
            reader.timeout = timeout.unwrap_or(reader.timeout);
        }
    }
    Ok(())
}

/// The names of the exporters that code, a variable or an endpoint chooses.
fn chosen(given: &Given, environment: &Environment) -> Result<Vec<&'static str>, ConfigError> {
    const KNOWN: [&str; 4] = ["otlp", "prometheus", "console", "none"];
    match given.exporter {
        Some(Chosen::Otlp) => return Ok(vec!["otlp"]),
        Some(Chosen::Console) => return Ok(vec!["console"]),
        Some(Chosen::Prometheus) => return Ok(vec!["prometheus"]),
        Some(Chosen::None) => return Ok(Vec::new()),
        None => {}
    }
    if let Some(named) = exporters(environment, (EXPORTER, &KNOWN))? {
        return Ok(named);
    }
    // Without an address nobody listens: OpenTelemetry's default would be a failure a minute.
    let endpoint = has_endpoint(given, environment, Signal::Metrics);
    Ok(if endpoint { vec!["otlp"] } else { Vec::new() })
}

fn prometheus(environment: &Environment) -> Result<Prometheus, ConfigError> {
    const HOST: &str = "OTEL_EXPORTER_PROMETHEUS_HOST";
    const PORT: &str = "OTEL_EXPORTER_PROMETHEUS_PORT";
    let mut prometheus = Prometheus::default();
    if let Some(host) = environment.get(HOST)? {
        host.clone_into(&mut prometheus.host);
    }
    if let Some(text) = environment.get(PORT)? {
        prometheus.port = text.parse().map_err(|_| {
            ConfigError::new(PORT, text, "not a port: use 0 for any, or 1 to 65535")
        })?;
    }
    Ok(prometheus)
}

fn temporality(environment: &Environment) -> Result<Temporality, ConfigError> {
    let Some(text) = environment.get(TEMPORALITY)? else { return Ok(Temporality::default()) };
    match text.to_ascii_lowercase().as_str() {
        "cumulative" => Ok(Temporality::Cumulative),
        "delta" => Ok(Temporality::Delta),
        "lowmemory" => Ok(Temporality::LowMemory),
        _ => Err(ConfigError::new(
            TEMPORALITY,
            text,
            "there is no such temporality: use cumulative, delta or lowmemory",
        )),
    }
}

fn histogram_aggregation(environment: &Environment) -> Result<HistogramAggregation, ConfigError> {
    let Some(text) = environment.get(HISTOGRAM)? else {
        return Ok(HistogramAggregation::default());
    };
    match text.to_ascii_lowercase().as_str() {
        "explicit_bucket_histogram" => Ok(HistogramAggregation::ExplicitBuckets),
        "base2_exponential_bucket_histogram" => Ok(HistogramAggregation::Base2Exponential),
        _ => Err(ConfigError::new(
            HISTOGRAM,
            text,
            "there is no such aggregation: use explicit_bucket_histogram or base2_exponential_bucket_histogram",
        )),
    }
}

fn exemplar_filter(environment: &Environment) -> Result<ExemplarFilter, ConfigError> {
    const NAME: &str = "OTEL_METRICS_EXEMPLAR_FILTER";
    let Some(text) = environment.get(NAME)? else { return Ok(ExemplarFilter::default()) };
    match text.to_ascii_lowercase().as_str() {
        "always_on" => Ok(ExemplarFilter::AlwaysOn),
        "always_off" => Ok(ExemplarFilter::AlwaysOff),
        "trace_based" => Ok(ExemplarFilter::TraceBased),
        _ => Err(ConfigError::new(
            NAME,
            text,
            "there is no such filter: use always_on, always_off or trace_based",
        )),
    }
}
