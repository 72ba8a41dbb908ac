//! Failed runs as events of Sentry, where a DSN is set; and a share of traces as its transactions.
//!
//! An envelope is three lines of JSON, written here. What is sent is the record after redaction; the subject and the
//! input stay at home unless they were asked for.

mod event;
mod limits;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use obs_core::{Clock, RunRecord};
use tokio::time::Instant;

use crate::{
    batch::{Batches, Limits, Queue, SendError, Sending, Target},
    config::SentrySettings,
    export::{PlainClient, SenderError},
    kept::Hears,
};
use event::Item;
use limits::{Category, RateLimits};

/// Names the file of who is trusted.
pub(crate) const CERTIFICATE: &str = "OBS_SENTRY_CERTIFICATE";
/// What leaves, as metrics and messages name it.
pub(crate) const SIGNAL: &str = "errors";
/// Reports that wait.
const QUEUE_MAX: usize = 256;
/// Reports that leave at once, one after the other.
const BATCH_MAX: usize = 16;
/// The longest that a report waits for others, and how long it is before a server that failed is asked again.
const DELAY: Duration = Duration::from_secs(5);
/// How long one report may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a batch may take: each of its reports has its time, and the next turn begins with another one.
const BATCH_TIMEOUT: Duration = REQUEST_TIMEOUT.saturating_mul(BATCH_MAX as u32);
/// Reports in a minute; each is a request on a connection of its own. What is more is counted, and is in the store.
const PER_MINUTE_MAX: u32 = 300;

/// What a report may hold of a run.
#[derive(Clone, Copy, Debug)]
struct Taste {
    trace_rate: f64,
    personal_data: bool,
}

/// Puts kept runs into the queue.
#[derive(Debug)]
pub(crate) struct Reports {
    queue: Queue<Item>,
    taste: Taste,
}

/// A server of Sentry, or of whoever speaks its protocol.
#[derive(Debug)]
struct ToServer {
    name: String,
    client: PlainClient,
    service: event::Service,
    clock: Clock,
    limits: Mutex<RateLimits>,
    /// Reports that were not sent because the server had said that it wants none.
    limited: AtomicU64,
    /// Reports of the batch under way that need not be sent again, and how many of those it does not want. Here, that
    /// nothing forgets them that cuts sending.
    settled: Mutex<(usize, u64)>,
}

/// A failure to start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SentryError {
    #[error(transparent)]
    Client(#[from] SenderError),
    #[error("the system gave no thread for reports of errors")]
    Thread(#[from] io::Error),
}

/// Starts the task that sends reports.
pub(crate) fn start(settings: &SentrySettings) -> Result<(Reports, Batches), SentryError> {
    let limits = Limits {
        delay: DELAY,
        timeout: BATCH_TIMEOUT,
        queue_max: QUEUE_MAX,
        batch_max: BATCH_MAX,
        per_minute: Some(PER_MINUTE_MAX),
    };
    let (queue, batches) =
        Batches::start(SIGNAL, limits, || ToServer::new(settings).map_err(SentryError::from))?;
    let SentrySettings { trace_rate, personal_data, .. } = *settings;
    Ok((Reports { queue, taste: Taste { trace_rate, personal_data } }, batches))
}

impl Hears for Reports {
    fn kept(&self, record: &RunRecord) {
        let is_failure = record.status.is_failure();
        let is_traced = self.taste.is_traced(record);
        if !is_failure && !is_traced {
            return;
        }
        let mut record = record.clone();
        if !self.taste.personal_data {
            (record.input, record.subject) = (None, None);
        }
        let (bytes, record) = (record.bytes(), Arc::new(record));
        if is_failure {
            self.queue.put(Item::Event(Arc::clone(&record)), bytes);
        }
        if is_traced {
            self.queue.put(Item::Transaction(record), bytes);
        }
    }
}

impl Taste {
    fn is_traced(self, record: &RunRecord) -> bool {
        let trace = record.trace_id.as_deref().and_then(|id| u128::from_str_radix(id, 16).ok());
        trace.is_some_and(|trace| obs_core::trace_is_within(trace, self.trace_rate))
    }
}

impl ToServer {
    /// Must be called inside the runtime that the exports run on.
    fn new(settings: &SentrySettings) -> Result<Self, SenderError> {
        let mut headers = HeaderMap::new();
        let auth = format!(
            "Sentry sentry_version=7, sentry_client=obs/{}, sentry_key={}",
            env!("CARGO_PKG_VERSION"),
            settings.dsn.key()
        );
        // A key has letters and digits only.
        if let Ok(mut auth) = HeaderValue::try_from(auth) {
            auth.set_sensitive(true);
            headers.insert("x-sentry-auth", auth);
        }
        let trusted = (CERTIFICATE, settings.authority.as_deref());
        let envelope = HeaderValue::from_static("application/x-sentry-envelope");
        Ok(Self {
            name: settings.dsn.to_string(),
            client: PlainClient::new(settings.dsn.endpoint(), trusted, headers, envelope)?,
            service: event::Service {
                environment: settings.environment.clone(),
                release: settings.release.clone(),
            },
            clock: Clock::default(),
            limits: Mutex::default(),
            limited: AtomicU64::new(0),
            settled: Mutex::default(),
        })
    }

    /// Sends one; answers whether the server took it, or why the next one would not arrive either.
    async fn post(&self, item: &Item) -> Result<bool, SendError> {
        if self.limits().are_in_force(item.category(), Instant::now()) {
            self.limited.fetch_add(1, Ordering::Relaxed);
            return Ok(true);
        }
        let envelope = item.envelope(&self.service, self.clock.wall());
        let posted = self.client.post(Bytes::from(envelope));
        let answer = match tokio::time::timeout(REQUEST_TIMEOUT, posted).await {
            Ok(answer) => answer.map_err(|reason| SendError::new(reason, true))?,
            Err(_) => {
                let reason = format!("there was no answer within {REQUEST_TIMEOUT:?}");
                return Err(SendError::new(reason, true));
            }
        };
        let status = answer.status();
        if let Some(pause) = self.limits().heed(status, answer.headers(), Instant::now()) {
            let name = &self.name;
            tracing::warn!(target: "obs", "{name} wants no more of some reports for {pause:?}; those are lost until then");
        }
        match status {
            status if status.is_success() => Ok(true),
            StatusCode::TOO_MANY_REQUESTS => {
                self.limited.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            // It is this report that is wrong; the next one may be fine.
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Ok(false),
            status => {
                let reason = format!("the answer is HTTP {status}");
                Err(SendError::new(reason, status.is_server_error()))
            }
        }
    }

    fn settled(&self) -> MutexGuard<'_, (usize, u64)> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limits(&self) -> MutexGuard<'_, RateLimits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target<Item> for ToServer {
    fn name(&self) -> &str {
        &self.name
    }

    fn send<'a>(&'a self, batch: &'a [Item]) -> Sending<'a> {
        Box::pin(async move {
            for item in batch {
                let taken = self.post(item).await?;
                let mut settled = self.settled();
                settled.0 += 1;
                settled.1 += u64::from(!taken);
            }
            let (_, rejected) = self.take_settled();
            Ok(rejected)
        })
    }

    fn limited(&self) -> Option<u64> {
        Some(self.limited.load(Ordering::Relaxed))
    }

    fn take_settled(&self) -> (usize, u64) {
        std::mem::take(&mut *self.settled())
    }
}

impl Item {
    const fn category(&self) -> Category {
        match self {
            Self::Event(_) => Category::Error,
            Self::Transaction(_) => Category::Transaction,
        }
    }
}

#[cfg(test)]
mod tests;
