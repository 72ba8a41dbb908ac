//! Settings: what a program with the same environment would use, and what a call says instead.

use std::{
    cell::OnceCell,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use obs::{Class, Configuration, Environment};
use obs_core::SubjectKey;
use obs_persist::{PersistConfig, RETENTION_LEAST, RETENTION_MOST, Retention, StoreUrl};

use crate::{error::Failure, folder};

/// The most bytes of a file with a key that are read.
const LINE_BYTES_MAX: u64 = 16 << 10;

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

/// The settings of a call. They are read once, and only if something is not an option of the call: whoever
/// names everything needs none.
pub(crate) struct Settings {
    /// The store of the call.
    store: Option<StoreUrl>,
    environment: Environment,
    read: OnceCell<Configuration>,
}

/// Where the files of a spool are to be looked for.
#[derive(Debug)]
pub(crate) enum Whereabouts {
    At(PathBuf),
    /// Where the settings have it there is no folder: no program made one.
    Missing(PathBuf),
    /// The settings have no spool.
    Nowhere,
}

impl Settings {
    /// A store of the call counts as `OBS_STORE` does: what depends on the store is that of this one.
    pub(crate) fn new(store: Option<&str>) -> Result<Self, Failure> {
        let environment = Environment::process();
        let Some(url) = store else {
            return Ok(Self { store: None, environment, read: OnceCell::new() });
        };
        if has_password(url) {
            return Err(Failure::setting(
                "--store",
                "has a password, which everybody on this machine can read there: set OBS_STORE, or OBS_STORE_FILE",
            ));
        }
        // The message of a bad address never shows it.
        let parsed = StoreUrl::parse(url)
            .map_err(|error| Failure::setting("--store", format!("cannot be used: {error}")))?;
        let environment = environment
            .with("OBS_STORE", url)
            .with("OBS_STORE_FILE", "")
            .with("OBS_ENABLED", "true");
        Ok(Self { store: Some(parsed), environment, read: OnceCell::new() })
    }

    fn read(&self) -> Result<&Configuration, Failure> {
        if let Some(read) = self.read.get() {
            return Ok(read);
        }
        let read = Configuration::read(None, &self.environment)?;
        Ok(self.read.get_or_init(|| read))
    }

    pub(crate) fn store(&self) -> Result<StoreUrl, Failure> {
        if let Some(url) = &self.store {
            return Ok(url.clone());
        }
        let read = self.read()?;
        let Some((url, _)) = read.store() else { return Err(no_store(read)) };
        // A file that nobody named is not made by mistake.
        if read.names_store() || url.file().is_some_and(Path::is_file) {
            return Ok(url.clone());
        }
        Err(Failure::setting(
            "OBS_STORE",
            "is not set, and there is no ./obs.sqlite here: set it to postgres://USER@HOST/DATABASE or sqlite:PATH",
        ))
    }

    /// The folder of the spool.
    pub(crate) fn spool(&self, given: Option<&Path>) -> Result<PathBuf, Failure> {
        if let Some(given) = given {
            folder::refuse_parent(given)?;
            return Ok(given.to_owned());
        }
        match self.spool_of_settings()? {
            Whereabouts::At(folder) => Ok(folder),
            Whereabouts::Missing(folder) => Err(folder::missing(&folder)),
            Whereabouts::Nowhere => Err(Failure::setting(
                "OBS_SPOOL_DIR",
                "is not set, and these settings have no spool (`obs config show`): name its folder in the call",
            )),
        }
    }

    fn spool_of_settings(&self) -> Result<Whereabouts, Failure> {
        let Some(folder) = self.read()?.spool_dir() else { return Ok(Whereabouts::Nowhere) };
        if !folder::exists(&folder)? {
            return Ok(Whereabouts::Missing(folder));
        }
        folder::refuse_parent(&folder)?;
        Ok(Whereabouts::At(folder))
    }

    /// The quarantine in the folder of a spool, or the folder itself.
    pub(crate) fn quarantine(&self, given: Option<&Path>) -> Result<PathBuf, Failure> {
        let Some(given) = given else { return Ok(folder::quarantine_in(&self.spool(None)?)) };
        // A folder that is misspelt must not look like one in which there is nothing.
        if !given.is_dir() {
            let given = given.display();
            return Err(Failure::setting(
                "--dir",
                format!("is `{given}`, which is no folder: name that of a spool"),
            ));
        }
        folder::refuse_parent(given)?;
        let inside = folder::quarantine_in(given);
        Ok(if inside.is_dir() { inside } else { given.to_owned() })
    }

    /// Where files about a subject may be. No spool yet is fine, but not the one of somebody else beside where it
    /// should be: then it may be looked for under the wrong name.
    pub(crate) fn whereabouts(&self, given: Option<&Path>) -> Result<Whereabouts, Failure> {
        if let Some(given) = given {
            let quarantine = self.quarantine(Some(given))?;
            return Ok(Whereabouts::At(folder::around(&quarantine).to_owned()));
        }
        let found = self.spool_of_settings()?;
        match &found {
            Whereabouts::Missing(folder) if folder::spool_beside(folder).is_some() => {
                Err(folder::missing(folder))
            }
            _ => Ok(found),
        }
    }

    /// The key that hashes subjects now, and those that did before.
    pub(crate) fn subject_keys(&self, former: &[PathBuf]) -> Result<Vec<SubjectKey>, Failure> {
        let mut keys = Vec::from_iter(self.read()?.subject_key().cloned());
        for path in former {
            let key = first_line(path)?;
            let key = SubjectKey::new(key.as_bytes()).map_err(|error| {
                Failure::setting("--key-file", format!("cannot be used: {error}"))
            })?;
            keys.push(key);
        }
        Ok(keys)
    }

    /// How long rows are kept, each class by the call or by the settings.
    pub(crate) fn retention(
        &self,
        ok: Option<Keep>,
        error: Option<Keep>,
    ) -> Result<Retention, Failure> {
        let of_settings = |class| {
            let read = self.read()?;
            Ok::<_, Failure>(read.retention().ok_or_else(|| no_store(read))?.of(class))
        };
        let kept = |given: Option<Keep>, class| {
            given.map_or_else(|| of_settings(class), |keep| Ok(keep.0))
        };
        let mut config = PersistConfig::default();
        config.retention_ok = kept(ok, Class::Ok)?;
        config.retention_error = kept(error, Class::Error)?;
        Ok(config.retention())
    }
}

/// Why these settings have no store.
fn no_store(settings: &Configuration) -> Failure {
    if settings.retention().is_none() {
        return Failure::setting(
            "OBS_ENABLED",
            "is false, there or in the file of settings, so that there are no rows: name the store of former ones with \
             --store, or set OBS_ENABLED=true for this call",
        );
    }
    Failure::setting(
        "OBS_STORE",
        "is otlp, there or in the file of settings, so that rows are where the Collector puts them: name a store with \
         --store, or set OBS_STORE for this call",
    )
}

fn first_line(path: &Path) -> Result<String, Failure> {
    let unreadable = |error: io::Error| {
        let path = path.display();
        Failure::setting(
            "--key-file",
            format!("names `{path}`, which cannot be read ({error}): write the key there"),
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
