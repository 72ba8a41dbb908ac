//! The address of a store.

use std::{fmt, str::FromStr};

use obs_core::Escaped;

use crate::{
    migrations::Migrations,
    postgres::{PostgresStore, Target, TargetError},
    sqlite::SqliteStore,
    store::Store,
};

/// The address of a store: `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`.
///
/// Neither `Display` nor `Debug` shows the password.
///
/// ```
/// use obs_persist::StoreUrl;
///
/// let url = StoreUrl::parse("postgres://app:secret@db.example.com:6432/game")?;
/// assert_eq!(url.to_string(), "postgres://app@db.example.com:6432/game");
///
/// let error = StoreUrl::parse("mysql://root:secret@db").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "the store's address begins with `mysql:`, which is no known store: \
///      use sqlite:PATH or postgres://USER@HOST/DATABASE"
/// );
/// # Ok::<(), obs_persist::StoreUrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(Address);

#[derive(Clone, PartialEq, Eq)]
enum Address {
    Sqlite(String),
    Postgres(Box<Target>),
}

/// Why an address is none: the rule and the way out, never a password.
///
/// ```
/// let error = obs_persist::StoreUrl::parse("sqlite:").unwrap_err();
/// assert!(error.to_string().contains("names no file"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreUrlError {
    /// The scheme is none of ours.
    #[error(
        "the store's address begins with `{begin}`, which is no known store: \
         use sqlite:PATH or postgres://USER@HOST/DATABASE"
    )]
    #[non_exhaustive]
    Scheme {
        /// What the address begins with.
        begin: String,
    },
    /// The path of the SQLite file makes no sense.
    #[error(
        "the store's address `{url}` {problem}: use sqlite:./obs.sqlite or sqlite:/path/to/obs.sqlite"
    )]
    #[non_exhaustive]
    Sqlite {
        /// The address.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The Postgres address makes no sense.
    #[error("the address of the Postgres store {problem}")]
    #[non_exhaustive]
    Postgres {
        /// What is wrong with it, and the way out.
        problem: String,
    },
}

impl StoreUrl {
    /// Reads an address. Nothing is opened yet.
    ///
    /// # Errors
    /// When the address is malformed, or asks for something that is refused, such as
    /// `sslmode=prefer`.
    ///
    /// ```
    /// use obs_persist::StoreUrl;
    /// assert_eq!(StoreUrl::parse("sqlite:./obs.sqlite")?.to_string(), "sqlite:./obs.sqlite");
    /// assert!(StoreUrl::parse("postgres://app@db/game?sslmode=prefer").is_err());
    /// # Ok::<(), obs_persist::StoreUrlError>(())
    /// ```
    pub fn parse(url: &str) -> Result<Self, StoreUrlError> {
        let url = url.trim();
        if let Some(path) = url.strip_prefix("sqlite:") {
            return sqlite_path(url, path).map(|path| Self(Address::Sqlite(path)));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let target = Target::parse(url)
                .map_err(|TargetError(problem)| StoreUrlError::Postgres { problem })?;
            return Ok(Self(Address::Postgres(Box::new(target))));
        }
        Err(StoreUrlError::Scheme { begin: scheme(url) })
    }

    /// The file of an embedded store.
    ///
    /// ```
    /// let url = obs_persist::StoreUrl::parse("sqlite:data/obs.db")?;
    /// assert_eq!(url.file(), Some(std::path::Path::new("data/obs.db")));
    /// assert_eq!(obs_persist::StoreUrl::parse("postgres://localhost/obs")?.file(), None);
    /// # Ok::<(), obs_persist::StoreUrlError>(())
    /// ```
    #[must_use]
    pub fn file(&self) -> Option<&std::path::Path> {
        match &self.0 {
            Address::Sqlite(path) => Some(path.as_ref()),
            _ => None,
        }
    }

    /// A store for this address; it connects when its worker prepares it.
    ///
    /// ```no_run
    /// use obs_persist::{PersistConfig, Persister, StoreUrl};
    ///
    /// let url = StoreUrl::parse("sqlite:./obs.sqlite")?;
    /// let persister = Persister::start(PersistConfig::default(), url.store(), Default::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn store(&self) -> Box<dyn Store> {
        self.store_with(Migrations::default())
    }

    /// The same, with a word about who migrates.
    ///
    /// ```
    /// use obs_persist::{Migrations, StoreUrl};
    ///
    /// let store = StoreUrl::parse("sqlite:./obs.sqlite")?.store_with(Migrations::External);
    /// assert_eq!(store.name(), "sqlite:./obs.sqlite");
    /// # Ok::<(), obs_persist::StoreUrlError>(())
    /// ```
    #[must_use]
    pub fn store_with(&self, migrations: Migrations) -> Box<dyn Store> {
        match &self.0 {
            Address::Sqlite(path) => Box::new(SqliteStore::new(path, migrations)),
            Address::Postgres(target) => {
                Box::new(PostgresStore::new(target.as_ref().clone(), migrations))
            }
        }
    }
}

