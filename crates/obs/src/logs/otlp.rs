//! Lines as log records of OpenTelemetry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use obs_core::{Timestamp, registry::attribute};
use opentelemetry::{
    InstrumentationScope, Key,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity},
    trace::{SpanId, TraceFlags, TraceId},
};
use opentelemetry_proto::{
    tonic::collector::logs::v1::ExportLogsServiceRequest,
    transform::{
        common::tonic::ResourceAttributesWithSchema, logs::tonic::group_logs_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    logs::{LogBatch, SdkLogRecord, SdkLogger, SdkLoggerProvider},
};
use prost::Message as _;
use tracing::Level;

use super::{
    Origin, json,
    line::{Ids, Line, Said, Value},
};
use crate::{
    batch::{Sending, Target},
    config::model::{AttributeLimits, Otlp},
    export::{Sender, SenderError, Service, to_standard_output},
};

/// A line that waits for its export.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    at: Timestamp,
    level: Level,
    logger: &'static str,
    ids: Ids,
    said: Said,
}

impl Record {
    pub(super) fn of(line: &Line<'static>) -> Self {
        let Line { at, level, logger, ids, said, .. } = line;
        Self { at: *at, level: *level, logger, ids: ids.clone(), said: said.clone() }
    }

    fn line(&self) -> Line<'static> {
        let Self { at, level, logger, ids, said } = self.clone();
        Line { at, level, logger, ids, span: None, said }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.said.bytes()
    }
}

/// Standard output, one JSON object a line.
#[derive(Debug)]
pub(crate) struct ToConsole(pub(crate) Origin);

impl Target<Record> for ToConsole {
    fn name(&self) -> &str {
        "standard output"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> Sending<'a> {
        Box::pin(async move {
            let mut text = Vec::new();
            for record in batch {
                text.extend(json::rendered(&record.line(), &self.0));
                text.push(b'\n');
            }
            to_standard_output(&text)
        })
    }
}

/// A Collector.
#[derive(Debug)]
pub(crate) struct ToCollector {
    sender: Sender,
    resource: ResourceAttributesWithSchema,
    /// Makes records, and emits none.
    logger: SdkLogger,
    scope: InstrumentationScope,
    limits: AttributeLimits,
}

impl ToCollector {
    /// Must be called inside the runtime that the exports run on.
    pub(crate) fn new(
        settings: &Otlp,
        limits: AttributeLimits,
        resource: &Resource,
    ) -> Result<Self, SenderError> {
        Ok(Self {
            sender: Sender::new(settings, Service::Logs)?,
            resource: resource.into(),
            logger: SdkLoggerProvider::builder().build().logger("obs"),
            scope: InstrumentationScope::builder("obs")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            limits,
        })
    }

    fn request(&self, batch: &[Record]) -> ExportLogsServiceRequest {
        let records: Vec<SdkLogRecord> = batch.iter().map(|line| self.record(line)).collect();
        let refs: Vec<_> = records.iter().map(|record| (record, &self.scope)).collect();
        let batch = LogBatch::new(&refs);
        ExportLogsServiceRequest {
            resource_logs: group_logs_by_resource_and_scope(&batch, &self.resource),
        }
    }

    fn record(&self, line: &Record) -> SdkLogRecord {
        let mut record = self.logger.create_log_record();
        let at = time(line.at);
        record.set_timestamp(at);
        record.set_observed_timestamp(at);
        record.set_target(line.logger);
        record.set_severity_number(severity(line.level));
        record.set_severity_text(line.level.as_str());
        record.set_body(AnyValue::from(line.said.message.clone()));
        let ids = &line.ids;
        if let (Some(trace), Some(span)) = (ids.trace, ids.span) {
            let (trace, span) = (trace.to_be_bytes(), span.to_be_bytes());
            let (trace, span) = (TraceId::from_bytes(trace), SpanId::from_bytes(span));
            record.set_trace_context(trace, span, Some(TraceFlags::SAMPLED));
        }
        let named = [
            (attribute::OBS_RUN_ID, ids.run.map(|id| id.to_string())),
            (
                attribute::OBS_RUN_CORRELATION_ID,
                ids.correlation.as_ref().map(|id| id.as_str().to_owned()),
            ),
        ];
        for (key, text) in named {
            if let Some(text) = text {
                record.add_attribute(key, text);
            }
        }
        let fields = line.said.fields.iter().take(self.limits.count);
        for (name, value) in fields {
            record.add_attribute(Key::from_static_str(name), self.any(value));
        }
        record
    }

    fn any(&self, value: &Value) -> AnyValue {
        match value {
            Value::Bool(value) => (*value).into(),
            Value::Signed(value) => (*value).into(),
            Value::Unsigned(value) => match i64::try_from(*value) {
                Ok(value) => value.into(),
                Err(_) => value.to_string().into(),
            },
            Value::Float(value) => (*value).into(),
            Value::Text(text) => {
                let chars = self.limits.value_length.unwrap_or(usize::MAX);
                text.chars().take(chars).collect::<String>().into()
            }
        }
    }
}

impl Target<Record> for ToCollector {
    fn name(&self) -> &str {
        self.sender.target()
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> Sending<'a> {
        Box::pin(async move {
            let request = self.request(batch);
            let taken = self.sender.send(request.encode_to_vec().into()).await?;
            Ok(taken.rejected)
        })
    }
}

pub(crate) fn time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.as_micros()).unwrap_or_default())
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}
