//! How often each client may ask: a bucket of requests that fills up again over a second.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use obs_core::Tick;

/// Clients that are told apart; when there are more, those that have not asked for a second are
/// forgotten, and what still has no room shares one bucket.
const CLIENTS_MAX: usize = 1_024;

/// In this time an empty bucket is full again.
const FILL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Clients {
    requests_max: f64,
    buckets: HashMap<IpAddr, Bucket>,
    shared: Option<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Tick,
}

impl Clients {
    pub(super) fn new(requests_per_second_max: u32) -> Self {
        let requests_max = f64::from(requests_per_second_max);
        Self { requests_max, buckets: HashMap::new(), shared: None }
    }

    /// Takes one request out of the client's bucket, if there is one.
    pub(super) fn may_ask(&mut self, client: IpAddr, now: Tick) -> bool {
        let client = network(client);
        if self.buckets.len() >= CLIENTS_MAX && !self.buckets.contains_key(&client) {
            self.buckets.retain(|_, bucket| now.since(bucket.at) < FILL);
        }
        let full = Bucket { left: self.requests_max, at: now };
        let has_room = self.buckets.len() < CLIENTS_MAX || self.buckets.contains_key(&client);
        let bucket = if has_room {
            self.buckets.entry(client).or_insert(full)
        } else {
            self.shared.get_or_insert(full)
        };
        let filled = now.since(bucket.at).as_secs_f64() / FILL.as_secs_f64() * self.requests_max;
        bucket.left = (bucket.left + filled).min(self.requests_max);
        bucket.at = now;
        let may = bucket.left >= 1.0;
        if may {
            bucket.left -= 1.0;
        }
        may
    }
}

/// A client of IPv6 has a whole network to choose addresses from.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use obs_core::{Clock, ManualClock};

    use super::*;

    fn allowed(clients: &mut Clients, client: &str, now: Tick) -> usize {
        let client = client.parse().unwrap();
        (0..100).filter(|_| clients.may_ask(client, now)).count()
    }

    #[test]
    fn the_eleventh_request_of_a_second_is_refused_and_other_clients_are_not() {
        let manual = ManualClock::new();
        let clock = Clock::from(&manual);
        let mut clients = Clients::new(10);
        assert_eq!(allowed(&mut clients, "127.0.0.1", clock.now()), 10);
        assert_eq!(allowed(&mut clients, "127.0.0.2", clock.now()), 10);
        manual.advance(Duration::from_millis(500));
        assert_eq!(allowed(&mut clients, "127.0.0.1", clock.now()), 5);
        manual.advance(Duration::from_secs(3_600));
        assert_eq!(allowed(&mut clients, "127.0.0.1", clock.now()), 10);
    }

    #[test]
    fn addresses_of_one_network_are_one_client() {
        let now = Clock::default().now();
        let mut clients = Clients::new(10);
        assert_eq!(allowed(&mut clients, "2001:db8:1:2::1", now), 10);
        assert_eq!(allowed(&mut clients, "2001:db8:1:2:ffff::9", now), 0);
        assert_eq!(allowed(&mut clients, "2001:db8:1:3::1", now), 10);
        assert_eq!(allowed(&mut clients, "::ffff:10.0.0.1", now), 10);
        assert_eq!(allowed(&mut clients, "10.0.0.1", now), 0);
    }

    #[test]
    fn the_table_of_clients_is_bounded_and_idle_ones_make_room() {
        let manual = ManualClock::new();
        let clock = Clock::from(&manual);
        let mut clients = Clients::new(10);
        for number in 0..2_000_u32 {
            clients.may_ask(IpAddr::V4(number.into()), clock.now());
        }
        assert_eq!(clients.buckets.len(), CLIENTS_MAX);
        assert_eq!(allowed(&mut clients, "10.0.0.1", clock.now()), 0, "they share one bucket");
        manual.advance(FILL);
        assert_eq!(allowed(&mut clients, "10.0.0.1", clock.now()), 10);
        assert_eq!(clients.buckets.len(), 1);
    }
}
