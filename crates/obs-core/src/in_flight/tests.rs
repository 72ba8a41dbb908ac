use std::{collections::HashSet, thread};

use super::*;
use crate::{ManualClock, Status, page::HeapPage};

struct Setting {
    in_flight: Arc<InFlight>,
    clock: ManualClock,
    mark: Mark,
}

fn key<'a>(id: &'a str, version: &'a str) -> StrategyKey<'a> {
    StrategyKey {
        id: id.into(),
        version: version.into(),
        realm: Some("acme"),
        strategy_type: None,
        hash: Some("sha256:9f2c"),
    }
}

fn enter(
    in_flight: &InFlight,
    mark: Mark,
    has_row: bool,
    now: Reading,
) -> (Slot, (Uuid, Timestamp)) {
    let (mut id, mut taken) = (Id::Unknown, None);
    in_flight.enter((mark, has_row), now, (&mut id, &mut taken));
    let Id::Seeded(seed) = id else { panic!("{id:?}") };
    let slot = taken.map_or(Slot::NONE, |taken| taken.slot);
    (slot, seed.id_at(in_flight.clock.rate().nanos(now)))
}

fn series() -> Arc<Series> {
    crate::Obs::builder().build().unwrap().kind("dsl").lookup("any", "1").series()
}

impl Setting {
    fn new() -> Self {
        let clock = ManualClock::new();
        let page: Arc<dyn Page> = Arc::new(HeapPage::new(PAGE_WORDS));
        let read = Clock::from(&clock);
        let owner = PageOwner::this_process(Uuid::from_u128(7), read.wall());
        let in_flight = Arc::new(InFlight::on(page, &owner, &read).unwrap());
        let mark = in_flight.mark("dsl", &key("bonus", "3"), &series());
        Self { in_flight, clock, mark }
    }

    fn enter(&self) -> (Slot, Uuid) {
        let now = Clock::from(&self.clock).read();
        let (slot, (id, _)) = enter(&self.in_flight, self.mark, true, now);
        (slot, id)
    }

