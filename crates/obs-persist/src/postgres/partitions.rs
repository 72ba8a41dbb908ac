//! One partition per UTC day and table, as ranges of run ids.

use std::{collections::BTreeSet, fmt};

use diesel::{dsl::sql, sql_types};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use obs_core::{RunRecord, Timestamp};
use uuid::Uuid;

use super::insert::Rows;
use crate::store::StoreError;

/// Days before today that are made at the start, for runs that began before midnight.
pub(super) const DAYS_BEFORE: i64 = 1;

/// Days after today that are made at the start.
pub(super) const DAYS_AFTER: i64 = 7;

/// How many days are remembered; past it the catalog is asked again.
const REMEMBERED_MAX: usize = 4_096;

/// The partitioned tables.
pub(super) const TABLES: [&str; 5] =
    ["run_ok", "run_ok_payload", "run_error", "run_error_payload", "audit"];

const MILLIS_PER_DAY: i64 = 86_400_000;

/// The time of a UUIDv7 has 48 bits.
const MILLIS_END: i64 = 1 << 48;

/// A UTC day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(i64);

pub(super) fn day_of(time: Timestamp) -> Day {
    Day(time.as_micros().div_euclid(1_000 * MILLIS_PER_DAY).clamp(0, MILLIS_END / MILLIS_PER_DAY))
}

/// The day whose partition an id belongs to.
pub(super) fn day_of_id(id: Uuid) -> Day {
    let millis = id.as_u128() >> 80;
    Day(i64::try_from(millis).unwrap_or(0) / MILLIS_PER_DAY)
}

impl Day {
    /// All of it.
    pub(super) fn whole(self) -> impl Iterator<Item = (Self, Rows)> {
        Rows::ALL.into_iter().map(move |rows| (self, rows))
    }

    pub(super) fn around(self) -> impl Iterator<Item = Self> {
        (-DAYS_BEFORE..=DAYS_AFTER).map(move |offset| Self((self.0 + offset).max(0)))
    }

    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The day of a name; `None` if there is no such date.
    pub(super) fn parse(name: &str) -> Option<Self> {
        const DIGITS_MAX: usize = 9;
        let digits = name.len() <= DIGITS_MAX && name.bytes().all(|byte| byte.is_ascii_digit());
        let number: i64 = digits.then(|| name.parse().ok())??;
        let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
        let parsed = day_of(Timestamp::from_date(year, month, day)?);
        (parsed.to_string() == name).then_some(parsed)
    }

    /// Days since 1970-01-01, as the server's functions are told.
    pub(super) const fn number(self) -> i64 {
        self.0
    }

    /// The moment when it begins.
    pub(super) const fn start(self) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_mul(1_000 * MILLIS_PER_DAY))
    }

    /// The moment when it is over.
    pub(super) const fn end(self) -> Timestamp {
        Timestamp::from_micros(self.next().0.saturating_mul(1_000 * MILLIS_PER_DAY))
    }
}

/// `20261121`: the Gregorian date.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.start().date();
        write!(f, "{year:04}{month:02}{day:02}")
    }
}

/// What a record needs of a day: the tables of its own rows. The others may be gone, e.g. those of ok runs, which
/// are kept for a shorter time, or may never have been, as in a day from before the audit trail.
pub(super) fn needed_by(record: &RunRecord) -> (Day, Rows) {
    (day_of_id(record.run_id), Rows::of(record))
}

/// The days whose partitions are known to exist, and which of them.
#[derive(Debug, Default)]
pub(super) struct Days(BTreeSet<(Day, Rows)>);

