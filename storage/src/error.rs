//! What can go wrong, by who has to act on it.

use std::io;
use std::path::PathBuf;

use crate::backend::Backend;
use crate::{Position, TimelineId};

/// Why a store did not open. Nothing acknowledged was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another store of this one, has the folder.
    #[error(
        "{} is in use by another process (or a store of this process that is still open); stop it, \
         or give this one a folder of its own", dir.display()
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// Nobody made a store in the folder: only asked where none is to be made.
    #[error("{}: there is no store in this folder", dir.display())]
    NoStore {
        /// The folder.
        dir: PathBuf,
    },
    /// Data that was acknowledged, or that everything else hangs on, is damaged.
    #[error(
        "{}: damaged at offset {offset}: {reason}; nothing was changed. Restore this folder from a \
         backup, or give up what is damaged with `trunkline store repair`, which keeps a copy",
        file.display()
    )]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in the file the damage begins.
        offset: u64,
        /// How the damage shows.
        reason: String,
    },
    /// The folder was written by a version with another format.
    #[error(
        "{}: format version {found}, this program reads version {supported}; use the version that \
         wrote it", file.display()
    )]
    Version {
        /// The file that says so.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The one version this program reads.
        supported: u32,
    },
    /// The options contradict each other.
    #[error("storage options: {0}")]
    Options(String),
    /// The file system failed.
    #[error("{}: cannot {action}: {source}{}", file.display(), hint(source))]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The answer.
        source: io::Error,
    },
}

/// Why a record did not enter the batch. The batch is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The disk's soft mark is reached: reads go on, appends are refused until space is freed.
    #[error("storage full: free disk space, or lower the retention")]
    Full,
    /// Something but space lacks for a file that the store needs, such as a descriptor. It is tried
    /// again all the time; reads go on.
    #[error("storage short of something for now: {reason}")]
    Short {
        /// What could not be done, and why.
        reason: String,
    },
    /// The folder, its lock or files in it were taken away. Appends are taken again once they are
    /// back; reads go on.
    #[error("storage taken away: {reason}")]
    Lost {
        /// What was taken away, and the way out.
        reason: String,
    },
    /// As many full segments as [`Options::max_waiting_segments`] says wait to be turned into runs,
    /// and that fails. It is tried again every second; reads go on.
    ///
    /// [`Options::max_waiting_segments`]: crate::Options::max_waiting_segments
    #[error("storage behind: cannot turn the log into runs: {reason}")]
    Behind {
        /// Why the last attempt failed.
        reason: String,
    },
    /// An earlier sync failed; only a restart of the process ends this.
    #[error("storage stopped by an earlier failure: {reason}")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// The record is over [`Options::max_record_bytes`](crate::Options::max_record_bytes).
    #[error("a record of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Size of the record.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The batch is at [`Options::max_batch_bytes`](crate::Options::max_batch_bytes): commit
    /// first.
    #[error("the batch is full: commit it first")]
    BatchFull,
    /// The last sequence of the timeline is on disk, and could not be read.
    #[error("cannot tell the last sequence: {0}")]
    Unreadable(ReadError),
    /// The sequence does not go up, or is over 2⁶³ − 1.
    #[error("{timeline:?}: sequence {seq} does not follow {last}")]
    Sequence {
        /// The timeline.
        timeline: TimelineId,
        /// The refused sequence.
        seq: u64,
        /// The last sequence the timeline has, in the batch or before it.
        last: u64,
    },
}

/// Why a batch was not committed.
///
/// After [`Refused`](CommitError::Refused) and [`Unclear`](CommitError::Unclear) the store goes on
/// when what they tell of has passed, as if the batch had never been made. After the others it is
/// stopped for good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Nothing of the batch is stored, and nothing will be.
    #[error("nothing was stored: {reason}")]
    Refused {
        /// It is space that lacks.
        full: bool,
        /// Why.
        reason: String,
    },
    /// The batch could not be written, and what was written of it could not be taken back yet.
    /// This process will take it back; if it dies before that, some of the batch may be there.
    #[error("whether anything was stored is not known: {reason}")]
    Unclear {
        /// Why.
        reason: String,
    },
    /// A sync failed now: the outcome of the batch is unknown, and the store is stopped for good.
    #[error("{}: cannot {action}: {source}{}", file.display(), hint(source))]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The answer.
        source: io::Error,
    },
    /// The batch has a sequence that does not go up, from a caller that said it knew
    /// ([`Writer::append_next`](crate::Writer::append_next)). Nothing was written.
    #[error("{timeline:?}: sequence {seq} does not follow {last}")]
    Sequence {
        /// The timeline.
        timeline: TimelineId,
        /// The refused sequence.
        seq: u64,
        /// The last sequence the timeline has.
        last: u64,
    },
    /// An earlier sync failed; nothing was tried.
    #[error("storage stopped by an earlier failure: {reason}")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
}

impl CommitError {
    /// Whether the store is stopped for good.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            CommitError::Refused { .. } | CommitError::Unclear { .. }
        )
    }
}

/// Why a page could not be read. The page holds nothing to rely on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// What followed the position has expired, or some of it
    /// ([`Options::sync_life`](crate::Options::sync_life)).
    #[error("older than the oldest kept position {}", oldest.0)]
    Expired {
        /// The oldest position from which on everything is there.
        oldest: Position,
    },
    /// The position is after the head.
    #[error("after the head of the log")]
    Future,
    /// No record can begin at this position: it is not one the store gave out.
    #[error("not the position of a record")]
    NoRecord,
    /// The bytes on disk are not those that were written.
    #[error("{}: damaged at offset {offset}", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where the damaged record begins.
        offset: u64,
    },
    /// The file system failed.
    #[error("{}: cannot read: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

/// A damaged place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// Where in it the damage begins.
    pub offset: u64,
    /// How the damage shows.
    pub reason: String,
}

impl Fault {
    /// What an error says is damaged.
    ///
    /// # Errors
    /// It speaks of something else.
    pub(crate) fn of(error: OpenError) -> Result<Fault, OpenError> {
        match error {
            OpenError::Corrupt {
                file,
                offset,
                reason,
            } => Ok(Fault {
                file,
                offset,
                reason,
            }),
            error => Err(error),
        }
    }

    /// As [`of`](Self::of), for an error of reading `file`.
    pub(crate) fn of_read(error: ReadError, file: PathBuf) -> Result<Fault, OpenError> {
        match error {
            ReadError::Io { file, source } => Err(OpenError::Io {
                file,
                action: "read",
                source,
            }),
            ReadError::Corrupt { file, offset } => Ok(Fault {
                file,
                offset,
                reason: "not what was written".into(),
            }),
            error => Ok(Fault {
                file,
                offset: 0,
                reason: error.to_string(),
            }),
        }
    }
}

/// An I/O error with the file it happened on.
pub(crate) fn io_error<'a>(
    backend: &'a dyn Backend,
    name: &'a str,
    action: &'static str,
) -> impl Fn(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io {
        file: backend.path(name),
        action,
        source,
    }
}

/// Which limit an error is about, where that is not in its words.
pub(crate) fn hint(error: &io::Error) -> &'static str {
    let Some(code) = error.raw_os_error() else {
        return "";
    };
    match rustix::io::Errno::from_raw_os_error(code) {
        rustix::io::Errno::FBIG => " (the file size limit of the process: ulimit -f)",
        rustix::io::Errno::MFILE => " (the descriptor limit of the process: ulimit -n)",
        rustix::io::Errno::NFILE => " (the descriptor limit of the machine: fs.file-max)",
        rustix::io::Errno::DQUOT => " (a quota)",
        _ => "",
    }
}
