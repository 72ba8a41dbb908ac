//! Fuzzes what is read as a record of the spool: `obs_persist::testing::fuzz::decode` says what must hold.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = obs_persist::testing::fuzz::decode(bytes);
});
