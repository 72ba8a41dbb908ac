//! The checker's locks, tasks and simulated time, in the place of `obs_persist::sync`.
//!
//! All tasks of a schedule are on one thread of the system, so what they share here needs no lock.
//! `Notify` is tokio's: each call of it is one step to the checker.

use std::{
    cell::RefCell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use obs_core::{Clock, ManualClock, Tick};

pub(crate) use shuttle::sync::{Mutex, MutexGuard};
pub(crate) use shuttle::future::yield_now;
pub(crate) use tokio::sync::Notify;

/// Time never jumps farther than this: whoever needs more to be woken was forgotten.
const JUMP_MAX: Duration = Duration::from_secs(60);

/// How often time looks for something to do before nothing will happen any more.
const IDLE_MAX: u32 = 3_000;

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

#[derive(Default)]
struct World {
    hands: ManualClock,
    timers: Vec<Timer>,
    next: u64,
}

struct Timer {
    id: u64,
    /// Since when, and after how long.
    from: Tick,
    after: Duration,
    whom: Whom,
}

enum Whom {
    Task(Waker),
    Thread(Arc<shuttle::sync::Condvar>),
}

impl World {
    fn now(&self) -> Tick {
        Clock::from(&self.hands).now()
    }

    fn set(&mut self, after: Duration, whom: Whom) -> u64 {
        let (id, from) = (self.next, self.now());
        self.next += 1;
        self.timers.push(Timer { id, from, after, whom });
        id
    }
}

/// A new time, in which nobody waits; its clock.
pub(crate) fn new_time() -> Clock {
    WORLD.with_borrow_mut(|world| {
        *world = World::default();
        Clock::from(&world.hands)
    })
}

/// Wakes those whose time has come, else goes on to the next whose time will come. Says whether that did
/// anything.
fn pass() -> bool {
    let due = WORLD.with_borrow_mut(|world| {
        let rest = |timer: &Timer, now: Tick| timer.after.saturating_sub(now.since(timer.from));
        let now = world.now();
        let next = world.timers.iter().map(|timer| rest(timer, now)).min();
        if let Some(jump) = next.filter(|jump| *jump <= JUMP_MAX) {
            world.hands.advance(jump);
        }
        let now = world.now();
        let mut due = Vec::new();
        world.timers.retain_mut(|timer| {
            let is_due = rest(timer, now).is_zero();
            if is_due {
                due.push(match &timer.whom {
                    Whom::Task(waker) => Whom::Task(waker.clone()),
                    Whom::Thread(condvar) => Whom::Thread(Arc::clone(condvar)),
                });
            }
            // A thread may be about to wait: it is told until it says that it has heard.
            !is_due || matches!(timer.whom, Whom::Thread(_))
        });
        due
    });
    let some = !due.is_empty();
    for whom in due {
        match whom {
            Whom::Task(waker) => waker.wake(),
            Whom::Thread(condvar) => condvar.notify_all(),
        }
    }
    some
}

/// Lets time pass until `is_over`.
pub(crate) fn flow(is_over: impl Fn() -> bool) {
    let mut idle = 0;
    while !is_over() {
        idle = if pass() { 0 } else { idle + 1 };
        assert!(idle < IDLE_MAX, "somebody waits for a wake-up that never comes");
        shuttle::thread::yield_now();
    }
}

/// A condition whose waits end in simulated time.
pub(crate) struct Condvar(Arc<shuttle::sync::Condvar>);

type Woken<'a, T> = (MutexGuard<'a, T>, ());

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(Arc::new(shuttle::sync::Condvar::new()))
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> Result<Woken<'a, T>, PoisonError<Woken<'a, T>>> {
        let whom = Whom::Thread(Arc::clone(&self.0));
        let id = WORLD.with_borrow_mut(|world| world.set(limit, whom));
        let guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        WORLD.with_borrow_mut(|world| world.timers.retain(|timer| timer.id != id));
        Ok((guard, ()))
    }
}

/// Sleeps in simulated time.
pub(crate) fn sleep(time: Duration) -> Sleep {
    Sleep { from: WORLD.with_borrow(World::now), time, id: None }
}

pub(crate) struct Sleep {
    from: Tick,
    time: Duration,
    id: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        WORLD.with_borrow_mut(|world| {
            world.timers.retain(|timer| Some(timer.id) != self.id);
            let rest = self.time.saturating_sub(world.now().since(self.from));
            if rest.is_zero() {
                return Poll::Ready(());
            }
            self.id = Some(world.set(rest, Whom::Task(cx.waker().clone())));
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let id = self.id;
        let forget = |world: &RefCell<World>| {
            world.borrow_mut().timers.retain(|timer| Some(timer.id) != id);
        };
        // A schedule that is given up is torn down in any order.
        let _ = WORLD.try_with(forget);
    }
}

#[derive(Debug)]
pub(crate) struct Late;

pub(crate) async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Late> {
    let (mut future, mut sleep) = (pin!(future), pin!(sleep(limit)));
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| Err(Late)),
    })
    .await
}

#[derive(Debug)]
pub(crate) struct Panicked;

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a task panicked")
    }
}

impl std::error::Error for Panicked {}

/// Runs a future on its own. To the checker a panic is a failure, to its owner here it is a result.
pub(crate) async fn spawn<F>(future: F) -> Result<F::Output, Panicked>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let mut future = Some(Box::pin(future));
    let caught = std::future::poll_fn(move |cx| {
        let Some(running) = &mut future else { return Poll::Ready(Err(Panicked)) };
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx)));
        polled.map_or_else(
            |_| {
                // What it holds is let go of before anybody hears of it.
                future = None;
                Poll::Ready(Err(Panicked))
            },
            |polled| polled.map(Ok),
        )
    });
    shuttle::future::spawn(caught).await.unwrap_or(Err(Panicked))
}

pub(crate) async fn spawn_blocking<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    spawn(async move { act() }).await
}
