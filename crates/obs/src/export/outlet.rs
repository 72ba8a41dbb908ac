//! One reader that exports at an interval, and where it exports to.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use opentelemetry::Context;
use tokio::{sync::OwnedMutexGuard, time::MissedTickBehavior};

use super::{
    ExportError, Reader, console,
    health::{Counts, Health},
    otlp,
    send::{Sender, SenderError, Service, Taken},
};
use crate::{
    config::model::{Exporter as Settings, Periodic},
    snapshot::MetricsSnapshot,
};

/// What an export needs.
#[derive(Debug)]
pub(super) struct Outlet {
    reader: Reader,
    exporter: Arc<Exporter>,
    target: String,
    interval: Duration,
    limit: Duration,
    /// One export at a time: a flush waits for the one that is under way. Whoever collects has it until
    /// he is done, however long a callback takes, so that no second one waits for the same callback.
    turn: Arc<tokio::sync::Mutex<()>>,
    counts: Arc<Counts>,
    health: Health,
}

#[derive(Debug)]
enum Exporter {
    Console,
    Otlp(Sender),
}

/// What is left to do when metrics are collected.
enum Collected {
    Done,
    Send(Bytes),
}

impl Outlet {
    /// Must be called inside the runtime that the exports run on.
    pub(super) fn new(
        settings: &Periodic,
        reader: Reader,
        counts: &Arc<Counts>,
    ) -> Result<Self, SenderError> {
        let exporter = match &settings.exporter.exporter {
            Settings::Console => Exporter::Console,
            Settings::Otlp(otlp) => Exporter::Otlp(Sender::new(otlp, Service::Metrics)?),
        };
        let target = match &exporter {
            Exporter::Console => "standard output".to_owned(),
            Exporter::Otlp(sender) => sender.target().to_owned(),
        };
        Ok(Self {
            reader,
            exporter: Arc::new(exporter),
            target,
            interval: settings.interval,
            limit: settings.timeout,
            turn: Arc::default(),
            counts: Arc::clone(counts),
            health: Health::default(),
        })
    }

    /// Exports at every interval, for ever.
    pub(super) async fn at_every_interval(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await; // The first one is at once, when there is nothing to say yet.
        loop {
            ticks.tick().await;
            // Its result is noted where it is made; a failure is tried again at the next tick.
            let _ = Arc::clone(&self).export_within(self.limit).await;
        }
    }

    pub(super) async fn export_within(
        self: Arc<Self>,
        deadline: Duration,
    ) -> Result<(), ExportError> {
        let target = || self.target.clone();
        let exported = match tokio::time::timeout(deadline, self.export()).await {
            Ok(Ok(Taken { rejected: 0, said })) => Ok(Taken { rejected: 0, said }),
            Ok(Ok(Taken { rejected, said })) => {
                Err(ExportError::Rejected { target: target(), rejected, reason: said })
            }
            Ok(Err(reason)) => Err(ExportError::Failed { target: target(), reason }),
            Err(_) => Err(ExportError::Deadline { target: target(), deadline }),
        };
        self.health.note(&self.target, &exported, &self.counts);
        exported.map(drop)
    }

    async fn export(&self) -> Result<Taken, String> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let (reader, exporter) = (self.reader.clone(), Arc::clone(&self.exporter));
        // Collecting runs the application's callbacks, which may block, as may a terminal: not on the
        // thread of the runtime.
        let collected = tokio::task::spawn_blocking(move || {
            let _suppressed = Context::enter_telemetry_suppressed_scope();
            Ok::<_, String>((collect(&reader, &exporter)?, turn))
        });
        let (collected, _turn): (Collected, OwnedMutexGuard<()>) =
            collected.await.map_err(|error| format!("a callback panicked: {error}"))??;
        match (&*self.exporter, collected) {
            (Exporter::Otlp(sender), Collected::Send(request)) => {
                sender.send(request).await.map_err(|refusal| refusal.reason)
            }
            _ => Ok(Taken::default()),
        }
    }
}

fn collect(reader: &Reader, exporter: &Exporter) -> Result<Collected, String> {
    let metrics = reader.read()?;
    match exporter {
        Exporter::Otlp(_) => Ok(Collected::Send(otlp::request(&metrics))),
        Exporter::Console => {
            let printed = console::print(&MetricsSnapshot::from(&metrics));
            printed.map(|()| Collected::Done).map_err(|error| error.to_string())
        }
    }
}
