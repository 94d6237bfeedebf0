//! `trunkline store`: tools for the store of a gateway. Those that only read work beside it.

mod dump;
mod inspect;
mod line;
mod output;
mod progress;
mod repair;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use trunkline_storage::{Fault, OpenError};

/// What can be done to a store.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum StoreCommand {
    /// Say what is in the folder: files, sizes, positions, room. Changes nothing
    ///
    /// Reads no more than a start of the gateway. Exit code 1 if damage was noticed on the way.
    Inspect(inspect::Args),
    /// Check every checksum and say what is damaged, in which file and where. Changes nothing
    ///
    /// Exit code 1 if anything is damaged. The unfinished end that a killed gateway leaves is no
    /// damage: nobody was told that it is stored, and the next start cuts it off.
    Verify(verify::Args),
    /// Print every record as a line of JSON: first what is in runs, by timeline, then the log
    ///
    /// Messages that were recalled are printed without what they said. Damaged files are left out
    /// as far as they are damaged, and named on standard error; exit code 1 then.
    Dump(dump::Args),
    /// Give up what is damaged, and only that, so that the gateway starts again
    ///
    /// Says what is given up, and keeps a copy of every file that it changes (damaged-….bak).
    /// Checks the store afterwards: exit code 1 if anything is still damaged. A backup that is
    /// whole is better.
    Repair(repair::Args),
}

/// Which store.
#[derive(Debug, clap::Args)]
struct Folder {
    /// Folder of the store, as `trunkline serve` was given it
    #[arg(long, env = "TRUNKLINE_DATA", value_name = "DIR")]
    data: PathBuf,
}

impl StoreCommand {
    /// Does it.
    ///
    /// # Errors
    /// It cannot be done. Damage that was looked for is no error, but an exit code.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        raise_descriptors();
        match self {
            Self::Inspect(args) => inspect::run(args),
            Self::Verify(args) => verify::run(args),
            Self::Dump(args) => dump::run(args),
            Self::Repair(args) => repair::run(args),
        }
    }
}

/// Raises the descriptor limit as far as the process may: a look opens all files of a store at once.
fn raise_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // With the limit as it is the look says what it lacks.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// The exit code of a tool that found these.
fn code(faults: &[Fault]) -> ExitCode {
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The error in the words of who runs a tool.
fn refused(error: OpenError) -> anyhow::Error {
    match error {
        OpenError::Locked { dir } => anyhow::anyhow!(
            "{} is in use by a running gateway: stop it first (SIGTERM); `inspect`, `verify`, `dump` \
             and `repair --dry-run` work beside it",
            dir.display()
        ),
        OpenError::NoStore { .. } => {
            anyhow::anyhow!("{error}; give --data the folder that `trunkline serve` was given")
        }
        error => error.into(),
    }
}
