//! Days made ahead and dropped, against a real server; the calendar moves when a test says so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use obs_core::{
    Clock, KeptRows, ManualClock, RunRecord, StoreMetrics, StoreState, Timestamp, testing::record,
};
use obs_persist::{
    MaintainFuture, PersistConfig, Persister, Retention, Store, StoreFuture, StoreUrl,
    testing::MemoryStore,
};
use uuid::Uuid;

use crate::{
    support::{
        Live, SOON, count, database, database_name, execute, failed, postgres, timed, try_postgres,
        until,
    },
    worker::{lines, listen},
};

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);
const OURS: &str = "pg_inherits WHERE inhparent IN ('obs.run_ok'::regclass, 'obs.run_ok_payload'::regclass, \
                    'obs.run_error'::regclass, 'obs.run_error_payload'::regclass)";

/// A persister whose calendar is a manual clock, set to the present.
struct Moved {
    live: Live,
    calendar: ManualClock,
    metrics: StoreMetrics,
}

impl Moved {
    fn open(url: &str) -> Self {
        Self::with(url, |_| {})
    }

    fn with(url: &str, change: impl FnOnce(&mut PersistConfig)) -> Self {
        let calendar = ManualClock::new();
        let behind = now().as_micros() - Clock::from(&calendar).wall().as_micros();
        calendar.jump_wall(behind);
        let mut config = PersistConfig::default();
        config.linger = SOON;
        change(&mut config);
        let store = StoreUrl::parse(url).unwrap().store();
        let clock = Clock::from(&calendar);
        let metrics = StoreMetrics::default();
        let persister =
            Persister::start_with_calendar(config, store, metrics.clone(), clock).unwrap();
        let sink = persister.sink();
        let live = Live { test: obs_core::testing::TestObs::new(), persister, sink };
        until("it is connected", || live.persister.state() == StoreState::Up);
        Self { live, calendar, metrics }
    }

    /// Lets time pass, and wakes the worker.
    fn pass(&self, time: Duration) {
        self.calendar.advance(time);
        self.write(record("today", "1"));
    }

    fn write(&self, record: RunRecord) {
        self.live.submit(record);
        self.live.flush();
    }
}

fn now() -> Timestamp {
    Clock::default().wall()
}

/// The name's date of the day that was so many days ago.
fn date(url: &str, days_ago: i64) -> String {
    postgres(
        url,
        &format!("SELECT to_char((now() AT TIME ZONE 'UTC')::date - {days_ago}, 'YYYYMMDD')"),
    )
    .remove(0)
}

/// A run that began so many days ago.
pub(crate) fn aged(mut record: RunRecord, days_ago: i64) -> RunRecord {
    let micros = now().as_micros() - days_ago * 86_400_000_000;
    record.started_at = Timestamp::from_micros(micros);
    record.finished_at = record.started_at;
    let random = record.run_id.as_u128() & ((1 << 80) - 1);
    record.run_id = Uuid::from_u128(u128::try_from(micros / 1_000).unwrap() << 80 | random);
    record
}

/// Rows of both classes on each of these days, written without any retention.
fn fill(url: &str, days: &[i64]) {
    let filler = Moved::with(url, |config| {
        config.retention_ok = None;
        config.retention_error = None;
    });
    for day in days {
        filler.live.submit(aged(record("old", "1"), *day));
        filler.live.submit(aged(failed("old"), *day));
    }
    filler.live.flush();
    assert_eq!(count(url, "obs.run"), days.len() * 2);
}

fn exists(url: &str, table: &str, days_ago: i64) -> bool {
    let name = format!("obs.{table}_{}", date(url, days_ago));
    postgres(url, &format!("SELECT to_regclass('{name}') IS NOT NULL")) == ["t"]
}

fn said(url: &str, part: &str) -> usize {
    lines(database_name(url)).iter().filter(|line| line.contains(part)).count()
}

