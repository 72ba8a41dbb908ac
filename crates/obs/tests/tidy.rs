//! The rules about the tree: who may know whom, how a file begins, how long it gets.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

#[path = "tidy/sql.rs"]
mod sql;

/// What each crate may depend on, outside tests. A new line needs a reason in `docs/adr/`.
const EDGES: [(&str, &[&str]); 5] = [
    (
        "obs-core",
        &[
            "getrandom",
            "hmac",
            "opentelemetry",
            "quanta",
            "rand_chacha",
            "secrecy",
            "serde",
            "serde_json",
            "sha2",
            "uuid",
        ],
    ),
    (
        "obs-persist",
        &[
            "crc32c",
            "diesel",
            "diesel-async",
            "diesel_migrations",
            "getrandom",
            "libc",
            "libsqlite3-sys",
            "memmap2",
            "obs-core",
            "postcard",
            "rustix",
            "rustls",
            "rustls-native-certs",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "tokio",
            "tokio-postgres",
            "tokio-postgres-rustls",
            "tracing",
            "uuid",
        ],
    ),
    (
        "obs-http",
        &[
            "axum",
            "bytes",
            "getrandom",
            "http",
            "http-body",
            "hyper",
            "hyper-util",
            "obs-core",
            "obs-persist",
            "opentelemetry",
            "percent-encoding",
            "pin-project-lite",
            "secrecy",
            "serde",
            "serde_json",
            "subtle",
            "thiserror",
            "tokio",
            "tower-layer",
            "tower-service",
            "tracing",
            "uuid",
        ],
    ),
    (
        "obs",
        &[
            "bytes",
            "flate2",
            "getrandom",
            "http",
            "http-body-util",
            "hyper",
            "hyper-util",
            "obs-core",
            "obs-http",
            "obs-persist",
            "opentelemetry",
            "opentelemetry-proto",
            "opentelemetry_sdk",
            "percent-encoding",
            "prost",
            "rustls",
            "rustls-native-certs",
            "saphyr-parser",
            "schemars",
            "secrecy",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "tokio-rustls",
            "tonic",
            "tonic-types",
            "tracing",
            "tracing-subscriber",
            "uuid",
        ],
    ),
    (
        "obs-cli",
        &[
            "clap",
            "obs",
            "obs-core",
            "obs-persist",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "uuid",
        ],
    ),
];

/// A file is one idea.
const FILE_LINES_MAX: usize = 600;

/// Hosts of package registries: the repository names none, `Cargo.lock` as cargo writes it aside.
/// Written in pieces, so that this file does not name them either.
const REGISTRY_HOSTS: [(&str, &str); 5] = [
    ("crates", ".io"),
    ("pypi", ".org"),
    ("registry.npmjs", ".org"),
    ("proxy.golang", ".org"),
    ("deb.debian", ".org"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Every file that git knows, below the root.
fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "the checkout is a git repository");
    let names = String::from_utf8(output.stdout).unwrap();
    names.lines().map(|name| root().join(name)).filter(|path| path.is_file()).collect()
}

fn rust_files() -> Vec<PathBuf> {
    files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")).collect()
}

#[test]
fn a_crate_knows_only_what_the_design_lets_it_know() {
    let packages = packages();
    for (name, allowed) in EDGES {
        let package = packages.iter().find(|package| package["name"] == name).unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            if dependency["kind"].is_null() {
                let known = dependency["name"].as_str().unwrap();
                assert!(
                    allowed.contains(&known),
                    "{name} must not know {known}: see design of the crates"
                );
            }
        }
    }
}

#[test]
fn every_package_inherits_its_version_licence_and_lints_and_is_not_published() {
    for package in packages() {
        let manifest = fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        let name = &package["name"];
        for inherited in ["version", "edition", "rust-version", "license", "publish"] {
            assert!(
                manifest.contains(&format!("{inherited}.workspace = true")),
                "{name}: {inherited}"
            );
        }
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name}: lints");
        assert_eq!(package["publish"].as_array().map(Vec::len), Some(0), "{name} is not published");
    }
}

#[test]
fn every_rust_file_begins_with_what_it_is_for_or_belongs_to_one_that_does() {
    for path in rust_files() {
        let text = fs::read_to_string(&path).unwrap();
        // A module's tests beside it need no purpose of their own.
        let is_tests =
            path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
        assert!(text.starts_with("//!") || is_tests, "{} has no `//!` head", path.display());
    }
}

#[test]
fn no_rust_file_is_longer_than_one_idea() {
    for path in rust_files() {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(
            lines <= FILE_LINES_MAX,
            "{} has {lines} lines, more than {FILE_LINES_MAX}",
            path.display()
        );
    }
}

#[test]
fn no_file_names_a_registry_host() {
    let hosts: BTreeSet<String> =
        REGISTRY_HOSTS.iter().map(|(name, end)| format!("{name}{end}")).collect();
    for path in files() {
        if path.file_name().is_some_and(|name| name == "Cargo.lock") {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for host in &hosts {
            assert!(!text.contains(host.as_str()), "{} names {host}", path.display());
        }
    }
}
