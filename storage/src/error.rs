//! The errors of the store, by who has to act on them.

use std::io;
use std::path::PathBuf;

use crate::backend::{self, Backend};
use crate::{Position, TimelineId};

/// The error of opening a store. The opening changed no acknowledged data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another open store of this process, uses the folder.
    #[error(
        "{} is in use by another process (or a store of this process that is still open); stop it, \
         or give this one a folder of its own", dir.display()
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder holds no store. Only tools return this; an opening creates the store.
    #[error("{}: there is no store in this folder", dir.display())]
    NoStore {
        /// The folder.
        dir: PathBuf,
    },
    /// Acknowledged data is damaged, or a file that the store needs.
    #[error(
        "{}: damaged at offset {offset}: {reason}; nothing was changed. Restore this folder from a backup, or remove the damaged parts with `trunkline store repair`, which keeps copies",
        file.display()
    )]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// The offset in the file at which the damage begins.
        offset: u64,
        /// The kind of damage, in words.
        reason: String,
    },
    /// Another version of the program wrote the folder, in another format.
    #[error(
        "{}: the store has format version {found}, and this program reads version {supported}; use the program version that wrote the store", file.display()
    )]
    Version {
        /// The file with the version number.
        file: PathBuf,
        /// The version in that file.
        found: u32,
        /// The one version this program reads.
        supported: u32,
    },
    /// A setting is out of its range, or two settings contradict each other.
    #[error("storage options: {0}")]
    Options(String),
    /// A call of the file system failed.
    #[error("{}: cannot {action}: {source}{}", file.display(), hint(source))]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// The action that failed.
        action: &'static str,
        /// The error of the file system.
        source: io::Error,
    },
}

/// The error of an append to the batch under construction. The batch is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The disk has too little free space
    /// ([`Options::reserve_bytes`](crate::Options::reserve_bytes)). The store refuses appends until
    /// space is free again; reads go on.
    #[error("the disk of the store is full: free disk space, or lower the retention")]
    Full,
    /// The store cannot get a resource other than space, such as a file descriptor. It keeps
    /// trying; reads go on.
    #[error("the store cannot write for now: {reason}")]
    Short {
        /// The failed action and its cause.
        reason: String,
    },
    /// Somebody removed or replaced the folder, its lock or files in it. The store takes appends
    /// again once they are back; reads go on.
    #[error("the store's folder is missing: {reason}")]
    Lost {
        /// The missing thing, and what to do.
        reason: String,
    },
    /// [`Options::max_waiting_segments`] full segments wait to become runs, and making runs fails.
    /// The store tries again every second; reads go on.
    ///
    /// [`Options::max_waiting_segments`]: crate::Options::max_waiting_segments
    #[error("the store cannot make runs of the log: {reason}")]
    Behind {
        /// The reason of the last failed attempt.
        reason: String,
    },
    /// An earlier sync failed. Only a restart of the process helps.
    #[error("the store stopped after an earlier failure: {reason}")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// The record is larger than [`Options::max_record_bytes`](crate::Options::max_record_bytes).
    #[error("a record of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// The size of the record in bytes.
        bytes: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The batch has [`Options::max_batch_bytes`](crate::Options::max_batch_bytes). Commit it, then
    /// append again.
    #[error("the batch is full: commit it first")]
    BatchFull,
    /// The store could not read the last sequence of the timeline from the disk.
    #[error("cannot read the last sequence of the timeline: {0}")]
    Unreadable(ReadError),
    /// The sequence is not greater than the last one of its timeline, or is greater than 2⁶³ − 1.
    #[error("{timeline:?}: sequence {seq} is not greater than the last one, {last}")]
    Sequence {
        /// The timeline.
        timeline: TimelineId,
        /// The refused sequence.
        seq: u64,
        /// The last sequence the timeline has, in the batch or before it.
        last: u64,
    },
}

