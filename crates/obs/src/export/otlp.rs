//! The OTLP exporter, built from our settings only.
//!
//! opentelemetry-otlp reads `OTEL_*` by itself, lets the environment win over code for headers,
//! and has no connect timeout. So everything it would look up is stated here: endpoint, protocol,
//! timeout, temporality, and the transport with its headers.

use http::Uri;
use opentelemetry_otlp::{
    Compression, ExporterBuildError, LogExporter, MetricExporter, Protocol as OtlpProtocol,
    SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::metrics::Temporality as SdkTemporality;
use tonic::{
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};

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

/// An exporter of one signal, and where it notes why a request failed.
pub(crate) type Built<X> = (X, LastFailure);

/// Builds the exporter of metrics. Must be called inside the runtime that the exports run on.
pub(super) fn exporter(
    settings: &Otlp,
    temporality: Temporality,
) -> Result<Built<MetricExporter>, OtlpError> {
    let builder = MetricExporter::builder().with_temporality(temporality.into());
    let transport = Transport::new(settings)?;
    let built = match &transport.way {
        Way::Http(client) => transport.http(builder.with_http(), client).build(),
        Way::Grpc(channel) => transport.grpc(builder.with_tonic(), channel).build(),
    };
    transport.finished(built)
}

/// The same of log records.
pub(crate) fn log_exporter(settings: &Otlp) -> Result<Built<LogExporter>, OtlpError> {
    let builder = LogExporter::builder();
    let transport = Transport::new(settings)?;
    let built = match &transport.way {
        Way::Http(client) => transport.http(builder.with_http(), client).build(),
        Way::Grpc(channel) => transport.grpc(builder.with_tonic(), channel).build(),
    };
    transport.finished(built)
}

/// The same of spans.
pub(crate) fn span_exporter(settings: &Otlp) -> Result<Built<SpanExporter>, OtlpError> {
    let builder = SpanExporter::builder();
    let transport = Transport::new(settings)?;
    let built = match &transport.way {
        Way::Http(client) => transport.http(builder.with_http(), client).build(),
        Way::Grpc(channel) => transport.grpc(builder.with_tonic(), channel).build(),
    };
    transport.finished(built)
}

/// What the exporters of all signals have in common.
struct Transport<'a> {
    settings: &'a Otlp,
    endpoint: String,
    way: Way,
    failure: LastFailure,
}

enum Way {
    Http(Client),
    Grpc(Channel),
}

impl<'a> Transport<'a> {
    fn new(settings: &'a Otlp) -> Result<Self, OtlpError> {
        let endpoint = settings.endpoint.to_string();
        let connector = Connector::new(&settings.endpoint, settings.protocol, &settings.tls)?;
        let failure = LastFailure::default();
        let way = match settings.protocol {
            Protocol::HttpProtobuf => Way::Http(Client {
                connector,
                headers: settings.headers.clone(),
                timeout: settings.timeout,
                failure: failure.clone(),
            }),
            Protocol::Grpc => Way::Grpc(
                grpc_endpoint(&settings.endpoint)
                    .map_err(|source| OtlpError::Endpoint { endpoint: endpoint.clone(), source })?
                    .connect_timeout(settings.timeout)
                    .timeout(settings.timeout)
                    .connect_with_connector_lazy(connector),
            ),
        };
        Ok(Self { settings, endpoint, way, failure })
    }

    fn http<B: WithHttpConfig + WithExportConfig>(&self, builder: B, client: &Client) -> B {
        let builder = builder
            .with_http_client(client.clone())
            .with_endpoint(&self.endpoint)
            .with_protocol(OtlpProtocol::HttpBinary)
            .with_timeout(self.settings.timeout);
        if self.settings.gzip { builder.with_compression(Compression::Gzip) } else { builder }
    }

    fn grpc<B: WithTonicConfig + WithExportConfig>(&self, builder: B, channel: &Channel) -> B {
        let metadata = MetadataMap::from_headers(self.settings.headers.clone());
        let builder = builder
            .with_channel(channel.clone())
            .with_interceptor(move |mut request: tonic::Request<()>| {
                // Instead of those that the exporter read from the environment.
                request.metadata_mut().clone_from(&metadata);
                Ok(request)
            })
            .with_timeout(self.settings.timeout);
        if self.settings.gzip { builder.with_compression(Compression::Gzip) } else { builder }
    }

    fn finished<X>(self, built: Result<X, ExporterBuildError>) -> Result<Built<X>, OtlpError> {
        let Self { endpoint, failure, .. } = self;
        let exporter = built.map_err(|source| OtlpError::Exporter { endpoint, source })?;
        Ok((exporter, failure))
    }
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
