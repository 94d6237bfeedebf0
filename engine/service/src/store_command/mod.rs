//! `trunkline store`: tools for the store of a gateway. The tools that only read also work while
//! the gateway runs.

mod backup;
mod dump;
mod inspect;
mod output;
mod progress;
mod repair;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use trunkline_storage::{Fault, OpenError};

/// The tools for a store.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum StoreCommand {
    /// Show what the store has: files, sizes, positions, free space. Changes nothing
    ///
    /// Reads as much as a start of the gateway does. Exit code 1 if it finds damage.
    Inspect(inspect::Args),
    /// Check every checksum; print the file and place of each damage. Changes nothing
    ///
    /// Exit code 1 if anything is damaged. An unfinished end of the log, as a killed gateway leaves it,
    /// is not damage: no record says that it was on the disk, and the next start cuts it off.
    Verify(verify::Args),
    /// Print every record as a line of JSON: the records of runs by timeline, then those of the log
    ///
    /// Recalled messages are printed without their content. Damaged parts of files are left out and
    /// named on standard error; the exit code is 1 then.
    Dump(dump::Args),
    /// Make a backup of a store, also while its gateway runs
    ///
    /// The gateway that has the store open makes the backup itself: give --control the address of its
    /// control port. TARGET_FOLDER is a path on the gateway's machine, and the gateway's user must be
    /// allowed to write there. Without a gateway this program makes the backup, and no gateway can
    /// start on the store meanwhile.
    ///
    /// The backup has every message that was acknowledged before the command began. Files that never
    /// change again become hard links if TARGET_FOLDER is on the file system of the store, and are
    /// copied otherwise. Until the backup is complete its folder is named TARGET_FOLDER.partial. A
    /// backup that fails leaves nothing. If this command is ended early, the gateway completes the
    /// backup and its log says so.
    ///
    /// To restore, stop the gateway, put a copy of the backup in the place of the --data folder, and
    /// start the gateway.
    Backup(backup::Args),
    /// Remove the damaged parts of a store, and only those, so that the gateway starts again
    ///
    /// Prints what it removes, and keeps a copy of every file that it changes (damaged-….bak).
    /// Checks the store afterwards: exit code 1 if anything is still damaged. An undamaged backup
    /// is better than a repair: restore it if you have one.
    Repair(repair::Args),
}

/// The folder of the store that a tool works on.
#[derive(Debug, clap::Args)]
struct Folder {
    /// Folder of the store: the --data of `trunkline serve`
    #[arg(long, env = "TRUNKLINE_DATA", value_name = "DIR")]
    data: PathBuf,
}

impl StoreCommand {
    /// Runs the tool, and returns the exit code of the program.
    ///
    /// # Errors
    /// The store cannot be opened or changed, or the result cannot be printed. Damage that the tool
    /// finds is an exit code, not an error.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        raise_descriptors();
        match self {
            Self::Inspect(args) => inspect::run(args),
            Self::Verify(args) => verify::run(args),
            Self::Dump(args) => dump::run(args),
            Self::Backup(args) => backup::run(args),
            Self::Repair(args) => repair::run(args),
        }
    }
}

/// Raises the descriptor limit to the hard limit, because the tools open all files of a store at
/// once.
fn raise_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // If the limit stays as it is, the tool reports what it lacks.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Returns the exit code of a tool that found these faults: 1 if there are any.
fn code(faults: &[Fault]) -> ExitCode {
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Turns an error of the store into an error that tells the user what to do.
fn refused(error: OpenError) -> anyhow::Error {
    match error {
        OpenError::Locked { dir } => anyhow::anyhow!(
            "{} is in use by a running gateway: stop it first (SIGTERM); `inspect`, `verify`, `dump`, `repair --dry-run` and `backup` work while it runs",
            dir.display()
        ),
        OpenError::NoStore { .. } => {
            anyhow::anyhow!("{error}; give --data the folder that `trunkline serve` was given")
        }
        error => error.into(),
    }
}
