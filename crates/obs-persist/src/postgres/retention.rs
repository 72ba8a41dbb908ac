//! Days made ahead while the process runs, and days dropped when they are past their retention.
//!
//! What to do is decided by [`plan`], from what the catalog says and two clocks; the rest carries it
//! out. A partition is ours if it is attached to one of our tables *and* has the name and the
//! bounds that we give: whatever somebody else attached or named is left alone.

use std::{collections::BTreeSet, fmt::Write, time::Duration};

use diesel::{
    dsl::sql,
    sql_types::{BigInt, Bool, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use obs_core::{Class, Clock, Timestamp};

use super::{
    partitions::{Day, Days, TABLES, create, day_of, may_make, partition},
    schema::Lock,
};
use crate::store::{Maintained, Retention, StoreError};

/// Days of a class that one call drops at most.
const DROPS_MAX: usize = 16;

/// No further day is begun after so long: records wait meanwhile.
const PASS_BUDGET: Duration = Duration::from_secs(1);

/// How long dropping waits for readers, in the server's words. Everybody who comes later to the
/// same table waits behind it, so it is short; readers that take longer are tried again later.
const DROP_LOCK_TIMEOUT: &str = "250ms";

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
    make: Vec<(&'static str, Day)>,
    /// The oldest first.
    drop: Vec<Drop>,
    /// Past their retention, but somebody else's to drop.
    foreign: usize,
}

/// The tables of a day of a class, and the start times that must not be in them.
#[derive(Debug, PartialEq, Eq)]
struct Drop {
    day: Day,
    tables: Vec<&'static str>,
    cutoff: Timestamp,
}

/// The tables of a class: rows, payloads.
const fn tables(class: Class) -> [&'static str; 2] {
    match class {
        Class::Ok => ["run_ok", "run_ok_payload"],
        Class::Error => ["run_error", "run_error_payload"],
    }
}

/// Days are made by the clock of this process, which also makes the run ids. A day is dropped when
/// both clocks say that its last moment is older than the retention: a process whose clock is
/// years ahead must not empty the database.
fn plan(now: Timestamp, catalog: &Catalog, retention: Retention) -> Plan {
    let has = |table, day| catalog.present.iter().any(|one| (one.table, one.day) == (table, day));
    let make = day_of(now).around().flat_map(|day| TABLES.map(|table| (table, day)));
    let make = make.filter(|(table, day)| !has(table, *day)).collect();
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
            let of_day = || old.iter().filter(|one| one.day == day);
            if of_day().all(|one| one.may_drop) {
                let tables = of_day().map(|one| one.table).collect();
                drop.push(Drop { day, tables, cutoff: Timestamp::from_micros(cutoff) });
            } else {
                foreign += 1;
            }
        }
    }
    drop.sort_by_key(|one| one.day);
    Plan { make, drop, foreign }
}

/// For how many days after today there are all tables, without a gap.
fn days_ahead(now: Timestamp, present: &BTreeSet<Present>) -> u32 {
    let complete = |day| {
        let of_day = present.iter().filter(|one| one.day == day);
        of_day.count() == TABLES.len()
    };
    let mut day = day_of(now);
    let mut days = 0;
    while complete(day.next()) {
        day = day.next();
        days += 1;
    }
    days
}

/// Makes the days around `now` and drops old ones; of several processes, one does it.
pub(super) async fn maintain(
    connection: &mut AsyncPgConnection,
    days: &mut Days,
    (now, clock): (Timestamp, &Clock),
    retention: Retention,
) -> Result<Maintained, StoreError> {
    let mut done = Maintained::default();
    let planned = plan(now, &catalog(connection).await?, retention);
    let may_make = planned.make.is_empty() || may_make(connection).await?;
    if planned.foreign > 0 {
        done.problem = Some(format!(
            "{} old days belong to another role, so this role may not drop them: let their owner run a \
             program with obs, or switch retention off here",
            planned.foreign
        ));
    }
    let work = !planned.drop.is_empty() || (may_make && !planned.make.is_empty());
    if work {
        match Lock::try_take(connection).await? {
            Some(lock) => {
                // Somebody else may have done it meanwhile.
                let planned = plan(now, &catalog(connection).await?, retention);
                let acted = act(connection, &planned, may_make, clock).await;
                lock.release(connection).await?;
                done.more = acted.more;
                done.problem = done.problem.or(acted.problem);
                done.dropped = acted.dropped.len();
                days.forget(&acted.dropped);
            }
            // It will be found done, or left to us.
            None => done.more = true,
        }
    }
    done.days_ahead = Some(days_ahead(now, &catalog(connection).await?.present));
    Ok(done)
}

