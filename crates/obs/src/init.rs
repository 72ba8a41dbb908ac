//! From settings to running telemetry: one function per part.

use std::{error::Error, sync::Arc, thread, time::Duration};

use obs_core::{
    Clock, Obs, Recording, StoreMetrics, StoreState,
    otel::{Measure, Metrics, MetricsOptions},
};
use obs_persist::{PersistConfig, Persister, Store};
use opentelemetry_sdk::Resource;
use uuid::Uuid;

use crate::{
    builder::Builder,
    config::{
        self, Checked, Given, Rows, Safety, SpoolUse, StoreAddress,
        model::{ExemplarFilter, Temporality},
    },
    drainer::Drainer,
    error::InitError,
    export::{
        Exports, Reader, Readers,
        pull::{Pull, Source},
    },
    heartbeat::Heartbeat,
    instruments::Book,
    kept::{Hears, told},
    logs::Logs,
    pipelines::Pipelines,
    policy_file::{self, PolicyWatch, Watched},
    provider, resource,
    sentry::Reports,
    spans::Spans,
    store::OtlpStore,
    telemetry::{Parts, RowStore, Telemetry},
};

/// The longest that [`init`](crate::init) waits, and only for a store that is required.
pub const STORE_WAIT: Duration = Duration::from_secs(10);

/// How often a required store is looked at while `init` waits for it.
const STORE_POLL: Duration = Duration::from_millis(10);

pub(crate) fn set_up(builder: Builder) -> Result<Telemetry, InitError> {
    let environment = builder.environment.unwrap_or_else(config::Environment::process);
    let config = config::check(&builder.given, &environment)?;
    let epoch = epoch()?;
    let resource = resource::resource(&config, epoch);
    // First, so that what the rest has to say is heard.
    let logs = logs(&config, &resource, builder.logs)?;
    warn_of_ignored(&config);
    let mut pipelines = Pipelines::default();
    pipelines.of_logs(&config.model, &resource, &logs).map_err(not_started)?;
    let spans = pipelines.of_spans(&config.model, &resource).map_err(not_started)?;
    let errors = pipelines.of_errors(config.reports()).map_err(not_started)?;
    let mut readers = Readers::default();
    let exports = exports(&config, &mut readers)?;
    // Whoever asks for all metrics from outside the exports.
    let asked = (builder.snapshots || config.model.meter_provider.pull().is_some())
        .then(|| readers.of(Temporality::Cumulative));
    // Where nobody looks, nothing need be counted.
    let is_read = !readers.is_empty();
    let provider =
        provider::provider(resource.clone(), &config.model.meter_provider, readers.all());
    let metrics = metrics(&config, &provider, exports.as_ref(), (is_read, asked.is_some()))?;
    logs.count_losses(&provider::meter(&provider));
    pipelines.count(&provider::meter(&provider));
    let rows = rows(&config, &metrics, (epoch, &resource))?;
    let heard = heard(spans, errors);
    let obs = obs(&config, metrics, (rows.as_ref(), heard), (epoch, builder.seed))?;
    let drainer = is_read.then(|| Drainer::start(&obs)).flatten();
    let policy_watch = policy_watch((&builder.given, &environment), &config, &obs)?;
    let heartbeat = heartbeat(&config, &obs, rows.as_ref())?;
    let instruments = Book::new(&provider);
    let pull = match &asked {
        Some(reader) => pull(&config, (&obs, rows.as_ref()), reader, &provider)?,
        None => None,
    };
    let snapshots = asked.filter(|_| builder.snapshots);
    Ok(Telemetry::new(Parts {
        obs,
        rows,
        exports,
        pull,
        snapshots,
        provider,
        instruments,
        drainer,
        policy_watch,
        heartbeat,
        logs,
        pipelines,
        #[cfg(feature = "http")]
        propagation: propagation(&config),
    }))
}

