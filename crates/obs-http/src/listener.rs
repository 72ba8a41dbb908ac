//! A small listener for the endpoints alone: loopback by default, everything about it limited.

mod clients;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use obs_core::Clock;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time,
};

use crate::endpoints::{Endpoints, failure};
use clients::Clients;

/// Where a listener listens unless told otherwise: loopback, OpenTelemetry's port for Prometheus.
pub const LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);

/// A request's head has at most this many bytes.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

/// How long a connection may stay, however busy it is.
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(300);

/// How long the listener rests when it cannot accept, e.g. because there are no file handles.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// The limits of a listener.
///
/// ```
/// let limits = obs_http::ListenerLimits::default();
/// assert_eq!((limits.connections_max, limits.requests_per_second_max), (64, 10));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerLimits {
    /// Connections at one time; the next one is closed at once. Default 64.
    pub connections_max: usize,
    /// Requests of one client in a second; the next one is answered with 429. Default 10.
    pub requests_per_second_max: u32,
    /// How long the head of a request may take. Default 10 s.
    pub read_timeout: Duration,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            connections_max: 64,
            requests_per_second_max: 10,
            read_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a listener does not listen.
///
/// ```
/// use obs_http::{Access, Endpoints};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let endpoints = Endpoints::builder(Access::Open).build();
/// let error = endpoints.listen("0.0.0.0:0".parse()?).await.unwrap_err();
/// assert!(error.to_string().starts_with("0.0.0.0:0 can be reached from elsewhere"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Everybody could see everything.
    #[error(
        "{address} can be reached from elsewhere, and the endpoints are open: give them \
         `Access::token`, or listen on 127.0.0.1"
    )]
    Open {
        /// Where it should listen.
        address: SocketAddr,
    },
    /// The address cannot be had.
    #[error("cannot listen on {address}: use another port, or stop what listens there")]
    Bind {
        /// Where it should listen.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing would run it.
    #[error("a listener needs a tokio runtime: call `listen` inside of one")]
    NoRuntime,
}

/// A listener at work. Dropping it stops it.
///
/// ```
/// use obs_http::{Access, Endpoints};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let endpoints = Endpoints::builder(Access::Open).build();
/// let listening = endpoints.listen("127.0.0.1:0".parse()?).await?;
/// assert!(listening.address().ip().is_loopback());
/// assert!(listening.shutdown(std::time::Duration::from_secs(1)).await);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it stops the listener"]
pub struct Listening {
    address: SocketAddr,
    counts: Arc<Counts>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    refused: AtomicU64,
    limited: AtomicU64,
}

impl Endpoints {
    /// Listens on an address of its own, [`LISTEN_DEFAULT`] for example, on the current tokio runtime:
    /// an answer to `/healthz` shows that the runtime lives, too.
    ///
    /// # Errors
    /// When the address cannot be had, can be reached from elsewhere although everything is open, or
    /// there is no runtime.
    ///
    /// ```
    /// # use obs_http::{Access, Endpoints};
    /// # async fn listen() -> Result<(), Box<dyn std::error::Error>> {
    /// let endpoints = Endpoints::builder(Access::token("0123456789abcdef0123")?).build();
    /// let listening = endpoints.listen("0.0.0.0:9464".parse()?).await?;
    /// # let _ = listening;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn listen(&self, address: SocketAddr) -> Result<Listening, ListenError> {
        self.listen_with(address, ListenerLimits::default()).await
    }

    /// The same with limits of your own.
    ///
    /// # Errors
    /// As [`Endpoints::listen`].
    ///
    /// ```
    /// # use obs_http::{Access, Endpoints, LISTEN_DEFAULT, ListenerLimits};
    /// # async fn listen() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut limits = ListenerLimits::default();
    /// limits.requests_per_second_max = 50;
    /// let endpoints = Endpoints::builder(Access::Open).build();
    /// let listening = endpoints.listen_with(LISTEN_DEFAULT, limits).await?;
    /// # let _ = listening;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn listen_with(
        &self,
        address: SocketAddr,
        limits: ListenerLimits,
    ) -> Result<Listening, ListenError> {
        let runtime = Handle::try_current().map_err(|_| ListenError::NoRuntime)?;
        if self.is_open() && !address.ip().is_loopback() {
            return Err(ListenError::Open { address });
        }
        let failed = |source| ListenError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let counts = Arc::new(Counts::default());
        let door = Door {
            endpoints: self.clone(),
            clients: Arc::new(Mutex::new(Clients::new(limits.requests_per_second_max))),
            clock: Clock::default(),
            limits,
            counts: Arc::clone(&counts),
        };
        let task = runtime.spawn(door.keep(listener, stopped));
        Ok(Listening { address, counts, stop, task })
    }
}

