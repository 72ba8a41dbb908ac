//! The words of a trace: what looks like a secret is found wherever it stands, and nothing else is.

use obs_core::{KeepPolicy, Rate, testing::TestObs};
use proptest::{collection, prelude::*, sample};
use serde_json::{Value, json};

/// Parts of secrets, whole ones, and what words are made of.
const PIECES: [&str; 30] = [
    "n-compare-1",
    "user 7",
    "a@b.co",
    "pwd=x",
    "pwd = ",
    "cookie:",
    "authorization: ",
    "\"pwd\": 1",
    "\\",
    "x://u:p@h/",
    "eyJ.eyJ",
    "-----BEGIN ",
    "--",
    "4222222222222",
    "4111 1111 1111 1111",
    "1763726400000",
    "0123456789",
    "123e4567-e89b-12d3-a456-426614174000",
    "npm_0123456789abcdef",
    "sk-0123456789abcdef",
    "xoxb-0123456789abcdef",
    "AKIA0123456789ABCDEF",
    "ya29.0123456789abcdef",
    "AIza0123456789abcdef",
    "calculate_discount",
    "4111-1111",
    "größe",
    "\u{1}",
    " ",
    "x",
];

fn kept() -> TestObs {
    let keep = KeepPolicy { ok_rate: Rate::new(1.0).unwrap(), ..KeepPolicy::default() };
    TestObs::with(|builder| builder.policy(keep)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// An attribute's text is looked at for itself, and is never cut here.
    #[test]
    fn a_word_of_a_trace_is_stored_as_the_same_text_is_elsewhere(
        pieces in collection::vec(sample::select(&PIECES[..]), 0..4),
        place in 0_usize..5,
    ) {
        let word: String = pieces.concat();
        prop_assume!(word.len() <= 128);
        let test = kept();
        let mut run = test.obs().kind("dsl").lookup("bonus", "3").start();
        // Beside words and numbers that are no secrets.
        run.node("n-compare-1").kind("compare").branch("match").value(&1_234_567_890);
        let at = |this: usize| if place == this { word.as_str() } else { "w" };
        run.node(at(0)).kind(at(1)).phase(at(2)).branch(at(3)).value(at(4));
        run.attribute("word", word.clone());
        run.finish(Ok::<_, String>(())).unwrap();
        let record = test.records().remove(0);
        let stored: Value = serde_json::from_str(record.attributes.unwrap().as_str()).unwrap();
        let trace: Value = serde_json::from_str(record.trace.unwrap().as_str()).unwrap();
        let name = ["node", "type", "phase", "branch", "value"][place];
        prop_assert_eq!(&trace[1][name], &stored["word"]);
        prop_assert_eq!(&trace[0]["value"], &json!(1_234_567_890));
    }
}

#[test]
fn a_card_number_is_found_in_a_trace_as_text_and_as_number() {
    let test = kept();
    let mut run = test.obs().kind("dsl").lookup("bonus", "3").start();
    run.node("n1").value(&4_111_111_111_111_111_u64);
    run.node("4111111111111111");
    run.node("4111111111111112");
    run.finish(Ok::<_, String>(())).unwrap();
    let record = test.records().remove(0);
    let trace: Value = serde_json::from_str(record.trace.unwrap().as_str()).unwrap();
    assert_eq!(trace[0]["value"], json!("[redacted]"));
    assert_eq!(
        (&trace[1]["node"], &trace[2]["node"]),
        (&json!("[redacted]"), &json!("4111111111111112"))
    );
}