#[test]
fn old_days_are_dropped_and_only_those_and_errors_outlive_oks() {
    let url = database();
    fill(&url, &[0, 5, 29, 30, 31, 60, 179, 180, 181, 400]);
    execute(
        &url,
        "CREATE TABLE obs.run_ok_20200101 (kept int); CREATE TABLE obs.run_ok_archive (LIKE obs.run_ok INCLUDING CONSTRAINTS); \
         ALTER TABLE obs.run_ok ATTACH PARTITION obs.run_ok_archive \
         FOR VALUES FROM ('00000000-0000-0000-0000-000000000000') TO ('00000000-0001-0000-0000-000000000000'); \
         CREATE TABLE obs.run_ok_20100101 (LIKE obs.run_ok INCLUDING CONSTRAINTS); \
         ALTER TABLE obs.run_ok ATTACH PARTITION obs.run_ok_20100101 \
         FOR VALUES FROM ('00000000-0002-0000-0000-000000000000') TO ('00000000-0003-0000-0000-000000000000')",
    );
    let moved = Moved::open(&url);
    until("the oldest error is gone", || !exists(&url, "run_error_payload", 181));
    moved.live.flush();
    let kept = |class: &str, payload: &str| -> Vec<i64> {
        let table = format!("run_{class}{payload}");
        [0, 5, 29, 30, 31, 60, 179, 180, 181, 400]
            .into_iter()
            .filter(|day| exists(&url, &table, *day))
            .collect()
    };
    // 30 days ago began a day that ended less than 30 days ago: it is the boundary day.
    assert_eq!(kept("ok", ""), [0, 5, 29, 30]);
    assert_eq!(kept("ok", "_payload"), [0, 5, 29, 30]);
    assert_eq!(kept("error", ""), [0, 5, 29, 30, 31, 60, 179, 180]);
    assert_eq!(kept("error", "_payload"), [0, 5, 29, 30, 31, 60, 179, 180]);
    assert_eq!((count(&url, "obs.run"), count(&url, "obs.run_payload")), (12, 12));
    assert_eq!(count(&url, "obs.run_ok_20200101"), 0);
    assert_eq!(count(&url, "obs.run_ok_archive"), 0);
    assert_eq!(count(&url, "obs.run_ok_20100101"), 0);
    // A late row of a dropped day is still written.
    moved.write(aged(record("late", "1"), 60));
    assert_eq!(count(&url, "obs.run"), 13);
}

#[test]
fn a_day_that_holds_a_run_from_inside_the_retention_is_kept() {
    let url = database();
    fill(&url, &[60]);
    let writer = Moved::with(&url, |config| config.retention_ok = None);
    let mut odd = aged(record("odd", "1"), 50);
    odd.started_at = now();
    writer.write(odd);
    drop(writer);
    let moved = Moved::open(&url);
    until("the other day is gone", || !exists(&url, "run_ok", 60));
    // Written after that maintenance came to its end.
    moved.write(failed("today"));
    assert_eq!(postgres(&url, "SELECT strategy_id FROM obs.run_ok"), ["odd"]);
}

#[test]
fn a_process_whose_clock_is_years_ahead_drops_nothing() {
    let url = database();
    fill(&url, &[0, 5]);
    let moved = Moved::open(&url);
    moved.pass(DAY * 3_650);
    until("days were made", || count(&url, OURS) >= 4 * 17);
    // Written after that maintenance came to its end.
    moved.write(record("today", "1"));
    assert_eq!(count(&url, "obs.run WHERE strategy_id = 'old'"), 4);
}

#[test]
fn four_processes_at_once_drop_each_day_once_and_none_of_them_fails() {
    listen();
    let url = database();
    fill(&url, &(31..81).collect::<Vec<_>>());
    let all: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| Moved::open(&url))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    until("all are gone", || {
        // Whoever did not get the lock, or has more to do, comes back in a second.
        all.iter().for_each(|moved| moved.pass(Duration::from_secs(2)));
        count(&url, "obs.run_ok WHERE strategy_id = 'old'") == 0
    });
    assert_eq!(count(&url, "obs.run_error WHERE strategy_id = 'old'"), 50);
    // Said after it is done.
    until("each day was dropped by one of them", || {
        let lines = lines(database_name(&url));
        let days = lines.iter().filter_map(|line| line.split_once("days=")?.1.split(' ').next());
        days.map(|days| days.parse::<usize>().unwrap()).sum::<usize>() == 50
    });
    // A writer whose commit takes its time is waited for a quarter of a second, which is all that may go wrong.
    let lines = lines(database_name(&url));
    let failed = |line: &&String| line.contains("held up") && !line.contains("lock timeout");
    let mut wrong = lines.iter().filter(|line| failed(line) || line.contains("is down"));
    assert_eq!(wrong.next(), None);
}

