//! The run in whose body a thread is: log lines and rows name the same one.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
};

use obs_core::{KeepPolicy, Rate, Strategy, current_run_id, testing::TestObs};
use uuid::Uuid;

fn test(current_run: bool) -> (TestObs, Strategy) {
    let policy = KeepPolicy { ok_rate: Rate::new(1.0).unwrap(), ..KeepPolicy::default() };
    let test = TestObs::with(|builder| builder.policy(policy).current_run(current_run)).unwrap();
    let strategy = test.obs().kind("dsl").lookup("bonus", "3");
    (test, strategy)
}

fn ids(test: &TestObs) -> Vec<Uuid> {
    test.records().iter().map(|record| record.run_id).collect()
}

#[test]
fn a_body_knows_its_run_by_the_id_of_the_record_whoever_asks_first() {
    let (test, strategy) = test(true);
    let asked_outside = |_: &mut obs_core::Run| Ok::<_, String>(current_run_id().unwrap());
    let first = strategy.observe(&(), asked_outside).unwrap();
    let second = strategy
        .observe(&(), |run| {
            let id = run.id();
            assert_eq!(current_run_id(), Some(id));
            Ok::<_, String>(id)
        })
        .unwrap();
    let third = strategy
        .observe(&(), |run| {
            let id = current_run_id().unwrap();
            assert_eq!(run.id(), id);
            Ok::<_, String>(id)
        })
        .unwrap();
    assert_eq!(ids(&test), [first, second, third]);
    assert_eq!(current_run_id(), None);
}

#[test]
fn a_run_inside_a_run_is_the_current_one_until_it_ends_or_panics() {
    let (test, strategy) = test(true);
    let outer = strategy.observe(&(), |_| {
        let outer = current_run_id().unwrap();
        let inner = strategy.observe(&(), |_| Ok::<_, String>(current_run_id().unwrap()));
        assert_ne!(inner, Ok(outer));
        assert_eq!(current_run_id(), Some(outer));
        let panicking = || strategy.observe(&(), |_| -> Result<(), String> { panic!("inside") });
        assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
        assert_eq!(current_run_id(), Some(outer));
        assert_eq!(thread::spawn(current_run_id).join().unwrap(), None);
        Ok::<_, String>(outer)
    });
    assert_eq!(ids(&test)[2], outer.unwrap());
}

#[test]
fn a_future_knows_its_run_while_it_is_polled_and_a_dropped_one_keeps_the_id_it_was_logged_with() {
    let (test, strategy) = test(true);
    let mut seen = Vec::new();
    {
        let mut polls = 0;
        let wait = std::future::poll_fn(|_| {
            polls += 1;
            if polls < 3 { Poll::Pending } else { Poll::Ready(()) }
        });
        let mut future = pin!(strategy.observe_async(&(), async |_| {
            seen.push(current_run_id().unwrap());
            wait.await;
            seen.push(current_run_id().unwrap());
            Ok::<_, String>(())
        }));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            assert!(future.as_mut().poll(&mut context).is_pending());
            assert_eq!(current_run_id(), None, "between polls");
        }
        assert!(future.as_mut().poll(&mut context).is_ready());
    }
    assert_eq!((seen[0], vec![seen[1]]), (seen[1], ids(&test)));

    let mut logged = None;
    {
        let mut future = Box::pin(strategy.observe_async(&(), async |_| {
            logged = current_run_id();
            std::future::pending::<Result<(), String>>().await
        }));
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(logged, Some(ids(&test)[1]));
}

#[test]
fn without_being_told_so_a_body_knows_no_run() {
    let (_test, strategy) = test(false);
    let asked = strategy.observe(&(), |_| Ok::<_, String>(current_run_id()));
    assert_eq!(asked, Ok(None));
}

#[test]
fn the_id_of_a_run_whose_clock_is_the_systems_carries_the_start_of_the_run() {
    let obs = obs_core::Obs::builder().current_run(true).build().unwrap();
    let before = obs_core::Clock::default().wall().as_micros() / 1_000;
    let id = obs.kind("dsl").lookup("bonus", "3").observe(&(), |_| {
        // The clock goes on by a millisecond at least.
        while obs_core::Clock::default().wall().as_micros() / 1_000 < before + 5 {}
        Ok::<_, String>(current_run_id().unwrap())
    });
    let millis = i64::try_from(id.unwrap().as_u128() >> 80).unwrap();
    assert!((before - 1..before + 4).contains(&millis), "{millis} is not the start, {before}");
}
