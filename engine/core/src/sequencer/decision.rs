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
}

impl Decision {
    /// Returns a decision whose record, if it has one, goes to the caller's own devices only.
    pub(super) const fn private(outcome: Outcome) -> Self {
        Self {
            outcome,
            audience: Audience::Nobody,
            cost: Cost::NONE,
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
        }
    }
}
