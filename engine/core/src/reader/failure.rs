//! The errors of readers, as error replies say them.

use trunkline_proto::ErrorCode;
use trunkline_storage::ReadError;

use crate::exchange::{Failure, UNREADABLE};

/// Not even one entry of the answer fits into a message.
pub(super) const TOO_LARGE: Failure = (
    ErrorCode::LimitExceeded,
    "the answer does not fit into limits.message_bytes",
);

/// Nobody has sent a message in the conversation yet.
pub(super) const UNKNOWN: Failure = (ErrorCode::Unknown, "no such conversation");

/// The user sees no message with the sequence.
pub(super) const NO_MESSAGE: Failure = (
    ErrorCode::Unknown,
    "the conversation has no message with this sequence",
);

/// A value in the store is missing, or has a form that this version does not know.
pub(super) const CORRUPT: Failure = UNREADABLE;

/// Bytes of the store are lost: another try fails too.
const DAMAGED: Failure = (
    ErrorCode::StorageUnavailable,
    "the store is damaged there, and could not be read",
);

/// Only a session can catch up: a caller in this process has no connection.
pub(super) const NO_SESSION: Failure = (
    ErrorCode::UnknownCommand,
    "only a session catches up: use sync",
);

/// Returns the error reply for a failed read, and logs the errors that are the store's fault.
pub(super) fn failure(error: &ReadError) -> Failure {
    match error {
        ReadError::Expired { .. } => (
            ErrorCode::PositionExpired,
            "events since this position are no longer kept: read history, then go on from the pos of connect",
        ),
        ReadError::Future => (
            ErrorCode::PositionExpired,
            "this position is not in the log: read history, then go on from the pos of connect",
        ),
        error => {
            tracing::error!(%error, "a read failed");
            match error.is_damage() {
                true => DAMAGED,
                false => (ErrorCode::StorageUnavailable, "the store could not be read"),
            }
        }
    }
}

/// Returns whether another try of a look-up would fail in the same way: what it needs is lost, or has a form
/// that this version does not know.
pub(super) fn is_lasting(failure: &Failure) -> bool {
    *failure == DAMAGED || *failure == CORRUPT
}

/// Returns whether a position cannot be read from: its records have expired, or it is behind the
/// head of the log.
pub(super) fn is_gone(error: &ReadError) -> bool {
    matches!(error, ReadError::Expired { .. } | ReadError::Future)
}
