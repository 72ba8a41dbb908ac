//! What becomes of records, and how the sampler chooses.

use std::sync::{Arc, Mutex};

use obs_core::{
    Ack, AttributeValue, Class, DropReason, KeepPolicy, Kept, Rate, Sink, testing::TestObs,
};

use super::{OWN, fail, only_failures, strategy};
use crate::support::measured;

/// Keeps what it is given until it is told what became of it.
#[derive(Debug, Default)]
struct Holding(Mutex<Vec<Kept>>);

impl Sink for Holding {
    fn submit(&self, kept: Kept) -> Ack {
        self.0.lock().unwrap().push(kept);
        Ack::Memory
    }
    fn capacity(&self, _class: Class) -> u64 {
        u64::MAX
    }
}

#[test]
fn a_record_is_pending_from_its_run_on_and_persisted_only_once_somebody_says_so() {
    let sink = Arc::new(Holding::default());
    let sink_of_obs = Arc::clone(&sink) as Arc<dyn Sink>;
    let measured = measured(false, |builder| builder.sink(sink_of_obs)).unwrap();
    fail(&strategy(measured.test.obs()), "E");
    let seen = || {
        let export = measured.export();
        let error = ("class", "error");
        [
            export.at("obs.record.recorded", &[error]),
            export.at("obs.record.pending", &[error, ("stage", "queue")]),
            export.at("obs.record.outcomes", &[error, ("outcome", "persisted")]),
        ]
    };
    assert_eq!(seen(), [Some(1.0), Some(1.0), Some(0.0)]);
    sink.0.lock().unwrap().pop().unwrap().ticket.persisted();
    assert_eq!(seen(), [Some(1.0), Some(0.0), Some(1.0)]);
}

#[test]
fn each_reason_of_a_loss_is_a_label_of_its_own() {
    let sink = Arc::new(Holding::default());
    let sink_of_obs = Arc::clone(&sink) as Arc<dyn Sink>;
    let measured = measured(false, |builder| builder.sink(sink_of_obs)).unwrap();
    let bonus = strategy(measured.test.obs());
    for reason in DropReason::ALL {
        fail(&bonus, "E");
        sink.0.lock().unwrap().pop().unwrap().ticket.dropped(reason);
    }
    let export = measured.export();
    for reason in DropReason::ALL {
        let labels = [OWN.to_vec(), vec![("class", "error"), ("reason", reason.as_str())]].concat();
        assert_eq!(export.at("obs.record.dropped", &labels), Some(1.0), "{reason}");
    }
}

#[test]
fn a_seed_decides_for_one_obs_and_touches_no_other() {
    let kept = |seed: Option<u64>, disturb: bool| {
        let policy = KeepPolicy { ok_rate: Rate::new(0.5).unwrap(), ..only_failures() };
        let make = |seed: Option<u64>| {
            TestObs::with(|builder| match seed {
                Some(seed) => builder.policy(policy).seed(seed),
                None => builder.policy(policy),
            })
            .unwrap()
        };
        let (test, other) = (make(seed), make(Some(99)));
        let (bonus, elsewhere) = (strategy(test.obs()), strategy(other.obs()));
        for number in 0..200 {
            let mut run = bonus.start();
            run.value(f64::from(number));
            run.finish(Ok::<_, String>(())).unwrap();
            if disturb {
                elsewhere.start().finish(Ok::<_, String>(())).unwrap();
            }
        }
        let values = test.records().iter().map(|record| record.value.unwrap()).collect::<Vec<_>>();
        assert!(values.len() > 60 && values.len() < 140, "{}", values.len());
        values
    };
    assert_eq!(kept(Some(5), false), kept(Some(5), true));
    assert_ne!(kept(Some(5), false), kept(Some(6), false));
}

#[test]
fn only_rates_from_zero_to_one_exist() {
    for good in [0.0, -0.0, f64::MIN_POSITIVE, 0.05, 1.0] {
        assert!(Rate::new(good).is_ok(), "{good}");
    }
    for bad in [-0.05, 1.000_001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = Rate::new(bad).unwrap_err().to_string();
        assert!(error.starts_with(&format!("rate {bad} is not in [0, 1]: use ")), "{error}");
    }
}

#[test]
fn the_coordinates_of_an_event_are_attributes_of_the_row() {
    let test = TestObs::new();
    let _: Result<(), String> = strategy(test.obs()).observe(&(), |run| {
        run.subject("user-7").attribute("game", "g-1").attribute("task", String::from("t-9"));
        run.attribute("attempt", 2_u32).attribute("replay", false).attribute("weight", 0.5);
        Err("no".to_owned())
    });
    let record = &test.records()[0];
    assert_eq!(
        record.attributes.as_ref().unwrap().as_str(),
        r#"{"game":"g-1","task":"t-9","attempt":2,"replay":false,"weight":0.5}"#
    );
    assert_eq!(AttributeValue::from(7_i64), AttributeValue::I64(7));
}
