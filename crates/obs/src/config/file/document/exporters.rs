//! Exporters: OTLP over HTTP and gRPC, the console.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GrpcEndpoint, HeaderPairs, HttpEndpoint, Millis, Secret, Unsupported, filled_if_any};

/// Names of PEM files.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "RawTls", into = "RawTls")]
#[schemars(with = "RawTls")]
pub(crate) struct Tls {
    pub(crate) ca_file: Option<String>,
    /// Certificate and key.
    pub(crate) client: Option<(String, String)>,
}

/// TLS files as they are written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Tls")]
pub(crate) struct RawTls {
    /// PEM file of the authority to trust instead of the system's.
    #[schemars(extend("x-variable" = "OTEL_EXPORTER_OTLP_CERTIFICATE"))]
    ca_file: Option<String>,
    /// PEM file of the key that says who we are; needs `cert_file`.
    #[schemars(extend("x-variable" = "OTEL_EXPORTER_OTLP_CLIENT_KEY"))]
    key_file: Option<String>,
    /// PEM file of the certificate that says who we are; needs `key_file`.
    #[schemars(extend("x-variable" = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"))]
    cert_file: Option<String>,
    #[serde(skip_serializing)]
    #[schemars(skip)]
    insecure: Option<Unsupported>,
}

/// One header.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    /// The name.
    pub(crate) name: HeaderName,
    /// The value; without one the entry is ignored.
    #[serde(default)]
    pub(crate) value: Option<HeaderValue>,
}

/// A name that a header can have.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct HeaderName(pub(crate) String);

/// A secret that a header can carry.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct HeaderValue(pub(crate) Secret);

/// How much smaller requests are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Compression {
    #[default]
    None,
    Gzip,
}

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Encoding {
    Protobuf,
}

/// Whether an export says everything since the start, or what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum TemporalityPreference {
    Cumulative,
    Delta,
    LowMemory,
}

/// How durations and sizes are summed up where no view says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum DefaultHistogramAggregation {
    ExplicitBucketHistogram,
    Base2ExponentialBucketHistogram,
}

/// Common fields, and those of a transport and of a signal.
macro_rules! otlp {
    ($(#[$doc:meta])* $name:ident, $endpoint:ty, { $($transport:tt)* } { $($signal:tt)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $name {
            /// Where a Collector listens, `http://…` or `https://…`; over HTTP with the whole path.
            #[schemars(extend("x-variable" = "OTEL_EXPORTER_OTLP_ENDPOINT"))]
            pub(crate) endpoint: Option<$endpoint>,
            /// PEM files for `https`.
            pub(crate) tls: Option<Tls>,
            /// Headers of every request; they win over `headers_list`. Values are secrets.
            #[schemars(length(min = 1))]
            #[serde(deserialize_with = "filled_if_any")]
            pub(crate) headers: Option<Vec<Header>>,
            /// `key=value,key=value`, percent-encoded. Values are secrets.
            #[serde(skip_serializing)]
            #[schemars(extend("x-variable" = "OTEL_EXPORTER_OTLP_HEADERS"))]
            pub(crate) headers_list: Option<HeaderPairs>,
            /// How much smaller requests are made.
            #[schemars(extend("default" = "none", "x-variable" = "OTEL_EXPORTER_OTLP_COMPRESSION"))]
            pub(crate) compression: Option<Compression>,
            /// One request with its retries.
            #[schemars(extend("default" = 10000, "x-variable" = "OTEL_EXPORTER_OTLP_TIMEOUT"))]
            pub(crate) timeout: Option<Millis>,
            $($transport)*
            $($signal)*
            #[serde(skip_serializing)]
            #[schemars(skip)]
            pub(crate) max_request_size: Option<Unsupported>,
            #[serde(skip_serializing)]
            #[schemars(skip)]
            pub(crate) max_response_size: Option<Unsupported>,
        }
    };
    (metrics $(#[$doc:meta])* $name:ident, $endpoint:ty, $transport:tt) => {
        otlp!($(#[$doc])* $name, $endpoint, $transport {
            /// Whether an export says everything since the start, or what is new.
            #[schemars(extend(
                "default" = "cumulative",
                "x-variable" = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
            ))]
            pub(crate) temporality_preference: Option<TemporalityPreference>,
            /// How durations and sizes are summed up where no view says otherwise.
            #[schemars(extend(
                "default" = "explicit_bucket_histogram",
                "x-variable" = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
            ))]
            pub(crate) default_histogram_aggregation: Option<DefaultHistogramAggregation>,
        });
    };
}

otlp!(
    /// To a Collector, as protobuf over HTTP.
    OtlpHttp, HttpEndpoint,
    {
        /// How messages are written.
        #[schemars(extend("default" = "protobuf"))]
        pub(crate) encoding: Option<Encoding>,
    } {}
);
otlp!(
    /// To a Collector, over gRPC.
    OtlpGrpc, GrpcEndpoint, {} {}
);
otlp!(metrics
    /// Metrics to a Collector, as protobuf over HTTP.
    OtlpHttpMetric, HttpEndpoint,
    {
        /// How messages are written.
        #[schemars(extend("default" = "protobuf"))]
        pub(crate) encoding: Option<Encoding>,
    }
);
otlp!(metrics
    /// Metrics to a Collector, over gRPC.
    OtlpGrpcMetric, GrpcEndpoint, {}
);

/// Where spans or log records go: one of these.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Exporter {
    /// To a Collector, as protobuf over HTTP.
    OtlpHttp(Box<OtlpHttp>),
    /// To a Collector, over gRPC.
    OtlpGrpc(Box<OtlpGrpc>),
    /// To standard output, for people.
    Console(super::Empty),
    #[serde(rename = "otlp_file/development")]
    #[schemars(skip)]
    OtlpFile(Unsupported),
}

impl From<Tls> for RawTls {
    fn from(tls: Tls) -> Self {
        let (cert_file, key_file) = tls.client.unzip();
        Self { ca_file: tls.ca_file, key_file, cert_file, insecure: None }
    }
}

impl TryFrom<RawTls> for Tls {
    type Error = &'static str;

    fn try_from(raw: RawTls) -> Result<Self, &'static str> {
        let client = match (raw.cert_file, raw.key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err("cert_file is of no use without its key: set key_file too");
            }
            (None, Some(_)) => {
                return Err("key_file is of no use without its certificate: set cert_file too");
            }
        };
        Ok(Self { ca_file: raw.ca_file, client })
    }
}

impl<'de> Deserialize<'de> for HeaderName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match crate::config::headers::header(&name, "") {
            Ok(_) => Ok(Self(name)),
            Err(rule) => Err(serde::de::Error::custom(rule)),
        }
    }
}

impl<'de> Deserialize<'de> for HeaderValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::hidden(deserializer, |text| match http::HeaderValue::try_from(&text) {
            Ok(_) => Ok(Self(Secret(text))),
            Err(_) => Err("has characters that a header cannot carry: use plain ASCII".to_owned()),
        })
    }
}
