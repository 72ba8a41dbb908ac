//! Fuzzes what is read in a segment of the spool: `obs_persist::testing::fuzz::recover` says what must hold.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = obs_persist::testing::fuzz::recover(bytes);
});
