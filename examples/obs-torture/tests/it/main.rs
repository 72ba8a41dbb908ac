//! What obs promises, seen from outside: real processes that are stopped and killed, a real Postgres, and
//! the log of what each run was promised as the oracle.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says so")]

mod clock;
mod contract;
mod disk;
mod forked;
mod full;
mod gives_up;
mod killed;
mod outage;
mod postgres;
mod power;
mod support;
mod syncs;
mod terminated;