impl Listening {
    /// Where it listens.
    ///
    /// ```
    /// fn port(listening: &obs_http::Listening) -> u16 {
    ///     listening.address().port()
    /// }
    /// ```
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that were closed at once because there were too many.
    ///
    /// ```
    /// fn is_crowded(listening: &obs_http::Listening) -> bool {
    ///     listening.connections_refused() > 0
    /// }
    /// ```
    #[must_use]
    pub fn connections_refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }

    /// Requests that were answered with 429.
    ///
    /// ```
    /// fn is_hammered(listening: &obs_http::Listening) -> bool {
    ///     listening.requests_limited() > 0
    /// }
    /// ```
    #[must_use]
    pub fn requests_limited(&self) -> u64 {
        self.counts.limited.load(Ordering::Relaxed)
    }

    /// Stops listening and waits for answers under way. Whether all of them got out in time; those that
    /// did not are cut off.
    ///
    /// ```
    /// # async fn stop(listening: obs_http::Listening) {
    /// let clean = listening.shutdown(std::time::Duration::from_secs(1)).await;
    /// # let _ = clean;
    /// # }
    /// ```
    pub async fn shutdown(mut self, deadline: Duration) -> bool {
        // Nobody left to tell is as good as told.
        let _ = self.stop.send(true);
        time::timeout(deadline, &mut self.task).await.is_ok()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // With the task end its connections.
        self.task.abort();
    }
}

/// Lets connections in.
#[derive(Clone)]
struct Door {
    endpoints: Endpoints,
    limits: ListenerLimits,
    clients: Arc<Mutex<Clients>>,
    clock: Clock,
    counts: Arc<Counts>,
}

impl Door {
    async fn keep(self, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.changed() => break,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok(_) if connections.len() >= self.limits.connections_max => {
                    self.counts.refused.fetch_add(1, Ordering::Relaxed);
                }
                Ok((stream, peer)) => {
                    connections.spawn(self.clone().serve(stream, peer.ip(), stopped.clone()));
                }
                Err(_) => time::sleep(ACCEPT_REST).await,
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn serve(self, stream: TcpStream, peer: IpAddr, mut stopped: watch::Receiver<bool>) {
        let read_timeout = self.limits.read_timeout;
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = self.answer(request, peer);
            async { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(read_timeout)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // What goes wrong with a connection is the client's to see.
            _ = connection.as_mut() => return,
            () = time::sleep(CONNECTION_LIFE_MAX) => {}
            _ = stopped.changed() => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = time::timeout(read_timeout, connection).await;
    }

    fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Response<String> {
        let now = self.clock.now();
        let may = self.clients.lock().unwrap_or_else(PoisonError::into_inner).may_ask(peer, now);
        if !may {
            self.counts.limited.fetch_add(1, Ordering::Relaxed);
            let mut refused = failure(StatusCode::TOO_MANY_REQUESTS, "too many requests");
            refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            return refused;
        }
        let (parts, _) = request.into_parts();
        if self.endpoints.is_open() && !is_local(&parts.headers) {
            return failure(StatusCode::FORBIDDEN, "ask for localhost or for 127.0.0.1");
        }
        self.endpoints.answer(&parts)
    }
}

/// Whether the client asks for this machine by a name that only means this machine. A page in a
/// browser can be made to ask an open listener under a name of its own.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let host = host.to_str().unwrap_or_default();
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let is_loopback = |ip: IpAddr| ip.is_loopback();
    name.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse().is_ok_and(is_loopback)
        || name.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_mean_this_machine_are_local() {
        let with = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            is_local(&headers)
        };
        for local in
            ["localhost", "LOCALHOST:9464", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:80"]
        {
            assert!(with(local), "{local}");
        }
        for elsewhere in ["evil.example", "evil.example:9464", "10.0.0.1", "localhost.evil.example"]
        {
            assert!(!with(elsewhere), "{elsewhere}");
        }
        assert!(is_local(&HeaderMap::new()));
    }
}
