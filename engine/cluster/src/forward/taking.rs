//! What the leader takes from the nodes, and what it answers outside of groups.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use bytes::Bytes;

use super::lane::{Lane, RESEND, WINDOW};
use super::waiting::FRESH;
use crate::envelope::{Answers, Batch, Rider};
use crate::node::Incarnation;

/// The most incarnations of nodes that a leader takes commands from in one epoch.
pub const MAX_INCARNATIONS: usize = 1024;

/// The most bytes of answers that wait for the receipts of one incarnation of a node.
pub const MAX_ANSWERS_OF_NODE: usize = 256 << 10;

/// The most bytes of answers that wait for receipts, of all nodes together.
pub const MAX_ANSWERS: usize = 4 << 20;

/// The time within which a node gets the receipt for a batch. One receipt serves all batches until then.
pub const RECEIPT: Duration = Duration::from_millis(50);

/// The batches without a receipt for which one goes at once: the node has no room for many more.
const MOST_WITHOUT_RECEIPT: u64 = WINDOW as u64 / 4;

// A batch that came does not go again, however long its receipt waits.
const _: () = assert!(RECEIPT.as_millis() * 4 < RESEND.as_millis());

/// The bytes that answers take beside their own.
const OVERHEAD: usize = 64;

/// What a leader does with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Take the commands. [`poll_receipt`](Taking::poll_receipt) has the receipt once it is due.
    Take,
    /// The batch is known: [`poll_receipt`](Taking::poll_receipt) has the receipt again, at once.
    Known,
    /// Ignore the batch: it is of another epoch, or one before it is missing, or it may be so old that its node has given
    /// commands in it up. The node sends it again if it still counts.
    Ignore,
    /// Ignore the batch, and begin a new epoch ([`Lease::renew`](crate::lease::Lease::renew)): this one has no room for
    /// another incarnation.
    Renew,
}

/// What is known of one incarnation of a node in this epoch.
#[derive(Debug, Default)]
struct Source {
    /// The number of the last batch that was taken.
    taken: u64,
    /// The number up to which the node has receipts: not more than `taken`.
    receipted: u64,
    /// When the next receipt is due; `None` if none is.
    receipt_due: Option<Duration>,
    /// Answers on their way to the node, with the index of the group after which they hold.
    answers: Lane<(u64, Bytes)>,
    /// What the answers take.
    bytes: usize,
}

/// The batches that the leader of one epoch takes: those of each incarnation in their order, each once.
///
/// Answers of commands that store nothing go to their nodes without a group ([`answer`](Self::answer)). Until a node has
/// confirmed them, each group with answers for it has them too ([`riders`](Self::riders)), so that the node has the answers in the
/// order of the decisions. If there is no room for answers, a group takes them all.
///
/// Between two calls: `bytes` is the sum of the bytes of all sources, and no more than [`MAX_ANSWERS`].
#[derive(Debug)]
pub struct Taking {
    epoch: u64,
    sources: HashMap<Incarnation, Source>,
    bytes: usize,
}

/// The error of answers for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