#[test]
fn a_reader_in_the_way_is_given_up_soon_and_tried_again_later() {
    listen();
    let url = database();
    fill(&url, &[60]);
    std::thread::scope(|scope| {
        let (done, wait) = std::sync::mpsc::sync_channel::<()>(1);
        let holder = scope.spawn(|| {
            execute(
                &url,
                "BEGIN; SELECT count(*) FROM obs.run_payload; SELECT pg_sleep(4); COMMIT",
            );
            drop(done);
        });
        until("it reads", || {
            count(&url, "pg_locks WHERE relation = 'obs.run_ok_payload'::regclass AND granted") > 0
        });
        let moved = Moved::open(&url);
        until("it is given up", || said(&url, "held up") == 1);
        for _ in 0..5 {
            let ((), took) = timed(|| moved.pass(MINUTE));
            assert!(took < Duration::from_secs(2), "{took:?}");
        }
        assert!(wait.try_recv().is_err_and(|error| error == std::sync::mpsc::TryRecvError::Empty));
        assert!(exists(&url, "run_ok", 60) && exists(&url, "run_ok_payload", 60));
        assert_eq!((said(&url, "held up"), said(&url, "is down")), (1, 0));
        holder.join().unwrap();
        moved.pass(MINUTE);
        until("it is dropped", || !exists(&url, "run_ok", 60));
        until("it is said", || said(&url, "work again") == 1);
        assert!(exists(&url, "run_error", 60));
    });
}

#[test]
fn days_ahead_appear_while_the_process_runs() {
    let url = database();
    let moved = Moved::open(&url);
    assert!(exists(&url, "run_ok", -7) && !exists(&url, "run_ok", -8));
    for days in 1..=10 {
        moved.pass(DAY);
        until("another day is there", || exists(&url, "run_error_payload", -7 - days));
    }
    assert_eq!(count(&url, OURS), 4 * 19);
}

#[test]
fn a_day_ahead_that_cannot_be_made_holds_up_neither_rows_nor_the_days_behind_it() {
    listen();
    let url = database();
    fill(&url, &[0]);
    // Three days ahead the name is taken by something else.
    let taken = format!("obs.run_ok_{}", date(&url, -3));
    let ahead: Vec<_> =
        (1..=7).flat_map(|days| [("run_ok", -days), ("run_ok_payload", -days)]).collect();
    for (table, days) in ahead {
        execute(&url, &format!("DROP TABLE obs.{table}_{}", date(&url, days)));
    }
    execute(&url, &format!("CREATE TABLE {taken} (kept int)"));
    let moved = Moved::open(&url);
    moved.write(record("today", "1"));
    assert_eq!(count(&url, "obs.run WHERE strategy_id = 'today'"), 1);
    until("it is said", || said(&url, "held up") == 1);
    assert_eq!(said(&url, "is down"), 0);
    until("metrics show it", || moved.metrics.days_ahead() == Some(2));
    assert!(exists(&url, "run_ok_payload", -7), "the days behind it are there");
    execute(&url, &format!("DROP TABLE {taken}"));
    moved.pass(MINUTE);
    until("it is made", || moved.metrics.days_ahead() == Some(7));
    until("that is said, too", || said(&url, "work again") == 1);
}

#[test]
fn a_role_that_may_only_insert_is_warned_three_days_before_the_days_run_out() {
    listen();
    let url = database();
    fill(&url, &[60]);
    let role = format!("{}_writer", database_name(&url));
    execute(
        &url,
        &format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA obs TO {role}; \
             GRANT INSERT, SELECT (run_id) ON obs.run_ok, obs.run_ok_payload, obs.run_error, obs.run_error_payload TO {role}"
        ),
    );
    let (_, host) = url.split_once('@').unwrap();
    let moved = Moved::open(&format!("postgres://{role}@{host}"));
    until("it is said", || said(&url, "belong to another role") == 1);
    for days in 1..=3 {
        moved.pass(DAY);
        assert_eq!(said(&url, "run out"), 0, "{days}");
    }
    moved.pass(DAY);
    until("it is warned", || said(&url, "run out") == 1);
    moved.pass(DAY);
    moved.pass(DAY);
    assert_eq!((said(&url, "run out"), said(&url, "belong to"), said(&url, "is down")), (1, 1, 0));
    // A new connection of such a role works, too, whatever is missing ahead.
    execute(
        &url,
        &format!("DROP TABLE obs.run_ok_{}, obs.run_ok_payload_{}", date(&url, -7), date(&url, -7)),
    );
    let again = Live::open(&format!("postgres://{role}@{host}"));
    again.submit(record("again", "1"));
    again.flush();
    assert_eq!(count(&url, "obs.run WHERE strategy_id = 'again'"), 1);
    assert!(try_postgres(&format!("postgres://{role}@{host}"), "DROP TABLE obs.run_ok").is_err());
}

