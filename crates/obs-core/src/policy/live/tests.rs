use std::{env, process::Command};

use super::*;
use crate::testing::TestObs;

/// In a process of its own: what it says there, the locks of every other test would hear.
#[test]
fn a_forked_child_is_told_when_a_change_cannot_be_put_in_force() {
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "policy::live::tests::changes_under_a_lock_that_is_held", "--ignored"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "the test above runs it"]
fn changes_under_a_lock_that_is_held() {
    let test = TestObs::new();
    let live = test.obs().policy();
    let policy = Policy { rules: vec![rule()], ..Policy::default() };
    live.set(policy.clone()).unwrap();
    // As a thread of the parent holds it that the child does not have.
    let held = live.0.policy.state.lock().unwrap();
    crate::after_fork();
    let errors = [live.set(Policy::default()), live.add_for(rule(), Duration::from_secs(600))];
    for error in errors.map(Result::unwrap_err) {
        let said = error.to_string();
        assert!(said.starts_with("the policy cannot be changed in this forked process"), "{said}");
        assert!(said.ends_with("change it before the fork"), "{said}");
        assert_eq!((error.rule(), live.state().problem), (None, Some(said)));
    }
    assert_eq!((live.state().changes, live.state().refused), (1, 2));
    drop(held);
    assert_eq!(live.current(), policy);
    live.set(Policy::default()).unwrap();
    assert_eq!((live.current(), live.state().problem), (Policy::default(), None));
}

fn rule() -> KeepRule {
    KeepRule { strategy: Some("bonus".to_owned()), keep_all: true, ..KeepRule::default() }
}
