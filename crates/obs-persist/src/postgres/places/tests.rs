//! Which places there are, in which order, and that a place has all of the settings.

use tokio_postgres::config::{SslNegotiation, TargetSessionAttrs};

use super::{super::target::Target, *};

fn target(url: &str) -> Target {
    Target::parse(url).unwrap()
}

/// The hosts of an address, as they are shown.
fn shown(url: &str) -> Vec<String> {
    let config = target(url).config;
    hosts(&config, &mut Order::of(&config)).iter().map(ToString::to_string).collect()
}

fn found(count: u8) -> impl Iterator<Item = SocketAddr> {
    (0..count).map(|last| SocketAddr::from(([10, 0, 0, last], 5432)))
}

#[test]
fn hosts_come_in_their_order_with_the_address_and_the_port_that_belong_to_them() {
    let table: [(&str, &[&str]); 7] = [
        ("postgres://db/g", &["db:5432"]),
        ("postgres://a:1,b,c:3/g", &["a:1", "b:5432", "c:3"]),
        ("postgres:///g?host=a&host=b&port=7", &["a:7", "b:7"]),
        ("postgres:///g?hostaddr=10.0.0.1,::1", &["10.0.0.1:5432", "[::1]:5432"]),
        ("postgres://a:1,b:2/g?hostaddr=10.0.0.1,10.0.0.2", &["a (10.0.0.1:1)", "b (10.0.0.2:2)"]),
        ("postgres://10.0.0.1/g?hostaddr=10.0.0.1", &["10.0.0.1:5432"]),
        ("postgres://%2Frun%2Fpg:6,db/g", &["/run/pg/.s.PGSQL.6", "db:5432"]),
    ];
    for (url, expected) in table {
        assert_eq!(shown(url), expected, "{url}");
    }
}

#[test]
fn a_name_is_each_of_its_addresses_in_the_order_of_the_resolver() {
    let config = target("postgres://db:6000/g").config;
    let mut order = Order::of(&config);
    let host = hosts(&config, &mut order).remove(0);
    let six = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 6000));
    let places = host.each([six].into_iter().chain(found(2)), &mut order);
    let shown: Vec<_> = places.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["db ([fd00::1]:6000)", "db (10.0.0.0:6000)", "db (10.0.0.1:6000)"]);

    let count = u8::try_from(ADDRESSES_MAX).unwrap();
    assert_eq!(host.each(found(count), &mut order).len(), ADDRESSES_MAX);
    assert_eq!(host.each(found(count + 1), &mut order).len(), ADDRESSES_MAX);
}

#[test]
fn at_random_every_host_and_every_address_is_the_first_one_at_times() {
    let config = target("postgres://a,b,c/g?load_balance_hosts=random").config;
    let mut order = Order(Some(Jitter::seeded(1)));
    let mut firsts = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let mut places = hosts(&config, &mut order);
        assert_eq!(places.len(), 3);
        let addresses = places.remove(0).each(found(3), &mut order);
        assert_eq!(addresses.len(), 3);
        firsts.insert(addresses[0].to_string());
        places.dedup();
        assert_eq!(places.len(), 2, "{places:?}");
    }
    assert_eq!(firsts.len(), 9, "{firsts:?}");
}

#[tokio::test]
async fn nothing_is_looked_up_that_is_an_address_or_a_socket() {
    for url in ["postgres://db/g?hostaddr=10.0.0.1", "postgres://%2Frun%2Fpg/g"] {
        let config = target(url).config;
        let mut order = Order::of(&config);
        let host = hosts(&config, &mut order).remove(0);
        assert_eq!(host.addresses(Duration::ZERO, &mut order).await.unwrap(), [host], "{url}");
    }
    let config = target("postgres://[::1]/g").config;
    let mut order = Order::of(&config);
    let host = hosts(&config, &mut order).remove(0);
    let places = host.addresses(Duration::from_secs(5), &mut order).await.unwrap();
    assert_eq!(places[0].to_string(), "[::1]:5432");
}

#[tokio::test]
async fn a_host_that_is_not_known_is_an_error_that_names_it() {
    let config = target("postgres://app:hunter2@nowhere.invalid/g").config;
    let mut order = Order::of(&config);
    let host = hosts(&config, &mut order).remove(0);
    let error = host.addresses(Duration::from_secs(5), &mut order).await.unwrap_err();
    assert!(matches!(error, StoreError::Transient { .. }));
    let error = error.chain();
    assert!(error.contains("nowhere.invalid") || error.contains("looking the host up"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

/// Every setting, and none of them as it is by default.
const ALL: &str = "postgres://app:hunter2@db:6000/game?hostaddr=10.0.0.7&application_name=x&channel_binding=require\
    &connect_timeout=3&keepalives=0&keepalives_idle=4&keepalives_interval=5&keepalives_retries=6\
    &load_balance_hosts=random&options=-c%20a%3Db&sslmode=require&tcp_user_timeout=7";

#[test]
fn a_place_has_all_the_settings_of_its_address() {
    let mut target = target(ALL);
    for config in [&mut target.config, &mut target.plain] {
        // What an address cannot say yet.
        config.ssl_negotiation(SslNegotiation::Direct);
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    let host = hosts(&target.config, &mut Order(None)).remove(0);
    assert_eq!(target.only(&host), target);
    assert_ne!(target.config, target.plain);
}

#[test]
fn a_place_has_no_other_hosts_and_nothing_that_was_not_said() {
    let all = target("postgres://a:1,b:2/game?sslmode=disable");
    let place = &hosts(&all.config, &mut Order(None))[1];
    assert_eq!(all.only(place), target("postgres://b:2/game?sslmode=disable"));
}
