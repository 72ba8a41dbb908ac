//! Unary gRPC calls whose messages are encoded already.

use bytes::{Buf as _, BufMut as _, Bytes};
use http::{Uri, uri::PathAndQuery};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use super::{
    connect::Connector,
    send::{Again, Refusal, USER_AGENT},
};
use crate::config::model::Otlp;

/// Calls one method.
#[derive(Debug)]
pub(super) struct Client {
    connector: Connector,
    channel: Channel,
    metadata: MetadataMap,
    method: PathAndQuery,
    gzip: bool,
}

impl Client {
    /// Must be called inside the runtime that the calls are made on.
    pub(super) fn new(
        settings: &Otlp,
        connector: Connector,
        method: &'static str,
    ) -> Result<Self, tonic::transport::Error> {
        let channel = endpoint(&settings.endpoint)?
            .connect_timeout(settings.timeout)
            .timeout(settings.timeout)
            .connect_with_connector_lazy(connector.clone());
        Ok(Self {
            connector,
            channel,
            metadata: MetadataMap::from_headers(settings.headers.clone()),
            method: PathAndQuery::from_static(method),
            gzip: settings.gzip,
        })
    }

    pub(super) async fn call(&self, message: Bytes) -> Result<Bytes, Refusal> {
        let mut client = Grpc::new(self.channel.clone());
        if self.gzip {
            client = client
                .send_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Gzip);
        }
        client.ready().await.map_err(|error| {
            let reason = self.connector.unanswered(&error);
            Refusal { reason, again: Again::Yes }
        })?;
        let mut request = Request::new(message);
        request.metadata_mut().clone_from(&self.metadata);
        let answer = client.unary(request, self.method.clone(), Raw).await;
        answer.map(tonic::Response::into_inner).map_err(|status| refusal(&status, &self.connector))
    }
}

/// Our connector does TLS. The channel therefore gets an `http` address, because it refuses
/// `https` as soon as another crate of the program switches tonic's own TLS on; what it tells the
/// Collector is the true origin.
fn endpoint(endpoint: &Uri) -> Result<Endpoint, tonic::transport::Error> {
    let authority = endpoint.authority().map_or("", |authority| authority.as_str());
    Endpoint::from_shared(format!("http://{authority}"))?
        .origin(endpoint.clone())
        .user_agent(USER_AGENT)
}

/// What OTLP says about each code. Where there is a cause, nobody answered: tonic made the code up, and makes it
/// `Unknown` of e.g. a connection that broke while the request was written, which OTLP would not have tried again.
fn refusal(status: &Status, connector: &Connector) -> Refusal {
    if let Some(cause) = std::error::Error::source(status) {
        let reason = format!("{}: {}", status.code(), connector.unanswered(cause));
        return Refusal { reason, again: Again::Yes };
    }
    let asked_for = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let again = match (status.code(), asked_for) {
        (Code::Unavailable | Code::ResourceExhausted, Some(wait)) => Again::After(wait),
        (
            Code::Unavailable
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::DataLoss,
            _,
        ) => Again::Yes,
        _ => Again::No,
    };
    Refusal { reason: format!("{}: {}", status.code(), status.message()), again }
}

/// Bytes are bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc, time::Duration};

    use tonic_types::ErrorDetails;

    use super::*;
    use crate::config::{Protocol, model::TlsFiles};

    fn refusal(status: &Status) -> Refusal {
        let nobody = Uri::from_static("http://127.0.0.1:1");
        let files = TlsFiles::default();
        super::refusal(status, &Connector::new(&nobody, Protocol::Grpc, &files).unwrap())
    }

    #[test]
    fn a_code_is_tried_again_where_otlp_says_so() {
        for (code, again) in [
            (Code::Unavailable, Again::Yes),
            (Code::DeadlineExceeded, Again::Yes),
            (Code::Aborted, Again::Yes),
            (Code::ResourceExhausted, Again::No),
            (Code::InvalidArgument, Again::No),
            (Code::Unauthenticated, Again::No),
            (Code::Unimplemented, Again::No),
        ] {
            assert_eq!(refusal(&Status::new(code, "")).again, again, "{code}");
        }
        let wait = Duration::from_secs(2);
        let details = || ErrorDetails::with_retry_info(Some(wait));
        for code in [Code::ResourceExhausted, Code::Unavailable] {
            let status = Status::with_error_details(code, "busy", details());
            assert_eq!(refusal(&status).again, Again::After(wait), "{code}");
        }
        let status = Status::with_error_details(Code::InvalidArgument, "bad", details());
        assert_eq!(refusal(&status).again, Again::No);
    }

    #[test]
    fn what_nobody_answered_is_tried_again_whatever_code_was_made_up_for_it() {
        for code in [Code::Unknown, Code::Internal, Code::Unavailable] {
            let mut status = Status::new(code, "");
            status.set_source(Arc::new(io::Error::from(io::ErrorKind::BrokenPipe)));
            let refusal = refusal(&status);
            assert_eq!(refusal.again, Again::Yes, "{code}");
            assert!(refusal.reason.ends_with(": broken pipe"), "{}", refusal.reason);
        }
    }
}
