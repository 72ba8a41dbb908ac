//! SIGTERM, with a store that works, one that is down, and one that stalls.

use std::time::Duration;

use crate::{
    postgres::Postgres,
    support::{Rack, assert_same},
};

/// The deadline of the shutdown, which is 5 s, and half a second.
const MOST: Duration = Duration::from_millis(5_500);

const UNDER_LOAD: &str = "--runs 100000000 --rate 2000 --threads 4 --error-every 5";

#[test]
fn under_load_everything_is_stored_before_the_deadline() {
    let (rack, postgres) = (Rack::new(), Postgres::start());
    let mut victim = rack.start("one", &format!("{UNDER_LOAD} --db {}", postgres.url));
    victim.until_acked(2_000);
    let ended = victim.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.took <= MOST, "{:?}", ended.took);
    let account = victim.account();
    account.assert_balanced();
    for class in ["ok", "error"] {
        assert_same(&postgres.ids(class), &account.ids(class, &["memory"]), class);
        assert!(account.dropped(class).is_empty(), "{ended:?}");
    }
}
