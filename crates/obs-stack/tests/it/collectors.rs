//! Every configuration of the Collector, judged by the real one.

use std::{fs, path::Path, process::Command};

use obs_stack::{Registry, Requirement, Span, root};
use serde_json::Value;

use crate::programs::{COLLECTOR, PROMTOOL, run};

/// Each file, and what it is laid over.
const CONFIGURATIONS: [&[&str]; 8] = [
    &["config.yaml"],
    &["config.yaml", "bare-series.yaml"],
    &["agent.yaml"],
    &["agent.yaml", "agent-tls.yaml"],
    &["gateway.yaml"],
    &["gateway.yaml", "gateway-tls.yaml"],
    &["gateway.yaml", "kafka.yaml"],
    &["gateway.yaml", "thanos.yaml"],
];

/// What is in the folder and no configuration.
const OTHERS: [&str; 2] = ["builder.yaml", "compose.yaml"];

fn folder() -> std::path::PathBuf {
    root().join("otel-collector")
}

#[test]
fn the_collector_takes_every_configuration() {
    let Some(collector) = COLLECTOR.find() else { return };
    for files in CONFIGURATIONS {
        validate(&collector, files, &[]).unwrap_or_else(|said| panic!("{files:?}: {said}"));
    }
}

#[test]
fn the_collector_refuses_a_configuration_with_a_key_that_it_does_not_know() {
    let Some(collector) = COLLECTOR.find() else { return };
    let slip = "--config=yaml:exporters::otlp_grpc/gateway::retry_on_failure::max_elapsed: 0s";
    let said = validate(&collector, &["agent.yaml"], &[slip]).unwrap_err();
    assert!(said.contains("max_elapsed"), "{said}");
}

fn validate(collector: &Path, files: &[&str], more: &[&str]) -> Result<String, String> {
    let mut command = Command::new(collector);
    command.arg("validate").current_dir(tempfile::tempdir().unwrap().keep());
    for file in files {
        command.arg(format!("--config={}", folder().join(file).display()));
    }
    run(command.args(more))
}

#[test]
fn every_configuration_is_judged() {
    let judged: Vec<&str> = CONFIGURATIONS.concat();
    for file in fs::read_dir(folder()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let known = judged.contains(&&*name) || OTHERS.contains(&&*name);
        assert!(known || !name.ends_with(".yaml"), "nobody judges {name}");
    }
}

#[test]
fn what_the_agent_and_the_gateway_promise_is_in_their_files() {
    for (file, exporters) in [
        ("agent.yaml", &["otlp_grpc/gateway", "loadbalancing/gateway"][..]),
        ("gateway.yaml", &["otlp_http/prometheus"]),
    ] {
        let config = yaml(&folder().join(file));
        assert_eq!(config["extensions"]["file_storage"]["fsync"], true, "{file}");
        for exporter in exporters {
            let exporter = &config["exporters"][exporter];
            assert_eq!(exporter["sending_queue"]["storage"], "file_storage", "{file}");
            assert_eq!(exporter["retry_on_failure"]["max_elapsed_time"], "0s", "{file}");
        }
        for (name, pipeline) in config["service"]["pipelines"].as_object().unwrap() {
            assert_eq!(pipeline["processors"][0], "memory_limiter", "{file}: {name}");
        }
    }
}

#[test]
fn the_gateway_keeps_traces_by_an_attribute_that_every_span_of_a_run_has() {
    let config = yaml(&folder().join("gateway.yaml"));
    let policies = config["processors"]["tail_sampling"]["policies"].as_array().unwrap();
    let kept = policies.iter().find(|policy| policy["name"] == "kept-runs").unwrap();
    let key = kept["string_attribute"]["key"].as_str().unwrap();
    let registry = Registry::read(&root()).unwrap();
    let runs = registry.spans.iter().filter(|span| span.name != "obs.node");
    let has = |span: &Span| {
        let mut attributes = span.attributes.iter();
        attributes.any(|one| one.name == key && one.requirement == Requirement::Required)
    };
    let without: Vec<_> = runs.filter(|span| !has(span)).map(|span| &span.name).collect();
    assert!(without.is_empty(), "{key} is not on each of {without:?}");
}

#[test]
fn prometheus_takes_its_configuration() {
    let Some(promtool) = PROMTOOL.find() else { return };
    let config = root().join("prometheus/prometheus.yaml");
    run(Command::new(promtool).args(["check", "config"]).arg(config)).unwrap();
}

/// Prometheus 3.15 is version 0.315 of its Go module.
#[test]
fn the_images_are_pinned_to_the_versions_that_are_tested() {
    let compose = yaml(&folder().join("compose.yaml"));
    for (name, service) in compose["services"].as_object().unwrap() {
        let image = service["image"].as_str();
        let pinned =
            image.is_none_or(|image| image.split_once(':').is_some_and(|(_, tag)| tag != "latest"));
        assert!(pinned, "{name}: {image:?}");
    }
    let module = fs::read_to_string(root().join("prometheus/go.mod")).unwrap();
    let version = module
        .lines()
        .find_map(|line| line.strip_prefix("require github.com/prometheus/prometheus v0."));
    let (minor, patch) = version.unwrap().split_once('.').unwrap();
    let image = format!("prom/prometheus:v3.{}.{patch}", &minor[1..]);
    assert_eq!(compose["services"]["prometheus"]["image"], image.as_str());
    let builder = yaml(&folder().join("builder.yaml"));
    let image = format!("otelcol-obs:{}", builder["dist"]["version"].as_str().unwrap());
    assert_eq!(compose["x-collector"]["image"], image.as_str());
}

fn yaml(path: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
