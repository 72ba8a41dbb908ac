use std::{sync::mpsc, thread};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// Takes batches, refuses them, or stalls, as the test says.
#[derive(Clone, Debug, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    taken: Vec<Vec<u32>>,
    tries: u32,
    /// So many of the next tries fail; then they are taken.
    failing: u32,
    hopeless: bool,
    stalled: bool,
}

impl Scripted {
    fn say<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }
}

impl Target<u32> for Scripted {
    fn name(&self) -> &str {
        "a script"
    }

    fn send<'a>(&'a self, batch: &'a [u32]) -> Sending<'a> {
        let answer = self.say(|script| {
            script.tries += 1;
            if script.stalled {
                return None;
            }
            if script.failing > 0 {
                script.failing -= 1;
                return Some(Err(SendError::new("no".to_owned(), !script.hopeless)));
            }
            script.taken.push(batch.to_vec());
            Some(Ok(0))
        });
        Box::pin(async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

/// Turns come with full batches and flushes only: time does not bring any.
fn start(queue_max: usize, batch_max: usize) -> (Queue<u32>, Batches, Scripted) {
    let script = Scripted::default();
    let limits = Limits {
        delay: Duration::from_secs(3_600),
        timeout: PATIENCE,
        queue_max,
        batch_max,
        per_minute: None,
    };
    let target = script.clone();
    let (queue, batches) =
        Batches::start("things", limits, move || Ok::<_, io::Error>(target)).unwrap();
    (queue, batches, script)
}

fn flushed(batches: &Batches, deadline: Duration) -> Drained {
    crate::block_on::block_on(batches.flush(deadline))
}

#[test]
fn what_is_put_in_leaves_in_batches_and_in_order() {
    let (queue, batches, script) = start(100, 10);
    (0..25).for_each(|item| queue.put(item, 4));
    let drained = flushed(&batches, PATIENCE);
    assert_eq!(drained, Drained { signal: "things", lost: 0, failure: None });
    let taken = script.say(|script| script.taken.clone());
    assert_eq!(taken.concat(), (0..25).collect::<Vec<_>>());
    assert!(taken.iter().all(|batch| batch.len() <= 10), "{taken:?}");
}

#[test]
fn a_full_batch_leaves_before_its_time() {
    let (queue, _batches, script) = start(100, 10);
    (0..10).for_each(|item| queue.put(item, 4));
    let clock = obs_core::Clock::default();
    let start = clock.now();
    while script.say(|script| script.taken.is_empty()) {
        assert!(clock.now().since(start) < PATIENCE, "nothing left");
        thread::yield_now();
    }
}

#[test]
fn what_finds_no_room_is_counted_by_items_and_by_bytes() {
    let (queue, batches, _script) = start(3, 3_000);
    (0..5).for_each(|item| queue.put(item, 4));
    assert_eq!(batches.lost(), 2);
    let (queue, batches, _script) = start(100, 100);
    queue.put(1, QUEUE_BYTES_MAX);
    queue.put(2, 1);
    assert_eq!(batches.lost(), 1);
    assert_eq!(flushed(&batches, PATIENCE).failure, None);
    queue.put(3, QUEUE_BYTES_MAX);
    assert_eq!(batches.lost(), 1, "there is room again");
}

#[test]
fn a_batch_that_fails_is_tried_again_and_given_up_and_counted_after_the_third_time() {
    let (queue, batches, script) = start(100, 10);
    script.say(|script| script.failing = 2);
    queue.put(7, 4);
    for _ in 0..2 {
        let failure = flushed(&batches, PATIENCE).failure.unwrap();
        assert_eq!(failure, "things did not reach a script: no");
    }
    assert_eq!(flushed(&batches, PATIENCE), Drained { signal: "things", lost: 0, failure: None });
    assert_eq!(script.say(|script| script.taken.concat()), [7]);

    script.say(|script| script.failing = TRIES_MAX);
    queue.put(8, 4);
    for _ in 0..TRIES_MAX {
        assert!(flushed(&batches, PATIENCE).failure.is_some());
    }
    assert_eq!(flushed(&batches, PATIENCE), Drained { signal: "things", lost: 1, failure: None });
    assert_eq!(script.say(|script| script.taken.concat()), [7]);
}

#[test]
fn a_batch_that_its_target_will_never_take_is_given_up_at_once() {
    let (queue, batches, script) = start(100, 10);
    script.say(|script| (script.failing, script.hopeless) = (1, true));
    queue.put(7, 4);
    let drained = flushed(&batches, PATIENCE);
    assert_eq!((drained.lost, drained.failure.is_some()), (1, true));
}

#[test]
fn a_flush_returns_by_its_deadline_and_who_puts_in_never_waits() {
    let (queue, batches, script) = start(10, 100);
    script.say(|script| script.stalled = true);
    (0..10).for_each(|item| queue.put(item, 4));
    let (done, returned) = mpsc::sync_channel(1);
    let batches = Arc::new(batches);
    let flushing = Arc::clone(&batches);
    thread::spawn(move || {
        let _ = done.send(flushed(&flushing, Duration::from_millis(50)));
    });
    let drained = returned.recv_timeout(PATIENCE).unwrap();
    assert!(drained.failure.is_some(), "{drained:?}");
    (0..20).for_each(|item| queue.put(item, 4));
    assert_eq!(batches.lost(), 10, "ten wait again, the batch under way is not among them");
}

#[test]
fn what_is_left_at_the_end_is_counted_and_so_is_what_comes_after() {
    let (queue, batches, script) = start(10, 100);
    script.say(|script| script.failing = 1);
    (0..3).for_each(|item| queue.put(item, 4));
    assert!(flushed(&batches, PATIENCE).failure.is_some());
    (0..2).for_each(|item| queue.put(item, 4));
    batches.stop();
    let clock = obs_core::Clock::default();
    let start = clock.now();
    // The batch that was under way is counted by the task itself.
    while batches.lost() < 5 {
        assert!(clock.now().since(start) < PATIENCE, "{} of 5", batches.lost());
        thread::yield_now();
    }
    queue.put(1, 4);
    assert_eq!(batches.lost(), 6);
    assert!(flushed(&batches, PATIENCE).failure.unwrap().contains("have stopped"));
}

#[test]
fn a_child_that_was_forked_counts_what_it_would_have_put_and_touches_no_lock() {
    let limits = Limits {
        delay: Duration::from_secs(3_600),
        timeout: PATIENCE,
        queue_max: 10,
        batch_max: 10,
        per_minute: None,
    };
    let shared = Shared {
        signal: "logs",
        limits,
        waiting: Mutex::new(Waiting {
            items: VecDeque::new(),
            bytes: 0,
            closed: false,
            minute: None,
        }),
        full: Notify::new(),
        lost: Losses::default(),
        // Somebody else's: what a child sees of its parent.
        process: process_id() + 1,
    };
    let queue = Queue(Arc::new(shared));
    let held = queue.clone();
    let _held = held.0.waiting();
    let (say, hear) = mpsc::sync_channel(1);
    let putting = queue.clone();
    thread::spawn(move || {
        putting.put(7, 8);
        say.send(()).unwrap();
    });
    hear.recv_timeout(PATIENCE).unwrap();
    assert_eq!(queue.0.lost.forked.load(Ordering::Relaxed), 1);
}
