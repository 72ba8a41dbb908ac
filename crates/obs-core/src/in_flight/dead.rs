//! What a dead process left in its slots: the runs that it died with.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    slots::{self, Entry, FORMAT, Found, SLOTS, TEXT_WORDS},
    texts,
};
use crate::{
    clock::Rate,
    keep::KeepReason,
    label::UNKNOWN,
    limits::{FINISHED_AGE_MAX, FINISHED_AHEAD_MAX},
    page::{PageError, PageOwner},
    record::{RunRecord, Timestamp},
    run_error::fallback_code,
    status::Status,
};

/// A run that has started and not ended.
///
/// ```
/// # use obs_core::in_flight::OpenRun;
/// fn show(run: &OpenRun) -> String {
///     format!("{} {} {}", run.run_id, run.strategy_id, run.strategy_version)
/// }
/// # let _ = show;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenRun {
    /// The run's own id.
    pub run_id: Uuid,
    /// The family of runs; `unknown`, as id and version, where the strategy's texts found no room.
    pub kind: Arc<str>,
    /// The tenant, if one was given.
    pub realm: Option<Arc<str>>,
    /// What is executed.
    pub strategy_id: Arc<str>,
    /// Its version.
    pub strategy_version: Arc<str>,
    /// Its type, if one was given.
    pub strategy_type: Option<Arc<str>>,
    /// A hash of its content, if one was given.
    pub strategy_hash: Option<Arc<str>>,
    /// When it started, to 10 ms after the wall clock was set.
    pub started_at: Timestamp,
}

impl OpenRun {
    pub(super) fn of(
        entry: &Entry,
        (run_id, started_at): (Uuid, Timestamp),
        text_word: impl Fn(usize) -> u64,
    ) -> Self {
        let named = texts::decode(slots::text(entry.mark), TEXT_WORDS, text_word);
        match named {
            Some(named) => Self {
                run_id,
                kind: named.kind,
                realm: named.realm,
                strategy_id: named.id,
                strategy_version: named.version,
                strategy_type: named.strategy_type,
                strategy_hash: named.hash,
                started_at,
            },
            None => Self {
                run_id,
                kind: UNKNOWN.into(),
                realm: None,
                strategy_id: UNKNOWN.into(),
                strategy_version: UNKNOWN.into(),
                strategy_type: None,
                strategy_hash: None,
                started_at,
            },
        }
    }
}

/// What the page of a dead process says about its runs.
///
/// ```
/// # use obs_core::{PageError, RunRecord, in_flight};
/// fn rows(words: &[u64]) -> Result<Vec<RunRecord>, PageError> {
///     Ok(in_flight::read_page(words)?.records())
/// }
/// # let _ = rows;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostRuns {
    /// Whose page it is.
    pub owner: PageOwner,
    /// The runs that it died with, in the order of their starts. Those of which no row may be made are
    /// left out.
    pub runs: Vec<OpenRun>,
    /// Slots whose words do not belong together, as after a loss of power.
    pub torn: u64,
    /// Runs that started without a slot, as of the last collection: nobody knows whether they ended.
    pub without_slot: u64,
    /// When the process was last known to be alive: its start, or its last collection.
    pub seen_at: Timestamp,
}

