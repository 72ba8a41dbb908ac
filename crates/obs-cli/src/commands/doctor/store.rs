//! The store: connected, migrated, and a row written and taken back, as a program would write it.

use std::sync::{Arc, Mutex, PoisonError};

use obs::{Ack, Class, Clock, Configuration, KeepPolicy, Kept, Obs, Rate, RunRecord, Sink};
use obs_persist::{Migrations, Store, StoreError};
use tokio::{runtime, time};

use super::{Finding, HOP_DEADLINE};

/// The kind of the row that is written and taken back.
const KIND: &str = "obs.doctor";

pub(super) fn finding(settings: &Configuration) -> Finding {
    let Some((url, migrations)) = settings.store() else {
        let leaves = settings.destinations().iter().any(|to| to.signal() == "rows");
        let why = if leaves {
            "rows leave as log events: see `rows`"
        } else {
            "runs become no rows here"
        };
        return Finding::off("store", why);
    };
    let shown = url.to_string();
    // A look must not change the schema, and must not make the file of an SQLite store.
    if url.file().is_some_and(|file| !file.is_file()) {
        return match migrations {
            Migrations::AtStart => {
                Finding::ok("store", shown, "there is no file yet: the first program makes it")
            }
            _ => Finding::bad("store", shown, "connecting", "there is no file: run `obs migrate`"),
        };
    }
    let Some([entry, run]) = records() else {
        return Finding::bad("store", shown, "making a row", "no run could be recorded");
    };
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Finding::bad("store", shown, "starting a thread", error.to_string()),
    };
    let clock = Clock::default();
    let start = clock.now();
    let mut store = url.store_with(Migrations::External);
    match runtime.block_on(try_out(store.as_mut(), run, entry)) {
        Ok(()) => {
            let millis = clock.now().since(start).as_millis();
            Finding::ok(
                "store",
                shown,
                format!(
                    "connected, schema and rights are right, a row and an audit entry were written and taken back ({millis} ms)"
                ),
            )
        }
        Err((hop, reason)) => Finding::bad("store", shown, hop, reason),
    }
}

async fn try_out(
    store: &mut dyn Store,
    run: RunRecord,
    entry: RunRecord,
) -> Result<(), (&'static str, String)> {
    step("connecting, or the schema", store.prepare()).await?;
    step("writing a row", store.canary(Box::new(run))).await?;
    step("writing an audit entry", store.canary(Box::new(entry))).await?;
    step("closing", store.close()).await
}

async fn step(
    hop: &'static str,
    step: impl Future<Output = Result<(), StoreError>>,
) -> Result<(), (&'static str, String)> {
    match time::timeout(HOP_DEADLINE, step).await {
        Ok(done) => done.map_err(|error| (hop, error.chain())),
        Err(_) => Err((hop, format!("no answer within {HOP_DEADLINE:?}"))),
    }
}

/// The records of an audit entry and of a run, made here and now as a program makes them.
fn records() -> Option<[RunRecord; 2]> {
    #[derive(Debug, Default)]
    struct Taken(Mutex<Vec<RunRecord>>);

    impl Sink for Taken {
        fn submit(&self, kept: Kept) -> Ack {
            let (record, ticket) = kept.into_parts();
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
            ticket.persisted();
            Ack::Memory
        }

        fn capacity(&self, _: Class) -> u64 {
            2
        }
    }

    let taken = Arc::new(Taken::default());
    let policy = KeepPolicy { ok_rate: Rate::new(1.0).ok()?, ..KeepPolicy::default() };
    let sink = Arc::clone(&taken) as Arc<dyn Sink>;
    let obs = Obs::builder().policy(policy).sink(sink).build().ok()?;
    obs.audit(KIND).info("canary", &());
    let run = obs.kind(KIND).lookup("canary", "1").start();
    // It has no error type of its own: nothing can go wrong in it.
    let _ = run.finish(Ok::<(), String>(()));
    let mut taken = taken.0.lock().unwrap_or_else(PoisonError::into_inner);
    taken.drain(..).collect::<Vec<_>>().try_into().ok()
}
