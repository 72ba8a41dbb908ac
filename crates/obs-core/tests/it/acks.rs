//! What is promised of a record: from the sink to whoever finishes the run.

use std::{
    future::ready,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use obs_core::{
    Ack, Class, DropReason, Durable, Kept, Obs, Rate, Recording, Sink,
    testing::{TestObs, assert_balanced},
};

/// Promises what it is told to, and more to whoever waits.
#[derive(Debug)]
struct Promises {
    now: Ack,
    later: Ack,
    waited: AtomicU64,
    submitted: Mutex<u64>,
}

impl Promises {
    fn obs(now: Ack, later: Ack) -> (Obs, Arc<Self>) {
        let sink =
            Arc::new(Self { now, later, waited: AtomicU64::new(0), submitted: Mutex::default() });
        let as_sink = Arc::clone(&sink) as Arc<dyn Sink>;
        (Obs::builder().sink(as_sink).build().unwrap(), sink)
    }
}

impl Sink for Promises {
    fn submit(&self, mut kept: Kept) -> Ack {
        *self.submitted.lock().unwrap() += 1;
        match self.now {
            Ack::Refused(reason) => kept.ticket.dropped(reason),
            Ack::Disk | Ack::Os => {
                kept.ticket.spooled();
                kept.ticket.persisted();
            }
            _ => kept.ticket.persisted(),
        }
        self.now
    }

    fn capacity(&self, _class: Class) -> u64 {
        1
    }

    fn durable(&self, ack: Ack) -> Durable {
        assert_eq!(ack, self.now);
        self.waited.fetch_add(1, Ordering::Relaxed);
        Box::pin(ready(self.later))
    }
}

/// Polled by hand: there is no runtime.
fn answer<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a future that waits for nothing is ready at once"),
    }
}

const FAILED: Result<(), &str> = Err("no");

fn failed() -> Result<(), String> {
    FAILED.map_err(str::to_owned)
}

#[test]
fn a_finished_run_says_what_its_sink_promised_of_the_record() {
    for promised in [Ack::Disk, Ack::Os, Ack::Memory, Ack::Refused(DropReason::SpoolFull)] {
        let (obs, _sink) = Promises::obs(promised, promised);
        let strategy = obs.kind("dsl").lookup("s", "1");
        assert_eq!(strategy.start().finish_ack(failed()), (failed(), Some(promised)));
        assert_eq!(strategy.start_with(7).finish_ack(failed()), (failed(), Some(promised)));
        assert_balanced(&obs);
    }
}

#[test]
fn a_run_that_is_not_kept_is_promised_nothing() {
    let test = TestObs::with(|builder| {
        builder.policy(obs_core::KeepPolicy {
            first: 0,
            ok_rate: Rate::new(0.0).unwrap(),
            ..obs_core::KeepPolicy::default()
        })
    })
    .unwrap();
    let strategy = test.obs().kind("dsl").lookup("s", "1");
    assert_eq!(strategy.start().finish_ack(Ok::<_, String>(1)), (Ok(1), None));
    assert_eq!(answer(strategy.start().finish_durable(Ok::<_, String>(1))), (Ok(1), None));
    let dry = strategy.with_recording(Recording::Nothing);
    assert_eq!(dry.start().finish_ack(failed()), (failed(), None));
}

#[test]
fn without_a_store_and_with_rows_off_the_answer_is_refused() {
    let refused = Some(Ack::Refused(DropReason::Disabled));
    let obs = Obs::builder().build().unwrap();
    let run = obs.kind("dsl").lookup("s", "1").start();
    assert_eq!(run.finish_ack(failed()).1, refused);
    let test = TestObs::with(|builder| builder.recording(Recording::MetricsOnly)).unwrap();
    let run = test.obs().kind("dsl").lookup("s", "1").start();
    assert_eq!(answer(run.finish_durable(failed())).1, refused);
}

#[test]
fn a_durable_end_waits_for_more_than_the_sink_promised_at_once() {
    let (obs, sink) = Promises::obs(Ack::Os, Ack::Disk);
    let strategy = obs.kind("dsl").lookup("s", "1");
    assert_eq!(answer(strategy.start().finish_durable(failed())), (failed(), Some(Ack::Disk)));
    assert_eq!(answer(strategy.start_with(7).finish_durable(failed())).1, Some(Ack::Disk));
    assert_eq!(sink.waited.load(Ordering::Relaxed), 2);
}

#[test]
fn a_durable_end_has_happened_before_its_future_is_polled() {
    let (obs, sink) = Promises::obs(Ack::Os, Ack::Disk);
    drop(obs.kind("dsl").lookup("s", "1").start().finish_durable(failed()));
    assert_eq!(*sink.submitted.lock().unwrap(), 1);
    assert_eq!(sink.waited.load(Ordering::Relaxed), 1, "the wait has begun");
    assert_balanced(&obs);
}

#[test]
fn a_sink_that_cannot_do_better_answers_as_before() {
    let test = TestObs::new();
    let run = test.obs().kind("dsl").lookup("s", "1").start();
    assert_eq!(answer(run.finish_durable(failed())).1, Some(Ack::Memory));
}

#[test]
fn a_sink_that_panics_promises_nothing_and_the_run_does_not_notice() {
    #[derive(Debug)]
    struct Panics;
    impl Sink for Panics {
        fn submit(&self, _kept: Kept) -> Ack {
            panic!("a sink must not panic, but this one does");
        }
        fn capacity(&self, _class: Class) -> u64 {
            0
        }
        fn durable(&self, _ack: Ack) -> Durable {
            panic!("not here either");
        }
    }
    let obs = Obs::builder().sink(Arc::new(Panics)).build().unwrap();
    let run = obs.kind("dsl").lookup("s", "1").start();
    let abandoned = Some(Ack::Refused(DropReason::Abandoned));
    assert_eq!(answer(run.finish_durable(failed())), (failed(), abandoned));
    assert_balanced(&obs);
}

/// Nobody can tell what it keeps.
#[derive(Debug)]
struct Nowhere;

impl Sink for Nowhere {
    fn submit(&self, kept: Kept) -> Ack {
        kept.ticket.dropped(DropReason::Closed);
        Ack::Refused(DropReason::Closed)
    }

    fn capacity(&self, _class: Class) -> u64 {
        0
    }
}

#[test]
fn who_drops_everything_drops_the_sink_too() {
    let sink: Arc<dyn Sink> = Arc::new(Nowhere);
    let watch = Arc::downgrade(&sink);
    let obs = Obs::builder().sink(sink).build().unwrap();
    let kind = obs.kind("dsl");
    for version in ["1", "2"] {
        let strategy = kind.lookup("bonus", version);
        let run = strategy.start();
        run.finish(Err::<(), _>("x".to_owned())).unwrap_err();
    }
    drop(kind);
    assert_eq!(watch.strong_count(), 1);
    drop(obs);
    assert_eq!(watch.strong_count(), 0, "this thread remembers strategies of the past");
}
