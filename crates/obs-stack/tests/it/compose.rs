//! `compose.yaml` and the `Dockerfile`s, which nothing here runs: that they parse, and that what they name is there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use obs_stack::root;
use serde_json::Value;

const DOCKERFILES: [&str; 2] = ["otel-collector/Dockerfile", "examples/Dockerfile"];

fn compose() -> Value {
    let text = fs::read_to_string(root().join("otel-collector/compose.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// The instructions of a file, each on one line, without comments.
fn instructions(path: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(path)).unwrap().replace("\\\n", " ");
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

fn beside_compose(path: &str) -> PathBuf {
    root().join("otel-collector").join(path)
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_service_of_compose_has_an_image_or_a_dockerfile_and_files_that_are_there() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let volumes = compose["volumes"].as_object().unwrap();
    assert!(services.len() > 6, "{:?}", services.keys());
    for (name, service) in services {
        if let Some(context) = service["build"]["context"].as_str() {
            let file = service["build"]["dockerfile"].as_str().unwrap();
            assert!(beside_compose(context).join(file).is_file(), "{name}: {file}");
        } else {
            assert!(service["image"].is_string(), "{name} has neither image nor Dockerfile");
        }
        for volume in texts(&service["volumes"]) {
            let from = volume.split(':').next().unwrap();
            let is_path = from.starts_with('.');
            let there =
                if is_path { beside_compose(from).exists() } else { volumes.contains_key(from) };
            assert!(there, "{name}: {volume}");
        }
        let on = &service["depends_on"];
        let on = on.as_object().map_or_else(|| texts(on), |on| on.keys().cloned().collect());
        for other in on {
            assert!(services.contains_key(&other), "{name} depends on {other}");
        }
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name} opens {port} to everybody");
        }
    }
}

#[test]
fn what_compose_sets_is_what_the_mounted_files_ask_for() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let configurations: String = ["agent.yaml", "gateway.yaml"]
        .map(|file| fs::read_to_string(beside_compose(file)).unwrap())
        .concat();
    let copied = instructions(DOCKERFILES[0]).join("\n");
    for (name, service) in services {
        for argument in texts(&service["command"]) {
            if let Some(file) = argument.strip_prefix("--config=/etc/obs/") {
                assert!(copied.contains(&format!("otel-collector/{file} ")), "{name}: {file}");
            }
        }
        let settings = service["environment"].as_object().into_iter().flatten();
        for (key, _) in settings.filter(|(key, _)| key.starts_with("OBS_COLLECTOR_")) {
            assert!(
                configurations.contains(&format!("${{env:{key}:")),
                "{name}: nobody reads {key}"
            );
        }
    }
    let sources = root().join("grafana/provisioning/datasources/obs.yaml");
    let sources = fs::read_to_string(sources).unwrap();
    let asked: BTreeSet<&str> = sources
        .split("${OBS_GRAFANA_")
        .skip(1)
        .map(|rest| rest.split('}').next().unwrap())
        .collect();
    let set = services["grafana"]["environment"].as_object().unwrap().keys();
    let set: BTreeSet<&str> = set.filter_map(|key| key.strip_prefix("OBS_GRAFANA_")).collect();
    assert_eq!(asked, set);
}

#[test]
fn every_dockerfile_has_pinned_images_known_instructions_and_sources_that_are_there() {
    const KNOWN: [&str; 9] =
        ["FROM", "ARG", "RUN", "WORKDIR", "COPY", "ENV", "VOLUME", "ENTRYPOINT", "CMD"];
    for file in DOCKERFILES {
        let instructions = instructions(file);
        let mut stages = BTreeSet::new();
        for instruction in &instructions {
            let mut words = instruction.split_whitespace();
            let first = words.next().unwrap();
            assert!(KNOWN.contains(&first), "{file}: {instruction}");
            let words: Vec<&str> = words.collect();
            match first {
                "FROM" => {
                    let tag = words[0].split_once(':').map(|(_, tag)| tag);
                    assert!(tag.is_some_and(|tag| tag != "latest"), "{file}: {instruction}");
                    stages.extend(
                        words.iter().position(|word| *word == "AS").map(|at| words[at + 1]),
                    );
                }
                "COPY" => copies(file, &words, &stages),
                _ => {}
            }
        }
        assert!(
            instructions
                .last()
                .is_some_and(|last| last.starts_with("ENTRYPOINT") || last.starts_with("CMD"))
        );
    }
}

fn copies(file: &str, words: &[&str], stages: &BTreeSet<&str>) {
    if let Some(stage) = words.iter().find_map(|word| word.strip_prefix("--from=")) {
        assert!(stages.contains(stage), "{file}: no stage {stage}");
        return;
    }
    let (_, sources) = words.split_last().unwrap();
    for source in sources {
        assert!(root().join(Path::new(source)).exists(), "{file}: no {source}");
    }
}
