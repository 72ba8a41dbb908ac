//! Where telemetry goes, one destination at a time, and whether something gets there.
//!
//! What is sent to find out is real, and small: the metrics of one run, its span, one log line. It takes the way
//! that a program's telemetry takes, with the same settings.

mod page;

use std::{sync::mpsc, time::Duration};

use obs_core::KeepPolicy;
use obs_persist::Store as _;
use uuid::Uuid;

use crate::{
    builder::Builder,
    config::{
        Configuration, Given, Rows, StoreAddress,
        model::{Exporter, Only, Otlp, Processor, Reader},
    },
    export::{ADDRESSES_MAX, PrivateRuntime, Trust, Unreached, reach},
    report::Report,
    resource,
    store::OtlpStore,
};
#[cfg(feature = "sentry")]
use crate::{
    config::{Protocol, model::TlsFiles},
    sentry::CERTIFICATE,
};

/// The kind of the run, and the logger of the line, that are sent to find out whether they arrive.
const KIND: &str = "obs.doctor";
/// The one message of that line.
const LINE: &str = "canary of obs doctor";
/// Hops of one destination that may each take their time: name, addresses, TLS, answer.
const HOPS_MAX: u32 = 3 + ADDRESSES_MAX as u32;

/// Somewhere that telemetry goes to, as settings name it.
///
/// ```
/// use obs::{Configuration, Environment};
///
/// let environment = Environment::from_iter([("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")]);
/// let settings = Configuration::read(None, &environment)?;
/// let destinations = settings.destinations();
/// let metrics = &destinations[0];
/// assert_eq!((metrics.signal(), metrics.target()), ("metrics", "http://collector:4318/v1/metrics"));
/// # Ok::<(), obs::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Destination {
    signal: &'static str,
    target: String,
    way: Way,
    settings: Box<Configuration>,
}

#[derive(Clone, Debug)]
enum Way {
    /// Nothing can go wrong there.
    StandardOutput,
    Collector {
        otlp: Box<Otlp>,
        only: Only,
    },
    /// A page that Prometheus scrapes.
    Page,
    /// Rows as log events.
    Store(Box<Otlp>),
    #[cfg(feature = "sentry")]
    Sentry {
        endpoint: http::Uri,
        trust: Trust,
    },
}

impl Configuration {
    /// Where telemetry goes: each exporter, the page for Prometheus, a store that is a Collector, and, with the
    /// feature `sentry`, reports of errors. A [database](Self::store) is not among them.
    ///
    /// ```
    /// use obs::{Configuration, Environment};
    ///
    /// let environment = Environment::from_iter([
    ///     ("OTEL_METRICS_EXPORTER", "otlp,prometheus"),
    ///     ("OTEL_TRACES_EXPORTER", "otlp"),
    ///     ("OTEL_LOGS_EXPORTER", "console"),
    ///     ("OBS_STORE", "otlp"),
    /// ]);
    /// let settings = Configuration::read(None, &environment)?;
    /// let signals: Vec<_> = settings.destinations().iter().map(|it| it.signal()).collect();
    /// assert_eq!(signals, ["metrics", "metrics", "traces", "logs", "rows"]);
    /// # Ok::<(), obs::ConfigError>(())
    /// ```
    #[must_use]
    pub fn destinations(&self) -> Vec<Destination> {
        let model = &self.checked.model;
        let mut found = Vec::new();
        for (index, reader) in model.meter_provider.readers.iter().enumerate() {
            let (target, way) = match reader {
                Reader::Periodic(it) => exported(&it.exporter.exporter, Only::Reader(index)),
                Reader::Pull(it) => (page::shown(&it.prometheus), Way::Page),
            };
            found.push(("metrics", target, way));
        }
        for (index, processor) in model.tracer_provider.processors.iter().enumerate() {
            let (target, way) = exported(exporter_of(processor), Only::Spans(index));
            found.push(("traces", target, way));
        }
        for (index, processor) in model.logger_provider.processors.iter().enumerate() {
            let (target, way) = exported(exporter_of(processor), Only::Logs(index));
            found.push(("logs", target, way));
        }
        if let Rows::On { store: StoreAddress::Otlp(otlp), .. } = &self.checked.rows {
            found.push(("rows", otlp.endpoint.to_string(), Way::Store(otlp.clone())));
        }
        #[cfg(feature = "sentry")]
        if let Some(sentry) = self.checked.reports() {
            let way = Way::Sentry {
                endpoint: sentry.dsn.endpoint().clone(),
                trust: Trust {
                    files: TlsFiles { authority: sentry.authority.clone(), client: None },
                    variable: CERTIFICATE,
                    in_file: "obs.sentry.certificate",
                },
            };
            found.push(("errors", sentry.dsn.to_string(), way));
        }
        let destination = |(signal, target, way)| Destination {
            signal,
            target,
            way,
            settings: Box::new(self.clone()),
        };
        found.into_iter().map(destination).collect()
    }

