//! What is logged: changes, once each, and never a password.

use std::{
    fmt::Debug,
    fs,
    sync::{Mutex, Once, PoisonError},
};

use obs::{Environment, StoreState};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use crate::support::{FakeCollector, PATIENCE, metrics_only, two_runs, until};

static LINES: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());

/// Keeps every event of the process; tests tell theirs apart by what they are about.
pub(crate) struct Lines;

impl Lines {
    pub(crate) fn listen() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing::subscriber::set_global_default(Self).unwrap());
    }

    /// What was logged about something, at `info` and above.
    pub(crate) fn about(what: &str) -> Vec<(Level, String)> {
        let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .filter(|(level, line)| *level <= Level::INFO && line.contains(what))
            .cloned()
            .collect()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("obs")
    }
    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let line = (*event.metadata().level(), text.0);
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

#[test]
fn exports_are_logged_when_they_begin_to_fail_and_when_they_work_again() {
    Lines::listen();
    let collector = FakeCollector::start();
    let telemetry = metrics_only().endpoint(collector.url()).init().unwrap();
    for status in [200, 400, 400, 400, 200, 200] {
        collector.answer_with(status);
        let _ = telemetry.flush_blocking(PATIENCE);
    }
    let lines = Lines::about(&collector.url());
    let levels: Vec<Level> = lines.iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::WARN, Level::INFO], "{lines:?}");
    assert!(lines[0].1.contains("400"), "{lines:?}");
}

#[test]
fn a_store_that_is_not_there_at_the_start_is_logged_once_and_once_more_when_it_comes() {
    Lines::listen();
    let folder = tempfile::tempdir().unwrap();
    let later = folder.path().join("later");
    let url = format!("sqlite:{}/runs.sqlite", later.display());
    let telemetry = metrics_only().rows(true).store(&url).init().unwrap();
    until("the store is down", || {
        (telemetry.store_state() == Some(StoreState::Down)).then_some(())
    });
    two_runs(&telemetry);
    let _ = telemetry.flush_blocking(std::time::Duration::from_millis(50));
    let lines = Lines::about(&url);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0].0, Level::WARN);
    fs::create_dir(&later).unwrap();
    assert!(telemetry.flush_blocking(PATIENCE).is_complete());
    let lines = Lines::about(&url);
    assert_eq!((lines.len(), lines[1].0), (2, Level::INFO), "{lines:?}");
}

#[test]
fn a_store_that_refuses_is_logged_without_its_password() {
    Lines::listen();
    let port = crate::ports::free_port();
    let url = format!("postgres://app:hunter2@127.0.0.1:{port}/obs");
    let telemetry = metrics_only().rows(true).store(url).init().unwrap();
    until("the store is down", || {
        (telemetry.store_state() == Some(StoreState::Down)).then_some(())
    });
    let lines = until("a log line", || {
        Some(Lines::about(&port.to_string())).filter(|lines| !lines.is_empty())
    });
    assert!(lines[0].1.contains(&format!("postgres://app@127.0.0.1:{port}/obs")), "{lines:?}");
    assert_eq!(Lines::about("hunter2"), []);
}

#[test]
fn errors_that_wait_in_memory_only_for_want_of_a_directory_are_said_once_with_the_way_out() {
    Lines::listen();
    let folder = tempfile::tempdir().unwrap();
    let start = |spool: (&str, &str)| {
        let port = crate::ports::free_port();
        let environment = Environment::from_iter([spool]);
        let url = format!("postgres://app@127.0.0.1:{port}/obs");
        let telemetry = obs::builder().environment(environment).store(url).init().unwrap();
        let ack = telemetry.store_watch().unwrap().error_ack();
        let lines = Lines::about(&port.to_string());
        let lines = lines.into_iter().filter(|(_, line)| line.contains("OBS_SPOOL_DIR"));
        (ack.as_str(), lines.collect::<Vec<_>>())
    };
    // Where /var/lib/obs is there, it is a default.
    if !std::path::Path::new("/var/lib/obs").is_dir() {
        let (ack, lines) = start(("OBS_SPOOL", "errors"));
        assert_eq!((ack, lines.len()), ("memory", 1), "{lines:?}");
        assert_eq!(lines[0].0, Level::WARN);
    }
    assert_eq!(start(("OBS_SPOOL", "off")), ("memory", Vec::new()), "it is meant");
    let given = folder.path().join("spool");
    let given = start(("OBS_SPOOL_DIR", given.to_str().unwrap()));
    assert_eq!(given, ("os", Vec::new()));
}

#[test]
fn variables_without_effect_are_named_in_one_warning() {
    Lines::listen();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("obs.yaml");
    fs::write(&file, "file_format: \"1.0\"\n").unwrap();
    let environment = Environment::from_iter([("OTEL_METRICS_EXPORTER", "console")]);
    let _telemetry = metrics_only().environment(environment).config_file(file).init().unwrap();
    let lines = Lines::about("OTEL_METRICS_EXPORTER");
    assert_eq!((lines.len(), lines[0].0), (1, Level::WARN), "{lines:?}");
}

#[test]
fn telemetry_that_is_dropped_with_something_lost_says_so() {
    Lines::listen();
    let collector = FakeCollector::start();
    collector.answer_with(401);
    drop(metrics_only().endpoint(collector.url()).init().unwrap());
    let lines = Lines::about(&collector.url());
    assert!(lines.iter().any(|(_, line)| line.contains("dropped without a shutdown")), "{lines:?}");
}