    fn words(&self) -> Vec<u64> {
        self.in_flight.page.words().iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    fn dead(&self) -> LostRuns {
        read_page(&self.words()).unwrap()
    }

    fn ids(&self) -> HashSet<Uuid> {
        self.dead().runs.iter().map(|run| run.run_id).collect()
    }
}

const fn is_none(slot: Slot) -> bool {
    slot.0 == u16::MAX
}

#[test]
fn a_process_dies_with_the_runs_that_have_not_ended() {
    let setting = Setting::new();
    let (ended, _) = setting.enter();
    let (_, first) = setting.enter();
    setting.clock.advance(Duration::from_millis(3));
    let (_, second) = setting.enter();
    setting.in_flight.leave(ended);
    setting.clock.advance(Duration::from_secs(60));
    setting.in_flight.measure();
    let dead = setting.dead();
    assert_eq!(dead.runs.iter().map(|run| run.run_id).collect::<Vec<_>>(), [first, second]);
    assert_eq!((dead.torn, dead.without_slot), (0, 0));
    let record = &dead.records()[1];
    assert_eq!((record.run_id, record.status), (second, Status::Lost));
    assert_eq!(record.epoch, Uuid::from_u128(7));
    assert_eq!(record.error_type.as_deref(), Some("lost"));
    assert_eq!(record.duration, Duration::from_secs(60), "it was seen alive so long");
    assert_eq!(
        (&*record.kind, &*record.strategy_id, &*record.strategy_version),
        ("dsl", "bonus", "3")
    );
    assert_eq!((record.realm.as_deref(), record.strategy_type.as_deref()), (Some("acme"), None));
    assert_eq!(record.strategy_hash.as_deref(), Some("sha256:9f2c"));
}

#[test]
fn a_page_without_the_rate_of_its_clock_is_an_error_that_says_so() {
    let setting = Setting::new();
    let (_, _) = setting.enter();
    let mut words = setting.words();
    words[slots::RATE_AT] = 0;
    assert_eq!(read_page(&words), Err(PageError::Value { word: slots::RATE_AT, value: 0 }));
}

#[test]
fn a_thread_that_runs_one_after_another_uses_one_slot() {
    let setting = Setting::new();
    let slots: HashSet<u16> = (0..1_000)
        .map(|_| {
            let (slot, _) = setting.enter();
            setting.in_flight.leave(slot);
            slot.0
        })
        .collect();
    assert_eq!(slots.len(), 1);
}

#[test]
fn an_id_is_a_version_7_uuid_of_its_start_and_no_two_are_the_same() {
    let setting = Setting::new();
    let mut ids = HashSet::new();
    for _ in 0..10_000 {
        let now = Clock::from(&setting.clock).read();
        let (slot, (id, started_at)) = enter(&setting.in_flight, setting.mark, true, now);
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        assert_eq!(id.as_u128() >> 80, u128::from(started_at.as_micros().unsigned_abs() / 1_000));
        assert_eq!(started_at, Clock::from(&setting.clock).wall());
        assert!(ids.insert(id));
        setting.in_flight.leave(slot);
        setting.clock.advance(Duration::from_micros(1_700));
    }
}

#[test]
fn a_wall_clock_that_is_set_shows_within_ten_milliseconds() {
    let setting = Setting::new();
    let started_at = || {
        let now = Clock::from(&setting.clock).read();
        enter(&setting.in_flight, setting.mark, true, now).1.1
    };
    started_at();
    setting.clock.jump_wall(-3_600_000_000);
    setting.clock.advance(Duration::from_millis(10));
    assert_eq!(started_at(), Clock::from(&setting.clock).wall());
}

#[test]
fn ten_thousand_nested_runs_have_a_slot_as_long_as_there_are_some_and_are_counted_then() {
    let setting = Setting::new();
    let runs: Vec<_> = (0..10_000).map(|_| setting.enter()).collect();
    let without = runs.iter().filter(|(slot, _)| is_none(*slot)).count();
    assert_eq!(without, 10_000 - SLOTS);
    assert_eq!(setting.in_flight.untracked().runs, without as u64);
    let with: HashSet<Uuid> =
        runs.iter().filter(|(slot, _)| !is_none(*slot)).map(|(_, id)| *id).collect();
    assert_eq!(setting.ids(), with);
    setting.in_flight.measure();
    assert_eq!(setting.dead().without_slot, without as u64);
    runs.iter().for_each(|(slot, _)| setting.in_flight.leave(*slot));
    assert_eq!(setting.ids(), HashSet::new());
    assert!(!is_none(setting.enter().0));
}

#[test]
fn a_run_that_ends_on_another_thread_frees_its_slot() {
    let setting = Setting::new();
    for _ in 0..3 * SLOTS {
        let (slot, _) = setting.enter();
        assert!(!is_none(slot));
        thread::scope(|scope| {
            // Starting a thread for each would take long; one in a hundred shows it.
            if slot.0 % 100 == 0 {
                scope.spawn(|| setting.in_flight.leave(slot));
            } else {
                setting.in_flight.leave(slot);
            }
        });
    }
    assert!(setting.dead().runs.is_empty());
}

#[test]
fn threads_that_come_and_go_give_their_blocks_back_with_the_runs_that_go_on() {
    let setting = Setting::new();
    let mut going_on = HashSet::new();
    for number in 0..4 * BLOCKS {
        let (slot, id) = thread::scope(|scope| scope.spawn(|| setting.enter()).join().unwrap());
        assert!(!is_none(slot), "thread {number} found none");
        if number % 64 == 0 {
            going_on.insert(id);
        } else {
            setting.in_flight.leave(slot);
        }
    }
    assert_eq!(setting.ids(), going_on, "nobody overwrote a run that goes on");
}

#[test]
fn a_thread_that_had_many_runs_leaves_room_for_others_once_they_have_ended() {
    let setting = Setting::new();
    let hog: Vec<_> = (0..SLOTS).map(|_| setting.enter()).collect();
    let other = || thread::scope(|scope| scope.spawn(|| setting.enter()).join().unwrap());
    assert!(is_none(other().0), "the pool is empty");
    hog.iter().for_each(|(slot, _)| setting.in_flight.leave(*slot));
    setting.clock.advance(Duration::from_nanos(ANCHOR_NANOS));
    setting.in_flight.leave(setting.enter().0);
    assert!(!is_none(other().0));
}

#[test]
fn every_run_of_several_threads_is_found_exactly_while_it_runs() {
    const THREADS: usize = 4;
    let setting = Setting::new();
    let done = std::sync::Barrier::new(THREADS + 1);
    let open: HashSet<Uuid> = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (setting, done) = (&setting, &done);
                scope.spawn(move || {
                    let mut open = Vec::new();
                    for number in 0..2_000_usize {
                        open.push(setting.enter());
                        if (number + thread) % 3 != 0 {
                            let (slot, _) = open.swap_remove(number % open.len());
                            setting.in_flight.leave(slot);
                        }
                    }
                    done.wait();
                    open
                })
            })
            .collect();
        // Meanwhile a reader never sees anything that is not whole.
        for _ in 0..50 {
            for seen in setting.in_flight.list(usize::MAX) {
                assert_eq!(&*seen.run.strategy_id, "bonus");
            }
        }
        done.wait();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .filter(|(slot, _)| !is_none(*slot))
            .map(|(_, id)| id)
            .collect()
    });
    assert_eq!(setting.ids(), open);
    assert_eq!(setting.dead().torn, 0);
}

