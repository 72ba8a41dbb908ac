//! Every place where a server may be: the hosts of its address, and each address that a host's name stands for.
//!
//! tokio-postgres goes over them, too, but limits only how long each takes to accept a connection: one that
//! accepts it and says nothing would keep those behind it from ever being tried. So it is given one at a time.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use obs_core::Escaped;
use tokio::{net::lookup_host, time::timeout};
use tokio_postgres::{
    Config,
    config::{Host, LoadBalanceHosts},
};

use super::target::PORT;
use crate::{retry::Jitter, store::StoreError};

/// How long looking a name up may take at least: resolvers wait 5 s for a nameserver before they ask the next.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(12);

/// Addresses of one name that are tried: more than fit into an answer of usual size.
const ADDRESSES_MAX: usize = 32;

/// A host, or one address of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// What a certificate must be for.
    host: Option<Host>,
    address: Option<IpAddr>,
    port: u16,
}

/// The order in which places are tried: as they were given, or a random one (`load_balance_hosts=random`).
pub(super) struct Order(Option<Jitter>);

impl Order {
    pub(super) fn of(config: &Config) -> Self {
        let is_random = config.get_load_balance_hosts() == LoadBalanceHosts::Random;
        Self(is_random.then(Jitter::from_system))
    }

    pub(super) const fn is_random(&self) -> bool {
        self.0.is_some()
    }

    fn arrange(&mut self, places: &mut [Place]) {
        let Some(jitter) = &mut self.0 else { return };
        for last in (1..places.len()).rev() {
            let below = u64::try_from(last).unwrap_or(u64::MAX).saturating_add(1);
            // No more than `last`, so it fits.
            places.swap(last, usize::try_from(jitter.next() % below).unwrap_or(last));
        }
    }
}

/// The hosts of an address; none is looked up yet.
pub(super) fn hosts(config: &Config, order: &mut Order) -> Vec<Place> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let ports = config.get_ports();
    let place = |at| Place {
        host: hosts.get(at).cloned(),
        address: addresses.get(at).copied(),
        port: ports.get(at).or_else(|| ports.first()).copied().unwrap_or(PORT),
    };
    let mut places: Vec<_> = (0..hosts.len().max(addresses.len())).map(place).collect();
    order.arrange(&mut places);
    places
}

impl Place {
    /// Each address that this host has, at least one.
    ///
    /// # Errors
    /// When there is none, or it takes longer than `limit` and [`LOOKUP_TIMEOUT`] to find out.
    pub(super) async fn addresses(
        &self,
        limit: Duration,
        order: &mut Order,
    ) -> Result<Vec<Self>, StoreError> {
        let (None, Some(Host::Tcp(name))) = (self.address, &self.host) else {
            return Ok(vec![self.clone()]);
        };
        let limit = limit.max(LOOKUP_TIMEOUT);
        let found = match timeout(limit, lookup_host((name.as_str(), self.port))).await {
            Ok(Ok(found)) => self.each(found, order),
            Ok(Err(source)) => return Err(unknown(name, source)),
            Err(_) => return Err(StoreError::late("looking the host up", limit)),
        };
        if found.is_empty() { Err(unknown(name, "it has no address")) } else { Ok(found) }
    }

    fn each(&self, found: impl Iterator<Item = SocketAddr>, order: &mut Order) -> Vec<Self> {
        let at = |address: SocketAddr| Self { address: Some(address.ip()), ..self.clone() };
        let mut places: Vec<_> = found.map(at).collect();
        order.arrange(&mut places);
        places.truncate(ADDRESSES_MAX);
        places
    }

    /// The same settings for this place alone. There is no way to take hosts out of a [`Config`].
    pub(super) fn only(&self, all: &Config) -> Config {
        let mut config = Config::new();
        self.put_into(&mut config);
        put_session(&mut config, all);
        put_socket(&mut config, all);
        config
    }

    fn put_into(&self, config: &mut Config) {
        match &self.host {
            Some(Host::Tcp(name)) => {
                config.host(name);
            }
            #[cfg(unix)]
            Some(Host::Unix(folder)) => {
                config.host_path(folder);
            }
            None => {}
        }
        if let Some(address) = self.address {
            config.hostaddr(address);
        }
        config.port(self.port);
    }
}

/// What the server hears, and how it proves who it is.
fn put_session(config: &mut Config, all: &Config) {
    if let Some(user) = all.get_user() {
        config.user(user);
    }
    if let Some(password) = all.get_password() {
        config.password(password);
    }
    if let Some(name) = all.get_dbname() {
        config.dbname(name);
    }
    if let Some(options) = all.get_options() {
        config.options(options);
    }
    if let Some(name) = all.get_application_name() {
        config.application_name(name);
    }
    config
        .ssl_mode(all.get_ssl_mode())
        .ssl_negotiation(all.get_ssl_negotiation())
        .channel_binding(all.get_channel_binding())
        .target_session_attrs(all.get_target_session_attrs())
        .load_balance_hosts(all.get_load_balance_hosts());
}

fn put_socket(config: &mut Config, all: &Config) {
    if let Some(limit) = all.get_connect_timeout() {
        config.connect_timeout(*limit);
    }
    if let Some(limit) = all.get_tcp_user_timeout() {
        config.tcp_user_timeout(*limit);
    }
    config.keepalives(all.get_keepalives()).keepalives_idle(all.get_keepalives_idle());
    if let Some(interval) = all.get_keepalives_interval() {
        config.keepalives_interval(interval);
    }
    if let Some(retries) = all.get_keepalives_retries() {
        config.keepalives_retries(retries);
    }
}

fn unknown(name: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::transient(format!("cannot look the host `{}` up", Escaped(name)), source)
}

/// For an error, when there are several.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        let address = self.address.map(|address| SocketAddr::new(address, port));
        match (&self.host, address) {
            (Some(Host::Tcp(name)), Some(address)) if *name != address.ip().to_string() => {
                write!(f, "{} ({address})", Escaped(name))
            }
            (_, Some(address)) => write!(f, "{address}"),
            (Some(Host::Tcp(name)), None) => write!(f, "{}:{port}", Escaped(name)),
            #[cfg(unix)]
            (Some(Host::Unix(folder)), None) => {
                write!(f, "{}/.s.PGSQL.{port}", Escaped(&folder.to_string_lossy()))
            }
            (None, None) => write!(f, "port {port}"),
        }
    }
}

#[cfg(test)]
mod tests;
