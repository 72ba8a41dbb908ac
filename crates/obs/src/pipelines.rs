//! Logs, spans and reports of errors on their way out: a queue and a task for each processor of the configuration.

use std::{io, sync::Arc, time::Duration};

use obs_core::RunRecord;
use opentelemetry::metrics::Meter;
use opentelemetry_sdk::Resource;

use crate::{
    batch::{Batches, Drained, Limits, Queue},
    config::{
        SentrySettings,
        model::{Batch, Exporter, Model, Processor},
    },
    export::SenderError,
    logs::{self, Logs},
    sentry::{self, Reports, SentryError},
    spans::{self, Spans},
};

/// What a console shows waits at most so long.
const CONSOLE_DELAY: Duration = Duration::from_millis(100);
/// What may wait for a console.
const CONSOLE_QUEUE_MAX: usize = 2_048;

/// The tasks. Dropping them is a stop.
#[derive(Debug, Default)]
pub(crate) struct Pipelines(Vec<Batches>);

/// A failure to start one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    #[error(transparent)]
    Otlp(#[from] SenderError),
    #[error("the system gave no thread for exports")]
    Thread(#[from] io::Error),
}

impl Pipelines {
    /// Lets log lines leave, too.
    pub(crate) fn of_logs(
        &mut self,
        model: &Model,
        resource: &Resource,
        logs: &Logs,
    ) -> Result<(), PipelineError> {
        let provider = &model.logger_provider;
        let limits = provider.limits.attributes;
        let mut queues = Vec::new();
        for processor in &provider.processors {
            let (times, exporter) = parts(processor);
            let started = match exporter {
                Exporter::Otlp(otlp) => Batches::start("logs", times, || {
                    logs::ToCollector::new(otlp, limits, resource).map_err(PipelineError::from)
                }),
                Exporter::Console => Batches::start("logs", times, || {
                    Ok::<_, PipelineError>(logs::ToConsole(logs.origin().clone()))
                }),
            };
            let (queue, batches) = started?;
            queues.push(queue);
            self.0.push(batches);
        }
        logs.export_to(queues);
        Ok(())
    }

    /// Who makes spans of kept runs, if anybody wants them.
    pub(crate) fn of_spans(
        &mut self,
        model: &Model,
        resource: &Resource,
    ) -> Result<Option<Spans>, PipelineError> {
        let provider = &model.tracer_provider;
        let mut queues: Vec<Queue<Arc<RunRecord>>> = Vec::new();
        for processor in &provider.processors {
            let (times, exporter) = parts(processor);
            let started = match exporter {
                Exporter::Otlp(otlp) => Batches::start("traces", times, || {
                    spans::ToCollector::new(otlp, provider.limits, resource)
                        .map_err(PipelineError::from)
                }),
                Exporter::Console => Batches::start("traces", times, || {
                    Ok::<_, PipelineError>(spans::ToConsole(provider.limits))
                }),
            };
            let (queue, batches) = started?;
            queues.push(queue);
            self.0.push(batches);
        }
        Ok((!queues.is_empty()).then(|| Spans::new(provider.sampler.clone(), queues)))
    }

    /// Who reports errors, if a DSN is set.
    pub(crate) fn of_errors(
        &mut self,
        settings: Option<&SentrySettings>,
    ) -> Result<Option<Reports>, SentryError> {
        let Some(settings) = settings else { return Ok(None) };
        let (reports, batches) = sentry::start(settings)?;
        self.0.push(batches);
        Ok(Some(reports))
    }

    /// Shows what is lost.
    pub(crate) fn count(&self, meter: &Meter) {
        self.0.iter().for_each(|batches| batches.count(meter));
    }

    /// Sends all that waits by now, each on its own.
    pub(crate) async fn flush(&self, deadline: Duration) -> Vec<Drained> {
        // They are under way already when the first is awaited.
        let under_way: Vec<_> = self.0.iter().map(|batches| batches.flush(deadline)).collect();
        let mut drained = Vec::with_capacity(under_way.len());
        for flush in under_way {
            drained.push(flush.await);
        }
        drained
    }

    pub(crate) fn stop(&self) {
        self.0.iter().for_each(Batches::stop);
    }
}

fn parts(processor: &Processor) -> (Limits, &Exporter) {
    match processor {
        Processor::Batch(Batch {
            schedule_delay,
            export_timeout,
            max_queue_size,
            max_export_batch_size,
            exporter,
        }) => {
            let limits = Limits {
                delay: *schedule_delay,
                timeout: *export_timeout,
                queue_max: *max_queue_size,
                batch_max: *max_export_batch_size,
                per_minute: None,
            };
            (limits, exporter)
        }
        Processor::Simple(exporter) => {
            let limits = Limits {
                delay: CONSOLE_DELAY,
                timeout: Duration::from_secs(30),
                queue_max: CONSOLE_QUEUE_MAX,
                batch_max: CONSOLE_QUEUE_MAX,
                per_minute: None,
            };
            (limits, exporter)
        }
    }
}