impl Days {
    /// Makes the partitions of the days that lack one of those, and remembers them all.
    pub(super) async fn ensure(
        &mut self,
        connection: &mut AsyncPgConnection,
        wanted: impl Iterator<Item = (Day, Rows)>,
    ) -> Result<(), StoreError> {
        let unknown: BTreeSet<_> = wanted.filter(|one| !self.0.contains(one)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let missing = self.missing(connection, &unknown).await?;
        if let Some(first) = missing.iter().next()
            && !may_make(connection).await?
        {
            return Err(nobody_made(*first));
        }
        for day in missing {
            make(connection, day).await?;
        }
        if self.0.len() + unknown.len() > REMEMBERED_MAX {
            self.0.clear();
        }
        self.0.extend(unknown);
        Ok(())
    }

    /// It was dropped: the next record of that day asks the catalog again.
    pub(super) fn forget(&mut self, dropped: Day) {
        for rows in Rows::ALL {
            self.0.remove(&(dropped, rows));
        }
    }

    /// Those of these days of which a table is missing that is needed.
    async fn missing(
        &self,
        connection: &mut AsyncPgConnection,
        wanted: &BTreeSet<(Day, Rows)>,
    ) -> Result<BTreeSet<Day>, StoreError> {
        let existing: BTreeSet<String> = sql::<sql_types::Text>(
            "SELECT child.relname::text \
             FROM pg_catalog.pg_inherits \
             JOIN pg_catalog.pg_class child ON child.oid = inhrelid \
             JOIN pg_catalog.pg_class parent ON parent.oid = inhparent \
             WHERE parent.relkind = 'p' AND parent.relnamespace = 'obs'::regnamespace",
        )
        .load::<String>(connection)
        .await
        .map_err(|source| StoreError::transient("cannot list the partitions", source))?
        .into_iter()
        .collect();
        let is_there = |(day, rows): &(Day, Rows)| {
            rows.tables().iter().all(|table| existing.contains(&partition(table, *day)))
        };
        Ok(wanted.iter().filter(|one| !is_there(one)).map(|(day, _)| *day).collect())
    }
}

pub(super) fn partition(table: &str, day: Day) -> String {
    format!("{table}_{day}")
}

/// Whether this role may make days. The function acts with the rights of its owner, so a role that
/// may do little else may.
pub(super) async fn may_make(connection: &mut AsyncPgConnection) -> Result<bool, StoreError> {
    sql::<sql_types::Bool>(
        "SELECT pg_catalog.has_function_privilege('obs.make_day(date)', 'EXECUTE')",
    )
    .get_result::<bool>(connection)
    .await
    .map_err(|source| StoreError::transient("cannot read what this role may do", source))
}

/// Makes what is missing of a day, unless somebody else does meanwhile.
pub(super) async fn make(connection: &mut AsyncPgConnection, day: Day) -> Result<(), StoreError> {
    let made = format!("SELECT obs.make_day('1970-01-01'::date + {})", day.number());
    let made = sql::<sql_types::Integer>(&made).get_result::<i32>(connection).await;
    made.map(drop).map_err(|source| {
        StoreError::transient(format!("cannot make the partitions of {day}"), source)
    })
}

fn nobody_made(day: Day) -> StoreError {
    StoreError::permanent(format!(
        "there are no partitions for {day} (UTC), and this role may not make them: GRANT EXECUTE ON FUNCTION \
         obs.make_day(date) to it, or let a role that may run `obs migrate` once a day; rows wait until then"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The last day that an id can be of.
    const LAST: i64 = MILLIS_END / MILLIS_PER_DAY;

    #[test]
    fn days_have_the_names_of_their_gregorian_dates() {
        let table = [
            (0, "19700101"),
            (58, "19700228"),
            (59, "19700301"),
            (11_016, "20000229"),
            (11_017, "20000301"),
            (20_454, "20260101"),
            (20_778, "20261121"),
            (47_540, "21000228"),
            (47_541, "21000301"),
            (LAST, "108890802"),
        ];
        for (day, name) in table {
            assert_eq!(Day(day).to_string(), name, "{day}");
            assert_eq!(Day::parse(name), Some(Day(day)));
        }
        // The last is behind the last day that an id can be of.
        for name in
            ["", "20261301", "20260229", "19691231", "020260101", "2026-1-1", "today", "108890803"]
        {
            assert_eq!(Day::parse(name), None, "{name}");
        }
    }

    #[test]
    fn days_before_today_and_a_week_after_are_made_ahead() {
        let days: Vec<_> = Day(100).around().collect();
        assert_eq!((days.len(), days[0], days[8]), (9, Day(99), Day(107)));
    }

    proptest! {
        #[test]
        fn a_name_leads_back_to_its_day(day in 0..=LAST) {
            prop_assert_eq!(Day::parse(&Day(day).to_string()), Some(Day(day)));
        }

        #[test]
        fn two_days_never_share_a_name(one in 0..3_300_000_i64, other in 0..3_300_000_i64) {
            prop_assert_eq!(one == other, Day(one).to_string() == Day(other).to_string());
        }
    }
}
