//! What a commit tells: the answers to its commands, and who learns of its records.
//!
//! The sequencer collects it while it decides, and hands it to its [`Log`](crate::log::Log) with the batch. The log of
//! a gateway that works alone ignores it. A log that other gateways follow carries it to them, because they cannot
//! see in the records who asked for them.

mod decided;
mod parts;

pub(crate) use decided::{Audience, Decided, Decision, MembersAndGone};
pub(crate) use parts::{Device, PartRecipients, QueuedPart};

use crate::hub::BlockChange;

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
}
