//! What a running program sends as spans is what the registry says, in both directions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, http::StatusCode, routing::get};
use obs::{
    Environment, KeepPolicy, RunFailure, Telemetry,
    http::{HttpLayer, RequestRecords},
};
use obs_stack::{Registry, Requirement, Span, root};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span as Sent, span::SpanKind},
};
use prost::Message as _;

use super::{PATIENCE, ask};

#[test]
fn a_program_exports_exactly_the_spans_and_attributes_of_the_registry() {
    let registry = Registry::read(&root()).unwrap();
    let collector = Collector::start();
    let folder = tempfile::tempdir().unwrap();
    let telemetry = program(&collector.url, folder.path());
    assert!(telemetry.flush_blocking(PATIENCE).is_complete());
    let mut differences = Vec::new();
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for span in &collector.spans() {
        let name = name_of(span);
        let Some(stated) = registry.spans.iter().find(|stated| stated.name == name) else {
            differences.push(format!("{name}: not in the registry"));
            continue;
        };
        compare(stated, span, &registry, &mut differences);
        let keys = span.attributes.iter().map(|pair| pair.key.clone());
        seen.entry(name).or_default().extend(keys);
    }
    for stated in &registry.spans {
        let seen = seen.remove(&*stated.name).unwrap_or_default();
        for attribute in &stated.attributes {
            if !seen.contains(&attribute.name) {
                differences.push(format!("{}: {} was on no span", stated.name, attribute.name));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let _ = telemetry.shutdown_blocking(PATIENCE);
}

/// The registry's name for it.
fn name_of(span: &Sent) -> &'static str {
    let is_run = span.attributes.iter().any(|pair| pair.key == "obs.run.id");
    match span.kind() {
        SpanKind::Server => "http.server",
        _ if is_run => "obs.run",
        _ => "obs.node",
    }
}

fn compare(stated: &Span, sent: &Sent, registry: &Registry, found: &mut Vec<String>) {
    let name = &stated.name;
    let kind = sent.kind().as_str_name().to_lowercase();
    if kind != format!("span_kind_{}", stated.kind) {
        found.push(format!("{name}: {kind}, in the registry {}", stated.kind));
    }
    for attribute in &stated.attributes {
        let required = attribute.requirement == Requirement::Required;
        if required && !sent.attributes.iter().any(|pair| pair.key == attribute.name) {
            found.push(format!("{name}: {} is missing on {}", attribute.name, sent.name));
        }
    }
    for pair in &sent.attributes {
        let key = &pair.key;
        if !stated.attributes.iter().any(|attribute| attribute.name == *key) {
            found.push(format!("{name}: {key} is not an attribute of it in the registry"));
            continue;
        }
        let of_registry = registry.attribute(key).unwrap();
        let value = pair.value.as_ref().and_then(|value| value.value.as_ref()).unwrap();
        let is_so = match (value, &*of_registry.kind) {
            (Value::StringValue(text), "enum") => of_registry.members.contains(text),
            (Value::StringValue(_), "string")
            | (Value::IntValue(_), "int")
            | (Value::DoubleValue(_), "double")
            | (Value::BoolValue(_), "boolean")
            | (_, "any") => true,
            _ => false,
        };
        if !is_so {
            found.push(format!("{name}: {key} is {value:?}, in the registry {}", of_registry.kind));
        }
    }
}

/// A run with everything, and requests that end well and badly.
fn program(url: &str, folder: &std::path::Path) -> Telemetry {
    let telemetry = obs::builder()
        .environment(Environment::from_iter([
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_METRICS_EXPORTER", "none"),
        ]))
        .endpoint(url)
        .store(format!("sqlite:{}/runs.sqlite", folder.display()))
        .init()
        .unwrap();
    let bonus = telemetry.kind("dsl").strategy("bonus").version("1").realm("acme").type_("A");
    let bonus = bonus.build().unwrap();
    let _: Result<(), _> = bonus.observe(&(), |run| {
        run.correlation_id("4b0c1f").case("big-spender").value(12.5);
        run.node("first").kind("compare").phase("resolve").branch("match").value(&true);
        Err(RunFailure::error("DSL_DIVISION").message("by zero").node("first"))
    });
    let records = RequestRecords::new(telemetry.obs(), KeepPolicy::default()).unwrap();
    let router = Router::new()
        .route("/orders/{id}", get(async || "one"))
        .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .layer(HttpLayer::builder().records(records).build());
    ask(&router, &["/orders/7", "/broken", "/nowhere"]);
    telemetry
}

/// Takes whatever is sent to it, and keeps it.
struct Collector {
    url: String,
    taken: Arc<Mutex<Vec<Bytes>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    fn start() -> Self {
        let taken = Arc::<Mutex<Vec<Bytes>>>::default();
        let keep = Arc::clone(&taken);
        let router = Router::new().fallback(async move |body: Bytes| {
            keep.lock().unwrap().push(body);
            ([("content-type", "application/x-protobuf")], Vec::new())
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url, taken, _runtime: runtime }
    }

    fn spans(&self) -> Vec<Sent> {
        let taken = self.taken.lock().unwrap();
        let requests =
            taken.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap());
        requests
            .flat_map(|request| request.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }
}