    /// One program with one way out, which says something and ends.
    fn say_something(&self, only: Only, deadline: Duration) -> Result<Report, Unreached> {
        let given = Given {
            read: self.file.clone(),
            only: Some(only),
            rows: Some(false),
            // Which keeps the first run of all.
            policy: Some(KeepPolicy::default()),
            ..Given::default()
        };
        let environment = Some(self.variables.clone());
        let telemetry = Builder { given, environment, ..Builder::default() }
            .init()
            .map_err(|error| Unreached::at("the settings", error.to_string()))?;
        let run = telemetry.kind(KIND).lookup("canary", "1").start();
        // Only what fails is reported as an error.
        #[cfg(feature = "sentry")]
        let result = if only == Only::Errors { Err(LINE.to_owned()) } else { Ok(()) };
        #[cfg(not(feature = "sentry"))]
        let result = Ok::<(), String>(());
        // It is what was handed in.
        let _ = run.finish(result);
        telemetry.export_line(KIND, LINE);
        Ok(telemetry.shutdown_blocking(deadline))
    }
}

fn exported(exporter: &Exporter, only: Only) -> (String, Way) {
    match exporter {
        Exporter::Otlp(otlp) => {
            (otlp.endpoint.to_string(), Way::Collector { otlp: otlp.clone(), only })
        }
        Exporter::Console => ("standard output".to_owned(), Way::StandardOutput),
    }
}

const fn exporter_of(processor: &Processor) -> &Exporter {
    match processor {
        Processor::Batch(batch) => &batch.exporter,
        Processor::Simple(exporter) => exporter,
    }
}

