//! The runbook: a page for each alert, an alert for each page.

use std::{collections::BTreeSet, fs};

use obs_stack::root;

use crate::rules::alert_names;

const PARTS: [&str; 4] =
    ["## What it means", "## What to look at", "## What to do", "## How to test it"];

#[test]
fn each_alert_has_a_page_and_each_page_an_alert() {
    let pages = fs::read_dir(root().join("docs/runbook")).unwrap();
    let pages: BTreeSet<String> = pages
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".md").map(str::to_owned))
        .collect();
    assert_eq!(pages, alert_names().into_iter().collect());
}

#[test]
fn each_page_says_what_it_means_what_to_look_at_what_to_do_and_how_to_test_it() {
    for name in alert_names() {
        let page = fs::read_to_string(root().join(format!("docs/runbook/{name}.md"))).unwrap();
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        let parts: Vec<_> = page.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(parts, PARTS, "{name}");
        assert!(!page.contains("\n\n\n## "), "{name} has an empty part");
    }
}
