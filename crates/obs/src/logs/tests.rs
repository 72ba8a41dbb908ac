use std::{
    io,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use obs_core::{CorrelationId, Obs, span_id_of, trace_id_of};
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use serde_json::Value as Json;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// What was written, and whether writing is held up.
#[derive(Clone, Default)]
struct Target(Arc<(Mutex<Held>, Condvar)>);

/// The bytes, and whether there are to be no more.
type Held = (Vec<u8>, bool);

impl Target {
    fn stall(&self, stalled: bool) {
        self.0.0.lock().unwrap().1 = stalled;
        self.0.1.notify_all();
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().0.clone()).unwrap()
    }
}

impl io::Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let held = self.0.0.lock().unwrap();
        let mut held = self.0.1.wait_while(held, |(_, stalled)| *stalled).unwrap();
        held.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Broken;

impl io::Write for Broken {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logs(format: Format, filter: &str, target: impl io::Write + Send + 'static) -> Logs {
    let filter = Filter::parse(filter, Dialect::Ours).unwrap();
    let origin = Origin { service: "orders".to_owned(), instance: "pod-3".to_owned() };
    Logs::new(LogSettings { filter, format }, origin, false, Box::new(target))
}

/// Runs this with a subscriber of its own.
fn listening(logs: &Logs, say: impl FnOnce()) {
    tracing::subscriber::with_default(Registry::default().with(logs.layer()), say);
    logs.flush(PATIENCE);
}

fn lines(format: Format, filter: &str, say: impl FnOnce()) -> Vec<String> {
    let target = Target::default();
    listening(&logs(format, filter, target.clone()), say);
    target.text().lines().map(str::to_owned).collect()
}

fn objects(say: impl FnOnce()) -> Vec<Json> {
    let lines = lines(Format::Json, "trace", say);
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_line_is_one_json_object_with_the_fields_of_the_event_and_of_its_spans() {
    let lines = objects(|| {
        let _outer = tracing::info_span!("request", user = 7, step = "outer").entered();
        let inner = tracing::info_span!("scoring", late = tracing::field::Empty).entered();
        inner.record("late", true);
        tracing::warn!(target: "orders::db", points = 12.5, step = "own", "slow {}", "query");
    });
    let [Json::Object(line)] = &*lines else { panic!("not one line: {lines:?}") };
    let timestamp = line["timestamp"].as_str().unwrap();
    assert!(timestamp.len() == 27 && timestamp.starts_with("20") && timestamp.ends_with('Z'));
    let mut rest = Json::Object(line.clone());
    rest.as_object_mut().unwrap().remove("timestamp");
    assert_eq!(
        rest,
        serde_json::json!({
            "level": "WARN", "logger": "orders::db", "message": "slow query",
            "service": "orders", "instance": "pod-3", "span": "scoring",
            "points": 12.5, "step": "own", "late": true, "user": 7,
        })
    );
}

#[test]
fn a_line_begins_with_its_time_level_logger_and_message() {
    let line = &lines(Format::Json, "info", || tracing::info!(a = 1, "said"))[0];
    let at: Vec<_> = ["{\"timestamp\":", ",\"level\":", ",\"logger\":", ",\"message\":", ",\"a\":"]
        .map(|name| line.find(name).unwrap_or(usize::MAX))
        .into();
    assert!(at.is_sorted() && at[0] == 0 && at[4] < line.len(), "{line}");
}

#[test]
fn a_field_does_not_take_the_place_of_one_that_every_line_has() {
    let lines = objects(|| {
        tracing::info!(level = "none", timestamp = 1, service = "x", run_id = "by hand", "said");
    });
    let line = &lines[0];
    assert_eq!((&line["level"], &line["level_"]), (&"INFO".into(), &"none".into()));
    assert_eq!((&line["timestamp_"], &line["service_"]), (&1.into(), &"x".into()));
    assert_eq!(line["run_id"], "by hand", "a run that was started by hand is named by hand");
}

#[test]
fn lines_stay_one_line_and_hide_nothing_in_either_format() {
    let say = || tracing::info!(user = "a\u{1b}[31m\nb\u{202e}", "one\n2026 INFO two\r\0");
    let text = lines(Format::Text, "info", say);
    assert_eq!(text.len(), 1);
    assert!(text[0].contains(r"one\n2026 INFO two\r\u{0} user=a\u{1b}[31m\nb\u{202e}"), "{text:?}");
    let json = lines(Format::Json, "info", say);
    assert_eq!(json.len(), 1);
    assert!(!json[0].bytes().any(|byte| byte < b' '), "{json:?}");
    let object: Json = serde_json::from_str(&json[0]).unwrap();
    assert_eq!(object["message"], "one\n2026 INFO two\r\0", "nothing is lost");
}

#[test]
fn a_line_names_the_run_and_the_request_that_it_is_written_in() {
    let obs = Obs::builder().current_run(true).build().unwrap();
    let bonus = obs.kind("dsl").lookup("bonus", "3");
    let request = SpanContext::new(
        TraceId::from(0xab_u128),
        SpanId::from(0xcd_u64),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let mut inside = None;
    let mut alone = None;
    let lines = objects(|| {
        let context = Context::new().with_remote_span_context(request);
        let context = obs_core::otel::with_correlation_id(&context, CorrelationId::new("4b0c1f"));
        let attached = context.attach();
        tracing::info!("in the request");
        let run = |run: &mut obs_core::Run| {
            tracing::info!("in the run");
            Ok::<_, String>(run.id())
        };
        inside = bonus.observe(&(), run).ok();
        drop(attached);
        alone = bonus.observe(&(), run).ok();
        tracing::info!("in nothing");
    });
    let ids = |line: &Json| {
        ["trace_id", "span_id", "correlation_id", "run_id"]
            .map(|name| line[name].as_str().unwrap_or_default().to_owned())
    };
    let (inside, alone) = (inside.unwrap(), alone.unwrap());
    let trace = format!("{:032x}", 0xab);
    assert_eq!(ids(&lines[0]), [&trace, "00000000000000cd", "4b0c1f", ""]);
    let span = format!("{:016x}", span_id_of(inside));
    assert_eq!(ids(&lines[1]), [&trace, &span, "4b0c1f", &inside.to_string()]);
    let (trace, span) =
        (format!("{:032x}", trace_id_of(alone)), format!("{:016x}", span_id_of(alone)));
    assert_eq!(ids(&lines[2]), [&trace, &span, "", &alone.to_string()]);
    assert_eq!(ids(&lines[3]), ["", "", "", ""]);
}

#[test]
fn the_level_decides_for_lines_and_for_no_other_layer() {
    let target = Target::default();
    let (ours, all) = (logs(Format::Json, "warn", target.clone()), Target::default());
    let others = logs(Format::Json, "trace", all.clone());
    let both = Registry::default().with(ours.layer()).with(others.layer());
    tracing::subscriber::with_default(both, || {
        tracing::info!("quiet");
        tracing::warn!("loud");
    });
    ours.flush(PATIENCE);
    others.flush(PATIENCE);
    assert_eq!(target.text().lines().count(), 1);
    assert_eq!(all.text().lines().count(), 2);
}

#[test]
fn who_logs_never_waits_for_a_pipe_that_nobody_reads_and_what_is_lost_is_counted_and_said() {
    let target = Target::default();
    let logs = logs(Format::Json, "info", target.clone());
    target.stall(true);
    let long = "x".repeat(8_000);
    // The first is under way when the pipe stalls; then 4 MiB wait, and the rest finds no room.
    let said = 2 * writer::WAITING_BYTES_MAX / long.len();
    tracing::subscriber::with_default(Registry::default().with(logs.layer()), || {
        for _ in 0..said {
            tracing::info!(target: "program", "{long}");
        }
        logs.flush(Duration::from_millis(1));
        assert_eq!(target.text(), "", "nothing was read meanwhile");
    });
    let lost = logs.0.writer.refused();
    assert!(lost > 100 && lost < said as u64, "{lost} of {said}");
    target.stall(false);
    logs.flush(PATIENCE);
    let written = target.text().lines().count() as u64;
    assert_eq!(written + lost, said as u64, "each line is written or counted");
}

#[test]
fn lines_that_their_target_does_not_take_are_counted() {
    let logs = logs(Format::Text, "info", Broken);
    listening(&logs, || (0..3).for_each(|_| tracing::info!("nobody hears this")));
    assert_eq!((logs.0.writer.failed(), logs.0.writer.refused()), (3, 0));
}

#[test]
fn a_place_of_ours_that_repeats_itself_is_held_back_and_the_program_is_not() {
    let target = Target::default();
    let logs = logs(Format::Json, "info", target.clone());
    listening(&logs, || {
        for _ in 0..own::LINES_MAX + 5 {
            tracing::warn!(target: "obs", "the store is down");
            tracing::warn!(target: "observatory", "the dome is open");
        }
    });
    let of = |what: &str| target.text().lines().filter(|line| line.contains(what)).count() as u32;
    assert_eq!(of("the store is down"), own::LINES_MAX);
    assert_eq!(of("the dome is open"), own::LINES_MAX + 5);
    assert_eq!(logs.0.held_back.load(Ordering::Relaxed), 5);
}

#[test]
fn after_a_while_a_place_speaks_again_and_says_how_much_was_held_back() {
    let clock = obs_core::ManualClock::new();
    let now = || Clock::from(&clock).now();
    let (own, place) = (OwnLines::default(), place());
    for _ in 0..own::LINES_MAX {
        assert_eq!(own.judge(place.clone(), now()), own::Verdict::Write { held_back: 0 });
    }
    for _ in 0..3 {
        assert_eq!(own.judge(place.clone(), now()), own::Verdict::HoldBack);
    }
    clock.advance(own::WINDOW);
    assert_eq!(own.judge(place.clone(), now()), own::Verdict::Write { held_back: 3 });
    assert_eq!(own.judge(place, now()), own::Verdict::Write { held_back: 0 });
}

fn place() -> tracing::callsite::Identifier {
    let seen = Arc::new(Mutex::new(None));
    struct Sees(Arc<Mutex<Option<tracing::callsite::Identifier>>>);
    impl<S: tracing::Subscriber> Layer<S> for Sees {
        fn on_event(
            &self,
            event: &tracing::Event<'_>,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            *self.0.lock().unwrap() = Some(event.metadata().callsite());
        }
    }
    let subscriber = Registry::default().with(Sees(Arc::clone(&seen)));
    tracing::subscriber::with_default(subscriber, || tracing::info!("here"));
    let place = seen.lock().unwrap().take();
    place.unwrap()
}

#[test]
fn a_line_is_bounded_whatever_is_put_into_it() {
    let long = "ü".repeat(2 * line::TEXT_BYTES_MAX);
    let lines = objects(|| {
        tracing::info!(a = long, b = 2, "{long}");
    });
    let message = lines[0]["message"].as_str().unwrap();
    assert!(message.ends_with('…') && message.len() <= line::TEXT_BYTES_MAX + 3);
    assert!(lines[0]["a"].as_str().unwrap().len() <= line::TEXT_BYTES_MAX + 3);
    assert_eq!(lines[0]["b"], 2);
    let mut said = Said::default();
    let names: Vec<&'static str> =
        (0..line::FIELDS_MAX + 2).map(|nth| &*format!("field{nth}").leak()).collect();
    for name in names {
        said.add(name, line::Value::Bool(true));
    }
    assert_eq!((said.fields.len(), said.left_out), (line::FIELDS_MAX, 2));
    let text = line::Value::Text("x".repeat(line::TEXT_BYTES_MAX));
    let mut said = Said::default();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        said.add(name, text.clone());
    }
    assert_eq!((said.fields.len(), said.left_out), (7, 2), "64 KiB hold seven of 8 KiB and a name");
}

#[test]
fn a_value_that_panics_while_it_is_written_costs_only_its_own_text() {
    struct Panics;
    impl fmt::Debug for Panics {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("in Debug")
        }
    }
    let lines = objects(|| tracing::info!(bad = ?Panics, good = 1, "said"));
    assert_eq!((&lines[0]["bad"], &lines[0]["good"]), (&"<panicked>".into(), &1.into()));
}
