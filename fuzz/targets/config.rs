//! Fuzzes the settings: lines of `NAME=VALUE`, each an `OBS_*` or `OTEL_*` variable. A message shows a
//! value that may be a secret never, and no control character.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let variables = text.lines().filter_map(|line| line.split_once('='));
    let environment = obs::Environment::from_iter(variables);
    if let Err(error) = obs::builder().environment(environment).check() {
        let message = error.to_string();
        assert!(!message.contains(char::is_control), "{message:?}");
    }
});