/// Lets the process leave rows of itself, where that is asked for.
fn heartbeat(
    config: &Checked,
    obs: &Obs,
    rows: Option<&RowStore>,
) -> Result<Option<Heartbeat>, InitError> {
    let Some(interval) = config.heartbeat else { return Ok(None) };
    let version = config.model.resource.attributes.get("service.version").map(ToString::to_string);
    let store = rows.map(|rows| rows.persister.watch());
    Ok(Heartbeat::start(obs, version.as_deref(), store, interval)?)
}

/// Who is told of kept runs.
fn heard(spans: Option<Spans>, errors: Option<Reports>) -> Vec<Arc<dyn Hears>> {
    let spans = spans.map(|spans| Arc::new(spans) as Arc<dyn Hears>);
    let errors = errors.map(|errors| Arc::new(errors) as Arc<dyn Hears>);
    spans.into_iter().chain(errors).collect()
}

/// Reads the policy again when its file changes, where there is one.
fn policy_watch(
    (given, environment): (&Given, &config::Environment),
    config: &Checked,
    obs: &Obs,
) -> Result<Option<PolicyWatch>, InitError> {
    let named = config::file_named(given, environment)?.filter(|_| given.read.is_none());
    let Some((_, path)) = named else { return Ok(None) };
    if policy_file::can_be_read_only_once(path) {
        let path = path.display();
        tracing::info!(target: "obs", "the policy of {path} is not read again: it is a pipe or the like");
        return Ok(None);
    }
    Ok(PolicyWatch::start(Watched {
        path: path.to_owned(),
        given: given.clone(),
        environment: environment.clone(),
        policy: config.live(),
        live: obs.policy(),
    }))
}

#[cfg(feature = "http")]
fn propagation(config: &Checked) -> obs_http::Propagation {
    use config::model::Propagator::{Baggage, TraceContext};

    let has = |wanted| config.model.propagators.contains(&wanted);
    obs_http::Propagation { trace_context: has(TraceContext), baggage: has(Baggage) }
}

fn not_started(error: impl Error + Send + Sync + 'static) -> InitError {
    InitError::Export(Box::new(error))
}

fn logs(config: &Checked, resource: &Resource, install: bool) -> Result<Logs, InitError> {
    let logs = Logs::to_standard_error(config.logs.clone(), resource::origin(resource));
    if install {
        logs.install()?;
    }
    Ok(logs)
}

fn warn_of_ignored(config: &Checked) {
    if !config.ignored.is_empty() {
        let names = config.ignored.join(", ");
        tracing::warn!(target: "obs", "these variables are set, and have no effect, because the file of settings does not refer to them: {names}");
    }
}

/// The id of this process lifetime.
fn epoch() -> Result<Uuid, InitError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| InitError::Entropy(error.to_string()))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

fn exports(config: &Checked, readers: &mut Readers) -> Result<Option<Exports>, InitError> {
    Exports::start(&config.model.meter_provider, readers)
        .map_err(|error| InitError::Export(Box::new(error)))
}

/// The page for Prometheus, if it is to have one.
fn pull(
    config: &Checked,
    (obs, rows): (&Obs, Option<&RowStore>),
    reader: &Reader,
    provider: &crate::otel::SdkMeterProvider,
) -> Result<Option<Pull>, InitError> {
    let Some(settings) = config.model.meter_provider.pull() else { return Ok(None) };
    let source = Source {
        obs: obs.clone(),
        reader: reader.clone(),
        store: rows.map(|rows| rows.persister.watch()),
        meter: provider::meter(provider),
    };
    let started = Pull::start(&settings.prometheus, config.prometheus_token.as_ref(), source);
    started.map(Some).map_err(|error| InitError::Export(Box::new(error)))
}

fn metrics(
    config: &Checked,
    provider: &crate::otel::SdkMeterProvider,
    exports: Option<&Exports>,
    (is_read, asked): (bool, bool),
) -> Result<Metrics, InitError> {
    let meter = provider::meter(provider);
    if let Some(exports) = exports {
        exports.count_on(&meter);
    }
    // Cells know buckets, not values: histograms in other buckets are given each value.
    let exact = config.model.meter_provider.changes_buckets();
    let measure = if is_read && !exact { Measure::InCells } else { Measure::EachRun };
    let exemplars =
        asked && config.model.meter_provider.exemplar_filter != ExemplarFilter::AlwaysOff;
    let mut options =
        MetricsOptions { bound: true, measure, exemplars, ..MetricsOptions::default() };
    options.slos.extend(config.slo);
    Ok(Metrics::new(&meter, options)?)
}

