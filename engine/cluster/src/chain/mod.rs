//! The records of the stream that count.
//!
//! A chain looks at every record of the stream once, in order. What it takes depends on nothing but the records, so
//! the chains of all nodes take the same ones:
//!
//! 1. **The log decides.** An epoch record counts if its epoch is the one after the current. A group counts if its
//!    epoch is the current one and its index the next. Everything else is skipped, whatever its author was told when it
//!    published.
//! 2. A record links to the one before it by hash, so what counts was decided by somebody who had taken the same records.
//!    An epoch record whose link does not fit is skipped: its author tries again.
//! 3. A group counts with its last part, when all parts are there in order. A new epoch drops parts without an end.
//! 4. Some records show that their author and this node have different histories. Such a record does not say which of
//!    the two is wrong. So the chain goes back to an earlier mark, and judges the stream from there once more
//!    ([`Step::Prove`]). If it comes to another mark than it has, this node is wrong, and its chain stops for good
//!    ([`Stop`]). Otherwise the author is wrong, and its record is skipped, as it is by all other nodes.
//!
//! A record of rule 4 is one of another log; an epoch record in its place whose link does not fit; the next group with
//! another link; or one whose author has taken an epoch or a group that this node has not seen. Such records may follow
//! each other without a record that counts between them. The chain then proves itself at the first, second, fourth and
//! eighth, and at each power of two. So a thousand such records cost ten readings of the stream behind that mark. The mark lies
//! some hundred records back if no such reading was among the last hundreds, and else some ten.
//!
//! The last record alone proves nothing: a stream that lost a record may have got another one in its place, and a record
//! of an author who had not noticed behind it. That author finds its own record where it remembers it.
//!
//! Invariants, which hold between two calls:
//!
//! - `mark.sequence <= seen`, but for a chain whose mark is not compared yet. Between them there are only skipped records
//!   and parts of one group without an end.
//! - `seen <= furthest`, and `seen < furthest` only in a chain that went back to its mark.
//! - Within an epoch all groups have one author, since an epoch has one record that counts.
//! - Parts that wait are of the group `mark.index + 1` of the epoch `mark.epoch`, and fewer than the group has.
//! - After a stop nothing changes.

mod mark;
mod older;
mod parts;
mod stop;

use bytes::Bytes;
use trunkline_storage::Position;

pub use mark::{BadMark, Mark};
use older::{Older, Reach};
use parts::Parts;
pub use stop::{Skip, Skips, Stop};

use crate::envelope::{Epoch, Genesis, Hash, Link, LogId, Malformed, Part, Record};
use crate::node::Incarnation;

/// A group that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The epoch in which the group was decided.
    pub epoch: u64,
    /// The index of the group in the log, from 1.
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
    /// The author of the record and this node have different histories. The record is not looked at yet: the chain went
    /// back to an earlier mark. Read the stream again from [`Chain::next`] on.
    Prove,
    /// Records before this one were not given, and nothing was done. Read the stream again from `next` on. If the
    /// servers do not have that record any more, call [`Chain::gone`].
    Missing {
        /// The sequence of the record to give.
        next: u64,
    },
}

