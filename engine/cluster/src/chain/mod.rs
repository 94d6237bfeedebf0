//! The records of the stream that count.
//!
//! A chain looks at every record of the stream once, in order. What it takes depends on nothing but the records, so
//! the chains of all nodes take the same ones:
//!
//! 1. **The log decides.** An epoch record counts if its epoch is greater than the current one. A group counts if its
//!    epoch is the current one and its index the next. Everything else is skipped, whatever its author was told when it
//!    published.
//! 2. A record links to the one before it by hash, so what counts was decided by somebody who had taken the same records.
//!    An epoch record whose link does not fit is skipped: its author tries again.
//! 3. A group counts with its last part, when all parts are there in order. A new epoch drops parts without an end.
//! 4. A chain stops for good where its node has another history than the stream ([`Stop`]): nothing that it would take
//!    from then on could be trusted.
//!
//! Invariants, which hold between two calls:
//!
//! - `mark.sequence <= seen`: the last record that counts is one of those looked at. Between them there are only
//!   skipped records and parts of one group without an end.
//! - Within an epoch all groups have one author, since an epoch has one record that counts.
//! - Parts that wait are of the group `mark.index + 1` of the epoch `mark.epoch`, and fewer than the group has.
//! - After a stop nothing changes.

mod mark;
mod parts;
mod stop;

use bytes::Bytes;

pub use mark::{BadMark, Mark};
use parts::Parts;
pub use stop::{Skip, Skips, Stop};

use crate::envelope::{Epoch, Genesis, Hash, Link, LogId, Malformed, Part, Record};
use crate::node::Incarnation;

/// A group that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The epoch in which it was decided.
    pub epoch: u64,
    /// Its index in the log, from 1.
    pub index: u64,
    /// Wire time minus steady time of its author, in milliseconds.
    pub ahead: i64,
    /// The transcript of the batch.
    pub transcript: Bytes,
    /// What the group tells beside it.
    pub told: Bytes,
}

/// What a record of the stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The first record, which says what all nodes share.
    Genesis(Genesis),
    /// An epoch begins, and its author leads. What is not in the log now and was published before never will be.
    Epoch {
        /// The epoch.
        epoch: u64,
        /// The node that leads.
        author: Incarnation,
    },
    /// The next group of the log.
    Group(Group),
    /// A part of the next group, which waits for the others.
    Part,
    /// The record does not count.
    Skipped(Skip),
    /// The record was looked at before.
    Known,
}

