//! The settings of the spool: whether, where, how large, how safe.

use std::path::{Path, PathBuf};

use obs_persist::{Fsync, PersistConfig, SPOOL_BYTES_LEAST, SPOOL_BYTES_MOST, SpoolDir};

use super::{Environment, Given, StoreAddress, error::ConfigError, parse};

/// Where spools are when nobody says so and there is no file to put one beside, if it is there.
const SYSTEM_DEFAULT: &str = "/var/lib/obs";

/// What is to be had of a spool, besides the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpoolUse {
    /// Whether the next process is to find the runs in flight.
    pub(crate) lost_runs: bool,
    /// A spool is wanted, but there is no directory that could be one by default.
    pub(crate) homeless: bool,
}

/// Sets what concerns the spool in `limits`.
pub(super) fn check(
    given: &Given,
    environment: &Environment,
    store: &StoreAddress,
    limits: &mut PersistConfig,
) -> Result<SpoolUse, ConfigError> {
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
    let wanted = match environment.get("OBS_SPOOL")? {
        Some("off") => false,
        None | Some("errors") => true,
        Some(other) => {
            let rule = "not what a spool can hold: use errors, or off";
            return Err(ConfigError::new("OBS_SPOOL", other, rule));
        }
    };
    limits.spool_dir = if wanted { directory(given, environment, store)? } else { None };
    Ok(SpoolUse { lost_runs, homeless: wanted && limits.spool_dir.is_none() })
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

/// Beside the file of the store, or where services keep their state, if there is such a place. There,
/// each store has a folder of its own: the next process must not write what belongs into another one.
fn directory(
    given: &Given,
    environment: &Environment,
    store: &StoreAddress,
) -> Result<Option<SpoolDir>, ConfigError> {
    if let Some(given) = &given.spool_dir {
        return Ok(Some(SpoolDir::Given(given.clone())));
    }
    if let Some(given) = environment.get("OBS_SPOOL_DIR")? {
        return Ok(Some(SpoolDir::Given(PathBuf::from(given))));
    }
    if let Some(file) = store.file() {
        let mut name = file.as_os_str().to_owned();
        name.push(".spool");
        return Ok(Some(SpoolDir::Default(PathBuf::from(name))));
    }
    let state = environment.get("XDG_STATE_HOME")?.map(|home| PathBuf::from(home).join("obs"));
    // Whoever wants one there has made it.
    let system = Path::new(SYSTEM_DEFAULT);
    let state = state.or_else(|| system.is_dir().then(|| system.to_owned()));
    Ok(state.map(|state| SpoolDir::Default(state.join(folder_of(store)))))
}

/// The address of a store, which shows no password, as a name of a folder.
fn folder_of(store: &StoreAddress) -> String {
    const CHARS_MAX: usize = 120;
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    store.to_string().chars().take(CHARS_MAX).map(plain).collect()
}