/// The error of a commit.
///
/// After [`Refused`](CommitError::Refused) and [`Unclear`](CommitError::Unclear) the store goes on
/// as if the batch had never been made, once the cause has passed. After every other error the
/// store is stopped for good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// No part of the batch is stored, and none will be.
    #[error("nothing was stored: {reason}")]
    Refused {
        /// Whether the cause is missing space.
        full: bool,
        /// The cause.
        reason: String,
    },
    /// A write of the batch failed, and the store could not take back yet what was written. This
    /// process will take it back. If the process dies first, part of the batch may remain.
    #[error("it is unknown whether the messages were stored: {reason}")]
    Unclear {
        /// The cause.
        reason: String,
    },
    /// The sync of this batch failed. The outcome of the batch is unknown, and the store is stopped
    /// for good.
    #[error("{}: cannot {action}: {source}{}", file.display(), hint(source))]
    Io {
        /// The file.
        file: PathBuf,
        /// The action that failed.
        action: &'static str,
        /// The error of the file system.
        source: io::Error,
    },
    /// A record from [`Writer::append_next`](crate::Writer::append_next) has a sequence that is not
    /// greater than the last one of its timeline. The commit wrote nothing.
    #[error("{timeline:?}: sequence {seq} is not greater than the last one, {last}")]
    Sequence {
        /// The timeline.
        timeline: TimelineId,
        /// The refused sequence.
        seq: u64,
        /// The last sequence the timeline has.
        last: u64,
    },
    /// An earlier sync failed. The commit tried nothing.
    #[error("the store stopped after an earlier failure: {reason}")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
}

impl CommitError {
    /// Returns whether the store is stopped for good.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            CommitError::Refused { .. } | CommitError::Unclear { .. }
        )
    }
}

/// The error of [`Writer::apply`](crate::Writer::apply).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The bytes are no transcript.
    #[error(
        "the bytes are not the transcript of a batch: they were damaged, or a newer version wrote them"
    )]
    Form,
    /// The transcript does not follow what the store has: one before it is missing, or it is of another log.
    #[error(
        "the transcript goes on at position {}, but the log of this store ends at {}", first.0, end.0
    )]
    Place {
        /// The position of the first frame that the store does not have.
        first: Position,
        /// The end of the log of this store.
        end: Position,
    },
    /// The store has another record than the log at the same position.
    #[error(
        "the record at position {} of the log is not the one that this store has there: the log lost its end or was replaced, or the store was, by an old copy for example. The log of this store ends at {}", at.0, end.0
    )]
    Differs {
        /// The position of the record.
        at: Position,
        /// The end of the log of this store.
        end: Position,
    },
    /// The log goes on where a segment of this store has no room, or ends a segment elsewhere.
    #[error(
        "the segments of the log have another size than those of this store, as position {} shows: give all stores of a log the same segment_bytes", at.0
    )]
    Segments {
        /// The position of the frame.
        at: Position,
    },
    /// The store does not take appends.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// The error of a read. The content of the page is undefined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Events after the position have expired ([`Options::sync_life`](crate::Options::sync_life)).
    #[error("the position is too old: events before position {} have expired", oldest.0)]
    Expired {
        /// The oldest position after which all events are still there.
        oldest: Position,
    },
    /// The position is after the last record of the log.
    #[error("the position is after the last record of the log")]
    Future,
    /// No record begins at this position: the store never gave it out.
    #[error("no record begins at the position")]
    NoRecord,
    /// Bytes on the disk do not match their checksum.
    #[error("{}: damaged at offset {offset}", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// The offset in the file at which the damaged record begins.
        offset: u64,
    },
    /// A call of the file system failed.
    #[error("{}: cannot read: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
}

impl ReadError {
    /// Returns whether bytes on the disk are lost, so that another try would fail too.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            ReadError::Corrupt { .. } | ReadError::NoRecord => true,
            ReadError::Io { source, .. } => backend::is_lost(source),
            ReadError::Expired { .. } | ReadError::Future => false,
        }
    }
}

/// A damaged place in a file of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The offset in the file at which the damage begins.
    pub offset: u64,
    /// The kind of damage, in words.
    pub reason: String,
}

impl Fault {
    /// Turns an error into the damage that it reports.
    ///
    /// # Errors
    /// The error itself, if it reports something other than damage.
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

    /// Turns an error of reading `file` into the damage that it reports.
    ///
    /// # Errors
    /// The error of the file system.
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

/// Returns a function that adds the file `name` and the failed action to an I/O error.
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

/// Returns the name of the limit behind an error, where the system's own text does not name it;
/// otherwise an empty text.
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
