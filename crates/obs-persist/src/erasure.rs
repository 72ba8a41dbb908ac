//! Erasing what was recorded about a subject, and keeping late copies of it out.
//!
//! First a tombstone, which every store looks at in the statement that writes: from then on nothing
//! comes back, whichever queue, spool or quarantine still holds a copy. Then what is there goes, and
//! a record of the erasure is left, which says how much and on whose word, but not about whom.

use std::{fmt, path::Path, pin::Pin, time::Duration};

use obs_core::{SubjectKey, Timestamp};

use crate::{
    quarantine::Quarantine,
    spool::inspect::{self, InspectError},
    store::{Store, StoreError},
};

/// How long a tombstone stays: longer than errors are kept by default and than a spool is left lying.
pub const TOMBSTONE_LIFE: Duration = Duration::from_secs(400 * 86_400);

/// Runs that begin up to so long after an erasure are kept out, too: clocks differ, and work that is
/// under way is still about whoever asked to be forgotten.
pub const ERASURE_GRACE: Duration = Duration::from_secs(3_600);

/// In how many forms a subject is looked for at most: as it is, and once for each key.
pub const SUBJECT_FORMS_MAX: usize = 16;

/// The longest text that says who asked, in bytes.
const BY_BYTES_MAX: usize = 256;

/// Whose rows are to go, and on whose word.
///
/// ```
/// use obs_core::SubjectKey;
/// use obs_persist::Erasure;
///
/// let key = SubjectKey::new(b"a secret of at least 16 bytes")?;
/// let erasure = Erasure::of("user-7").keyed(&key).by("ticket 4711");
/// assert_eq!(erasure.forms().len(), 2);
/// assert!(!format!("{erasure:?}").contains("user-7"));
/// # Ok::<(), obs_core::SubjectKeyError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Erasure {
    forms: Vec<String>,
    by: String,
}

impl Erasure {
    /// The rows of a subject, named as the application names it.
    ///
    /// ```
    /// assert_eq!(obs_persist::Erasure::of("user-7").forms(), ["user-7"]);
    /// ```
    #[must_use]
    pub fn of(subject: &str) -> Self {
        Self { forms: vec![obs_core::stored_subject(subject).into()], by: "not said".to_owned() }
    }

    /// Also those rows in which a keyed hash stands for the subject. Name every key that was ever in
    /// use; past [`SUBJECT_FORMS_MAX`] forms, further ones are left out.
    ///
    /// ```
    /// # let key = obs_core::SubjectKey::new(&[7; 32])?;
    /// let erasure = obs_persist::Erasure::of("user-7").keyed(&key);
    /// assert_eq!(erasure.forms()[1], *key.hash("user-7"));
    /// # Ok::<(), obs_core::SubjectKeyError>(())
    /// ```
    #[must_use]
    pub fn keyed(mut self, key: &SubjectKey) -> Self {
        if self.forms.len() < SUBJECT_FORMS_MAX
            && let Some(subject) = self.forms.first()
        {
            let hash = key.hash(subject).into();
            self.forms.push(hash);
        }
        self
    }

    /// Who asked for it, for the record that is left. Say nothing here that names the subject.
    ///
    /// ```
    /// let erasure = obs_persist::Erasure::of("user-7").by("ticket 4711");
    /// assert_eq!(erasure.asked_by(), "ticket 4711");
    /// ```
    #[must_use]
    pub fn by(mut self, who: &str) -> Self {
        let mut end = who.len().min(BY_BYTES_MAX);
        while !who.is_char_boundary(end) {
            end -= 1;
        }
        self.by = who.get(..end).unwrap_or_default().replace('\0', "");
        self
    }

    /// The texts that stand for the subject in rows.
    ///
    /// ```
    /// assert_eq!(obs_persist::Erasure::of("user-7").forms().len(), 1);
    /// ```
    #[must_use]
    pub fn forms(&self) -> &[String] {
        &self.forms
    }

