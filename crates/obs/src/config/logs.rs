//! Log lines: which, and how they look.

use tracing::Level;

use super::{Environment, error::ConfigError};
use crate::logs::{Dialect, Filter, Format, LogSettings};

pub(super) const LEVELS: &str = "OBS_LOG";
pub(super) const FORMAT: &str = "OBS_LOG_FORMAT";
/// What programs in Rust usually listen to.
pub(super) const LEVELS_OF_EVERYBODY: &str = "RUST_LOG";

/// `own` is the least severe of our own lines.
pub(super) fn check(
    environment: &Environment,
    own: Option<Level>,
) -> Result<LogSettings, ConfigError> {
    let mut filter = filter(environment)?;
    if let Some(own) = own {
        filter.own_from(own);
    }
    Ok(LogSettings { filter, format: format(environment)? })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(variables: &[(&str, &str)]) -> Result<LogSettings, String> {
        let environment: Environment = variables.iter().copied().collect();
        check(&environment, None).map_err(|error| error.to_string())
    }

    #[test]
    fn our_variable_wins_over_everybodys_and_without_either_it_is_info() {
        let level = |text| Filter::parse(text, Dialect::Ours).unwrap();
        let both = checked(&[("RUST_LOG", "debug"), ("OBS_LOG", "warn")]).unwrap();
        assert_eq!(both.filter, level("warn"));
        assert_eq!(checked(&[("RUST_LOG", "debug")]).unwrap().filter, level("debug"));
        assert_eq!(checked(&[]).unwrap().filter, level("info"));
        let json = checked(&[("OBS_LOG_FORMAT", "json")]).unwrap().format;
        assert_eq!((json, checked(&[]).unwrap().format), (Format::Json, Format::Auto));
    }

    #[test]
    fn a_bad_directive_or_format_is_an_error_with_the_way_out() {
        for (name, value, error) in [
            (
                "OBS_LOG",
                "inof",
                "OBS_LOG=\"inof\": \"inof\" is no level: use error, warn, info, debug, trace or off, or put =debug after it if it is a target",
            ),
            (
                "RUST_LOG",
                "a=loud",
                "RUST_LOG=\"a=loud\": \"a=loud\" has no such level: use error, warn, info, debug, trace or off; or set OBS_LOG, which wins",
            ),
            (
                "OBS_LOG_FORMAT",
                "xml",
                "OBS_LOG_FORMAT=\"xml\": there is no such format: use text, json or auto",
            ),
        ] {
            assert_eq!(checked(&[(name, value)]).unwrap_err(), error);
        }
    }
}