/// The judge of the records of a stream.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The last record that counts; `None` before the genesis.
    mark: Option<Mark>,
    /// The sequence of the last record looked at; 0 before the first.
    seen: u64,
    /// Whether the record at the mark has yet to be compared: the mark comes from the disk or from another node.
    is_unproved: bool,
    /// The parts of the next group; empty if there are none.
    parts: Parts,
    skips: Skips,
    stop: Option<Stop>,
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl Chain {
    /// Returns the chain of a node without a store: it begins with the first record of the stream.
    #[must_use]
    pub fn new() -> Self {
        Self {
            mark: None,
            seen: 0,
            is_unproved: false,
            parts: Parts::default(),
            skips: Skips::default(),
            stop: None,
        }
    }

    /// Returns the chain of a node whose store has everything up to a mark. First give it the record at the mark.
    ///
    /// The store may have more than the mark says: it leaves out what it has. It must not have less.
    #[must_use]
    pub fn resume(mark: Mark) -> Self {
        Self {
            seen: mark.sequence - 1,
            is_unproved: true,
            mark: Some(mark),
            ..Self::new()
        }
    }

    /// Returns the sequence of the record to give next.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.seen + 1
    }

    /// Returns the last record that counts; `None` before the genesis. Keep it on the disk once the store has what
    /// it says, for [`resume`](Self::resume).
    #[must_use]
    pub const fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// Returns what a record to publish now says of the stream; `None` before the genesis, and before the record at a
    /// mark was compared. Publish it with [`Link::after`] as the expected last sequence.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        let mark = self.mark.as_ref().filter(|_| !self.is_unproved)?;
        Some(Link {
            log: mark.log,
            after: self.seen,
            before: mark.hash,
        })
    }

    /// Returns the numbers of records that did not count, by reason.
    #[must_use]
    pub const fn skips(&self) -> &Skips {
        &self.skips
    }

    /// Compares the ends of the stream, as the servers say them, with what this chain has seen. An empty stream has
    /// `last < first`. `last` must be no older than the last record that was taken.
    ///
    /// # Errors
    /// The stream is shorter than what was seen, or no longer has what is to be seen next. The chain has stopped.
    pub fn compare_ends(&mut self, first: u64, last: u64) -> Result<(), Stop> {
        if let Some(stop) = self.stop {
            return Err(stop);
        }
        // A mark that is not compared yet was seen in an earlier life.
        let seen = self.mark.as_ref().map_or(0, |mark| mark.sequence);
        let seen = seen.max(self.seen);
        if last < seen {
            return self.halt(Stop::Shorter { last, seen });
        }
        let next = self.next();
        if first > next {
            return self.halt(Stop::Gone { first, next });
        }
        Ok(())
    }

    /// Looks at a record of the stream. Give records in the order of their sequences; those that were given before
    /// do nothing.
    ///
    /// # Errors
    /// This node cannot follow the stream any more: the error says why. All later calls return the same.
    pub fn take(&mut self, sequence: u64, message: &Bytes) -> Result<Step, Stop> {
        if let Some(stop) = self.stop {
            return Err(stop);
        }
        if sequence <= self.seen {
            return self.compare_known(sequence, message);
        }
        if sequence != self.next() {
            let next = self.next();
            return self.halt(Stop::Missing { next, sequence });
        }
        if self.is_unproved {
            self.seen = sequence;
            self.compare_known(sequence, message)?;
            self.is_unproved = false;
            return Ok(Step::Known);
        }
        let step = match Record::read(message) {
            Ok(record) => self.judge(sequence, record, message),
            Err(Malformed::Version(version)) => self.halt(Stop::Version { sequence, version }),
            Err(_) if self.mark.is_some() => Ok(Step::Skipped(Skip::Form)),
            Err(_) => self.halt(Stop::NoGenesis),
        }?;
        self.seen = sequence;
        if let Step::Skipped(skip) = step {
            self.skips.count(skip);
        }
        self.check();
        Ok(step)
    }

    /// Compares a record that was looked at before with what is known of it: the hash of the one at the mark.
    fn compare_known(&mut self, sequence: u64, message: &Bytes) -> Result<Step, Stop> {
        let is_other = self
            .mark
            .as_ref()
            .is_some_and(|mark| mark.sequence == sequence && mark.hash != Hash::of(message));
        if is_other {
            return self.halt(Stop::Other { sequence });
        }
        Ok(Step::Known)
    }

    fn judge(&mut self, sequence: u64, record: Record, message: &Bytes) -> Result<Step, Stop> {
        match (record, self.mark) {
            (Record::Genesis(genesis), None) => {
                let hash = Hash::of(message);
                self.mark = Some(Mark {
                    log: LogId::of(hash),
                    sequence,
                    hash,
                    epoch: 0,
                    index: 0,
                    author: None,
                });
                Ok(Step::Genesis(genesis))
            }
            (_, None) => self.halt(Stop::NoGenesis),
            (Record::Genesis(_), Some(_)) => Ok(Step::Skipped(Skip::Genesis)),
            (Record::Epoch(epoch), Some(mark)) => self.judge_epoch(sequence, &epoch, mark, message),
            (Record::Part(part), Some(mark)) => self.judge_part(sequence, part, mark, message),
        }
    }

    fn judge_epoch(
        &mut self,
        sequence: u64,
        record: &Epoch,
        mark: Mark,
        message: &Bytes,
    ) -> Result<Step, Stop> {
        // Where its author expected it: the author had looked at the same records as this node has now. One that lies
        // elsewhere came late, and may have any link.
        let is_in_place = record.link.after.checked_add(1) == Some(sequence);
        self.check_link(sequence, &record.link, &mark, is_in_place)?;
        if record.epoch <= mark.epoch {
            return Ok(Step::Skipped(Skip::OldEpoch));
        }
        if record.link.before != mark.hash || record.index != mark.index {
            return Ok(Step::Skipped(Skip::Late));
        }
        self.parts.clear();
        self.mark = Some(Mark {
            sequence,
            hash: Hash::of(message),
            epoch: record.epoch,
            author: Some(record.author),
            ..mark
        });
        Ok(Step::Epoch {
            epoch: record.epoch,
            author: record.author,
        })
    }

    fn judge_part(
        &mut self,
        sequence: u64,
        part: Part,
        mark: Mark,
        message: &Bytes,
    ) -> Result<Step, Stop> {
        let is_next = part.epoch == mark.epoch && part.index == mark.index + 1;
        // The author of the epoch has taken all groups before this one. Where the record lies says nothing: of records
        // that are published without waiting, one can lie in its place behind another one that does not.
        let must_fit = is_next && part.part == 0;
        self.check_link(sequence, &part.link, &mark, must_fit)?;
        if part.epoch != mark.epoch {
            let is_old = part.epoch < mark.epoch;
            let skip = if is_old {
                Skip::OldEpoch
            } else {
                Skip::NoEpoch
            };
            return Ok(Step::Skipped(skip));
        }
        if !is_next {
            return Ok(Step::Skipped(Skip::Index));
        }
        let index = part.index;
        let hash = Hash::of(message);
        match self.parts.add(part, hash) {
            parts::Added::Waits => Ok(Step::Part),
            parts::Added::No => Ok(Step::Skipped(Skip::Part)),
            parts::Added::All {
                ahead,
                transcript,
                told,
            } => {
                self.mark = Some(Mark {
                    sequence,
                    hash,
                    index,
                    ..mark
                });
                Ok(Step::Group(Group {
                    epoch: mark.epoch,
                    index,
                    ahead,
                    transcript,
                    told,
                }))
            }
        }
    }

    /// Stops at a record of another log, or if the record `must_fit` and does not link to the last one that counts:
    /// its author and this node have different histories.
    fn check_link(
        &mut self,
        sequence: u64,
        link: &Link,
        mark: &Mark,
        must_fit: bool,
    ) -> Result<(), Stop> {
        if link.log != mark.log {
            return self.halt(Stop::OtherLog { sequence });
        }
        if must_fit && link.before != mark.hash {
            return self.halt(Stop::Fork { sequence });
        }
        Ok(())
    }

    fn halt<T>(&mut self, stop: Stop) -> Result<T, Stop> {
        self.stop = Some(stop);
        Err(stop)
    }

    /// Checks the invariants of the module.
    fn check(&self) {
        debug_assert!(
            self.mark
                .as_ref()
                .is_none_or(|mark| mark.sequence <= self.seen)
        );
        debug_assert!(self.mark.is_some() || self.seen == 0);
        self.parts.check();
    }
}
