//! Fuzzes the file of settings. Whatever is accepted is accepted again as it is shown, and shown the same
//! way; a message holds no control character.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let environment = obs::Environment::from_iter([("NAME", "value"), ("NUMBER", "7")]);
    match obs::Configuration::parse("obs.yaml", text, &environment) {
        Ok(read) => {
            let shown = read.show();
            let again = obs::Configuration::parse("shown.yaml", &shown, &environment).unwrap();
            assert_eq!(again.show(), shown);
        }
        Err(error) => {
            let message = error.to_string();
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }
});
