//! Callers that wait for a flush or a shutdown, and what they will be told.

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use obs_core::{DropReason, Tick};

use crate::report::Drops;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Persisted,
    Quarantined,
    /// It stays in the spool, for the next process.
    Spooled,
    Lost(DropReason),
}

impl Fate {
    /// Whether what was lost is the copy in memory: one in the spool is as good as before.
    pub(crate) const fn is_of_memory(self) -> bool {
        matches!(self, Self::Lost(DropReason::ShutdownDeadline | DropReason::Abandoned))
    }
}

/// When a caller began to wait, and for how long it does.
type Deadline = (Tick, Duration);

/// Everybody who waits. There are as many as there are flush and shutdown futures alive, so their
/// owners bound this list.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    list: Vec<Waiter>,
    next_id: u64,
    /// The answer of the first shutdown, for those who ask again later.
    shutdown: Option<Answer>,
    /// Wakers of the answered, to be woken when the lock is released: waking may run foreign code.
    woken: Vec<Waker>,
}

/// What a caller is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) persisted: u64,
    pub(crate) quarantined: u64,
    pub(crate) spooled: u64,
    pub(crate) dropped: Drops,
    pub(crate) left: u64,
    pub(crate) complete: bool,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    kind: Kind,
    /// It waits for the records with smaller numbers.
    until: u64,
    deadline: Deadline,
    answer: Answer,
    done: bool,
    /// A shutdown whose future was dropped keeps its deadline.
    owned: bool,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Flush,
    Shutdown,
}

impl Waiters {
    pub(crate) fn add_flush(&mut self, until: u64, left: usize, deadline: Deadline) -> u64 {
        let id = self.add(Kind::Flush, until, left, deadline);
        self.complete_flushes();
        id
    }

    /// A second shutdown is told what the first one did.
    pub(crate) fn add_shutdown(&mut self, until: u64, left: usize, deadline: Deadline) -> u64 {
        let id = self.add(Kind::Shutdown, until, left, deadline);
        if let (Some(answer), Some(waiter)) = (&self.shutdown, self.list.last_mut()) {
            waiter.answer = answer.clone();
            waiter.done = true;
        }
        id
    }

    fn add(&mut self, kind: Kind, until: u64, left: usize, deadline: Deadline) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        let answer = Answer { left, ..Answer::default() };
        self.list.push(Waiter {
            id,
            kind,
            until,
            deadline,
            answer,
            done: false,
            owned: true,
            waker: None,
        });
        id
    }

    /// The caller does not wait any more.
    pub(crate) fn forget(&mut self, id: u64) {
        for waiter in self.list.iter_mut().filter(|waiter| waiter.id == id) {
            waiter.owned = false;
            waiter.waker = None;
        }
        self.list.retain(|waiter| waiter.owned || (waiter.kind == Kind::Shutdown && !waiter.done));
    }

    /// Whom to wake, after the lock is released.
    pub(crate) fn take_woken(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.woken)
    }

    /// Whether anybody waits for a flush that is not done.
    pub(crate) fn any_flush(&self) -> bool {
        self.list.iter().any(|waiter| waiter.kind == Kind::Flush && !waiter.done)
    }

    /// Record `number` is settled.
    pub(crate) fn settled(&mut self, number: u64, fate: Fate) {
        for waiter in self.list.iter_mut().filter(|waiter| !waiter.done && number < waiter.until) {
            waiter.answer.left = waiter.answer.left.saturating_sub(1);
            match fate {
                Fate::Persisted => waiter.answer.persisted += 1,
                Fate::Quarantined => waiter.answer.quarantined += 1,
                Fate::Spooled => waiter.answer.spooled += 1,
                Fate::Lost(reason) => waiter.answer.dropped.add(reason),
            }
        }
        self.complete_flushes();
    }

    fn complete_flushes(&mut self) {
        for waiter in self.list.iter_mut().filter(|waiter| waiter.kind == Kind::Flush) {
            if waiter.answer.left == 0 && !waiter.done {
                self.woken.extend(waiter.finish(true));
            }
        }
    }

    pub(crate) fn expire_flushes(&mut self, now: Tick) {
        for waiter in self.list.iter_mut().filter(|waiter| waiter.kind == Kind::Flush) {
            if !waiter.done && waiter.patience(now).is_zero() {
                self.woken.extend(waiter.finish(false));
            }
        }
    }

    pub(crate) fn shutdown_expired(&self, now: Tick) -> bool {
        let mut shutdowns = self.list.iter().filter(|waiter| waiter.kind == Kind::Shutdown);
        shutdowns.any(|waiter| !waiter.done && waiter.patience(now).is_zero())
    }

    /// All is over: everybody gets an answer, the first shutdown's is kept.
    pub(crate) fn close(&mut self, complete: bool) {
        for waiter in self.list.iter_mut().filter(|waiter| !waiter.done) {
            let complete = match waiter.kind {
                Kind::Flush => waiter.answer.left == 0,
                Kind::Shutdown => complete,
            };
            self.woken.extend(waiter.finish(complete));
            if waiter.kind == Kind::Shutdown && self.shutdown.is_none() {
                self.shutdown = Some(waiter.answer.clone());
            }
        }
        // The worker ended by itself, or whoever asked for the end did not wait for it.
        self.shutdown.get_or_insert_with(|| Answer { complete, ..Answer::default() });
        self.list.retain(|waiter| waiter.owned);
    }

    pub(crate) fn next_deadline(&self, now: Tick) -> Option<Duration> {
        let waiting = self.list.iter().filter(|waiter| !waiter.done);
        waiting.map(|waiter| waiter.patience(now)).min()
    }

    pub(crate) fn patience(&self, id: u64, now: Tick) -> Duration {
        let waiter = self.list.iter().find(|waiter| waiter.id == id);
        waiter.map_or(Duration::ZERO, |waiter| waiter.patience(now))
    }

    /// The answer, if it is there; else the waker is kept.
    pub(crate) fn poll(&mut self, id: u64, cx: &Context<'_>) -> Poll<Answer> {
        let Some(waiter) = self.list.iter_mut().find(|waiter| waiter.id == id) else {
            return Poll::Ready(Answer::default());
        };
        if waiter.done {
            return Poll::Ready(waiter.answer.clone());
        }
        match &mut waiter.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Waiter {
    fn patience(&self, now: Tick) -> Duration {
        let (start, time) = self.deadline;
        time.saturating_sub(now.since(start))
    }

    fn finish(&mut self, complete: bool) -> Option<Waker> {
        self.done = true;
        self.answer.complete = complete;
        self.waker.take()
    }
}
