//! The OTLP exporter, built from our settings only.
//!
//! opentelemetry-otlp reads `OTEL_*` by itself, lets the environment win over code for headers,
//! and has no connect timeout. So everything it would look up is stated here: endpoint, protocol,
//! timeout, temporality, and the transport with its headers.

use http::Uri;
use opentelemetry_otlp::{
    Compression, ExporterBuildError, MetricExporter, Protocol as OtlpProtocol, WithExportConfig,
    WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::metrics::Temporality as SdkTemporality;
use tonic::{metadata::MetadataMap, transport::Endpoint};

use super::{
    connect::{Connector, TlsError},
    http::{Client, LastFailure},
};
use crate::config::{
    Protocol,
    model::{Otlp, Temporality},
};

/// What our requests say they come from.
const USER_AGENT: &str = concat!("obs/", env!("CARGO_PKG_VERSION"));

/// An exporter that cannot be built from settings that looked right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OtlpError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("gRPC cannot use the endpoint {endpoint}: use http://host:port, or https://host:port")]
    Endpoint { endpoint: String, source: tonic::transport::Error },
    #[error("the OTLP exporter for {endpoint} cannot be built: {source}")]
    Exporter { endpoint: String, source: ExporterBuildError },
}

/// Builds the exporter. Must be called inside the runtime that the exports run on.
pub(super) fn exporter(
    settings: &Otlp,
    temporality: Temporality,
) -> Result<(MetricExporter, LastFailure), OtlpError> {
    let endpoint = settings.endpoint.to_string();
    let connector = Connector::new(&settings.endpoint, settings.protocol, &settings.tls)?;
    let builder = MetricExporter::builder().with_temporality(temporality.into());
    let failure = LastFailure::default();
    let built = match settings.protocol {
        Protocol::HttpProtobuf => {
            let client = Client {
                connector,
                headers: settings.headers.clone(),
                timeout: settings.timeout,
                failure: failure.clone(),
            };
            let builder = builder
                .with_http()
                .with_http_client(client)
                .with_endpoint(&endpoint)
                .with_protocol(OtlpProtocol::HttpBinary)
                .with_timeout(settings.timeout);
            if settings.gzip { builder.with_compression(Compression::Gzip) } else { builder }
                .build()
        }
        Protocol::Grpc => {
            let channel = grpc_endpoint(&settings.endpoint)
                .map_err(|source| OtlpError::Endpoint { endpoint: endpoint.clone(), source })?
                .connect_timeout(settings.timeout)
                .timeout(settings.timeout)
                .connect_with_connector_lazy(connector);
            let metadata = MetadataMap::from_headers(settings.headers.clone());
            let builder = builder
                .with_tonic()
                .with_channel(channel)
                .with_interceptor(move |mut request: tonic::Request<()>| {
                    // Instead of those that the exporter read from the environment.
                    request.metadata_mut().clone_from(&metadata);
                    Ok(request)
                })
                .with_timeout(settings.timeout);
            if settings.gzip { builder.with_compression(Compression::Gzip) } else { builder }
                .build()
        }
    };
    let exporter = built.map_err(|source| OtlpError::Exporter { endpoint, source })?;
    Ok((exporter, failure))
}

/// Our connector does TLS. The channel therefore gets an `http` address, because it refuses
/// `https` as soon as another crate of the program switches tonic's own TLS on; what it tells the
/// Collector is the true origin.
fn grpc_endpoint(endpoint: &Uri) -> Result<Endpoint, tonic::transport::Error> {
    let authority = endpoint.authority().map_or("", |authority| authority.as_str());
    Endpoint::from_shared(format!("http://{authority}"))?
        .origin(endpoint.clone())
        .user_agent(USER_AGENT)
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
