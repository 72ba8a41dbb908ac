//! Fuzzes `obs_core::testing::fuzz::redact`, which says what must hold.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = obs_core::testing::fuzz::redact(text);
});
