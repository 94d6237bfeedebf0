//! Reasons to skip a record, and to stop.

use thiserror::Error;

/// The reason why a record does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skip {
    /// The message has no form of a record.
    Form,
    /// The record is a second genesis.
    Genesis,
    /// The record is of an epoch that is over, or begins one that has begun.
    OldEpoch,
    /// The record is of an epoch that has not begun, or begins one that is not the next.
    NoEpoch,
    /// The epoch record came too late: groups came before it that its author had not taken.
    Late,
    /// The group is not the next one.
    Index,
    /// The record is of another log: a node of another cluster publishes to this stream.
    OtherLog,
    /// The author of the record has another history than the stream.
    Fork,
    /// The part is not the next one of its group, or the group is not as long as it says.
    Part,
}

/// The numbers of records that did not count, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skips([u64; Skip::ALL.len()]);

impl Skip {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::Form,
        Self::Genesis,
        Self::OldEpoch,
        Self::NoEpoch,
        Self::Late,
        Self::Index,
        Self::OtherLog,
        Self::Fork,
        Self::Part,
    ];
}

impl Skips {
    pub(super) const fn count(&mut self, skip: Skip) {
        self.0[skip as usize] += 1;
    }

    /// Returns the number of records that did not count for this reason.
    #[must_use]
    pub const fn of(&self, skip: Skip) -> u64 {
        self.0[skip as usize]
    }

    /// Returns the number of all records that did not count.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// The reason why a node cannot follow the stream any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Stop {
    /// The first record of the stream is no genesis.
    #[error(
        "the stream does not begin with the record that `trunkline cluster init` writes: make the cluster with it, or name the stream's cluster"
    )]
    NoGenesis,
    /// The stream ends before records that this node has seen.
    #[error(
        "the stream ends at sequence {last}, and this node has taken records up to {seen}: the stream was restored from an old copy, or made anew. Restore the stream whole; or remove this node's folder, to follow the stream as it is"
    )]
    Shorter {
        /// The sequence of the last record of the stream.
        last: u64,
        /// The sequence of the last record that this node has seen.
        seen: u64,
    },
    /// The stream no longer has the record that this node needs next.
    #[error(
        "the stream begins at sequence {first}, and this node needs {next}: let it join from another node (trunkline cluster join-from)"
    )]
    Gone {
        /// The sequence of the first record of the stream.
        first: u64,
        /// The sequence that this node needs.
        next: u64,
    },
    /// A record of the stream is missing.
    #[error(
        "the stream no longer has record {next}, and has later ones: the record was deleted. Let this node join from another node that has it (trunkline cluster join-from)"
    )]
    Missing {
        /// The sequence that is missing.
        next: u64,
    },
    /// The stream has another record than the one that this node remembers.
    #[error(
        "record {sequence} of the stream is not the one that this node took: the stream lost its end, was restored from an old copy or made anew, or this node's folder was replaced. Restore the one that was; or remove this node's folder, to follow the stream as it is"
    )]
    Other {
        /// The sequence of the record.
        sequence: u64,
    },
    /// The stream has other records before the one that this node remembers.
    #[error(
        "the records of the stream before {sequence} are not those that this node took: the stream lost some, and got others in their place. Remove this node's folder, to follow the stream as it is"
    )]
    Before {
        /// The sequence of the last record that this node took.
        sequence: u64,
    },
    /// A record has a form that this node does not know.
    #[error(
        "record {sequence} of the stream has version {version} of its form, which this gateway does not know: install the version of the gateway that the leader has"
    )]
    Version {
        /// The sequence of the record.
        sequence: u64,
        /// The version of its form.
        version: u8,
    },
}
