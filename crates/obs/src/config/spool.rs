//! The settings of the spool: whether, where, how large, how safe.

use std::path::PathBuf;

use obs_persist::{Fsync, PersistConfig, SPOOL_BYTES_LEAST, SPOOL_BYTES_MOST, SpoolDir, StoreUrl};

use super::{Environment, error::ConfigError, parse};

/// Where a spool is when nobody says so, and there is no file to put it beside.
const SYSTEM_DEFAULT: &str = "/var/lib/obs";

/// Sets what concerns the spool in `limits`, and says whether runs in flight are kept with it.
pub(super) fn check(
    environment: &Environment,
    store: &StoreUrl,
    limits: &mut PersistConfig,
) -> Result<bool, ConfigError> {
    let lost_runs = match environment.get("OBS_LOST_RUNS")? {
        None | Some("on") => true,
        Some("off") => false,
        Some(other) => {
            let rule =
                "neither on nor off: on keeps runs in flight where the next process finds them";
            return Err(ConfigError::new("OBS_LOST_RUNS", other, rule));
        }
    };
    limits.spool_fsync = fsync(environment)?;
    if let Some(bytes) = parse::whole(environment, "OBS_SPOOL_BYTES_MAX")? {
        let within = u64::try_from(bytes)
            .ok()
            .filter(|bytes| (SPOOL_BYTES_LEAST..=SPOOL_BYTES_MOST).contains(bytes));
        let Some(bytes) = within else {
            let rule = format!(
                "outside {SPOOL_BYTES_LEAST} to {SPOOL_BYTES_MOST} (two segments of 4 MiB are the least): use a value inside"
            );
            return Err(ConfigError::new("OBS_SPOOL_BYTES_MAX", &bytes.to_string(), rule));
        };
        limits.spool_bytes = bytes;
    }
    limits.spool_dir = match environment.get("OBS_SPOOL")? {
        Some("off") => None,
        None | Some("errors") => Some(directory(environment, store)?),
        Some(other) => {
            let rule = "not what a spool can hold: use errors, or off";
            return Err(ConfigError::new("OBS_SPOOL", other, rule));
        }
    };
    Ok(lost_runs)
}

fn fsync(environment: &Environment) -> Result<Fsync, ConfigError> {
    match environment.get("OBS_SPOOL_FSYNC")? {
        None | Some("interval") => Ok(Fsync::Interval),
        Some("always") => Ok(Fsync::Always),
        Some("never") => Ok(Fsync::Never),
        Some(other) => {
            let rule = "no such policy: use interval (every 100 ms), always or never";
            Err(ConfigError::new("OBS_SPOOL_FSYNC", other, rule))
        }
    }
}

/// Beside the file of the store, or where a service keeps its state.
fn directory(environment: &Environment, store: &StoreUrl) -> Result<SpoolDir, ConfigError> {
    if let Some(given) = environment.get("OBS_SPOOL_DIR")? {
        return Ok(SpoolDir::Given(PathBuf::from(given)));
    }
    let beside = store.file().map(|file| {
        let mut name = file.as_os_str().to_owned();
        name.push(".spool");
        PathBuf::from(name)
    });
    let state = environment.get("XDG_STATE_HOME")?.map(|home| PathBuf::from(home).join("obs"));
    Ok(SpoolDir::Default(beside.or(state).unwrap_or_else(|| SYSTEM_DEFAULT.into())))
}
