//! One connection to a server, wherever it is.

use std::fmt::Write;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls};

use super::{
    places::{self, Order},
    pooler,
    target::{Target, Tls},
    tls,
};
use crate::{retry::Jitter, store::StoreError};

/// Places that an error names, as many as fit into a line of it; the others it counts.
const NAMED_MAX: usize = 6;

/// A connection, and whether a pooler is in between.
pub(super) struct Connection {
    pub(super) connection: AsyncPgConnection,
    pub(super) is_pooled: bool,
}

/// The place at which an attempt begins: which host, and which address of it.
///
/// An attempt may be dropped at any time, e.g. at the deadline of all that comes before the first
/// write, and there may be more places than it has time for. It notes what comes next before it
/// tries a place, so that an attempt after it goes on there, and each place has its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Begin {
    host: usize,
    address: usize,
}

/// Tries one place after the other. When it returns by itself, the next attempt should begin at the
/// first again; `begin` is the place that worked, then.
pub(super) async fn connect(target: &Target, begin: &mut Begin) -> Result<Connection, StoreError> {
    let mut order = Order::of(&target.config);
    if order.is_random() {
        // Each has its turn by that, and what was next is somewhere else by now.
        *begin = Begin::default();
    }
    let hosts = places::hosts(&target.config, &mut order);
    let mut failures = Vec::new();
    for (at, host) in hosts.iter().enumerate().skip(begin.host) {
        let next_host = Begin { host: (at + 1) % hosts.len(), address: 0 };
        let skipped = std::mem::replace(begin, next_host).address;
        let places = match host.addresses(target.connect_timeout(), &mut order).await {
            Ok(places) => places,
            Err(error) => {
                failures.push((host.to_string(), error));
                continue;
            }
        };
        // There may be fewer than the last time.
        let skipped = if skipped < places.len() { skipped } else { 0 };
        for (nth, place) in places.iter().enumerate().skip(skipped) {
            let this = Begin { host: at, address: nth };
            let is_last = nth + 1 == places.len();
            *begin = if is_last { next_host } else { Begin { address: nth + 1, ..this } };
            match connect_to(&target.only(place)).await {
                Ok(connection) => {
                    *begin = this;
                    return Ok(connection);
                }
                // Somebody must change something, whatever is behind the other places.
                Err(error @ StoreError::Permanent { .. }) => return Err(error),
                Err(error) => failures.push((place.to_string(), error)),
            }
        }
    }
    Err(all_failed(failures))
}

/// What was wrong with the only place, or with each.
fn all_failed(mut failures: Vec<(String, StoreError)>) -> StoreError {
    if failures.len() == 1
        && let Some((_, error)) = failures.pop()
    {
        return error;
    }
    let mut named: Vec<_> = failures
        .iter()
        .take(NAMED_MAX)
        .map(|(place, error)| format!("{place}: {}", error.chain()))
        .collect();
    let others = failures.len().saturating_sub(NAMED_MAX);
    if others > 0 {
        named.push(format!("and {others} more"));
    }
    let what = format!("cannot connect to any of {} addresses", failures.len());
    StoreError::transient(what, named.join("; "))
}

/// To a single place, and within its time: all of it, not only until the connection is accepted.
async fn connect_to(target: &Target) -> Result<Connection, StoreError> {
    let limit = target.connect_timeout();
    match timeout(limit, Box::pin(open_directly(target))).await {
        Ok(Some(connection)) => {
            return Ok(Connection { connection: connection?, is_pooled: false });
        }
        Ok(None) => {}
        Err(_) => return Err(StoreError::late("connecting", limit)),
    }
    // Three connections, one after the other, and some transactions.
    let limit = limit.saturating_mul(3);
    let through_pooler = async {
        pooler::try_out(target).await?;
        open(target, &target.plain).await
    };
    match timeout(limit, Box::pin(through_pooler)).await {
        Ok(connection) => Ok(Connection { connection: connection?, is_pooled: true }),
        Err(_) => Err(StoreError::late("connecting through a pooler", limit)),
    }
}

