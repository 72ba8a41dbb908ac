//! The rules as Prometheus reads them.

use std::process::Command;

use obs_stack::root;

use crate::programs::{PROMTOOL, run};

#[test]
fn promtool_finds_nothing_wrong_with_the_rules() {
    let Some(promtool) = PROMTOOL.find() else { return };
    let rules =
        ["recording", "alerts"].map(|name| root().join(format!("prometheus/rules/{name}.yaml")));
    let said = run(Command::new(promtool)
        .args(["check", "rules", "--lint=all", "--lint-fatal"])
        .args(rules));
    said.unwrap();
}