impl Destination {
    /// What goes there: `metrics`, `traces`, `logs`, `rows` or `errors`.
    ///
    /// ```
    /// # let environment = obs::Environment::from_iter([("OTEL_LOGS_EXPORTER", "console")]);
    /// let settings = obs::Configuration::read(None, &environment)?;
    /// assert_eq!(settings.destinations().last().unwrap().signal(), "logs");
    /// # Ok::<(), obs::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn signal(&self) -> &'static str {
        self.signal
    }

    /// An address, or `standard output`.
    ///
    /// ```
    /// # let environment = obs::Environment::from_iter([("OTEL_LOGS_EXPORTER", "console")]);
    /// let settings = obs::Configuration::read(None, &environment)?;
    /// assert_eq!(settings.destinations().last().unwrap().target(), "standard output");
    /// # Ok::<(), obs::ConfigError>(())
    /// ```
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Sends something small there, and says what became of it; where Prometheus is to scrape, looks whether it
    /// can. Each hop may take so much time. Waits: not for a runtime's own thread.
    ///
    /// A Collector has afterwards what it took: the metrics of a run of the kind `obs.doctor`, its span, a log
    /// line. Of rows it gets an empty batch. Sentry has a report of an error more.
    ///
    /// # Errors
    /// The hop at which it stopped.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let environment = obs::Environment::from_iter([("OTEL_LOGS_EXPORTER", "console")]);
    /// let settings = obs::Configuration::read(None, &environment)?;
    /// for destination in settings.destinations() {
    ///     match destination.try_out(Duration::from_secs(5)) {
    ///         Ok(done) => println!("{}: {done}", destination.target()),
    ///         Err(unreached) => println!("{} {unreached}", destination.target()),
    ///     }
    /// }
    /// # Ok::<(), obs::ConfigError>(())
    /// ```
    pub fn try_out(&self, hop: Duration) -> Result<&'static str, Unreached> {
        let checked = &self.settings.checked;
        match &self.way {
            Way::StandardOutput => Ok("nothing is in its way"),
            Way::Page => match checked.model.meter_provider.pull() {
                Some(pull) => page::look(&pull.prometheus, checked.prometheus_token.as_ref(), hop),
                None => Ok("nobody listens"),
            },
            Way::Collector { otlp, only } => {
                let settings = otlp.clone();
                within(hop, async move {
                    let trust = Trust::from(&settings.tls);
                    reach(&settings.endpoint, settings.protocol, &trust, hop).await
                })?;
                arrived(*only, self.settings.say_something(*only, hop)?)
            }
            #[cfg(feature = "sentry")]
            Way::Sentry { endpoint, trust } => {
                let (endpoint, trust) = (endpoint.clone(), trust.clone());
                within(
                    hop,
                    async move { reach(&endpoint, Protocol::HttpProtobuf, &trust, hop).await },
                )?;
                arrived(Only::Errors, self.settings.say_something(Only::Errors, hop)?)
            }
            Way::Store(otlp) => {
                let (settings, otlp) = (otlp.clone(), otlp.clone());
                let resource = resource::resource(checked, Uuid::nil());
                within(hop, async move {
                    let trust = Trust::from(&settings.tls);
                    reach(&settings.endpoint, settings.protocol, &trust, hop).await?;
                    let mut store = OtlpStore::new(otlp, &resource);
                    match tokio::time::timeout(hop, store.prepare()).await {
                        Ok(taken) => {
                            taken.map_err(|error| Unreached::at("the answer", error.chain()))
                        }
                        Err(_) => {
                            let reason = format!("it did not answer within {hop:?}");
                            Err(Unreached::at("the answer", reason))
                        }
                    }
                })?;
                Ok("an empty batch of rows was sent and taken")
            }
        }
    }
}

fn arrived(only: Only, report: Report) -> Result<&'static str, Unreached> {
    const ANSWER: &str = "the answer";
    if let Only::Reader(_) = only {
        return match report.export {
            Ok(_) => Ok("a point was sent and taken"),
            Err(error) => Err(Unreached::at(ANSWER, error.to_string())),
        };
    }
    for signal in report.signals {
        if let Some(failure) = signal.failure {
            return Err(Unreached::at(ANSWER, failure));
        }
        if signal.lost > 0 {
            return Err(Unreached::at(ANSWER, "it was not taken"));
        }
    }
    Ok(match only {
        Only::Logs(_) => "a log line was sent and taken",
        #[cfg(feature = "sentry")]
        Only::Errors => "a report was sent and taken",
        _ => "a span was sent and taken",
    })
}

/// Does asynchronous work on a thread of its own, which is left behind where something holds it up.
fn within(
    hop: Duration,
    work: impl Future<Output = Result<(), Unreached>> + Send + 'static,
) -> Result<(), Unreached> {
    let no_thread = |error: std::io::Error| Unreached::at("starting a thread", error.to_string());
    let (say, hear) = mpsc::sync_channel(1);
    let runtime = PrivateRuntime::new(1).map_err(no_thread)?;
    let work = async move {
        // Whoever asked may have gone.
        let _ = say.send(work.await);
    };
    runtime.spawn("obs-doctor", work).map_err(no_thread)?;
    hear.recv_timeout(hop * HOPS_MAX).unwrap_or_else(|_| {
        Err(Unreached::at("the name", format!("nothing was heard within {:?}", hop * HOPS_MAX)))
    })
}