#[test]
fn a_slot_whose_words_do_not_belong_together_is_counted_and_no_run() {
    let setting = Setting::new();
    setting.enter();
    setting.enter();
    let good = setting.words();
    let slot = good.iter().position(|word| *word == setting.dead_seal()).unwrap();
    for word in slot..slot + 5 {
        let mut words = good.clone();
        words[word] ^= 1 << 40;
        let dead = read_page(&words).unwrap();
        assert_eq!((dead.runs.len(), dead.torn), (1, 1), "word {}", word - slot);
    }
}

impl Setting {
    /// The first word of the first slot that is taken.
    fn dead_seal(&self) -> u64 {
        let words = self.in_flight.page.words();
        let taken = (0..SLOTS).find(|slot| !slots::is_free(words, *slot)).unwrap();
        words[slots::at(taken)].load(Ordering::Relaxed)
    }
}

#[test]
fn a_strategy_whose_texts_find_no_room_is_unknown_and_counted() {
    let setting = Setting::new();
    let series = series();
    let long = "x".repeat(200);
    let mut last = Mark::default();
    for number in 0..3_000 {
        let id = format!("{number}-{}", &long[..190]);
        last = setting.in_flight.mark("dsl", &key(&id, "1"), &series);
    }
    let refused = setting.in_flight.untracked().strategies;
    assert!(refused > 0);
    let now = Clock::from(&setting.clock).read();
    enter(&setting.in_flight, last, true, now);
    let dead = setting.dead();
    assert_eq!((&*dead.runs[0].strategy_id, &*dead.runs[0].kind), ("unknown", "unknown"));
    setting.in_flight.mark("dsl", &key("bonus", "3"), &series);
    assert_eq!(setting.in_flight.untracked().strategies, refused, "a known one needs no room");
}

#[test]
fn a_run_without_rows_is_in_flight_and_leaves_none() {
    let setting = Setting::new();
    let now = Clock::from(&setting.clock).read();
    enter(&setting.in_flight, setting.mark, false, now);
    assert_eq!(setting.in_flight.list(9).len(), 1);
    assert_eq!((setting.dead().runs.len(), setting.dead().torn), (0, 0));
}

#[test]
fn a_time_that_cannot_be_is_taken_for_damage() {
    let setting = Setting::new();
    let words = setting.in_flight.page.words();
    let entry = Entry { seed: [u64::MAX, 1], reading: 5, mark: 0 };
    slots::free(words, 17).unwrap().take(&entry);
    assert_eq!((setting.dead().runs.len(), setting.dead().torn), (0, 1));
}

#[test]
fn series_that_are_the_same_are_known_once() {
    let setting = Setting::new();
    let series = series();
    let (one, two) = (
        setting.in_flight.mark("dsl", &key("a", "1"), &series),
        setting.in_flight.mark("dsl", &key("b", "1"), &series),
    );
    assert_eq!(slots::series(one.0), slots::series(two.0));
    assert_ne!(slots::text(one.0), slots::text(two.0));
}

