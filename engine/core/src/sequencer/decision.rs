//! The decision of the sequencer about a command.

use super::route::Audience;
use crate::cost::Cost;
use crate::exchange::{Done, Outcome};
use trunkline_storage::Position;

/// The outcome of a command, and the users who receive its record.
#[derive(Debug, Clone)]
pub(super) struct Decision {
    pub(super) outcome: Outcome,
    /// The recipients besides the caller's own devices.
    pub(super) audience: Audience,
    /// The cost of the command for the sequencer and the recipients.
    pub(super) cost: Cost,
    /// The length of the command's body in bytes, about as much as a push of its record takes; 0 for
    /// an acknowledgement.
    pub(super) bytes: u32,
}

// Decisions move several times on the way to the shards. Larger ones would be copied by a call.
const _: () = assert!(size_of::<Decision>() <= 96);

impl Decision {
    /// Returns a decision whose record, if it has one, goes to the caller's own devices only.
    pub(super) const fn private(outcome: Outcome) -> Self {
        Self {
            outcome,
            audience: Audience::Nobody,
            cost: Cost::NONE,
            bytes: 0,
        }
    }

    /// Returns the decision about a command that changes nothing, because everything is already as
    /// it asks.
    pub(super) const fn unchanged(done: Done) -> Self {
        Self::private(Outcome::Done(done, None))
    }

    /// Returns the decision about a command whose record is at `position` of the batch.
    pub(super) const fn done(done: Done, position: Position, audience: Audience) -> Self {
        Self {
            outcome: Outcome::Done(done, Some(position)),
            audience,
            cost: Cost::NONE,
            bytes: 0,
        }
    }
}