/// The judge of the records of a stream.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The last record that counts; `None` before the genesis.
    mark: Option<Mark>,
    /// The sequence of the last record looked at; 0 before the first. It goes back to before an earlier mark when the
    /// chain proves itself.
    seen: u64,
    /// The greatest value that `seen` had, or the sequence of a mark from an earlier life.
    furthest: u64,
    /// Whether the record at the mark has yet to be compared: the mark comes from the disk or from another node, or the
    /// chain went back.
    is_unproved: bool,
    /// A chain that judges the records up to the mark once more; `None` if the record at the mark alone is compared.
    again: Option<Box<Self>>,
    /// Earlier marks; `None` before the genesis.
    older: Option<Older>,
    /// Whether this is such a chain. It has no doubts of its own.
    is_again: bool,
    /// The sequence of the last record whose author has another history.
    excused: u64,
    /// The number of records whose author has another history, since the last record that counts.
    doubts: u64,
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
            furthest: 0,
            is_unproved: false,
            again: None,
            older: None,
            is_again: false,
            excused: 0,
            doubts: 0,
            parts: Parts::default(),
            skips: Skips::default(),
            stop: None,
        }
    }

    /// Returns the chain of a node whose store has everything up to a mark. First give it the record at the mark.
    ///
    /// The store must not have less than the mark says. It may have more: it leaves out what it has, and compares it with
    /// the groups that come again.
    #[must_use]
    pub fn resume(mark: Mark) -> Self {
        Self {
            seen: mark.sequence - 1,
            furthest: mark.sequence,
            is_unproved: true,
            mark: Some(mark),
            older: Some(Older::new(mark)),
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

    /// Notes where the store goes on that has all groups up to the mark.
    pub const fn stored(&mut self, end: Position) {
        if let Some(mark) = &mut self.mark {
            mark.end = Some(end);
        }
    }

    /// Returns the sequence of the last record that was looked at, in this life or, for a mark, in an earlier one. It
    /// does not go back. Remember it when you ask the servers for the ends of the stream, for
    /// [`compare_ends`](Self::compare_ends).
    #[must_use]
    pub const fn furthest(&self) -> u64 {
        self.furthest
    }

    /// Goes back to an earlier mark, to judge the stream from there once more. Read the stream again from
    /// [`next`](Self::next) on. Call it after each new connection to the servers, and before this node publishes an epoch
    /// record ([`Act::Prove`](crate::lease::Act::Prove)): the stream may have lost its end meanwhile.
    pub fn prove(&mut self) {
        self.go_back(Reach::Near);
    }

    fn go_back(&mut self, reach: Reach) {
        let (Some(mark), Some(older)) = (self.mark, &self.older) else {
            return;
        };
        let from = older.at(reach);
        self.again = (from.sequence < mark.sequence).then(|| {
            let mut again = Self::resume(from);
            again.is_again = true;
            Box::new(again)
        });
        self.seen = from.sequence - 1;
        self.is_unproved = true;
        self.parts.clear();
    }

    /// Returns whether the record at the mark was compared, and all records that were looked at before it went back to
    /// the mark were looked at again. `false` before the genesis.
    #[must_use]
    pub const fn is_proved(&self) -> bool {
        self.mark.is_some() && !self.is_unproved && self.seen >= self.furthest
    }

    /// Returns what a record to publish now says of the stream; `None` while the chain is not
    /// [proved](Self::is_proved). Publish it with [`Link::after`] as the expected last sequence.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        let mark = self.mark.as_ref().filter(|_| self.is_proved())?;
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
    /// `last < first`. `seen` is what [`furthest`](Self::furthest) was when the servers were asked: an answer may be older than
    /// the last record.
    ///
    /// A stream that lost its end may have grown again since. So at each new connection [`prove`](Self::prove) too.
    ///
    /// # Errors
    /// The stream is shorter than what was seen, or no longer has what is to be seen next. The chain has stopped.
    pub fn compare_ends(&mut self, first: u64, last: u64, seen: u64) -> Result<(), Stop> {
        if let Some(stop) = self.stop {
            return Err(stop);
        }
        let seen = seen.min(self.furthest);
        if last < seen {
            return self.halt(Stop::Shorter { last, seen });
        }
        let next = self.next();
        if first > next {
            return self.halt(Stop::Gone { first, next });
        }
        Ok(())
    }

    /// Notes that the servers do not have the record [`next`](Self::next), but later ones.
    ///
    /// # Errors
    /// This is always an error: the node cannot follow the stream any more.
    pub fn gone(&mut self) -> Result<(), Stop> {
        if let Some(stop) = self.stop {
            return Err(stop);
        }
        let next = self.next();
        self.halt(Stop::Missing { next })
    }

    /// Looks at a record of the stream. Give records in the order of their sequences; those that were given before
    /// do nothing, and those behind a gap neither ([`Step::Missing`]).
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
            return Ok(Step::Missing { next });
        }
        if self.is_unproved {
            return self.compare(sequence, message);
        }
        let step = match Record::read(message) {
            Ok(record) => self.judge(sequence, record, message),
            Err(Malformed::Version(version)) if self.is_of_this_log(message) => {
                self.halt(Stop::Version { sequence, version })
            }
            Err(_) if self.mark.is_some() => Ok(Step::Skipped(Skip::Form)),
            Err(_) => self.halt(Stop::NoGenesis),
        }?;
        if step == Step::Prove {
            return Ok(step);
        }
        self.seen = sequence;
        if let Step::Skipped(skip) = step
            && sequence > self.furthest
        {
            self.skips.count(skip);
        }
        self.furthest = self.furthest.max(sequence);
        self.check();
        Ok(step)
    }

    /// Returns whether a record of a later version is one of this log, or may be the first of a log: all versions have
    /// the log in the same place.
    fn is_of_this_log(&self, message: &Bytes) -> bool {
        let log = message.get(4..12);
        self.mark
            .is_none_or(|mark| log == Some(&mark.log.0.to_le_bytes()[..]))
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

    /// Looks at a record up to the mark once more.
    fn compare(&mut self, sequence: u64, message: &Bytes) -> Result<Step, Stop> {
        self.seen = sequence;
        let Some(again) = &mut self.again else {
            self.compare_known(sequence, message)?;
            self.is_unproved = false;
            return Ok(Step::Known);
        };
        if let Err(stop) = again.take(sequence, message) {
            return self.halt(stop);
        }
        if self.mark.is_some_and(|mark| sequence < mark.sequence) {
            return Ok(Step::Known);
        }
        self.compare_known(sequence, message)?;
        let [own, other] = [self.mark, self.again.take().and_then(|again| again.mark)]
            .map(|mark| mark.map(|mark| (mark.sequence, mark.hash)));
        if own != other {
            return self.halt(Stop::Before { sequence });
        }
        self.is_unproved = false;
        Ok(Step::Known)
    }

    /// Notes that a record counts.
    fn count(&mut self, mark: Mark, message: &Bytes) {
        match &mut self.older {
            Some(older) => older.pass(mark, message.len()),
            None => self.older = Some(Older::new(mark)),
        }
        self.mark = Some(mark);
        self.doubts = 0;
    }

    fn judge(&mut self, sequence: u64, record: Record, message: &Bytes) -> Result<Step, Stop> {
        match (record, self.mark) {
            (Record::Genesis(genesis), None) => {
                let hash = Hash::of(message);
                let mark = Mark {
                    log: LogId::of(hash),
                    sequence,
                    hash,
                    epoch: 0,
                    index: 0,
                    author: None,
                    end: None,
                };
                self.count(mark, message);
                Ok(Step::Genesis(genesis))
            }
            (_, None) => self.halt(Stop::NoGenesis),
            (Record::Genesis(_), Some(_)) => Ok(Step::Skipped(Skip::Genesis)),
            (Record::Epoch(epoch), Some(mark)) => {
                Ok(self.judge_epoch(sequence, &epoch, mark, message))
            }
            (Record::Part(part), Some(mark)) => Ok(self.judge_part(sequence, part, mark, message)),
        }
    }

    fn judge_epoch(&mut self, sequence: u64, record: &Epoch, mark: Mark, message: &Bytes) -> Step {
        if record.link.log != mark.log {
            return self.doubt(sequence, Skip::OtherLog);
        }
        // Where its author expected it: the author had looked at the same records as this node has now. One that lies
        // elsewhere came late, and may have any link.
        let is_in_place = record.link.after.checked_add(1) == Some(sequence);
        if is_in_place && record.link.before != mark.hash {
            return self.doubt(sequence, Skip::Fork);
        }
        if record.epoch <= mark.epoch {
            return Step::Skipped(Skip::OldEpoch);
        }
        if record.epoch - 1 != mark.epoch {
            // Its author has taken the epoch before.
            return self.doubt(sequence, Skip::NoEpoch);
        }
        if record.link.before != mark.hash || record.index != mark.index {
            return Step::Skipped(Skip::Late);
        }
        self.parts.clear();
        let mark = Mark {
            sequence,
            hash: Hash::of(message),
            epoch: record.epoch,
            author: Some(record.author),
            ..mark
        };
        self.count(mark, message);
        Step::Epoch {
            epoch: record.epoch,
            author: record.author,
        }
    }

    fn judge_part(&mut self, sequence: u64, part: Part, mark: Mark, message: &Bytes) -> Step {
        if part.link.log != mark.log {
            return self.doubt(sequence, Skip::OtherLog);
        }
        if part.epoch < mark.epoch {
            return Step::Skipped(Skip::OldEpoch);
        }
        if part.epoch > mark.epoch {
            // Its author publishes in an epoch whose record it has taken from the stream.
            return self.doubt(sequence, Skip::NoEpoch);
        }
        if part.index <= mark.index {
            return Step::Skipped(Skip::Index);
        }
        if part.index - 1 > mark.index {
            // Its author publishes a group when it has taken the one before from the stream.
            return self.doubt(sequence, Skip::Index);
        }
        // Where the record lies says nothing: of records that are published without waiting, one can lie in its place
        // behind another one that does not.
        if part.part == 0 && part.link.before != mark.hash {
            return self.doubt(sequence, Skip::Fork);
        }
        let index = part.index;
        let hash = Hash::of(message);
        match self.parts.add(part, hash) {
            parts::Added::Waits => Step::Part,
            parts::Added::No => Step::Skipped(Skip::Part),
            parts::Added::All {
                ahead,
                transcript,
                told,
            } => {
                let next = Mark {
                    sequence,
                    hash,
                    index,
                    // A group that stores something moves it.
                    end: mark.end.filter(|_| transcript.is_empty()),
                    ..mark
                };
                self.count(next, message);
                Step::Group(Group {
                    epoch: mark.epoch,
                    index,
                    ahead,
                    transcript,
                    told,
                })
            }
        }
    }

    /// Skips a record that contradicts this node's history, or first proves that history.
    fn doubt(&mut self, sequence: u64, skip: Skip) -> Step {
        if sequence <= self.excused || self.is_again {
            return Step::Skipped(skip);
        }
        self.excused = sequence;
        self.doubts += 1;
        if !self.doubts.is_power_of_two() {
            return Step::Skipped(skip);
        }
        let is_far = self.older.as_mut().is_some_and(Older::may_reach_far);
        self.go_back(if is_far { Reach::Far } else { Reach::Near });
        Step::Prove
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
        debug_assert!(self.seen <= self.furthest);
        self.parts.check();
    }
}
