//! What needs nobody else: versions, settings, the clock, the spool.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use obs::{Clock, Configuration};
use obs_persist::inspect::epochs;

use super::Finding;
use crate::text::Time;

/// No clock that is right shows an earlier time, in seconds since 1970: this version is younger.
const CLOCK_LEAST: i64 = 1_767_225_600;
/// The name of a file that is written into the spool's folder and removed again.
const CANARY: &str = ".obs-doctor";

pub(super) fn findings(file: Option<&Path>, settings: &Configuration) -> Vec<Finding> {
    vec![versions(), config(file, settings), clock(), spool(settings)]
}

fn versions() -> Finding {
    let of = format!("obs {}", env!("CARGO_PKG_VERSION"));
    let detail = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    Finding::ok("versions", of, detail)
}

fn config(file: Option<&Path>, settings: &Configuration) -> Finding {
    let source = match file {
        Some(file) => file.display().to_string(),
        None => "the file of OTEL_CONFIG_FILE, if it is set, and variables".to_owned(),
    };
    let detail = match settings.ignored() {
        [] => "every setting is valid and has an effect".to_owned(),
        ignored => format!(
            "every setting is valid; without effect, because the file does not refer to them: {}",
            ignored.join(", ")
        ),
    };
    Finding::ok("config", source, detail)
}

fn clock() -> Finding {
    let now = Clock::default().wall();
    let shown = Time(now).to_string();
    if now.as_micros() / 1_000_000 < CLOCK_LEAST {
        return Finding::bad(
            "clock",
            shown,
            "the clock",
            "is years behind, and rows would be dropped as too old: set the clock",
        );
    }
    Finding::ok("clock", shown, "plausible")
}

fn spool(settings: &Configuration) -> Finding {
    let Some(folder) = settings.spool_dir() else {
        return Finding::off("spool", "errors wait in memory only, and are lost with the process");
    };
    let shown = folder.display().to_string();
    if let Some(objection) = settings.spool_objection() {
        return Finding::bad("spool", shown, "its place", objection);
    }
    if !folder.is_dir() {
        return match existing_parent(&folder) {
            Some(parent) => match writable(&parent) {
                Ok(()) => Finding::ok("spool", shown, "the first program makes it"),
                Err(error) => Finding::bad("spool", shown, "making the folder", error),
            },
            None => Finding::bad(
                "spool",
                shown,
                "making the folder",
                "no folder above it exists: make one",
            ),
        };
    }
    if let Err(error) = writable(&folder) {
        return Finding::bad("spool", shown, "writing a file", error);
    }
    match epochs(&folder) {
        Ok(found) => {
            let alive = found.iter().filter(|epoch| epoch.alive).count();
            let dead = found.len() - alive;
            Finding::ok(
                "spool",
                shown,
                format!("writable; processes in it: {alive} alive, {dead} dead"),
            )
        }
        Err(error) => Finding::bad("spool", shown, "reading the folder", error.to_string()),
    }
}

fn existing_parent(folder: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(folder).ok()?;
    absolute.ancestors().skip(1).find(|parent| parent.is_dir()).map(Path::to_owned)
}

/// Writes a file and removes it again.
fn writable(folder: &Path) -> Result<(), String> {
    let path = folder.join(format!("{CANARY}-{}", std::process::id()));
    let written = fs::File::create_new(&path)
        .and_then(|mut file| file.write_all(b"canary\n").and_then(|()| file.sync_all()));
    let removed = fs::remove_file(&path);
    written.and(removed).map_err(|error| {
        format!("cannot write there ({error}): give this user the right, or another folder")
    })
}
