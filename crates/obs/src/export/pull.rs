//! A page for Prometheus to scrape, on a listener and a thread of its own: a scrape runs the application's
//! callbacks, and what they hold up is the next scrape and nothing else.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, mpsc},
    time::Duration,
};

use obs_core::Obs;
use obs_http::{Access, Endpoints, MetricsFormat};
use obs_persist::StoreWatch;
use opentelemetry::metrics::Meter;
use secrecy::{ExposeSecret as _, SecretString};

use super::{PrivateRuntime, Reader, Stop, health::Counts};
use crate::{config::model::Prometheus, snapshot};

/// How long `init` waits for the listener, which has nothing to wait for itself.
const LISTEN_WAIT: Duration = Duration::from_secs(5);
/// How long answers under way may take after the end.
const GOODBYE: Duration = Duration::from_millis(500);

/// Why nobody can scrape.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    #[error(
        "OTEL_EXPORTER_PROMETHEUS_HOST={host:?}: not an address of this machine: use localhost, or an address \
         like 0.0.0.0 with OBS_PROMETHEUS_TOKEN"
    )]
    Host { host: String },
    #[error("OBS_PROMETHEUS_TOKEN: {0}")]
    Token(#[from] obs_http::TokenError),
    #[error("Prometheus cannot scrape: {0}")]
    Listen(#[from] obs_http::ListenError),
    #[error("the system gave no thread for scrapes")]
    Thread(#[from] std::io::Error),
    #[error("Prometheus cannot scrape: the listener did not start within {LISTEN_WAIT:?}")]
    Late,
}

/// The running listener.
#[derive(Debug)]
pub(crate) struct Pull {
    address: SocketAddr,
    stop: Stop,
}

/// What a page is made of.
pub(crate) struct Source {
    pub(crate) obs: Obs,
    pub(crate) reader: Reader,
    pub(crate) store: Option<StoreWatch>,
    pub(crate) meter: Meter,
}

impl Pull {
    /// Listens, or says why not.
    pub(crate) fn start(
        settings: &Prometheus,
        token: Option<&SecretString>,
        source: Source,
    ) -> Result<Self, PullError> {
        let address = address(settings)?;
        let endpoints = endpoints(access(token)?, source);
        let runtime = PrivateRuntime::new(0)?;
        let (stop, stopped) = Stop::new();
        let (say, said) = mpsc::sync_channel(1);
        runtime.spawn("obs-prometheus", async move {
            match endpoints.listen(address).await {
                // Nobody who waits is nobody who scrapes.
                Err(error) => drop(say.send(Err(error))),
                Ok(listening) => {
                    if say.send(Ok(listening.address())).is_ok() {
                        let _ = stopped.await;
                        let _ = listening.shutdown(GOODBYE).await;
                    }
                }
            }
        })?;
        let address = said.recv_timeout(LISTEN_WAIT).map_err(|_| PullError::Late)??;
        tracing::info!(target: "obs", "Prometheus may scrape http://{address}/metrics");
        Ok(Self { address, stop })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the thread, and does not wait for it.
    pub(crate) fn stop(&self) {
        self.stop.stop();
    }
}

/// Names are not looked up: what a name of this machine means depends on others.
fn address(settings: &Prometheus) -> Result<SocketAddr, PullError> {
    let host = settings.host.trim_matches(['[', ']']);
    let ip = if host.eq_ignore_ascii_case("localhost") {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        host.parse().map_err(|_| PullError::Host { host: settings.host.clone() })?
    };
    Ok(SocketAddr::new(ip, settings.port))
}

fn access(token: Option<&SecretString>) -> Result<Access, PullError> {
    Ok(match token {
        None => Access::Open,
        Some(token) => Access::token(token.expose_secret())?,
    })
}

fn endpoints(access: Access, source: Source) -> Endpoints {
    let Source { obs, reader, store, meter } = source;
    let counts = Arc::new(Counts::default());
    counts.count_on(&meter, "metrics");
    let mut builder = Endpoints::builder(access).obs(&obs);
    if let Some(store) = store {
        builder = builder.store(store);
    }
    let metrics = move |format| {
        let snapshot = snapshot::take(&reader, &obs).inspect_err(|_| counts.failed(0))?;
        Ok(match format {
            MetricsFormat::OpenMetrics => snapshot.to_openmetrics(),
            _ => snapshot.to_prometheus(),
        })
    };
    builder.metrics(metrics).build()
}