/// With our options, one of which is a mark by which a session of ours is known again; `None` when
/// a pooler did not take them.
async fn open_directly(target: &Target) -> Option<Result<AsyncPgConnection, StoreError>> {
    let mark = format!("{:016x}", Jitter::from_system().next());
    let mut config = target.config.clone();
    let mut options = config.get_options().unwrap_or_default().to_owned();
    // Writing to a string cannot fail.
    let _ = write!(options, " -c obs.session={mark}");
    config.options(options);
    let mut connection = match open(target, &config).await {
        Ok(connection) => connection,
        Err(error) if pooler::is_pooler(&error.chain()) => return None,
        Err(error) => return Some(Err(error)),
    };
    // Nothing that a pooler could lose is prepared for this.
    let same = format!(
        "DO $$ BEGIN IF pg_catalog.current_setting('obs.session', true) IS DISTINCT FROM '{mark}' THEN \
         RAISE 'not the session that took our options'; END IF; END $$"
    );
    match connection.batch_execute(&same).await {
        Ok(()) => Some(Ok(connection)),
        Err(error) if error.to_string().contains("not the session") => None,
        Err(error) => Some(Err(StoreError::transient("cannot set the connection up", error))),
    }
}

async fn open(target: &Target, config: &Config) -> Result<AsyncPgConnection, StoreError> {
    let connection = match &target.tls {
        Tls::Off => {
            let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await
        }
        Tls::Verified { roots } => {
            let connector = tls::connector(roots.as_deref())?;
            let (client, connection) = config.connect(connector).await.map_err(refused)?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await
        }
    };
    connection.map_err(|source| StoreError::transient("cannot set the connection up", source))
}

/// A connection of its own, without our options, to try something out.
pub(super) async fn plain_client(target: &Target) -> Result<Client, StoreError> {
    Ok(match &target.tls {
        Tls::Off => {
            let (client, connection) = target.plain.connect(NoTls).await.map_err(refused)?;
            // It ends with the client; what it says at its end was said to the client, too.
            drop(tokio::spawn(connection));
            client
        }
        Tls::Verified { roots } => {
            let connector = tls::connector(roots.as_deref())?;
            let (client, connection) = target.plain.connect(connector).await.map_err(refused)?;
            drop(tokio::spawn(connection));
            client
        }
    })
}

fn refused(source: tokio_postgres::Error) -> StoreError {
    StoreError::transient("cannot connect", source)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, time::Duration};

    use super::*;

    #[tokio::test]
    async fn an_attempt_that_is_dropped_notes_what_comes_next() {
        // The system accepts connections for them, and nobody ever answers.
        let silent = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [one, two] = silent.each_ref().map(|one| one.local_addr().unwrap());
        let target = Target::parse(&format!("postgres://a@{one},{two}/g")).unwrap();
        let table = [
            (Begin::default(), Begin { host: 1, address: 0 }),
            // Behind the last one comes the first.
            (Begin { host: 1, address: 0 }, Begin::default()),
            // An address that the host does not have any more.
            (Begin { host: 0, address: 7 }, Begin { host: 1, address: 0 }),
        ];
        for (mut begin, next) in table {
            let attempt = timeout(Duration::from_millis(20), connect(&target, &mut begin)).await;
            assert!(attempt.is_err(), "nobody answers");
            assert_eq!(begin, next);
        }
    }

    #[test]
    fn an_error_names_some_places_and_counts_the_others() {
        let failed = |count: usize| {
            let failure = |at| (format!("db{at}"), StoreError::transient("cannot connect", "no"));
            all_failed((0..count).map(failure).collect()).chain()
        };
        assert_eq!(failed(1), "cannot connect: no");
        let two = "cannot connect to any of 2 addresses: db0: cannot connect: no; db1: cannot connect: no";
        assert_eq!(failed(2), two);
        assert!(!failed(NAMED_MAX).contains("more"));
        assert!(failed(NAMED_MAX + 2).ends_with("; and 2 more"), "{}", failed(NAMED_MAX + 2));
    }
}
