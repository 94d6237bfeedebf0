//! The reasons why a command changes nothing.

use trunkline_proto::ErrorCode;
use trunkline_storage::{AppendError, CommitError, ReadError};

use super::Sequencer;
use crate::exchange::{NOT_A_MEMBER as NO_MEMBER, Outcome, UNREADABLE};
use crate::log::LogError;

/// The error reply to a command that the sequencer refuses. A refused command stores nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    code: ErrorCode,
    message: &'static str,
}

/// Says that the batch under construction must be committed first: it may hold records that the
/// store does not show yet. The caller commits and asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommitFirst;

/// The reason why a part of the sequencer did not finish its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The command changes nothing.
    Refused(Refused),
    /// The batch must be committed first.
    CommitFirst,
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<CommitFirst> for Stop {
    fn from(CommitFirst: CommitFirst) -> Self {
        Self::CommitFirst
    }
}

impl Refused {
    /// Returns a refusal with this error reply.
    pub(super) const fn new(code: ErrorCode, message: &'static str) -> Self {
        Self { code, message }
    }

    /// Returns the outcome of the refused command.
    pub(super) const fn outcome(self) -> Outcome {
        Outcome::Failed(self.code, self.message)
    }
}

impl Sequencer {
    /// Lets other nodes know that a commit with commands of theirs was refused. What the commit itself would have told is lost with
    /// it, and their clients would wait until the commands are given up.
    #[cold]
    pub(super) fn tell_refusals(&mut self, error: &LogError) {
        let is_refused = matches!(error, LogError::Commit(CommitError::Refused { .. }));
        let told = self.outbox.told(&[], self.batch.moment());
        if is_refused && told.remote().next().is_some() {
            // If the log refuses this too, the nodes give the commands up in time.
            let _ = self.batch.commit(told);
        }
    }
}

pub(super) const OUTCOME_UNKNOWN: Refused = Refused::new(
    ErrorCode::StorageUnavailable,
    "the store failed: whether this was stored is not known; send it again with the same key",
);

pub(super) const DISK_FULL: Refused = Refused::new(
    ErrorCode::StorageFull,
    "the disk is full: nothing is stored until there is room",
);

pub(super) const STORE_SHORT: Refused = Refused::new(
    ErrorCode::StorageUnavailable,
    "the store lacks something for now: nothing was stored; see /readyz",
);

pub(super) const HANDED_OVER: Refused = Refused::new(
    ErrorCode::StorageUnavailable,
    "another gateway decides from now on: nothing was stored; send it again with the same key",
);

pub(super) const LOG_LOST: Refused = Refused::new(
    ErrorCode::StorageUnavailable,
    "this gateway does not follow its cluster any more: whether this was stored is not known; send it again with the same key",
);

pub(super) const NO_CONVERSATION: Refused =
    Refused::new(ErrorCode::Unknown, "no such conversation");

pub(super) const NO_MESSAGE: Refused = Refused::new(
    ErrorCode::Unknown,
    "the conversation has no message with this sequence",
);

pub(super) const NOT_A_MEMBER: Refused = Refused::new(NO_MEMBER.0, NO_MEMBER.1);

pub(super) const CORRUPT: Refused = Refused::new(UNREADABLE.0, UNREADABLE.1);

/// Returns the refusal of a command whose conversation the store could not read, and logs why.
pub(super) fn unreadable(error: &ReadError) -> Refused {
    tracing::error!(%error, "a conversation could not be loaded");
    Refused::new(
        ErrorCode::StorageUnavailable,
        "the conversation could not be read from the store: nothing was stored",
    )
}

/// Returns the refusal of a command whose record the store did not take.
pub(super) fn not_appended(error: &AppendError) -> Refused {
    match error {
        AppendError::Full => DISK_FULL,
        AppendError::Short { .. } => STORE_SHORT,
        AppendError::Lost { .. } => Refused::new(
            ErrorCode::StorageUnavailable,
            "the store's folder was taken away: nothing is stored until it is back; see /readyz",
        ),
        AppendError::Behind { .. } => Refused::new(
            ErrorCode::StorageUnavailable,
            "the store cannot tidy up its log and takes nothing until it can: see /healthz",
        ),
        AppendError::TooLarge { .. } => Refused::new(
            ErrorCode::LimitExceeded,
            "the message is larger than a record may be",
        ),
        AppendError::Poisoned { .. } => Refused::new(
            ErrorCode::StorageUnavailable,
            "the store failed and takes nothing more until the gateway is restarted",
        ),
        error => {
            tracing::error!(%error, "an append failed");
            Refused::new(ErrorCode::Internal, "the message could not be stored")
        }
    }
}
