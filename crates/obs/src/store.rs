//! The store `otlp`: rows leave as log events of OpenTelemetry, to a Collector and whatever engine is behind
//! it. Everything before is as with any other store: lanes, spool, worker, ledger.
//!
//! A row counts as persisted when the Collector has acknowledged it. A row may arrive twice, as with every
//! store, and here nobody leaves the second one out: whoever counts does so by `obs.run.id`.

mod event;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use obs_core::RunRecord;
use obs_persist::{Store, StoreError, StoreFuture};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::InstrumentationScope,
    logs::v1::{ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use opentelemetry_sdk::Resource as SdkResource;
use prost::Message as _;

use crate::{
    config::model::Otlp,
    export::{Again, Refusal, Sender, Service, Taken},
};

/// A Collector as a store.
pub(crate) struct OtlpStore {
    settings: Box<Otlp>,
    resource: Resource,
    /// `None` before the first `prepare`, and after `close`.
    sender: Option<Sender>,
    /// The last write failed as one later may not. A harmless request would get through all the same,
    /// since it puts nothing into the Collector's queues: so it must not count as a sign of health, or
    /// records would be taken for bad that are not.
    is_refusing: bool,
}

impl OtlpStore {
    pub(crate) fn new(settings: Box<Otlp>, resource: &SdkResource) -> Self {
        let attributes = resource
            .iter()
            .map(|(key, value)| event::text(key.as_str(), &value.to_string()))
            .collect();
        let resource = Resource { attributes, ..Resource::default() };
        Self { settings, resource, sender: None, is_refusing: false }
    }

    /// Without records it is the canary: it shows that the Collector takes our requests, and leaves nothing.
    fn request(&self, batch: &[RunRecord]) -> Bytes {
        let scope = InstrumentationScope {
            name: "obs".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let events = ScopeLogs {
            scope: Some(scope),
            log_records: batch.iter().map(event::of).collect(),
            ..ScopeLogs::default()
        };
        let resource_logs = if batch.is_empty() {
            Vec::new()
        } else {
            vec![ResourceLogs {
                resource: Some(self.resource.clone()),
                scope_logs: vec![events],
                ..ResourceLogs::default()
            }]
        };
        ExportLogsServiceRequest { resource_logs }.encode_to_vec().into()
    }

    async fn send(&self, batch: &[RunRecord]) -> Result<Taken, StoreError> {
        let Some(sender) = &self.sender else {
            return Err(StoreError::transient("cannot send", "there is no connection"));
        };
        sender.send_once(self.request(batch)).await.map_err(error)
    }

    async fn write_batch(&mut self, batch: &[RunRecord]) -> Result<(), StoreError> {
        let taken = self.send(batch).await;
        self.is_refusing = matches!(taken, Err(StoreError::Transient { .. }));
        let Taken { rejected, said } = taken?;
        if rejected > 0 {
            let of = batch.len();
            let what = format!(
                "the Collector rejected {rejected} of {of} events: {said}; it keeps the others"
            );
            return Err(StoreError::permanent(what));
        }
        Ok(())
    }

    async fn try_out(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut self.is_refusing) {
            return Err(StoreError::transient(
                "cannot write",
                "the Collector takes nothing for now",
            ));
        }
        self.send(&[]).await.map(drop)
    }
}

fn error(Refusal { reason, again }: Refusal) -> StoreError {
    match again {
        Again::No => StoreError::permanent(format!("the Collector refused: {reason}")),
        Again::Yes | Again::After(_) => StoreError::transient("cannot send", reason),
    }
}

impl Store for OtlpStore {
    fn name(&self) -> String {
        format!("otlp {}", self.settings.endpoint)
    }

    fn prepare(&mut self) -> StoreFuture<'_> {
        Box::pin(async {
            self.is_refusing = false;
            // Reads certificates again: they may be new ones.
            let made = Sender::new(&self.settings, Service::Logs);
            self.sender = Some(made.map_err(|error| {
                StoreError::permanent_because("nothing can be sent with these settings", error)
            })?);
            self.send(&[]).await.map(drop)
        })
    }

    fn write(&mut self, batch: Arc<[RunRecord]>) -> StoreFuture<'_> {
        Box::pin(async move { self.write_batch(&batch).await })
    }

    fn canary(&mut self, _row: Box<RunRecord>) -> StoreFuture<'_> {
        Box::pin(self.try_out())
    }

    fn close(&mut self) -> StoreFuture<'_> {
        self.sender = None;
        Box::pin(async { Ok(()) })
    }
}

impl fmt::Debug for OtlpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpStore").field("sender", &self.sender).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
