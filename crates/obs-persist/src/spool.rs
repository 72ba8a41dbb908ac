//! The spool: crash-safe segment files that hold error records until the store has committed them.
//!
//! ```text
//! <spool>/<epoch>/lock                   held for as long as the process lives
//! <spool>/<epoch>/NNNNNNNN.seg           frames, in a file of fixed size whose space is set aside
//! <spool>/bad/<epoch>-NNNNNNNN.bad       segments in which something was damaged
//! ```
//!
//! A record is one [`frame`] in a [`segment`]; [`log`] appends and frees, [`keeper`] does what takes
//! time (syncing, making and removing files), [`recover`] reads what a dead process left, and
//! [`adopt`] finds it. All of it sits on a [`disk`], which a test can let fail.
//!
//! S1 A frame is written by one call before its append returns, so a killed process loses none.
//! S2 What is promised as durable was synced after it was written, and so was its directory.
//! S3 A segment is unlinked when every record in it is settled, and never changed before: there is no
//!    cursor that could disagree. Writing a record twice changes nothing in a store.
//! S4 A file whose sync failed is neither written nor synced again.
//! S5 Freeing space needs none, and the next two segments have theirs.

mod adopt;
mod bugs;
mod codec;
mod disk;
mod frame;
mod keeper;
mod log;
mod recover;
mod segment;
#[cfg(test)]
mod sim;

pub use log::Fsync;