fn rows(
    config: &Checked,
    metrics: &Metrics,
    (epoch, resource): (Uuid, &Resource),
) -> Result<Option<RowStore>, InitError> {
    let Rows::On { store, migrations, required, limits, spool } = &config.rows else {
        return Ok(None);
    };
    if spool.homeless {
        tracing::warn!(
            target: "obs",
            %store,
            "errors wait in memory only, and are lost with this process: there is no directory for a spool; \
             set OBS_SPOOL_DIR to one of your own, or OBS_SPOOL=off if that is meant"
        );
    }
    let mut limits = (**limits).clone();
    limits.epoch = Some(epoch);
    let store_of_rows: Box<dyn Store> = match store {
        StoreAddress::Url(url) => url.store_with(*migrations),
        StoreAddress::Otlp(otlp) => Box::new(OtlpStore::new(otlp.clone(), resource)),
    };
    let persister = start_worker(store_of_rows, limits, metrics.store())?;
    let rows = RowStore { persister, url: store.to_string() };
    if *required {
        wait_for_store(&rows)?;
    }
    Ok(Some(rows))
}

fn start_worker(
    store: Box<dyn Store>,
    limits: PersistConfig,
    metrics: StoreMetrics,
) -> Result<Persister, InitError> {
    Persister::start(limits, store, metrics).map_err(|error| InitError::Worker(Box::new(error)))
}

/// Waits for the store's first word. A store that refuses is not waited for any longer.
fn wait_for_store(rows: &RowStore) -> Result<(), InitError> {
    let clock = Clock::default();
    let start = clock.now();
    loop {
        let waited = clock.now().since(start);
        let reason = match rows.persister.state() {
            StoreState::Up => return Ok(()),
            StoreState::Starting if waited < STORE_WAIT => {
                thread::sleep(STORE_POLL);
                continue;
            }
            StoreState::Starting => "it did not answer".to_owned(),
            state => rows.persister.last_error().unwrap_or_else(|| format!("it is {state}")),
        };
        return Err(InitError::Store { url: rows.url.clone(), waited, reason });
    }
}

/// Lets the ledger and the runs in flight live where the next process finds them, if there is a spool.
fn on_pages(
    config: &Checked,
    mut builder: obs_core::Builder,
    persister: &Persister,
) -> obs_core::Builder {
    if let Some(page) = persister.ledger_page() {
        builder = builder.ledger_page(page);
    }
    match (&config.rows, persister.runs_page()) {
        (Rows::On { spool: SpoolUse { lost_runs: true, .. }, .. }, Some(page)) => {
            builder.in_flight_page(page)
        }
        _ => builder,
    }
}

fn obs(
    config: &Checked,
    metrics: Metrics,
    (rows, heard): (Option<&RowStore>, Vec<Arc<dyn Hears>>),
    (epoch, seed): (Uuid, Option<u64>),
) -> Result<Obs, InitError> {
    let mut builder = Obs::builder()
        .metrics(metrics)
        .policy(config.policy)
        .limits(config.limits)
        .rules(config.rules.clone())
        .epoch(epoch)
        .current_run(true);
    let Safety { capture, redaction, subject_key } = config.safety.clone();
    builder = builder.capture_input(capture).redaction(redaction);
    if let Some(key) = subject_key {
        builder = builder.subject_key(key);
    }
    if let Some(rows) = rows {
        builder = on_pages(config, builder, &rows.persister);
    }
    builder = match told(rows.map(|rows| rows.persister.sink()), heard) {
        Some(sink) => builder.sink(sink),
        None => builder.recording(Recording::MetricsOnly),
    };
    if let Some(seed) = seed {
        builder = builder.seed(seed);
    }
    Ok(builder.build()?)
}
