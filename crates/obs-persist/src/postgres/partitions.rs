//! One partition per UTC day and table, as ranges of run ids.

use std::{collections::BTreeSet, fmt, fmt::Write};

use diesel::{dsl::sql, sql_types};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use obs_core::Timestamp;
use uuid::Uuid;

use super::schema::Lock;
use crate::store::StoreError;

/// Days before today that are made at the start, for runs that began before midnight.
pub(super) const DAYS_BEFORE: i64 = 1;

/// Days after today that are made at the start.
pub(super) const DAYS_AFTER: i64 = 7;

/// How many days are remembered; past it the catalog is asked again.
const REMEMBERED_MAX: usize = 4_096;

/// The partitioned tables.
pub(super) const TABLES: [&str; 4] = ["run_ok", "run_ok_payload", "run_error", "run_error_payload"];

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
    pub(super) fn around(self) -> impl Iterator<Item = Self> {
        (-DAYS_BEFORE..=DAYS_AFTER).map(move |offset| Self((self.0 + offset).max(0)))
    }

    /// The smallest id of this day.
    pub(super) fn first_id(self) -> Bound {
        let millis = self.0.saturating_mul(MILLIS_PER_DAY);
        match u128::try_from(millis) {
            Ok(millis) if self.0 * MILLIS_PER_DAY < MILLIS_END => {
                Bound::Id(Uuid::from_u128(millis << 80))
            }
            _ => Bound::End,
        }
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
        // As in `Display`: years begin on 1 March.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
        let days = 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1;
        let parsed = Self(era * 146_097 + days - 719_468);
        (parsed.0 >= 0 && parsed.to_string() == name).then_some(parsed)
    }

    /// The moment when it is over.
    pub(super) const fn end(self) -> Timestamp {
        Timestamp::from_micros(self.next().0.saturating_mul(1_000 * MILLIS_PER_DAY))
    }
}

pub(super) enum Bound {
    Id(Uuid),
    End,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "'{id}'"),
            Self::End => f.write_str("MAXVALUE"),
        }
    }
}

/// `20261121`: the Gregorian date.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Years begin on 1 March here, so that the leap day is the last of its year; eras of 400
        // years all have the same days.
        const DAYS_TO_1970: i64 = 719_468;
        const DAYS_PER_ERA: i64 = 146_097;
        let days = self.0 + DAYS_TO_1970;
        let (era, day) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        write!(f, "{:04}{month:02}{day:02}", era * 400 + year + next_year)
    }
}

/// The days whose partitions are known to exist.
#[derive(Debug, Default)]
pub(super) struct Days(BTreeSet<Day>);

impl Days {
    /// Makes the partitions of the days that have none, and remembers them all.
    pub(super) async fn ensure(
        &mut self,
        connection: &mut AsyncPgConnection,
        wanted: impl Iterator<Item = Day>,
    ) -> Result<(), StoreError> {
        let unknown: BTreeSet<Day> = wanted.filter(|day| !self.0.contains(day)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        if !self.missing(connection, &unknown).await?.is_empty() {
            let lock = Lock::take(connection).await?;
            // Somebody else may have made them meanwhile.
            for (table, day) in self.missing(connection, &unknown).await? {
                create(connection, table, day).await?;
            }
            lock.release(connection).await?;
        }
        if self.0.len() + unknown.len() > REMEMBERED_MAX {
            self.0.clear();
        }
        self.0.extend(unknown);
        Ok(())
    }

    /// These were dropped: the next record of such a day asks the catalog again.
    pub(super) fn forget(&mut self, dropped: &[Day]) {
        self.0.retain(|day| !dropped.contains(day));
    }

    /// The partitions of these days that do not exist.
    async fn missing(
        &self,
        connection: &mut AsyncPgConnection,
        days: &BTreeSet<Day>,
    ) -> Result<Vec<(&'static str, Day)>, StoreError> {
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
        let wanted = days.iter().flat_map(|day| TABLES.map(|table| (table, *day)));
        Ok(wanted.filter(|(table, day)| !existing.contains(&partition(table, *day))).collect())
    }
}

pub(super) fn partition(table: &str, day: Day) -> String {
    format!("{table}_{day}")
}

/// Whether this role may make partitions: attaching takes the owner of the parents.
pub(super) async fn may_make(connection: &mut AsyncPgConnection) -> Result<bool, StoreError> {
    sql::<sql_types::Bool>(
        "SELECT has_schema_privilege('obs', 'CREATE') AND bool_and(pg_has_role(relowner, 'USAGE')) \
         FROM pg_catalog.pg_class WHERE relkind = 'p' AND relnamespace = 'obs'::regnamespace",
    )
    .get_result::<bool>(connection)
    .await
    .map_err(|source| StoreError::transient("cannot read what this role may do", source))
}

/// Makes one partition. Attaching a table that is ready takes a lock that lets readers and writers
/// of its parent pass; `CREATE TABLE … PARTITION OF` would wait for every reader, and make everybody
/// else wait for it.
pub(super) async fn create(
    connection: &mut AsyncPgConnection,
    table: &str,
    day: Day,
) -> Result<(), StoreError> {
    let partition = partition(table, day);
    let (first, next) = (day.first_id(), day.next().first_id());
    let mut statements = String::new();
    // Writing to a string cannot fail. The statements travel together, as one transaction.
    let _ = write!(
        statements,
        "CREATE TABLE obs.{partition} \
         (LIKE obs.{table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMPRESSION INCLUDING STORAGE); \
         ALTER TABLE obs.{table} ATTACH PARTITION obs.{partition} FOR VALUES FROM ({first}) TO ({next})"
    );
    connection.batch_execute(&statements).await.map_err(|source| {
        StoreError::transient(format!("cannot make partition obs.{partition}"), source)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            (3_257_812, "108890802"),
        ];
        for (day, name) in table {
            assert_eq!(Day(day).to_string(), name, "{day}");
            assert_eq!(Day::parse(name), Some(Day(day)));
        }
    }

    #[test]
    fn a_day_begins_at_its_midnight_and_the_last_one_has_no_end() {
        assert_eq!(Day(1).first_id().to_string(), "'00000526-5c00-0000-0000-000000000000'");
        let last = day_of_id(Uuid::max());
        assert!(matches!(last.first_id(), Bound::Id(_)));
        assert!(matches!(last.next().first_id(), Bound::End));
    }

    #[test]
    fn days_before_today_and_a_week_after_are_made_ahead() {
        let days: Vec<_> = Day(100).around().collect();
        assert_eq!((days.len(), days[0], days[8]), (9, Day(99), Day(107)));
    }

    proptest! {
        #[test]
        fn every_id_lies_in_the_range_of_its_day(id: u128) {
            let id = Uuid::from_u128(id);
            let day = day_of_id(id);
            match day.first_id() {
                Bound::Id(first) => prop_assert!(first <= id),
                Bound::End => prop_assert!(false),
            }
            if let Bound::Id(next) = day.next().first_id() {
                prop_assert!(id < next);
            }
        }

        #[test]
        fn a_name_leads_back_to_its_day(day in 0..3_258_000_i64) {
            prop_assert_eq!(Day::parse(&Day(day).to_string()), Some(Day(day)));
        }

        #[test]
        fn two_days_never_share_a_name(one in 0..3_300_000_i64, other in 0..3_300_000_i64) {
            prop_assert_eq!(one == other, Day(one).to_string() == Day(other).to_string());
        }
    }
}
