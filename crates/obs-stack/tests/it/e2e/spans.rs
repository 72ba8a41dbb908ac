//! The gateways' decision over traces is ours: every kept run is among the spans that stay, whole and with what is around it;
//! of the rest stay failures, what is slow, and a share.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use obs::{Environment, Telemetry};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, status::StatusCode},
};
use prost::Message as _;
use serde_json::Value;

use crate::stack::{PATIENCE, Shape, Stack, post, until};

const RUNS: u64 = 400;
/// Traces of others in which nothing of note happens, and how many of them may stay: one in a hundred does.
const QUIET: u64 = 1000;
const QUIET_MAX: usize = 40;
/// Traces of others that fail, and that take long.
const FAILING: u64 = 20;
const SLOW: u64 = 5;
/// When they began: microseconds since 1970.
const LONG_AGO: u64 = 1_700_000_000_000_000;

/// Laid over the gateway's file: spans go into a file that the test reads.
const TO_A_FILE: &str = "\
exporters:
  file:
    path: ${env:OBS_COLLECTOR_STORAGE}.spans.json
    flush_interval: 200ms
service:
  pipelines:
    traces:
      exporters: [file]
";

#[test]
#[ignore = "starts the whole stack: just e2e"]
fn every_kept_run_stays_as_spans_with_its_surroundings_and_of_the_rest_what_is_worth_it() {
    let folder = tempfile::tempdir().unwrap();
    let over = folder.path().join("to-a-file.yaml");
    fs::write(&over, TO_A_FILE).unwrap();
    let Some(stack) = Stack::start_as(Shape { gateway: Some(over), ..Shape::default() }) else {
        return;
    };
    let telemetry = telemetry(&stack);
    runs(&telemetry);
    assert!(telemetry.flush_blocking(PATIENCE).is_complete());
    let started = "(extract(epoch FROM started_at) * 1000000)::bigint";
    let ask = format!("SELECT run_id || ' ' || trace_id || ' ' || {started} FROM obs.run");
    let rows = stack.postgres.ask(&ask).unwrap();
    let rows: BTreeMap<&str, &str> = rows.iter().filter_map(|row| row.split_once(' ')).collect();
    let kept = rows.len() as u64;
    assert!(kept > RUNS / 10 && kept < RUNS / 2, "{kept} of {RUNS} kept: a share and all failures");

    let mut others = surroundings();
    // As quick as the run itself, so that nothing but the run is a reason to keep the trace.
    let around = rows.values().map(|row| {
        let (trace, started) = row.split_once(' ').unwrap();
        span("caller", &hex(trace), started.parse().unwrap(), 1)
    });
    others.extend(around);
    stack.takes(others);
    let stays = until(
        || "the spans of all kept runs, and what is around them",
        || {
            let stays = Stays::read(&stack);
            let all = stays.runs.len() >= rows.len()
                && stays.count("caller") >= rows.len()
                && stays.count("failing") as u64 >= FAILING
                && stays.count("slow") as u64 >= SLOW;
            all.then_some(stays)
        },
    );
    let ids: BTreeSet<&str> = rows.keys().copied().collect();
    assert_eq!(stays.runs.iter().map(String::as_str).collect::<BTreeSet<_>>(), ids);
    assert_eq!(stays.count("first"), rows.len(), "the node of each");
    assert_eq!(stays.count("caller"), rows.len(), "what is around each");
    let quiet = stays.count("quiet");
    assert!(quiet <= QUIET_MAX, "{quiet} of {QUIET} stay");
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
}

fn telemetry(stack: &Stack) -> Telemetry {
    let settings = [("OTEL_TRACES_EXPORTER", "otlp"), ("OBS_SAMPLE_RATE", "0.2")];
    obs::builder()
        .environment(Environment::from_iter(settings))
        .service_name("spans")
        .endpoint(stack.http())
        .store(&stack.postgres.url)
        .spool_dir(stack.folder.join("spool-of-the-test"))
        .init()
        .unwrap()
}

fn runs(telemetry: &Telemetry) {
    let strategy = telemetry.kind("shop").strategy("bonus").version("1").build().unwrap();
    for run in 0..RUNS {
        let _: Result<(), String> = strategy.observe(&(), |at| {
            at.node("first");
            if run % 10 == 0 { Err("no points".to_owned()) } else { Ok(()) }
        });
    }
}

/// Traces without a run, as another library would send them.
fn surroundings() -> Vec<Span> {
    let trace = |kind: u64, number: u64| {
        let mixed = (kind << 32 | number).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        [mixed.to_be_bytes(), (mixed ^ mixed >> 29).to_be_bytes()].concat()
    };
    let quiet = (0..QUIET).map(|number| span("quiet", &trace(1, number), LONG_AGO, 1));
    let failing = (0..FAILING).map(|number| Span {
        status: Some(Status { code: StatusCode::Error.into(), ..Status::default() }),
        ..span("failing", &trace(2, number), LONG_AGO, 1)
    });
    let slow = (0..SLOW).map(|number| span("slow", &trace(3, number), LONG_AGO, 2000));
    quiet.chain(failing).chain(slow).collect()
}

fn span(name: &str, trace: &[u8], start_us: u64, millis: u64) -> Span {
    let start = start_us * 1000;
    Span {
        trace_id: trace.to_vec(),
        span_id: trace[..8].iter().map(|byte| byte ^ 0x5A).collect(),
        name: name.to_owned(),
        start_time_unix_nano: start,
        end_time_unix_nano: start + millis * 1_000_000,
        ..Span::default()
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

impl Stack {
    fn takes(&self, spans: Vec<Span>) {
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let answer = post(&self.http(), "/v1/traces", "application/x-protobuf", &body);
        assert!(answer.is_some(), "the agent refused");
    }
}

/// The spans that the gateways handed on.
#[derive(Debug, Default)]
struct Stays {
    names: Vec<String>,
    /// The ids of runs.
    runs: BTreeSet<String>,
}

impl Stays {
    fn read(stack: &Stack) -> Self {
        let mut stays = Self::default();
        for gateway in ["gateway-1", "gateway-2"] {
            let file = stack.folder.join(format!("{gateway}.spans.json"));
            let text = fs::read_to_string(file).unwrap_or_default();
            // The last line may be under way.
            for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
                for resource in array(&line["resourceSpans"]) {
                    for scope in array(&resource["scopeSpans"]) {
                        array(&scope["spans"]).iter().for_each(|span| stays.add(span));
                    }
                }
            }
        }
        stays
    }

    fn add(&mut self, span: &Value) {
        self.names.push(span["name"].as_str().unwrap_or_default().to_owned());
        let id = array(&span["attributes"]).iter().find(|pair| pair["key"] == "obs.run.id");
        self.runs.extend(id.and_then(|id| id["value"]["stringValue"].as_str()).map(str::to_owned));
    }

    fn count(&self, name: &str) -> usize {
        self.names.iter().filter(|one| *one == name).count()
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