impl LostRuns {
    /// The rows of these runs: status `lost`, each with the run's own id, so that the row of one that did
    /// end wins. They took at least as long as their process is known to have lived.
    ///
    /// ```
    /// # use obs_core::{Page, Status, Obs, in_flight};
    /// # use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// # #[derive(Debug)] struct Mapped(Vec<AtomicU64>);
    /// # impl Page for Mapped { fn words(&self) -> &[AtomicU64] { &self.0 } }
    /// # let blank = (0..in_flight::PAGE_WORDS).map(|_| AtomicU64::new(0)).collect();
    /// # let page = Arc::new(Mapped(blank));
    /// let obs = Obs::builder().in_flight_page(Arc::clone(&page) as Arc<dyn Page>).build()?;
    /// let run = obs.kind("dsl").lookup("bonus", "3").start();
    /// // The process dies here.
    /// let left: Vec<u64> = page.words().iter().map(|word| word.load(Ordering::Relaxed)).collect();
    /// let records = in_flight::read_page(&left)?.records();
    /// assert_eq!((records.len(), records[0].status), (1, Status::Lost));
    /// # drop(run);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn records(&self) -> Vec<RunRecord> {
        self.runs.iter().map(|run| self.record(run)).collect()
    }

    fn record(&self, run: &OpenRun) -> RunRecord {
        let lived = self.seen_at.as_micros().saturating_sub(run.started_at.as_micros());
        let duration = Duration::from_micros(u64::try_from(lived).unwrap_or(0));
        let message = format!("process {} ended with the run inside", self.owner.pid);
        RunRecord {
            run_id: run.run_id,
            epoch: self.owner.epoch,
            kind: Arc::clone(&run.kind),
            realm: run.realm.clone(),
            strategy_id: Arc::clone(&run.strategy_id),
            strategy_version: Arc::clone(&run.strategy_version),
            strategy_type: run.strategy_type.clone(),
            strategy_hash: run.strategy_hash.clone(),
            subject: None,
            correlation_id: None,
            parent_run_id: None,
            status: Status::Lost,
            error_type: Some(fallback_code(Status::Lost).into()),
            error_message: Some(message.into()),
            error_node: None,
            value: None,
            case_name: None,
            started_at: run.started_at,
            finished_at: run.started_at.after(duration),
            duration,
            nodes: 0,
            slow: false,
            keep_reason: KeepReason::Failure,
            inclusion_probability: 1.0,
            sample_rate: 1.0,
            slim: false,
            trace_id: None,
            span_id: None,
            input: None,
            input_bytes: 0,
            input_truncated: false,
            attributes: None,
            trace: None,
            trace_total: 0,
            trace_kept: 0,
            trace_bytes: 0,
            audit: None,
        }
    }
}

/// Reads the page that a dead process left. Whatever the words are, it does not panic, and makes at most
/// as many runs as there are slots.
///
/// # Errors
/// When the words are no page of runs, or one of another layout.
///
/// ```
/// use obs_core::{PageError, in_flight};
/// assert_eq!(in_flight::read_page(&vec![0; in_flight::PAGE_WORDS]), Err(PageError::Blank));
/// ```
#[expect(
    clippy::indexing_slicing,
    reason = "texts are decoded from words within the length given for them"
)]
pub fn read_page(words: &[u64]) -> Result<LostRuns, PageError> {
    let owner = FORMAT.read(words)?;
    let (without_slot, seen_at) = slots::published(words);
    let seen_at = if is_plausible(seen_at, owner.started_at) {
        seen_at.max(owner.started_at)
    } else {
        owner.started_at
    };
    let rate = Rate::from_word(slots::published_rate(words)?);
    let mut torn = 0;
    let mut entries = Vec::new();
    for slot in 0..SLOTS {
        let entry = match slots::read_dead(words, slot) {
            Found::Free => continue,
            Found::Torn => None,
            Found::Taken(entry) => Some((entry, entry.identity(rate))),
        };
        match entry.filter(|(_, (_, started_at))| is_plausible(*started_at, owner.started_at)) {
            Some(entry) => entries.push(entry),
            None => torn += 1,
        }
    }
    entries.sort_by_key(|(_, (_, started_at))| *started_at);
    let texts = slots::texts(words);
    let runs = entries
        .iter()
        .filter(|(entry, _)| slots::has_row(entry.mark))
        .map(|(entry, identity)| OpenRun::of(entry, *identity, |word| texts[word]))
        .collect();
    Ok(LostRuns { owner, runs, torn, without_slot, seen_at })
}

/// Whether a time can be one of a process that started at `start`: within ten years after it, or a day
/// before, by which its clock may have been set back.
fn is_plausible(at: Timestamp, start: Timestamp) -> bool {
    start.before(FINISHED_AHEAD_MAX) <= at && at <= start.after(FINISHED_AGE_MAX)
}
