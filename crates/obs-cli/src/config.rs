//! Settings: the environment, and what is made of it. The only file that reads variables.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use obs_core::SubjectKey;
use obs_persist::{PersistConfig, RETENTION_LEAST, RETENTION_MOST, Retention, StoreUrl};

use crate::error::Failure;

/// The most bytes of a file with an address or a key that are read.
const LINE_BYTES_MAX: u64 = 16 << 10;

/// Where the rows of a program without settings are.
const STORE_DEFAULT: &str = "./obs.sqlite";

const DAY: Duration = Duration::from_secs(86_400);

/// How long rows are kept: days, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep(Option<Duration>);

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let time = text.parse::<u32>().ok().map(|days| DAY.saturating_mul(days));
        match time.filter(|time| (RETENTION_LEAST..=RETENTION_MOST).contains(time)) {
            Some(time) => Ok(Self(Some(time))),
            None => Err(
                "not a number of days from 1 to 36500: use e.g. 30, or off to keep rows for ever"
                    .to_owned(),
            ),
        }
    }
}

/// The variables that somebody set, as they are asked for.
pub(crate) struct Variables(fn(&str) -> Option<OsString>);

impl Variables {
    pub(crate) const fn of_process() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the place that reads the environment"
        )]
        Self(|name| std::env::var_os(name))
    }

    /// An empty value counts as unset.
    fn get(&self, name: &'static str) -> Result<Option<String>, Failure> {
        let Some(value) = (self.0)(name) else { return Ok(None) };
        let Ok(text) = value.into_string() else {
            return Err(Failure::setting(name, "is not valid UTF-8: set it to plain text"));
        };
        Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
    }

    /// The address of the store: from the command line, a variable, a file, or the usual place.
    pub(crate) fn store(&self, given: Option<&str>) -> Result<StoreUrl, Failure> {
        if let Some(url) = given {
            if has_password(url) {
                return Err(Failure::setting(
                    "--store",
                    "has a password, which everybody on this machine can read there: set OBS_STORE, or OBS_STORE_FILE",
                ));
            }
            return parse("--store", url);
        }
        match (self.get("OBS_STORE")?, self.get("OBS_STORE_FILE")?) {
            (Some(_), Some(_)) => Err(Failure::setting(
                "OBS_STORE_FILE",
                "is set, and so is OBS_STORE: unset one of them",
            )),
            (Some(url), None) => parse("OBS_STORE", &url),
            (None, Some(path)) => {
                parse("OBS_STORE_FILE", &first_line("OBS_STORE_FILE", Path::new(&path))?)
            }
            (None, None) if Path::new(STORE_DEFAULT).is_file() => {
                parse("the default", &format!("sqlite:{STORE_DEFAULT}"))
            }
            (None, None) => Err(Failure::setting(
                "OBS_STORE",
                "is not set, and there is no ./obs.sqlite here: set it to postgres://USER@HOST/DATABASE or sqlite:PATH",
            )),
        }
    }

    /// The folder of the spool: from the command line or a variable.
    pub(crate) fn spool(&self, given: Option<&Path>) -> Result<PathBuf, Failure> {
        if let Some(given) = given {
            return Ok(given.to_owned());
        }
        match self.get("OBS_SPOOL_DIR")? {
            Some(dir) => Ok(dir.into()),
            None => Err(Failure::setting(
                "OBS_SPOOL_DIR",
                "is not set: set it to the folder of the spool, or name the folder in the call",
            )),
        }
    }

    /// The quarantine in the folder of a spool, or the folder itself.
    pub(crate) fn quarantine(&self, given: Option<&Path>) -> Result<PathBuf, Failure> {
        let dir = self.spool(given)?;
        let inside = dir.join("quarantine");
        let folder = if inside.is_dir() || given.is_none() { inside } else { dir };
        // A folder that is misspelt must not look like one in which there is nothing.
        if given.is_some() && !folder.is_dir() {
            return Err(Failure::setting(
                "--dir",
                format!("is `{}`, which is no folder: name that of a spool", folder.display()),
            ));
        }
        Ok(folder)
    }

    /// The same where there may be none; then nothing was named.
    pub(crate) fn quarantine_if_any(
        &self,
        given: Option<&Path>,
    ) -> Result<Option<PathBuf>, Failure> {
        if given.is_none() && self.get("OBS_SPOOL_DIR")?.is_none() {
            return Ok(None);
        }
        self.quarantine(given).map(Some)
    }

    /// The key that hashes subjects now, and those that did before.
    pub(crate) fn subject_keys(&self, former: &[PathBuf]) -> Result<Vec<SubjectKey>, Failure> {
        const NAME: &str = "OBS_SUBJECT_KEY";
        const FILE: &str = "OBS_SUBJECT_KEY_FILE";
        let now = match (self.get(NAME)?, self.get(FILE)?) {
            (Some(_), Some(_)) => {
                return Err(Failure::setting(
                    FILE,
                    "is set, and so is OBS_SUBJECT_KEY: unset one of them",
                ));
            }
            (Some(key), None) => Some((NAME, key)),
            (None, Some(path)) => Some((FILE, first_line(FILE, Path::new(&path))?)),
            (None, None) => None,
        };
        let mut keys = Vec::from_iter(now);
        for path in former {
            keys.push(("--key-file", first_line("--key-file", path)?));
        }
        let key = |(name, secret): (&'static str, String)| {
            SubjectKey::new(secret.as_bytes())
                .map_err(|error| Failure::setting(name, format!("cannot be used: {error}")))
        };
        keys.into_iter().map(key).collect()
    }

    /// How long rows are kept: from the command line, the variables of a program, or as usual.
    pub(crate) fn retention(
        &self,
        ok: Option<Keep>,
        error: Option<Keep>,
    ) -> Result<Retention, Failure> {
        let mut config = PersistConfig::default();
        if let Some(Keep(time)) = self.keep("OBS_RETENTION_OK", ok)? {
            config.retention_ok = time;
        }
        if let Some(Keep(time)) = self.keep("OBS_RETENTION_ERROR", error)? {
            config.retention_error = time;
        }
        Ok(config.retention())
    }

    fn keep(&self, name: &'static str, given: Option<Keep>) -> Result<Option<Keep>, Failure> {
        match (given, self.get(name)?) {
            (None, Some(text)) => text
                .parse()
                .map(Some)
                .map_err(|rule| Failure::setting(name, format!("is `{text}`, {rule}"))),
            (given, _) => Ok(given),
        }
    }
}