#[test]
fn metrics_know_how_far_a_store_goes_back_and_ahead() {
    let url = database();
    fill(&url, &[0, 29, 60, 179, 400]);
    let beginning = |days_ago: i64| {
        let days = now().as_micros().div_euclid(86_400_000_000) - days_ago;
        Some(Timestamp::from_micros(days * 86_400_000_000))
    };
    let today = KeptRows {
        room_until: beginning(-8),
        oldest_ok: beginning(29),
        oldest_error: beginning(179),
    };
    let moved = Moved::open(&url);
    until("what is past its retention is gone", || moved.metrics.kept() == today);
    assert_eq!(moved.metrics.days_ahead(), Some(7));
    moved.pass(2 * DAY);
    // The server's clock has not moved, so nothing is old enough to go.
    let later = KeptRows { room_until: beginning(-10), ..today };
    until("two days later", || moved.metrics.kept() == later);
}

/// A store whose maintenance goes wrong, in the given way.
#[derive(Debug)]
struct Unmaintainable {
    rows: MemoryStore,
    calls: Arc<AtomicU32>,
    hangs: bool,
}

impl Store for Unmaintainable {
    fn name(&self) -> String {
        format!("unmaintainable-{}", self.hangs)
    }
    fn prepare(&mut self) -> StoreFuture<'_> {
        self.rows.prepare()
    }
    fn write(&mut self, batch: Arc<[RunRecord]>) -> StoreFuture<'_> {
        self.rows.write(batch)
    }
    fn canary(&mut self, row: Box<RunRecord>) -> StoreFuture<'_> {
        self.rows.canary(row)
    }
    fn maintain(&mut self, _: Timestamp, _: Retention) -> MaintainFuture<'_> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let hangs = self.hangs;
        Box::pin(async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            std::panic::resume_unwind(Box::new("told to panic"))
        })
    }
    fn close(&mut self) -> StoreFuture<'_> {
        self.rows.close()
    }
}

fn unmaintainable(hangs: bool) -> (Live, MemoryStore, Arc<AtomicU32>) {
    let (rows, calls) = (MemoryStore::new(), Arc::default());
    let store = Unmaintainable { rows: rows.clone(), calls: Arc::clone(&calls), hangs };
    (Live::over(Box::new(store), PersistConfig::default()), rows, calls)
}

#[test]
fn maintenance_that_panics_costs_no_record_and_is_not_tried_at_once() {
    let (live, rows, calls) = unmaintainable(false);
    for written in 1..=20 {
        live.submit(record("bonus", "1"));
        live.flush();
        assert_eq!(rows.rows().len(), written);
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn maintenance_that_hangs_is_given_up_and_a_shutdown_does_not_wait_for_it() {
    listen();
    let (live, rows, calls) = unmaintainable(true);
    until("it hangs", || calls.load(Ordering::Relaxed) == 1);
    live.submit(record("bonus", "1"));
    let ((), took) = timed(|| live.flush());
    assert!(took < Duration::from_secs(7), "{took:?}");
    assert_eq!(rows.rows().len(), 1);
    let held: Vec<_> = lines("unmaintainable-true");
    assert!(held.iter().any(|line| line.contains("longer than 5s")), "{held:?}");

    let (live, rows, calls) = unmaintainable(true);
    until("it hangs", || calls.load(Ordering::Relaxed) == 1);
    live.submit(record("bonus", "1"));
    let (report, took) = timed(|| live.persister.shutdown_blocking(Duration::from_secs(20)));
    assert!(report.complete && took < Duration::from_secs(2), "{report} {took:?}");
    assert_eq!(rows.rows().len(), 1);
}
