//! Log lines: which, and how they look.

use super::{Environment, error::ConfigError};
use crate::logs::{Dialect, Filter, Format, LogSettings};

pub(super) const LEVELS: &str = "OBS_LOG";
pub(super) const FORMAT: &str = "OBS_LOG_FORMAT";
/// What programs in Rust usually listen to.
pub(super) const LEVELS_OF_EVERYBODY: &str = "RUST_LOG";

pub(super) fn check(environment: &Environment) -> Result<LogSettings, ConfigError> {
    Ok(LogSettings { filter: filter(environment)?, format: format(environment)? })
}

fn filter(environment: &Environment) -> Result<Filter, ConfigError> {
    let settings = [(LEVELS, Dialect::Ours), (LEVELS_OF_EVERYBODY, Dialect::Everybodys)];
    for (name, dialect) in settings {
        if let Some(text) = environment.get(name)? {
            return Filter::parse(text, dialect).map_err(|rule| {
                let way_out = if name == LEVELS { "" } else { "; or set OBS_LOG, which wins" };
                ConfigError::new(name, text, rule + way_out)
            });
        }
    }
    Ok(Filter::default())
}

fn format(environment: &Environment) -> Result<Format, ConfigError> {
    match environment.get(FORMAT)? {
        None | Some("auto") => Ok(Format::Auto),
        Some("text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some(other) => {
            let rule = "there is no such format: use text, json or auto";
            Err(ConfigError::new(FORMAT, other, rule))
        }
    }
}
