//! What a store has to do with the thread that runs: nothing, and for an error one write to the spool.

use std::{
    cell::{Cell, RefCell},
    fs::{self, File},
    hint::black_box,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::Path,
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use obs_core::{
    KeepPolicy, Obs, Rate, Strategy,
    otel::{Metrics, MetricsOptions},
};
use obs_persist::{PersistConfig, Persister, SpoolDir, testing::MemoryStore};
use opentelemetry::metrics::MeterProvider as _;
use rustix::fs::{FallocateFlags, fallocate};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::{
    Effort,
    hot::{self, Exported},
    report::{Aim, Report},
    spooled::Spooled,
    windows::{Variant, median, take_turns},
};

const DEADLINE: Duration = Duration::from_secs(60);
const WINDOW: u32 = 10_000;
/// Fewer than a lane holds, so that a store that works loses none.
const KEPT_WINDOW: u32 = 500;
const FILE_BYTES: u64 = 4 << 20;
/// Before each window that writes to the disk, whichever it is: all of them begin alike, after a wait. Without it the
/// keeper's syncs take up a larger part of the time beside our windows, at thousands of errors a second.
const PAUSE: Duration = Duration::from_millis(4);

/// A pipeline whose rows go to a store in memory.
pub(crate) struct Pipeline {
    pub(crate) exported: Exported,
    obs: Obs,
    pub(crate) store: MemoryStore,
    pub(crate) persister: Arc<Persister>,
}

impl Pipeline {
    pub(crate) fn new(store: MemoryStore, ok_rate: f64, spool: Option<&Path>) -> Self {
        let exported = Exported::new();
        let options = MetricsOptions { bound: true, ..MetricsOptions::default() };
        let metrics = Metrics::new(&exported.provider.meter("obs"), options).unwrap();
        let mut config = PersistConfig::default();
        config.spool_dir = spool.map(|folder| SpoolDir::Given(folder.to_owned()));
        let persister = Persister::start(config, Box::new(store.clone()), metrics.store());
        let persister = Arc::new(persister.unwrap());
        let ok_rate = Rate::new(ok_rate).unwrap();
        let policy = KeepPolicy { ok_rate, first: 0, slow: None, ..KeepPolicy::default() };
        let obs = Obs::builder().metrics(metrics).policy(policy).sink(persister.sink());
        Self { exported, obs: obs.build().unwrap(), store, persister }
    }

    pub(crate) fn strategy(&self, id: &str) -> Strategy {
        self.obs.kind("dsl").realm("acme").type_("chain").lookup(id, "3")
    }
}

/// Runs that are not kept and runs that are, with a store that works, one that hangs, and one that fails.
pub(crate) fn stores(effort: Effort, report: &mut Report) {
    let mut variants = Vec::new();
    for (kept, names) in [
        (false, ["not kept, store works", "not kept, store hangs", "not kept, store fails"]),
        (true, ["kept, store works", "kept, store hangs", "kept, store fails"]),
    ] {
        let [works, hangs, fails] = [(); 3].map(|()| MemoryStore::new());
        hangs.set_stalled(true);
        fails.fail(u64::MAX);
        for (name, store) in names.into_iter().zip([works, hangs, fails]) {
            variants.push(on_store(name, store, kept));
        }
    }
    take_turns(&mut variants, effort.rounds);
    report.title("nanoseconds a run, by what the store does");
    report.variants(&variants);
    let [not_kept, hanging, failing, kept, kept_hanging, kept_failing] =
        [0, 1, 2, 3, 4, 5].map(|at: usize| &variants[at].nanos);
    for (name, above, below) in [
        ("not_kept_with_stalled_store_vs_without", hanging, not_kept),
        ("not_kept_with_failing_store_vs_without", failing, not_kept),
        ("kept_with_stalled_store_vs_without", kept_hanging, kept),
        ("kept_with_failing_store_vs_without", kept_failing, kept),
    ] {
        report.ratio(name, above, below, Aim::AtMost(1.1));
    }
}

fn on_store(name: &'static str, store: MemoryStore, kept: bool) -> Variant {
    let pipeline = Pipeline::new(store, if kept { 1.0 } else { hot::NEVER }, None);
    let strategy = pipeline.strategy("bonus");
    let works = name.ends_with("works");
    let window = if kept { KEPT_WINDOW } else { WINDOW };
    let persister = Arc::clone(&pipeline.persister);
    let rest = move || {
        if works {
            let flushed = persister.flush_blocking(DEADLINE);
            assert!(flushed.complete && flushed.dropped.total() == 0, "{flushed}");
        }
    };
    let exported = move || {
        let rows = pipeline.store.rows().len() as u64;
        let runs = pipeline.exported.runs();
        assert_eq!(rows, if kept && works { runs } else { 0 }, "{name}: rows");
        Some(runs)
    };
    Variant::new(name, window, move || hot::plain_ok(&strategy), exported).resting(rest)
}

/// Records of one size.
#[derive(Clone)]
struct Size {
    name: &'static str,
    /// Of the order that is the input.
    lines: Option<u32>,
    /// What a record takes up on the disk.
    bytes: Range<u64>,
    /// Fewer than are stored in full of one strategy, and than the error lane holds; and so few that a window
    /// is about as long for each size.
    window: u32,
}

const SIZES: [Size; 4] = [
    Size { name: "no input", lines: None, bytes: 100..400, window: 90 },
    Size { name: "1 KiB", lines: Some(18), bytes: 900..1_200, window: 90 },
    Size { name: "4 KiB", lines: Some(79), bytes: 3_800..4_300, window: 40 },
    Size { name: "16 KiB", lines: Some(322), bytes: 15_500..17_000, window: 12 },
];

/// Failed runs whose records are in the operating system's hands before `observe` returns, and writes of as
/// many bytes.
pub(crate) fn spool(effort: Effort, report: &mut Report) {
    let folder = tempdir().unwrap();
    for size in &SIZES {
        let name = size.name;
        let folder = folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        let bytes = Rc::new(Cell::new(0));
        let mut variants = [
            failed(&folder, effort.rounds, size, &bytes),
            pwrite(&folder, size, &bytes, false),
            pwrite(&folder, size, &bytes, true),
        ];
        take_turns(&mut variants, effort.rounds);
        let [failed, pwrite, read] = &variants;
        report.title(&format!("nanoseconds a failed run, spooled, {name}"));
        report.line(&format!("{} bytes a record on the disk", bytes.get()));
        report.variants(&variants);
        if name == "1 KiB" {
            let aim = Aim::AtMost(2.5);
            report.ratio("failed_with_spool_vs_one_pwrite", &failed.nanos, &pwrite.nanos, aim);
        } else {
            let ratio = median(&failed.nanos) / median(&pwrite.nanos);
            report.line(&format!("{ratio:.2} times one pwrite"));
        }
        let ratio = median(&failed.nanos) / median(&read.nanos);
        report.line(&format!("{ratio:.2} times one pwrite to pages that were read before"));
    }
}

/// Of another strategy in every window: of one, a hundred a minute are stored in full.
fn failed(folder: &Path, rounds: usize, size: &Size, bytes: &Rc<Cell<u64>>) -> Variant {
    let folder = folder.join("spool");
    let store = MemoryStore::new();
    let pipeline = Rc::new(Pipeline::new(store.clone(), hot::NEVER, Some(&folder)));
    let strategies: Vec<Strategy> =
        (0..=rounds).map(|window| pipeline.strategy(&format!("tenant-rule-{window}"))).collect();
    let (window, input) = (Rc::new(Cell::new(0)), size.lines.map(order));
    let mut spooled = Spooled::new(folder);
    let (bytes, Size { name, bytes: plausible, window: runs, .. }) =
        (Rc::clone(bytes), size.clone());
    store.set_stalled(true);
    let rest = {
        let (pipeline, window) = (Rc::clone(&pipeline), Rc::clone(&window));
        move || {
            window.set(window.get() + 1);
            // While the store hangs, all of the window is in the spool.
            let each = spooled.advance(runs) / u64::from(runs);
            assert!(plausible.contains(&each), "{each} bytes a record are not about {name}");
            bytes.set(each);
            pipeline.store.set_stalled(false);
            let flushed = pipeline.persister.flush_blocking(DEADLINE);
            assert!(flushed.complete && flushed.dropped.total() == 0, "{flushed}");
            pipeline.store.set_stalled(true);
            thread::sleep(PAUSE);
        }
    };
    let run = move || {
        let result: Result<(), &str> = strategies[window.get()].observe(&input, |run| {
            run.add_nodes(black_box(hot::NODES)).subject("user-7").case("big-spender");
            Err("division by zero")
        });
        black_box(result).unwrap_err();
    };
    let exported = move || {
        let runs = pipeline.exported.runs();
        assert_eq!(pipeline.store.rows().len() as u64, runs, "every failed run became a row");
        Some(runs)
    };
    let variant = format!("obs, failed, spooled, {name}");
    Variant::new(variant.leak(), runs, run, exported).resting(rest)
}

/// To new pages of a file, or for comparison to pages that are in memory because they were read, as the spool's keeper
/// does it for its own.
fn pwrite(folder: &Path, size: &Size, bytes: &Rc<Cell<u64>>, read: bool) -> Variant {
    let (end, name) = if read { (", pages read", "by-hand-read") } else { ("", "by-hand") };
    let path = folder.join(name);
    let fresh = move || {
        // New, as a segment is: no page of the one before is kept.
        let _ = fs::remove_file(&path);
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        // As the spool's: a file whose space is set aside.
        fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES).unwrap();
        let mut chunk = vec![0; 64 << 10];
        for at in (0..FILE_BYTES).step_by(chunk.len()).filter(|_| read) {
            file.read_exact_at(&mut chunk, at).unwrap();
        }
        file
    };
    let at = Rc::new(RefCell::new((fresh(), 0)));
    let record = vec![7_u8; 32 << 10];
    let (bytes, runs) = (Rc::clone(bytes), size.window);
    let rest = {
        let (at, bytes) = (Rc::clone(&at), Rc::clone(&bytes));
        move || {
            let window = u64::from(runs) * bytes.get();
            if at.borrow().1 + window > FILE_BYTES {
                at.replace((fresh(), 0));
            }
            thread::sleep(PAUSE);
        }
    };
    let run = move || {
        let len = bytes.get();
        let (file, offset) = &mut *at.borrow_mut();
        file.write_all_at(black_box(&record[..len as usize]), *offset).unwrap();
        *offset += len;
    };
    let variant = format!("by hand, one pwrite, {}{end}", size.name);
    Variant::new(variant.leak(), runs, run, || None).resting(rest)
}

/// An order as an input; one of 18 lines makes a record of one kibibyte.
fn order(lines: u32) -> Value {
    let lines: Vec<Value> = (0..lines)
        .map(|line| json!({ "article": format!("book-{line}"), "amount": line, "price": 12.5 }))
        .collect();
    json!({ "event": "order", "channel": "web", "lines": lines })
}
