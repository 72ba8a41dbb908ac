//! `obs quarantine`: records that the store does not take, for somebody to judge.

use std::{error::Error, fmt, sync::Arc};

use obs_persist::{
    Migrations,
    quarantine::{Entry, Quarantine, QuarantineError, Suspect},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    args::{Folder, Judgement, Which},
    commands::Ready,
    config::Settings,
    error::Failure,
    output::Output,
    text::{Shown, Time},
};

pub(crate) fn run(judgement: &Judgement, output: &mut Output) -> Result<(), Failure> {
    match judgement {
        Judgement::List { folder } => {
            let quarantine = open(&Settings::new(None)?, folder)?;
            let entries = quarantine.list().map_err(|error| failure(&error))?;
            entries.iter().try_for_each(|entry| output.say(&Line(entry)))
        }
        Judgement::Show { run_id, folder } => {
            let quarantine = open(&Settings::new(None)?, folder)?;
            let suspect = quarantine.show(*run_id).map_err(|error| failure(&error))?;
            output.say(&Whole(&suspect))
        }
        Judgement::Retry { which, folder, store } => {
            let settings = Settings::new(store.store.as_deref())?;
            let quarantine = open(&settings, folder)?;
            let run_ids = chosen(&quarantine, which)?;
            let store = Ready::new(&settings.store()?, Migrations::External)?;
            retry(&quarantine, &run_ids, store, output)
        }
        Judgement::Drop { which, folder } => {
            let quarantine = open(&Settings::new(None)?, folder)?;
            for run_id in chosen(&quarantine, which)? {
                quarantine.drop_record(run_id).map_err(|error| failure(&error))?;
                output.say(&Done { run_id, done: "dropped", error: None })?;
            }
            Ok(())
        }
    }
}

fn open(settings: &Settings, folder: &Folder) -> Result<Quarantine, Failure> {
    settings.quarantine(folder.dir.as_deref()).map(Quarantine::at)
}

/// The records that were named, or all that are there now.
fn chosen(quarantine: &Quarantine, which: &Which) -> Result<Vec<Uuid>, Failure> {
    if !which.all {
        return Ok(which.run_ids.clone());
    }
    let entries = quarantine.list().map_err(|error| failure(&error))?;
    Ok(entries.iter().map(|entry| entry.run_id).collect())
}

/// Writes each to the store, and deletes it only then: killed in between, it is there twice, and
/// writing it again changes nothing.
fn retry(
    quarantine: &Quarantine,
    run_ids: &[Uuid],
    mut store: Ready,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut refused = 0;
    for &run_id in run_ids {
        let Suspect { record, .. } = quarantine.show(run_id).map_err(|error| failure(&error))?;
        let batch = Arc::from([record]);
        match store.step("writing", |store| store.write(batch)) {
            Ok(()) => {
                quarantine.drop_record(run_id).map_err(|error| failure(&error))?;
                output.say(&Done { run_id, done: "stored", error: None })?;
            }
            Err(error) => {
                refused += 1;
                output.say(&Done { run_id, done: "refused", error: Some(error.line()) })?;
                // Whatever state the connection is in; when there is none, the others wait.
                store.step("connecting again", |store| store.prepare())?;
            }
        }
    }
    store.close()?;
    match refused {
        0 => Ok(()),
        _ => Err(Failure::Bad(format!(
            "{refused} of {} records are refused and stay where they are",
            run_ids.len()
        ))),
    }
}

fn failure(error: &QuarantineError) -> Failure {
    let mut what = error.to_string();
    if let Some(source) = error.source() {
        what = format!("{what}: {source}");
    }
    match error {
        QuarantineError::Missing { .. } | QuarantineError::Damaged { .. } => Failure::Bad(what),
        _ => Failure::Folder(what),
    }
}

#[derive(Serialize)]
struct Line<'a>(&'a Entry);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { run_id, class, since, error, bytes, retrying, .. } = self.0;
        let since = since.map_or_else(|| "?".to_owned(), |since| Time(since).to_string());
        let class = class.map_or("?", |class| class.as_str());
        let state = if *retrying { "retrying" } else { "set aside" };
        write!(f, "{run_id}  {since}  {class:5}  {bytes:>7} B  {state}  {}", Shown::short(error))
    }
}

#[derive(Serialize)]
struct Whole<'a>(&'a Suspect);

impl fmt::Display for Whole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Line(&self.0.entry))?;
        // JSON escapes control characters, but no marks of direction.
        let record = serde_json::to_string_pretty(&self.0.record).map_err(|_| fmt::Error)?;
        let mut lines = record.lines();
        if let Some(first) = lines.next() {
            write!(f, "{}", Shown::whole(first))?;
        }
        lines.try_for_each(|line| write!(f, "\n{}", Shown::whole(line)))
    }
}

#[derive(Serialize)]
struct Done {
    run_id: Uuid,
    done: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.run_id, self.done)?;
        match &self.error {
            Some(error) => write!(f, ": {}", Shown::short(error)),
            None => Ok(()),
        }
    }
}
