//! What is common to the migrations of both stores: knowing a schema that is newer than we are.

use std::{collections::BTreeSet, error::Error};

use diesel::{
    backend::Backend,
    migration::{MigrationSource, MigrationVersion},
};
use diesel_migrations::EmbeddedMigrations;

use crate::store::StoreError;

/// Who brings the schema of a store up to date.
///
/// ```
/// use obs_persist::{Migrations, StoreUrl};
///
/// // Its role may not change the schema: `obs migrate` does.
/// let url = StoreUrl::parse("postgres://obs_writer@db/game")?;
/// let store = url.store_with(Migrations::External);
/// # Ok::<(), obs_persist::StoreUrlError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Migrations {
    /// Whoever connects first.
    #[default]
    AtStart,
    /// Somebody else, with `obs migrate`: until then the store is down, and says so.
    External,
}

/// Migrations are missing, and this program shall not apply them.
pub(crate) fn missing() -> StoreError {
    StoreError::permanent(
        "the schema is missing or older than this program, which was told not to change it: run `obs migrate` of \
         the same version as the role that owns it",
    )
}

/// The versions of the migrations in this program.
#[derive(Debug)]
pub(crate) struct Known(BTreeSet<String>);

impl Known {
    pub(crate) fn of<DB: Backend>(
        migrations: &EmbeddedMigrations,
    ) -> Result<Self, Box<dyn Error + Send + Sync>>
    where
        EmbeddedMigrations: MigrationSource<DB>,
    {
        let migrations = MigrationSource::<DB>::migrations(migrations)?;
        Ok(Self(migrations.iter().map(|one| one.name().version().to_string()).collect()))
    }
}

/// Whether anything is left to apply.
///
/// # Errors
/// When the database has a migration that this program does not know.
pub(crate) fn check(known: Known, applied: &[MigrationVersion<'_>]) -> Result<bool, StoreError> {
    let Known(mut pending) = known;
    let newest = pending.last().cloned().unwrap_or_default();
    for version in applied {
        let version = version.to_string();
        if !pending.remove(&version) {
            return Err(StoreError::permanent(format!(
                "the schema has migration {version}, but this program knows none after {newest}: \
                 a newer version of it was here, upgrade this one"
            )));
        }
    }
    Ok(!pending.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_versions(known: &[&str], applied: &[&str]) -> Result<bool, StoreError> {
        let known = Known(known.iter().map(|version| (*version).to_owned()).collect());
        let applied: Vec<_> =
            applied.iter().map(|version| MigrationVersion::from(*version)).collect();
        check(known, &applied)
    }

    #[test]
    fn a_schema_is_behind_up_to_date_or_too_new() {
        assert!(check_versions(&["1", "2"], &[]).unwrap());
        assert!(check_versions(&["1", "2"], &["1"]).unwrap());
        assert!(!check_versions(&["1", "2"], &["2", "1"]).unwrap());
        let error = check_versions(&["1", "2"], &["1", "2", "3"]).unwrap_err();
        assert!(matches!(error, StoreError::Permanent { .. }));
        assert!(error.to_string().contains("migration 3"), "{error}");
        assert!(error.to_string().contains("none after 2"), "{error}");
    }
}
