//! What a commit tells: the answers to its commands, and who learns of its records.
//!
//! The sequencer collects it while it decides, and hands it to its [`Log`](crate::log::Log) with the batch. The log of
//! a gateway that works alone ignores it. A log that other gateways follow carries it to them, because they cannot
//! see in the records who asked for them.
//!
//! # The form in bytes
//!
//! `write` makes it, and `read` reads it. Numbers, differences, ids and texts are as in `bytes.rs`.
//!
//! | part | bytes |
//! |---|---|
//! | version | one byte: [`VERSION`] |
//! | time of the records | a number: steady milliseconds since 1970 UTC |
//! | wire time | its difference from the time of the records |
//! | changes of blocks | how many, as a number; each: one byte, 1 if the block begins, and the ids of both users |
//! | entries | decided commands and parts of receipts in the order of the log, until the end |
//!
//! An entry begins with a byte: its kind in the lower half, and in the upper half the audience of a command that has a
//! record, or 1 for a part whose reader is told too.
//!
//! | kind | what follows |
//! |---|---|
//! | 0: part of a receipt | position, number of the part, origin with the numbers of the acknowledgements, the reader if told, how many other users, each user |
//! | 1: sent; 2: done, with a record | position, origin, number, user, audience, outcome |
//! | 3: done, without a record; 4: duplicate; 5: made; 6, 7: contacts; 8: failed; 9: not acknowledged | origin, number, user, outcome |
//!
//! - A **position** is the difference from the one before in these bytes.
//! - An **origin** is a number. 0 stands for the node that writes: nobody else answers such a command, so nothing but
//!   its record is told. Others count from 1 in the order of their first use; that one is followed by the 8 bytes of
//!   the [`Incarnation`].
//! - The **number** of a command is the difference from the one before of the same origin. It is missing for origin 0.
//! - A **user** is the place in the fan-out of the record, from 1, or 0 and the id.
//! - **Audiences**: 0 nobody; 1 the users in the fan-out of the record; 2 the members of a channel, with a group, and
//!   the sequence of the message that they see, or 0; 3 the members of a channel and the users in the fan-out before
//!   it, with a group; 4 a list: how many, and their ids.
//! - A **group** is a number. Groups count from 0 in the order of their first use; that one is followed by its id and
//!   its namespace.
//! - An **outcome** ends with cost and bytes as numbers, if the origin is not 0. Before them: of a command that is done,
//!   a byte, and the number of members for creating, adding, removing and joining; of a duplicate the timeline,
//!   sequence and position as id and numbers; of one that was made the key; of a failure its code, and a text. Texts
//!   are numbers as groups are.

mod decided;
mod parts;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use decided::{Audience, Decided, Decision, MembersAndGone};
pub(crate) use parts::{Device, PartRecipients, QueuedPart};
pub(crate) use read::{By, Entry, Heard, HeardAudience, HeardOutcome, HeardUser};

pub use read::HeardError;

use crate::exchange::Remote;
use crate::exchange::ReplyTo;
use crate::hub::BlockChange;

/// The most acknowledgements of another node that a part of a receipt names. A client that sends more within the delay of
/// receipts is told of its own.
pub(crate) const MOST_ACKS: usize = 64;

/// The version of the form in bytes.
pub const VERSION: u8 = 1;

/// The maximum length of the form in bytes. A commit with as many commands, acknowledgements and recipients as one may
/// have takes less than 16 MiB.
pub const MOST_BYTES: usize = 32 << 20;

/// One run of a node. Another start of the same node is another one, which knows nothing of the commands of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub u64);

/// What a commit tells, borrowed from the sequencer. It is valid once the log has taken the batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told<'a> {
    /// The decided commands, in the order of their records. Refused ones, and those without a record, are among them.
    pub(crate) decided: &'a [Decided],
    /// The parts of receipts, in the order of their records.
    pub(crate) parts: &'a [QueuedPart],
    /// The changes of blocks.
    pub(crate) blocks: &'a [BlockChange],
    /// The time of the records, in milliseconds since 1970 UTC.
    pub(crate) steady: u64,
    /// How far the wire time is ahead of the time in the records, in milliseconds, modulo 2^64.
    pub(crate) ahead: u64,
}

impl Told<'_> {
    /// Returns whether there is nothing to tell.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.decided.is_empty() && self.parts.is_empty() && self.blocks.is_empty()
    }

    /// Returns the time of the records, in milliseconds since 1970 UTC.
    #[must_use]
    pub const fn steady(&self) -> u64 {
        self.steady
    }

    /// Returns how far the time that clients see is ahead of the time of the records, in milliseconds, modulo 2^64.
    #[must_use]
    pub const fn ahead(&self) -> u64 {
        self.ahead
    }

    /// Iterates over the commands of other nodes that the commit answers.
    pub fn remote(&self) -> impl Iterator<Item = Remote> {
        self.decided.iter().filter_map(|one| match one.reply_to {
            ReplyTo::Remote(remote) => Some(remote),
            ReplyTo::Conn(_) | ReplyTo::Call(_) => None,
        })
    }
}