proptest::proptest! {
    // Each case copies the whole page.
    #![proptest_config(proptest::test_runner::Config { cases: 48, ..Default::default() })]

    #[test]
    fn whatever_a_page_holds_reading_it_does_not_panic(
        noise in proptest::collection::vec((0..PAGE_WORDS, proptest::num::u64::ANY), 0..200),
        head in proptest::collection::vec((0..256_usize, proptest::num::u64::ANY), 0..100),
        kept in proptest::option::of(0..=PAGE_WORDS),
    ) {
        let setting = Setting::new();
        for _ in 0..40 {
            setting.enter();
        }
        let mut words = setting.words();
        for (word, value) in noise {
            words[word] = value;
        }
        // Where the slots and the texts that are used begin.
        for (word, value) in head {
            words[slots::at(0) + word] = value;
            let texts = PAGE_WORDS - slots::TEXT_WORDS;
            words[texts + word % 16] ^= value;
        }
        words.truncate(kept.unwrap_or(PAGE_WORDS));
        if let Ok(dead) = read_page(&words) {
            proptest::prop_assert!(dead.runs.len() + usize::try_from(dead.torn).unwrap() <= SLOTS);
            let _ = dead.records();
        }
    }

    #[test]
    fn texts_are_read_as_they_were_written(
        parts in proptest::collection::vec(proptest::option::of(".{0,40}"), 6),
    ) {
        let part = |at: usize| parts[at].as_deref();
        let page = HeapPage::new(PAGE_WORDS);
        let key = StrategyKey {
            id: part(2).unwrap_or("id").into(),
            version: part(3).unwrap_or("1").into(),
            realm: part(1),
            strategy_type: part(4),
            hash: part(5),
        };
        let kind = part(0).unwrap_or("kind");
        let mut texts = Texts::default();
        let words = slots::texts(page.words());
        texts.intern(words, "before", &key);
        let place = texts.intern(words, kind, &key);
        let read = |word: usize| words[word].load(Ordering::Relaxed);
        let named = texts::decode(place as usize, words.len(), read).unwrap();
        proptest::prop_assert_eq!(&*named.kind, kind);
        proptest::prop_assert_eq!(&*named.id, &*key.id);
        proptest::prop_assert_eq!(&*named.version, &*key.version);
        proptest::prop_assert_eq!(named.realm.as_deref(), key.realm);
        proptest::prop_assert_eq!(named.strategy_type.as_deref(), key.strategy_type);
        proptest::prop_assert_eq!(named.hash.as_deref(), key.hash);
    }
}

#[test]
fn texts_that_were_damaged_are_unknown() {
    let setting = Setting::new();
    setting.enter();
    let good = setting.words();
    let texts = PAGE_WORDS - slots::TEXT_WORDS;
    let used = good[texts..].iter().rposition(|word| *word != 0).unwrap();
    for word in 1..=used {
        let mut words = good.clone();
        words[texts + word] ^= 1 << 3;
        assert_eq!(&*read_page(&words).unwrap().runs[0].strategy_id, "unknown", "word {word}");
    }
}

#[test]
fn texts_that_would_lie_beyond_the_page_are_unknown() {
    let page = HeapPage::new(PAGE_WORDS);
    let words = slots::texts(page.words());
    Texts::default().intern(words, "dsl", &key("bonus", "3"));
    let len = words.iter().rposition(|word| word.load(Ordering::Relaxed) != 0).unwrap() + 1;
    let read = |word: usize| {
        assert!(word < len, "word {word} of {len}");
        words[word].load(Ordering::Relaxed)
    };
    assert!(texts::decode(1, len, read).is_some());
    for shorter in 0..len {
        let read = |word: usize| {
            assert!(word < shorter, "word {word} of {shorter}");
            words[word].load(Ordering::Relaxed)
        };
        assert_eq!(texts::decode(1, shorter, read), None);
    }
    assert_eq!(texts::decode(usize::MAX >> 1, len, read), None);
}

/// In a process of its own: what it says there, the locks of every other test would hear.
#[test]
fn a_forked_child_that_says_so_begins_ids_of_its_own_at_once() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_flight::tests::says_that_it_was_forked", "--ignored"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "the test above runs it"]
fn says_that_it_was_forked() {
    let setting = Setting::new();
    let low = |id: Uuid| id.as_u64_pair().1;
    let (before, next) = (low(setting.enter().1), low(setting.enter().1));
    assert_eq!(next.wrapping_sub(before) & 0xffff, 1, "one after another");
    crate::after_fork();
    let after = low(setting.enter().1);
    assert!(after.abs_diff(next) > 1 << 20, "{next:x} and {after:x}");
}