/// The path, or what is wrong with it. Both `sqlite:/a/b` and `sqlite:///a/b` are `/a/b`.
fn sqlite_path(url: &str, path: &str) -> Result<String, StoreUrlError> {
    let error = |problem| Err(StoreUrlError::Sqlite { url: url.to_owned(), problem });
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return error("names no file");
    }
    if path == ":memory:" {
        return error("keeps its rows where nobody can read them");
    }
    if path.ends_with('/') {
        return error("names a folder, not a file");
    }
    if path.contains('?') {
        return error("has parameters, and SQLite files take none");
    }
    if path.contains('\0') {
        return error("contains a NUL byte");
    }
    Ok(path.to_owned())
}

/// What an address begins with, as far as it is safe to show: what stands before the first colon
/// may be shown, what stands behind it may be a password.
fn scheme(url: &str) -> String {
    const SHOWN_MAX: usize = 32;
    let scheme = match url.split_once(':') {
        Some((scheme, _)) => format!("{scheme}:"),
        None => url.to_owned(),
    };
    let safe = scheme.len() <= SHOWN_MAX && !scheme.contains(|c: char| c.is_control() || c == '@');
    if safe { scheme } else { "…".to_owned() }
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(url: &str) -> Result<Self, StoreUrlError> {
        Self::parse(url)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Sqlite(path) => write!(f, "sqlite:{}", Escaped(path)),
            Address::Postgres(target) => write!(f, "{target}"),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        match StoreUrl::parse(url) {
            Ok(url) => url.to_string(),
            Err(error) => panic!("{error}"),
        }
    }

    fn problem(url: &str) -> String {
        StoreUrl::parse(url).unwrap_err().to_string()
    }

    #[test]
    fn sqlite_addresses_are_paths() {
        assert_eq!(shown("sqlite:./obs.sqlite"), "sqlite:./obs.sqlite");
        assert_eq!(shown(" sqlite:obs.sqlite\n"), "sqlite:obs.sqlite");
        assert_eq!(shown("sqlite:/var/lib/obs.sqlite"), "sqlite:/var/lib/obs.sqlite");
        assert_eq!(shown("sqlite:///var/lib/obs.sqlite"), "sqlite:/var/lib/obs.sqlite");
    }

    #[test]
    fn a_malformed_address_is_an_error_with_the_way_out() {
        let table = [
            ("", "begins with ``"),
            ("obs.sqlite", "begins with `obs.sqlite`"),
            ("sqlite:", "names no file"),
            ("sqlite://", "names no file"),
            ("sqlite:data/", "names a folder"),
            ("sqlite::memory:", "nobody can read"),
            ("sqlite:a?mode=ro", "has parameters"),
            ("postgres://", "names no host"),
            ("postgres:///game", "names no host"),
            ("postgres://app@db:port/game", "port"),
            ("postgres://app@db/game?sslcert=/c", "`sslcert`"),
            ("postgres://app@db/game?sslmode=perhaps", "sslmode=perhaps"),
            ("postgres://app@db/game?sslmode=prefer", "sslmode=verify-full"),
            ("postgres://app@db/game?sslmode=allow", "sslmode=verify-full"),
            ("postgres://app@a,b/game?hostaddr=10.0.0.1", "2 hosts and 1 addresses"),
            ("postgres://app@a:1/game?port=2", "2 ports for 1 hosts"),
            ("postgres:///game?hostaddr=10.0.0.1&port=1,2", "2 ports for 1 hosts"),
        ];
        for (url, part) in table {
            let message = problem(url);
            assert!(message.contains(part), "{url}: {message}");
        }
    }

    #[test]
    fn no_password_is_ever_shown() {
        let good = [
            "postgres://app:hunter2@db/game",
            "postgresql://app:hunter2@db:5433,db2:5434/game?sslmode=disable",
            "postgres://app@db/game?password=hunter2",
            "postgres://app:hunter2@127.0.0.1/game",
        ];
        for url in good {
            let url = StoreUrl::parse(url).unwrap();
            let shown = format!("{url} {url:?} {:?} {}", url.store(), url.store().name());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let bad = [
            "postgres:app:hunter2@db/game",
            "app:hunter2@db/game",
            "hunter2@db",
            "mysql://app:hunter2@db",
            "postgres://app:hunter2@db:port/game",
            "postgres://app:hunter2@/game",
            "postgres://app:hunter2@db/game?sslmode=prefer",
            "postgres://app:hunt?er2=hunter2@db/game?nonsense=hunter2",
            "postgres://app:hunter2",
        ];
        for url in bad {
            let error = StoreUrl::parse(url).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{url}: {shown}");
        }
    }

    #[test]
    fn hosts_that_are_not_local_get_verified_tls_unless_it_is_switched_off() {
        let table = [
            ("postgres://a@localhost/g", "postgres://a@localhost:5432/g"),
            ("postgres://a@127.0.0.1/g", "postgres://a@127.0.0.1:5432/g"),
            ("postgres://a@[::1]/g", "postgres://a@[::1]:5432/g"),
            ("postgres://a@%2Frun%2Fpostgresql/g", "postgres://a@%2Frun%2Fpostgresql:5432/g"),
            ("postgres://a@db.example.com/g", "postgres://a@db.example.com:5432/g"),
        ];
        for (url, expected) in table {
            assert_eq!(shown(url), expected);
        }
    }
}
