//! One file of the quarantine: JSON, with the record as it would have been written.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use obs_core::{Class, RunRecord, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{Entry, FILE_BYTES_MAX};

/// The only layout so far.
const VERSION: u32 = 1;

/// What a file says besides the record.
#[derive(Debug, Deserialize)]
pub(super) struct Head {
    version: u32,
    class: Class,
    since: Timestamp,
    error: String,
}

/// A whole file.
#[derive(Debug, Deserialize)]
pub(super) struct Filed {
    version: u32,
    class: Class,
    since: Timestamp,
    error: String,
    pub(super) record: RunRecord,
}

impl Filed {
    pub(super) fn into_parts(self) -> (Head, RunRecord) {
        let Self { version, class, since, error, record } = self;
        (Head { version, class, since, error }, record)
    }
}

#[derive(Serialize)]
struct Filing<'a> {
    version: u32,
    run_id: Uuid,
    class: Class,
    since: Timestamp,
    error: &'a str,
    record: &'a RunRecord,
}

impl Head {
    pub(super) fn into_entry(self, run_id: Uuid, bytes: u64, retrying: bool) -> Entry {
        let Self { version: _, class, since, error } = self;
        Entry { run_id, class: Some(class), since: Some(since), error, bytes, retrying }
    }
}

/// What can be read from a file.
pub(super) trait Layout: DeserializeOwned {
    fn version(&self) -> u32;
}

impl Layout for Head {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Layout for Filed {
    fn version(&self) -> u32 {
        self.version
    }
}

pub(super) fn encode(
    record: &RunRecord,
    error: &str,
    since: Timestamp,
) -> Result<Vec<u8>, serde_json::Error> {
    let (run_id, class) = (record.run_id, record.class());
    let filing = Filing { version: VERSION, run_id, class, since, error, record };
    serde_json::to_vec(&filing)
}

/// Reads a file, which anybody may have written; says how large it is.
pub(super) fn read<T: Layout>(path: &Path) -> io::Result<(T, u64)> {
    let mut file = fs::File::open(path)?;
    let size = file.metadata()?.len();
    if size > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("{size} bytes are more than {FILE_BYTES_MAX}")));
    }
    let mut bytes = Vec::new();
    file.by_ref().take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let read: T = serde_json::from_slice(&bytes)?;
    if read.version() != VERSION {
        let version = read.version();
        return Err(io::Error::other(format!(
            "its layout is {version}, this program knows {VERSION}"
        )));
    }
    Ok((read, size))
}
