//! Days made ahead while the process runs, and days dropped when they are past their retention.
//!
//! What to do is decided by [`plan`], from what the catalog says and two clocks; the rest carries it
//! out. A partition is ours if it is attached to one of our tables *and* has the name and the
//! bounds that we give: whatever somebody else attached or named is left alone.

use std::{collections::BTreeSet, time::Duration};

use diesel::{
    dsl::sql,
    sql_types::{BigInt, Bool, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use obs_core::{Class, Clock, Timestamp};

use super::partitions::{Day, Days, TABLES, day_of, make, may_make, partition};
use crate::store::{Maintained, Retention, StoreError};

/// Days of a class that one call drops at most.
const DROPS_MAX: usize = 16;

/// No further day is begun after so long: records wait meanwhile.
const PASS_BUDGET: Duration = Duration::from_secs(1);

/// One of our partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Present {
    day: Day,
    table: &'static str,
    /// Dropping takes its owner.
    may_drop: bool,
}

/// What there is, and what time it is over there.
struct Catalog {
    present: BTreeSet<Present>,
    server_now: Timestamp,
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    make: Vec<Day>,
    /// The oldest first.
    drop: Vec<Drop>,
    /// Past their retention, but somebody else's to drop.
    foreign: usize,
}

/// A day of a class, and the start times that must not be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Drop {
    day: Day,
    class: Class,
    cutoff: Timestamp,
}

/// The tables of a class: rows, payloads. Entries of the audit trail are kept as long as errors are.
const fn tables(class: Class) -> &'static [&'static str] {
    match class {
        Class::Ok => &["run_ok", "run_ok_payload"],
        Class::Error => &["run_error", "run_error_payload", "audit"],
    }
}

/// Days are made by the clock of this process, which also makes the run ids. A day is dropped when
/// both clocks say that its last moment is older than the retention: a process whose clock is
/// years ahead must not empty the database.
fn plan(now: Timestamp, catalog: &Catalog, retention: Retention) -> Plan {
    let make = day_of(now).around().filter(|day| !is_whole(*day, &catalog.present)).collect();
    let agreed = now.as_micros().min(catalog.server_now.as_micros());
    let (mut drop, mut foreign) = (Vec::new(), 0);
    for class in [Class::Ok, Class::Error] {
        let Some(kept) = retention.of(class) else { continue };
        let kept = i64::try_from(kept.as_micros()).unwrap_or(i64::MAX);
        let cutoff = agreed.saturating_sub(kept);
        let ours = catalog.present.iter().filter(|one| tables(class).contains(&one.table));
        let old: Vec<_> = ours.filter(|one| one.day.end().as_micros() <= cutoff).collect();
        let days: BTreeSet<Day> = old.iter().map(|one| one.day).collect();
        for day in days {
            if old.iter().filter(|one| one.day == day).all(|one| one.may_drop) {
                drop.push(Drop { day, class, cutoff: Timestamp::from_micros(cutoff) });
            } else {
                foreign += 1;
            }
        }
    }
    drop.sort_by_key(|one| one.day);
    Plan { make, drop, foreign }
}

fn is_whole(day: Day, present: &BTreeSet<Present>) -> bool {
    present.iter().filter(|one| one.day == day).count() == TABLES.len()
}

/// For how many days after today there are all tables, without a gap.
fn days_ahead(now: Timestamp, present: &BTreeSet<Present>) -> u32 {
    let mut day = day_of(now);
    let mut days = 0;
    while is_whole(day.next(), present) {
        day = day.next();
        days += 1;
    }
    days
}

/// The beginning of the first day that a class has.
fn oldest(class: Class, present: &BTreeSet<Present>) -> Option<Timestamp> {
    let first = present.iter().find(|one| tables(class).contains(&one.table))?;
    Some(first.day.start())
}

/// Makes the days around `now` and drops old ones. Several processes may do so at once: the server's
/// functions let one at a day, and tell the others what they found.
pub(super) async fn maintain(
    connection: &mut AsyncPgConnection,
    days: &mut Days,
    (now, clock): (Timestamp, &Clock),
    retention: Retention,
) -> Result<Maintained, StoreError> {
    let mut done = Maintained::default();
    let planned = plan(now, &catalog(connection).await?, retention);
    if planned.foreign > 0 {
        done.problem = Some(format!(
            "{} old days belong to another role, so this role may not drop them: run `obs retention` once a \
             day as their owner, or switch retention off here",
            planned.foreign
        ));
    }
    if !planned.make.is_empty() && may_make(connection).await? {
        make_days(connection, &planned.make, clock, &mut done).await;
    }
    drop_days(connection, days, &planned.drop, clock, &mut done).await;
    let left = catalog(connection).await?.present;
    done.days_ahead = Some(days_ahead(now, &left));
    done.oldest_ok = oldest(Class::Ok, &left);
    done.oldest_error = oldest(Class::Error, &left);
    Ok(done)
}