/// The message of a bad address never shows it.
fn parse(name: &'static str, url: &str) -> Result<StoreUrl, Failure> {
    StoreUrl::parse(url).map_err(|error| Failure::setting(name, format!("cannot be used: {error}")))
}

fn first_line(name: &'static str, path: &Path) -> Result<String, Failure> {
    let unreadable = |error: io::Error| {
        let path = path.display();
        Failure::setting(
            name,
            format!("names `{path}`, which cannot be read ({error}): write it there"),
        )
    };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LINE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(unreadable(io::Error::other("its first line is empty"))),
    }
}

/// Whether anything in an address may be a password.
fn has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let credentials = rest.rsplit_once('@').map_or("", |(credentials, _)| credentials);
    credentials.contains(':') || rest.contains("password=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_password_is_seen() {
        for url in [
            "postgres://app:secret@db/game",
            "postgres://app:se@cret@db/game",
            "postgres://app@db/game?password=secret",
            "postgres:///game?user=app&password=secret&host=db",
        ] {
            assert!(has_password(url), "{url}");
        }
        for url in ["postgres://app@db:5432/game", "postgres://db:5432/game", "sqlite:a:b@c"] {
            assert!(!has_password(url), "{url}");
        }
    }

    #[test]
    fn a_retention_is_days_or_off() {
        assert_eq!("off".parse(), Ok(Keep(None)));
        assert_eq!("2".parse(), Ok(Keep(Some(DAY * 2))));
        for text in ["", "0", "-1", "1.5", "36501", "99999999999", "OFF"] {
            let rule = text.parse::<Keep>().unwrap_err();
            assert!(rule.contains("1 to 36500") && rule.contains("off"), "{text}: {rule}");
        }
    }
}