#[derive(Default)]
struct Acted {
    dropped: Vec<Day>,
    more: bool,
    problem: Option<String>,
}

/// Goes on after a failure: one day that somebody holds must not keep the others.
async fn act(
    connection: &mut AsyncPgConnection,
    planned: &Plan,
    may_make: bool,
    clock: &Clock,
) -> Acted {
    let mut acted = Acted::default();
    if may_make {
        for (table, day) in &planned.make {
            if let Err(error) = create(connection, table, *day).await {
                acted.problem = Some(error.chain());
                break;
            }
        }
    }
    let start = clock.now();
    for (at, old) in planned.drop.iter().enumerate() {
        if at == DROPS_MAX || clock.now().since(start) > PASS_BUDGET {
            acted.more = true;
            break;
        }
        match drop_day(connection, old).await {
            Ok(true) => acted.dropped.push(old.day),
            Ok(false) => {}
            Err(error) => acted.problem = acted.problem.or_else(|| Some(error.chain())),
        }
    }
    acted
}

/// Drops rows and payloads of a day together; `false` if its bounds are not those of a day, or a run
/// in it began inside the retention, which takes an id whose time is not that of its run.
///
/// First the day is closed to writers and looked at; only then the drop itself locks the parent,
/// for a moment, and then the day. A stronger lock on the day at first would meet every reader
/// that comes the usual way, from the parent, in a deadlock.
async fn drop_day(connection: &mut AsyncPgConnection, old: &Drop) -> Result<bool, StoreError> {
    let names: Vec<_> =
        old.tables.iter().map(|table| format!("obs.{}", partition(table, old.day))).collect();
    let names = names.join(", ");
    let mut statements = format!(
        "SET LOCAL lock_timeout = '{DROP_LOCK_TIMEOUT}'; LOCK TABLE {names} IN SHARE MODE; \
         DO $$ BEGIN "
    );
    for table in &old.tables {
        let (name, bounds) = (partition(table, old.day), bounds(old.day));
        // Writing to a string cannot fail.
        let _ = write!(
            statements,
            "IF (SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = 'obs.{name}'::regclass) \
             IS DISTINCT FROM $b${bounds}$b$ THEN RETURN; END IF; "
        );
    }
    let rows = old.tables.iter().find(|table| !table.ends_with("_payload"));
    if let Some(table) = rows {
        let _ = write!(
            statements,
            "IF EXISTS (SELECT FROM obs.{} WHERE started_at > '1970-01-01Z'::timestamptz + {} * interval '1 microsecond') \
             THEN RETURN; END IF; ",
            partition(table, old.day),
            old.cutoff.as_micros(),
        );
    }
    // The statements travel together, as one transaction.
    let _ = write!(statements, "DROP TABLE {names}; END $$");
    connection.batch_execute(&statements).await.map_err(|source| {
        StoreError::transient(
            format!("cannot drop {names}, which are past their retention"),
            source,
        )
    })?;
    let Some(first) = old.tables.iter().min() else { return Ok(false) };
    let gone = format!("SELECT to_regclass('obs.{}') IS NULL", partition(first, old.day));
    sql::<Bool>(&gone)
        .get_result(connection)
        .await
        .map_err(|source| StoreError::transient("cannot see what was dropped", source))
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

/// The bounds that we give to a day, in the server's words.
fn bounds(day: Day) -> String {
    format!("FOR VALUES FROM ({}) TO ({})", day.first_id(), day.next().first_id())
}

#[cfg(test)]
mod tests;
