//! Whose run it was, as a keyed hash.

use obs_core::{FinishedRun, SubjectKey, testing::TestObs};

#[test]
fn with_a_key_a_row_says_the_hash_that_erasure_computes_and_not_the_subject() {
    let key = SubjectKey::new(b"a secret of 24 bytes....").unwrap();
    let test = TestObs::with(|builder| builder.subject_key(key.clone())).unwrap();
    let bonus = test.obs().kind("dsl").lookup("bonus", "3");
    let _: Result<(), String> = bonus.observe(&(), |run| {
        run.keep().subject("user-7");
        Ok(())
    });
    bonus.record(FinishedRun {
        subject: Some("user-7".into()),
        keep: true,
        ..FinishedRun::default()
    });
    bonus.record(FinishedRun { keep: true, ..FinishedRun::default() });
    let records = test.records();
    for record in &records[..2] {
        assert_eq!(record.subject.as_deref(), Some(&*key.hash("user-7")));
        let row = format!("{record:?}{}", serde_json::to_string(record).unwrap());
        assert!(!row.contains("user-7"), "{row}");
    }
    assert_eq!(records[2].subject, None, "no subject has no hash");
}