    /// Deletes the subject's records that were set aside in a quarantine; how many.
    ///
    /// # Errors
    /// When the folder cannot be read or changed.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// let quarantine = obs_persist::quarantine::Quarantine::at(folder.path());
    /// assert_eq!(obs_persist::Erasure::of("user-7").in_quarantine(&quarantine)?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_quarantine(&self, quarantine: &Quarantine) -> Result<u64, StoreError> {
        let mut dropped = 0_u64;
        for form in &self.forms {
            let of_form = quarantine.drop_subject(form).map_err(|source| {
                let what =
                    "cannot erase from the quarantine: make its folder readable and writable";
                StoreError::transient(what, source)
            })?;
            dropped = dropped.saturating_add(u64::try_from(of_form).unwrap_or(u64::MAX));
        }
        Ok(dropped)
    }

    /// How many of the subject's records are still in a spool. The processes that have it offer them to the
    /// store, which leaves them out, and their files go; nothing is changed here. Settled ones count as
    /// long as their segment is there, also where it was damaged and set aside, for a week.
    ///
    /// # Errors
    /// When the folder cannot be read.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// assert_eq!(obs_persist::Erasure::of("user-7").in_spool(folder.path())?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_spool(&self, folder: &Path) -> Result<u64, InspectError> {
        inspect::about(folder, &self.forms)
    }

    /// Who asked for it.
    ///
    /// ```
    /// assert_eq!(obs_persist::Erasure::of("user-7").asked_by(), "not said");
    /// ```
    #[must_use]
    pub fn asked_by(&self) -> &str {
        &self.by
    }
}

/// Whom it is about is not shown.
impl fmt::Debug for Erasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Erasure")
            .field("forms", &self.forms.len())
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}

/// What was erased.
///
/// ```
/// let nothing = obs_persist::Erased::default();
/// assert_eq!(nothing.to_string(), "0 ok rows, 0 error rows, 0 payloads, 0 audit entries, 0 records in files");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Erased {
    /// Rows of runs that did not fail.
    pub rows_ok: u64,
    /// Rows of runs that failed.
    pub rows_error: u64,
    /// Their inputs, attributes and traces.
    pub payloads: u64,
    /// Entries of the audit trail whose actor the subject was.
    pub audit: u64,
    /// Records in files: the spool and the quarantine.
    pub files: u64,
    /// What stands for the subject in the record of the erasure, one for each of its forms, in
    /// hexadecimal digits.
    pub hashes: Vec<String>,
}

impl fmt::Display for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ok rows, {} error rows, {} payloads, {} audit entries, {} records in files",
            self.rows_ok, self.rows_error, self.payloads, self.audit, self.files
        )
    }
}

/// What [`Store::bury`] and [`Store::erase`] return, boxed like a [`StoreFuture`](crate::StoreFuture).
pub type EraseFuture<'a> = Pin<Box<dyn Future<Output = Result<Erased, StoreError>> + Send + 'a>>;

/// Erases what was recorded about a subject, in a store that is prepared. `files` erases it from
/// folders beside the store, and says how many records that were.
///
/// What was exported before (to a Collector, a log, a backup) is out of reach. Called again after
/// an error or an interruption, it goes on where it was.
///
/// # Errors
/// When the store or a file could not do it, or the role may not.
///
/// ```
/// use obs_persist::{Erasure, StoreUrl, quarantine::Quarantine};
///
/// # let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
/// # let folder = tempfile::tempdir()?;
/// # let url = format!("sqlite:{}", folder.path().join("obs.sqlite").display());
/// # runtime.block_on(async {
/// let mut store = StoreUrl::parse(&url)?.store();
/// store.prepare().await?;
/// let quarantine = Quarantine::at(folder.path().join("quarantine"));
/// let erasure = Erasure::of("user-7").by("ticket 4711");
/// let erased = obs_persist::erase(&mut *store, &erasure, |one| one.in_quarantine(&quarantine)).await?;
/// assert_eq!(erased.rows_ok, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn erase(
    store: &mut dyn Store,
    erasure: &Erasure,
    files: impl FnOnce(&Erasure) -> Result<u64, StoreError>,
) -> Result<Erased, StoreError> {
    // From here on nothing comes back.
    store.bury(erasure).await?;
    let files = files(erasure)?;
    store.erase(erasure, files).await
}

/// Until when runs of a subject that is erased now are kept out, and when that is forgotten, in
/// microseconds since the Unix epoch.
pub(crate) fn tombstone(now: Timestamp) -> (i64, i64) {
    let after = |time: Duration| {
        now.as_micros().saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
    };
    (after(ERASURE_GRACE), after(TOMBSTONE_LIFE))
}
