//! Text to values, with messages that say what is accepted.

use std::{str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;

use obs_core::SampleBy;
use obs_persist::{RETENTION_LEAST, RETENTION_MOST};

use super::{Environment, Retain, error::ConfigError};

pub(super) fn boolean(
    environment: &Environment,
    name: &'static str,
) -> Result<Option<bool>, ConfigError> {
    let Some(text) = environment.get(name)? else { return Ok(None) };
    switch(name, text)
}

pub(super) fn switch(name: &str, text: &str) -> Result<Option<bool>, ConfigError> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(Some(true)),
        "false" | "0" => Ok(Some(false)),
        _ => Err(ConfigError::new(name, text, "not a switch: use true or false")),
    }
}

/// The name of a compression: whether it is gzip.
pub(super) fn gzip(text: &str) -> Result<bool, &'static str> {
    match text {
        "gzip" => Ok(true),
        "none" => Ok(false),
        _ => Err("there is no such compression: use gzip or none"),
    }
}

/// By what runs are chosen.
pub(super) fn sample_by(
    environment: &Environment,
    name: &'static str,
) -> Result<Option<SampleBy>, ConfigError> {
    let Some(text) = environment.get(name)? else { return Ok(None) };
    match text {
        "chance" => Ok(Some(SampleBy::Chance)),
        "trace" => Ok(Some(SampleBy::Trace)),
        "correlation" => Ok(Some(SampleBy::Correlation)),
        _ => {
            let rule = "not by what runs can be chosen: use chance, trace or correlation";
            Err(ConfigError::new(name, text, rule))
        }
    }
}

/// A decimal number, with the text it came from.
pub(super) fn number(
    environment: &Environment,
    name: &'static str,
) -> Result<Option<(&'static str, String, f64)>, ConfigError> {
    let Some(text) = environment.get(name)? else { return Ok(None) };
    let number = f64::from_str(text).map_err(|_| {
        ConfigError::new(name, text, "not a number: use a decimal number, e.g. 0.05")
    })?;
    Ok(Some((name, text.to_owned(), number)))
}

pub(super) fn whole(
    environment: &Environment,
    name: &'static str,
) -> Result<Option<usize>, ConfigError> {
    let Some(text) = environment.get(name)? else { return Ok(None) };
    let whole = usize::from_str(text).map_err(|_| {
        ConfigError::new(name, text, "not a whole number: use digits only, e.g. 1000")
    })?;
    Ok(Some(whole))
}

pub(super) fn within(
    setting: &str,
    value: usize,
    (min, max): (usize, usize),
    why: &str,
) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let rule = format!("outside {min} to {max} ({why}): use a value inside");
    Err(ConfigError::new(setting, &value.to_string(), rule))
}

/// A duration above 0: seconds, or a number with `us`, `ms` or `s`.
pub(super) fn duration(name: &str, text: &str) -> Result<Duration, ConfigError> {
    let refuse = || {
        let rule =
            "not a duration above 0: use seconds (0.25) or a number with us, ms or s (250ms)";
        ConfigError::new(name, text, rule)
    };
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds_per_unit = match unit {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        _ => return Err(refuse()),
    };
    let number = f64::from_str(number.trim_end()).map_err(|_| refuse())?;
    match Duration::try_from_secs_f64(number * seconds_per_unit) {
        Ok(Duration::ZERO) | Err(_) => Err(refuse()),
        Ok(duration) => Ok(duration),
    }
}

/// A duration within limits, or `off`.
pub(super) fn interval(
    environment: &Environment,
    name: &'static str,
    (least, most): (Duration, Duration),
) -> Result<Option<Duration>, ConfigError> {
    let Some(text) = environment.get(name)?.filter(|text| *text != "off") else { return Ok(None) };
    let interval = duration(name, text)?;
    if !(least..=most).contains(&interval) {
        let rule = format!("outside {least:?} to {most:?}: use a value inside, or off");
        return Err(ConfigError::new(name, text, rule));
    }
    Ok(Some(interval))
}

/// Whole days, or `off`.
pub(super) fn days(name: &str, text: &str) -> Result<Retain, ConfigError> {
    const DAY: Duration = Duration::from_secs(86_400);
    if text == "off" {
        return Ok(Retain::Forever);
    }
    let time = u32::from_str(text).ok().map(|days| DAY.saturating_mul(days));
    match time.filter(|time| (RETENTION_LEAST..=RETENTION_MOST).contains(time)) {
        Some(time) => Ok(Retain::For(time)),
        None => {
            let rule =
                "not a number of days from 1 to 36500: use e.g. 30, or off to keep rows for ever";
            Err(ConfigError::new(name, text, rule))
        }
    }
}

/// Why 0 is no time.
pub(super) const ZERO_MILLIS: &str =
    "0 would mean at once or for ever: use milliseconds above 0, e.g. 10000";

/// Milliseconds above 0, as OpenTelemetry's variables state them.
pub(super) fn millis(name: &str, text: &str) -> Result<Duration, ConfigError> {
    match u64::from_str(text) {
        Ok(millis @ 1..) => Ok(Duration::from_millis(millis)),
        Ok(0) => Err(ConfigError::new(name, text, ZERO_MILLIS)),
        Err(_) => Err(ConfigError::new(name, text, "not a number of milliseconds: use e.g. 10000")),
    }
}

/// A duration given in code, or in a variable in milliseconds.
pub(super) fn millis_setting(
    environment: &Environment,
    name: &'static str,
    (method, given): (&'static str, Option<Duration>),
) -> Result<Option<Duration>, ConfigError> {
    match given {
        Some(Duration::ZERO) => {
            Err(ConfigError::new(method, "0 s", "must be longer than 0: use e.g. 10 s"))
        }
        Some(given) => Ok(Some(given)),
        None => environment.get(name)?.map(|text| millis(name, text)).transpose(),
    }
}

/// `key=value,key=value` with percent-encoded values, as OpenTelemetry's variables use it.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for (at, pair) in text.split(',').map(str::trim).enumerate() {
        if pair.is_empty() {
            continue;
        }
        let at = at + 1;
        let Some((key, value)) = pair.split_once('=') else {
            return Err(format!("entry {at} has no `=`: write key=value,key=value"));
        };
        let decoded = |part: &str| {
            decode(part.trim()).ok_or_else(|| {
                format!("entry {at} is not percent-encoded UTF-8: write %2C for a comma, %25 for a percent sign")
            })
        };
        let key = decoded(key)?;
        if key.is_empty() {
            return Err(format!("entry {at} has no key: write key=value,key=value"));
        }
        pairs.push((key, decoded(value)?));
    }
    Ok(pairs)
}

fn decode(text: &str) -> Option<String> {
    let escapes_are_complete = text.split('%').skip(1).all(|after| {
        after.len() >= 2 && after.bytes().take(2).all(|byte| byte.is_ascii_hexdigit())
    });
    if !escapes_are_complete {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(|decoded| decoded.into_owned())
}
