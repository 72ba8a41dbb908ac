//! Metrics as OTLP sends them.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::metrics::{Temporality as SdkTemporality, data::ResourceMetrics};
use prost::Message as _;

use crate::config::model::Temporality;

/// The request that carries them.
pub(super) fn request(metrics: &ResourceMetrics) -> Bytes {
    ExportMetricsServiceRequest::from(metrics).encode_to_vec().into()
}

impl From<Temporality> for SdkTemporality {
    fn from(temporality: Temporality) -> Self {
        match temporality {
            Temporality::Cumulative => Self::Cumulative,
            Temporality::Delta => Self::Delta,
            Temporality::LowMemory => Self::LowMemory,
        }
    }
}