/// Goes on after a failure, as long as there is time: one day that cannot be made is no reason to have none
/// of those behind it.
async fn make_days(
    connection: &mut AsyncPgConnection,
    wanted: &[Day],
    clock: &Clock,
    done: &mut Maintained,
) {
    let start = clock.now();
    for day in wanted {
        if let Err(error) = make(connection, *day).await {
            done.problem = done.problem.take().or_else(|| Some(error.chain()));
            if clock.now().since(start) > PASS_BUDGET {
                return;
            }
        }
    }
}

/// Goes on after a failure: one day that somebody holds must not keep the others.
async fn drop_days(
    connection: &mut AsyncPgConnection,
    days: &mut Days,
    old: &[Drop],
    clock: &Clock,
    done: &mut Maintained,
) {
    let start = clock.now();
    for (at, one) in old.iter().enumerate() {
        if at == DROPS_MAX || clock.now().since(start) > PASS_BUDGET {
            done.more = true;
            return;
        }
        match drop_day(connection, *one).await {
            Ok(Dropped::Now) => {
                days.forget(one.day);
                done.dropped += 1;
            }
            // Somebody else did, so the next record of such a day asks the catalog again.
            Ok(Dropped::Before) => days.forget(one.day),
            Ok(Dropped::Kept) => {}
            // It will be found done, or left to us.
            Ok(Dropped::Busy) => {
                done.more = true;
                return;
            }
            Err(error) => done.problem = done.problem.take().or_else(|| Some(error.chain())),
        }
    }
}

/// What became of an old day.
enum Dropped {
    Now,
    Before,
    Kept,
    Busy,
}

/// Drops rows, payloads and audit entries of a day together, unless its bounds are not those of a day, or a run in
/// it began inside the retention, which takes an id whose time is not that of its run.
async fn drop_day(connection: &mut AsyncPgConnection, old: Drop) -> Result<Dropped, StoreError> {
    let Drop { day, class, cutoff } = old;
    let statement = format!(
        "SELECT obs.drop_day('{class}', '1970-01-01'::date + {}, \
         '1970-01-01Z'::timestamptz + {} * interval '1 microsecond')",
        day.number(),
        cutoff.as_micros(),
    );
    let answer =
        sql::<Text>(&statement).get_result::<String>(connection).await.map_err(|source| {
            let what =
                format!("cannot drop the {class} rows of {day}, which are past their retention");
            StoreError::transient(what, source)
        })?;
    Ok(match answer.as_str() {
        "dropped" => Dropped::Now,
        "gone" => Dropped::Before,
        "busy" => Dropped::Busy,
        _ => Dropped::Kept,
    })
}

/// Locks nothing, so that nobody's lock holds up the records behind us.
async fn catalog(connection: &mut AsyncPgConnection) -> Result<Catalog, StoreError> {
    let unreadable = |source| StoreError::transient("cannot list the partitions", source);
    let rows = sql::<(Text, Text, Bool)>(
        "SELECT parent.relname::text, child.relname::text, \
         pg_has_role(child.relowner, 'USAGE') \
         FROM pg_catalog.pg_inherits \
         JOIN pg_catalog.pg_class child ON child.oid = inhrelid \
         JOIN pg_catalog.pg_class parent ON parent.oid = inhparent \
         WHERE parent.relkind = 'p' AND parent.relnamespace = 'obs'::regnamespace \
         AND child.relkind = 'r' AND child.relnamespace = parent.relnamespace AND NOT inhdetachpending",
    )
    .load::<(String, String, bool)>(connection)
    .await
    .map_err(unreadable)?;
    let micros = sql::<BigInt>("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        .get_result::<i64>(connection)
        .await
        .map_err(unreadable)?;
    let present = rows.iter().filter_map(|(parent, child, may_drop)| {
        let (table, day) = named_by_us(parent, child)?;
        Some(Present { day, table, may_drop: *may_drop })
    });
    Ok(Catalog { present: present.collect(), server_now: Timestamp::from_micros(micros) })
}

/// The table and day of a partition with a name of ours.
fn named_by_us(parent: &str, child: &str) -> Option<(&'static str, Day)> {
    let table = TABLES.into_iter().find(|table| *table == parent)?;
    let day = Day::parse(child.strip_prefix(table)?.strip_prefix('_')?)?;
    (child == partition(table, day)).then_some((table, day))
}

#[cfg(test)]
mod tests;