impl Taking {
    /// Returns what a leader begins its epoch with. Drop it with the epoch, and all commands that were taken and not
    /// decided too: their nodes forward them again.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            sources: HashMap::new(),
            bytes: 0,
        }
    }

    /// Judges a batch of `from` that is meant for `epoch`. `age` is the time since this leader sent the heartbeat that the batch
    /// names ([`Lease::age_of_beat`](crate::lease::Lease::age_of_beat)), if that is known: the batch is not older.
    pub fn judge(
        &mut self,
        epoch: u64,
        from: Incarnation,
        batch: &Batch,
        age: Option<Duration>,
        now: Duration,
    ) -> Verdict {
        if epoch != self.epoch {
            return Verdict::Ignore;
        }
        let is_full = self.sources.len() >= MAX_INCARNATIONS;
        let source = match self.sources.entry(from) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if is_full => return Verdict::Renew,
            Entry::Vacant(entry) => entry.insert(Source::default()),
        };
        if batch.number <= source.taken {
            source.receipt_due = Some(now);
            return Verdict::Known;
        }
        let is_fresh = age.is_some_and(|age| age < FRESH);
        if batch.number != source.taken + 1 || !is_fresh {
            return Verdict::Ignore;
        }
        source.taken = batch.number;
        source.receipt_due = match source.taken - source.receipted {
            MOST_WITHOUT_RECEIPT.. => Some(now),
            _ => source.receipt_due.or(Some(now + RECEIPT)),
        };
        Verdict::Take
    }

    /// Returns the next receipt that is due: the epoch to send it in, the node, and the number up to which its batches were
    /// taken; `None` if none is due.
    pub fn poll_receipt(&mut self, now: Duration) -> Option<(u64, Incarnation, u64)> {
        let is_due = |due: &mut Duration| *due <= now;
        self.sources.iter_mut().find_map(|(node, source)| {
            source.receipt_due.take_if(is_due)?;
            source.receipted = source.taken;
            Some((self.epoch, *node, source.taken))
        })
    }

    /// Adds the answers of one decision that are in no group, to one or more nodes. `after` is the index of the last group before
    /// the decision. Call it only while the leader may answer ([`Lease::may_answer`](crate::lease::Lease::may_answer)).
    ///
    /// # Errors
    /// There is no room for all of them. Nothing is added: let a group have them, and all that
    /// [`riders`](Self::riders) has.
    pub fn answer(&mut self, after: u64, answers: &[(Incarnation, Bytes)]) -> Result<(), NoRoom> {
        let mut sum = 0;
        for (to, bytes) in answers {
            let source = self.sources.get(to).ok_or(NoRoom)?;
            let len = bytes.len() + OVERHEAD;
            sum += len;
            if !source.answers.has_room() || source.bytes + len > MAX_ANSWERS_OF_NODE {
                return Err(NoRoom);
            }
        }
        if self.bytes + sum > MAX_ANSWERS {
            return Err(NoRoom);
        }
        for (to, bytes) in answers {
            let source = self.sources.get_mut(to).ok_or(NoRoom)?;
            let len = bytes.len() + OVERHEAD;
            // The same node twice finds what is left.
            source
                .answers
                .push((after, bytes.clone()))
                .map_err(|_| NoRoom)?;
            source.bytes += len;
            self.bytes += len;
        }
        Ok(())
    }

    /// Returns the answers that must be in the next group, which has answers for the nodes `of`: those that these nodes have
    /// not confirmed; with `None` those of all nodes. Also returns what to [`confirm`](Self::confirm) once the group counts.
    #[must_use]
    pub fn riders(&self, of: Option<&[Incarnation]>) -> (Vec<Rider>, Vec<(Incarnation, u64)>) {
        let (mut riders, mut last) = (Vec::new(), Vec::new());
        for (node, source) in &self.sources {
            if of.is_some_and(|of| !of.contains(node)) {
                continue;
            }
            for (number, (_, bytes)) in source.answers.items() {
                riders.push(Rider {
                    to: node.number,
                    number,
                    bytes: bytes.clone(),
                });
            }
            last.extend(source.answers.last().map(|number| (*node, number)));
        }
        (riders, last)
    }

    /// Notes that a node has the answers of an epoch up to a number.
    pub fn confirm(&mut self, epoch: u64, from: Incarnation, number: u64) {
        if epoch != self.epoch {
            return;
        }
        let Some(source) = self.sources.get_mut(&from) else {
            return;
        };
        source.answers.confirm(number);
        let left = source.answers.items();
        let left = left.map(|(_, (_, bytes))| bytes.len() + OVERHEAD).sum();
        self.bytes = self.bytes - source.bytes + left;
        source.bytes = left;
    }

    /// Returns the next answers to send, with their epoch and the node that they are for; `None` if there is nothing to send.
    pub fn poll(&mut self, now: Duration) -> Option<(u64, Incarnation, Answers)> {
        self.sources.iter_mut().find_map(|(node, source)| {
            let (number, (after, bytes)) = source.answers.poll(now)?;
            let answers = Answers {
                to: node.number,
                number,
                after: *after,
                bytes: bytes.clone(),
            };
            Some((self.epoch, *node, answers))
        })
    }

    /// Returns when [`poll`](Self::poll) or [`poll_receipt`](Self::poll_receipt) has something again: at once if it is zero,
    /// never if it is `None`.
    #[must_use]
    pub fn wake(&self) -> Option<Duration> {
        let sources = self.sources.values();
        let dues = sources.flat_map(|source| [source.answers.wake(), source.receipt_due]);
        dues.flatten().min()
    }
}
