//! Readers: the SDK registers with them, we collect from them.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{
        InstrumentKind, ManualReader, Pipeline, Temporality as SdkTemporality,
        data::ResourceMetrics, reader::MetricReader,
    },
};

use super::sentence;
use crate::config::model::Temporality;

/// A reader that the SDK and we share.
#[derive(Clone, Debug)]
pub(crate) struct Reader(Arc<ManualReader>);

/// The readers of a provider. Collecting a cumulative one takes nothing from it, so all who want that
/// share one: each reader more is the cost of every measurement once more.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    cumulative: Option<Reader>,
    others: Vec<Reader>,
}

impl Readers {
    pub(crate) fn of(&mut self, temporality: Temporality) -> Reader {
        if temporality == Temporality::Cumulative {
            return self.cumulative.get_or_insert_with(|| Reader::new(temporality)).clone();
        }
        let reader = Reader::new(temporality);
        self.others.push(reader.clone());
        reader
    }

    /// Whether anybody reads.
    pub(crate) const fn is_empty(&self) -> bool {
        self.cumulative.is_none() && self.others.is_empty()
    }

    pub(crate) fn all(self) -> impl Iterator<Item = Reader> {
        self.cumulative.into_iter().chain(self.others)
    }
}

impl Reader {
    pub(crate) fn new(temporality: Temporality) -> Self {
        Self(Arc::new(ManualReader::builder().with_temporality(temporality.into()).build()))
    }

    /// Collects now, running the callbacks of observable instruments.
    pub(crate) fn read(&self) -> Result<ResourceMetrics, String> {
        let mut collected = ResourceMetrics::default();
        self.0.collect(&mut collected).map_err(|error| sentence(&error))?;
        Ok(collected)
    }
}

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, collected: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(collected)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    /// Nothing to do: we stop reading by ourselves. The manual reader would wait, without a limit,
    /// for a collection under way, and with it whoever drops the provider.
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self, kind: InstrumentKind) -> SdkTemporality {
        self.0.temporality(kind)
    }
}
