//! Posts that are not OTLP, over the same connections.

use std::path::Path;

use ::http::{HeaderMap, HeaderValue, Response, Uri};
use bytes::Bytes;

use super::{connect::Connector, http::Client, send::SenderError, sentence};
use crate::config::{Protocol, model::TlsFiles};

/// Posts to one address.
#[derive(Debug)]
pub(crate) struct PlainClient(Client);

impl PlainClient {
    /// Trusts the authority whose file a setting names, or whom the machine trusts. Must be called inside the runtime
    /// that requests are sent on.
    pub(crate) fn new(
        endpoint: &Uri,
        (named, authority): (&'static str, Option<&Path>),
        headers: HeaderMap,
        content_type: HeaderValue,
    ) -> Result<Self, SenderError> {
        let files = TlsFiles { authority: authority.map(Path::to_owned), client: None };
        let connector = Connector::new(endpoint, Protocol::HttpProtobuf, &files)
            .map_err(|error| error.of(named))?;
        let endpoint = endpoint.clone();
        Ok(Self(Client { connector, endpoint, headers, content_type, gzip: false }))
    }

    /// Posts once, without a limit of time. The error is a sentence.
    pub(crate) async fn post(&self, body: Bytes) -> Result<Response<Bytes>, String> {
        self.0.exchange(body).await.map_err(|error| sentence(&*error))
    }
}
