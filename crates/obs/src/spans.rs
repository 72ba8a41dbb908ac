//! Kept runs as spans: a run is one, and each node of its trace a child.
//!
//! Which runs have one is decided at their end, with the row: a failure and a slow run always have, and the ids
//! of the span are those that the row, the log lines and the calls to others carry.

mod convert;

pub(crate) use convert::spans_of;

use std::sync::Arc;

use obs_core::{KeepReason, RunRecord};
use opentelemetry_proto::{
    tonic::collector::trace::v1::ExportTraceServiceRequest,
    transform::{
        common::tonic::ResourceAttributesWithSchema,
        trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{Resource, trace::SpanData};
use prost::Message as _;

use crate::{
    batch::{Queue, SendError, Sending, Target},
    config::model::{Otlp, Sampler, SpanLimits},
    export::{Sender, SenderError, Service},
    kept::Hears,
};

/// Spans of one request to a Collector, which takes about 4 MiB by default.
const REQUEST_SPANS_MAX: usize = 2_048;

/// Puts kept runs into the queues of exporters.
#[derive(Debug)]
pub(crate) struct Spans {
    sampler: Sampler,
    queues: Vec<Queue<Arc<RunRecord>>>,
}

impl Spans {
    pub(crate) const fn new(sampler: Sampler, queues: Vec<Queue<Arc<RunRecord>>>) -> Self {
        Self { sampler, queues }
    }
}

impl Hears for Spans {
    fn kept(&self, record: &RunRecord) {
        if !is_exported(&self.sampler, record) {
            return;
        }
        // A span says what happened, not what went in.
        let mut record = record.clone();
        record.input = None;
        let (bytes, record) = (record.bytes(), Arc::new(record));
        for queue in &self.queues {
            queue.put(Arc::clone(&record), bytes);
        }
    }
}

/// Rates thin out the runs that were kept by a rate; the others were kept for a reason of their own. A record
/// does not know how its caller decided: a parent-based sampler decides as for a trace that begins here.
fn is_exported(sampler: &Sampler, record: &RunRecord) -> bool {
    match sampler {
        Sampler::AlwaysOn => true,
        Sampler::AlwaysOff => false,
        Sampler::TraceIdRatio(ratio) => {
            let by_rate = matches!(record.keep_reason, KeepReason::Sampled | KeepReason::Cancelled);
            let trace = record.trace_id.as_deref();
            let trace = trace.and_then(|id| u128::from_str_radix(id, 16).ok()).unwrap_or_default();
            !by_rate || obs_core::trace_is_within(trace, *ratio)
        }
        Sampler::ParentBased(parent) => is_exported(&parent.root, record),
    }
}

/// A Collector.
#[derive(Debug)]
pub(crate) struct ToCollector {
    sender: Sender,
    resource: ResourceAttributesWithSchema,
    limits: SpanLimits,
}

impl ToCollector {
    /// Must be called inside the runtime that the exports run on.
    pub(crate) fn new(
        settings: &Otlp,
        limits: SpanLimits,
        resource: &Resource,
    ) -> Result<Self, SenderError> {
        Ok(Self {
            sender: Sender::new(settings, Service::Traces)?,
            resource: resource.into(),
            limits,
        })
    }

    async fn export(&self, spans: Vec<SpanData>) -> Result<u64, SendError> {
        if spans.is_empty() {
            return Ok(0);
        }
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        let request = ExportTraceServiceRequest { resource_spans };
        let taken = self.sender.send(request.encode_to_vec().into()).await?;
        Ok(taken.rejected)
    }
}

impl Target<Arc<RunRecord>> for ToCollector {
    fn name(&self) -> &str {
        self.sender.target()
    }

    fn send<'a>(&'a self, batch: &'a [Arc<RunRecord>]) -> Sending<'a> {
        Box::pin(async move {
            let (mut spans, mut rejected) = (Vec::new(), 0);
            for record in batch {
                spans.extend(spans_of(record, &self.limits));
                if spans.len() >= REQUEST_SPANS_MAX {
                    rejected += self.export(std::mem::take(&mut spans)).await?;
                }
            }
            Ok(rejected + self.export(spans).await?)
        })
    }
}

/// Standard output, one JSON object a span.
#[derive(Debug)]
pub(crate) struct ToConsole(pub(crate) SpanLimits);

impl Target<Arc<RunRecord>> for ToConsole {
    fn name(&self) -> &str {
        "standard output"
    }

    fn send<'a>(&'a self, batch: &'a [Arc<RunRecord>]) -> Sending<'a> {
        Box::pin(async move {
            let spans = batch.iter().flat_map(|record| spans_of(record, &self.0));
            let lines: String = spans.map(|span| convert::line_of(&span) + "\n").collect();
            crate::export::to_standard_output(lines.as_bytes())
        })
    }
}

#[cfg(test)]
mod tests;
