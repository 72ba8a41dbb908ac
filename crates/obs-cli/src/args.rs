//! The command line.

use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand};
use uuid::Uuid;

use crate::config::Keep;

const CODES: &str = "\
Exit codes:
  0  done
  1  looked, and the answer is bad: what was asked for is not there, or what is there is damaged
  2  a wrong call or setting: nothing was done
  3  the store, the folder or the output could not be used: the message says what helps

Settings are those of a program with the same environment: of the file that OTEL_CONFIG_FILE names, and of
variables, which come before it (`obs config show` prints them). Options of a call come before both:
  OBS_STORE=postgres://USER:PASSWORD@HOST/DATABASE or sqlite:PATH   the store
  OBS_STORE_FILE=PATH    a file with that address, instead of it
  OBS_SPOOL_DIR=DIR      the folder of the spool, with the quarantine in it; without it the default of programs
                         (`obs doctor` prints it), which is another one for another store or user of it
  OBS_SUBJECT_KEY=KEY or OBS_SUBJECT_KEY_FILE=PATH   the key of the hashes that stand for subjects
  OBS_RETENTION_OK=DAYS, OBS_RETENTION_ERROR=DAYS    how long rows are kept
Without a store in them, ./obs.sqlite is it if it exists. Nothing that this command prints has a password.";

/// What an operator of obs needs: schema, retention, and whatever is on disk.
#[derive(Debug, Parser)]
#[command(name = "obs", version, after_help = CODES, arg_required_else_help = true)]
pub(crate) struct Args {
    /// Print JSON, one object a line, for programs.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring the schema up to date, and make room for the days to come.
    ///
    /// For a role that owns the tables, before programs start that may only insert. Many may do it
    /// at once; a schema that is newer than this command is left alone, with exit code 3.
    Migrate(Store),
    /// Drop rows that are past their retention, now.
    ///
    /// Programs with obs do the same once an hour, where their role may.
    Retention {
        #[command(flatten)]
        store: Store,
        /// Days that ok rows are kept, 1 to 36500, or `off` [default: obs.retention.ok of the settings, or 30].
        #[arg(long, value_name = "DAYS")]
        ok: Option<Keep>,
        /// Days that errors are kept, 1 to 36500, or `off` [default: obs.retention.error of the settings, or 180].
        #[arg(long, value_name = "DAYS")]
        error: Option<Keep>,
    },
    /// Forget a subject: its rows, payloads and the records of it that were set aside.
    ///
    /// A tombstone keeps copies out that arrive later, whichever queue or spool still holds them. Can
    /// be called again at any time. What was exported before (to a Collector, a log, a backup) is not in
    /// reach.
    Erase(Forget),
    /// Settings: whether a file of them is good, and what is in effect.
    #[command(subcommand)]
    Config(Settings),
    /// Whether telemetry works: settings, store, exporters, spool, clock; exit code 1 if a part does not.
    ///
    /// Writes a row and an audit entry into the store and takes them back, sends to each exporter the
    /// metrics of one run, of the kind `obs.doctor`, its span or a log line, and to Sentry a report; it
    /// changes nothing else.
    Doctor {
        /// The file of settings [default: OTEL_CONFIG_FILE, or variables alone].
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// The segments in which errors wait for the store.
    #[command(subcommand)]
    Spool(Look),
    /// The ledgers that processes keep beside their segments: what became of every record.
    ///
    /// Of a process that died, the records that died in its memory are those that are in no other term.
    Ledger(SpoolDir),
    /// Records that the store does not take: see them, try them again, or drop them.
    #[command(subcommand)]
    Quarantine(Judgement),
}

/// What to do with settings. Nothing is started, and nobody is asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Settings {
    /// Whether a file is good; exit code 2 if it is not, with file, line, value, rule and the way out.
    Check {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// The values in effect, defaults included, as a file that says the same; secrets are masked.
    Show {
        /// The file [default: OTEL_CONFIG_FILE, or variables alone].
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// The JSON schema of the file, for editors.
    Schema,
}

/// Whom to forget.
#[derive(Debug, Group)]
pub(crate) struct Forget {
    /// The subject, as the application names it. Its hashes with the key of the settings are looked for, too.
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) subject: String,
    /// Who asked for it, for the record that is left; nothing that names the subject.
    #[arg(long, value_name = "WHO")]
    pub(crate) by: Option<String>,
    /// A file with a key that was used formerly; may be given several times.
    #[arg(long = "key-file", value_name = "FILE")]
    pub(crate) key_files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) store: Store,
    #[command(flatten)]
    pub(crate) folder: Folder,
}

/// How to look at a spool. Nothing is changed; processes may live meanwhile.
#[derive(Debug, Subcommand)]
pub(crate) enum Look {
    /// Every record in it, one a line.
    Dump(SpoolDir),
    /// Whether every segment is whole, and what dead processes left is all there; exit code 1 if not.
    ///
    /// The ledger of a dead process says how many errors it left that the store had not taken. If fewer records are in
    /// its segments, as many are missing, at least: records that the store had taken may still be there beside them.
    /// Where its ledger says nothing, e.g. as another process has begun to take its records over, and while a process
    /// lives, only damage in what is there is seen.
    Verify(SpoolDir),
}

/// The folder of a spool.
#[derive(Debug, Group)]
pub(crate) struct SpoolDir {
    /// The folder of the spool, or the directory of one process in it [default: that of the settings].
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// What is done with records that were set aside.
#[derive(Debug, Subcommand)]
pub(crate) enum Judgement {
    /// All of them, the oldest run first.
    List {
        #[command(flatten)]
        folder: Folder,
    },
    /// One of them, with its whole record.
    Show {
        run_id: Uuid,
        #[command(flatten)]
        folder: Folder,
    },
    /// Write them to the store after all; those that it refuses again stay, with exit code 1.
    Retry {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        store: Store,
    },
    /// Delete them.
    Drop {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        folder: Folder,
    },
}

/// Which records.
#[derive(Debug, Group)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// The runs whose records they are.
    #[arg(value_name = "RUN_ID")]
    pub(crate) run_ids: Vec<Uuid>,
    /// All that are there now.
    #[arg(long)]
    pub(crate) all: bool,
}

/// Which folder.
#[derive(Debug, Group)]
pub(crate) struct Folder {
    /// The folder of the spool, or its `quarantine` itself [default: that of the settings].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Which store.
#[derive(Debug, Group)]
pub(crate) struct Store {
    /// The store's address, where it has no password [default: that of the settings].
    ///
    /// Everybody on this machine can read a command line; an address with a password belongs into
    /// OBS_STORE or OBS_STORE_FILE.
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Args::command().debug_assert();
    }
}
