//! What the leader takes from the nodes, and what it answers outside of groups.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use super::lane::Lane;
use crate::envelope::Answers;
use crate::node::Incarnation;

/// The most incarnations of nodes that a leader takes commands from in one epoch.
pub const MAX_INCARNATIONS: usize = 1024;

/// What a leader does with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Take the commands, and send the receipt.
    Take,
    /// The batch is known: send the receipt again.
    Known,
    /// Ignore the batch: it is of another epoch, or one before it is missing, or the node does not confirm its answers.
    /// The node sends it again if it still counts.
    Ignore,
    /// Ignore the batch, and begin a new epoch ([`Lease::renew`](crate::lease::Lease::renew)): this one has no room for
    /// another incarnation, or had given the node up.
    Renew,
}

/// What is known of one incarnation of a node in this epoch.
#[derive(Debug)]
struct Source {
    /// The number of the last batch that was taken.
    taken: u64,
    /// Answers on their way to the node; `None` if the node was given up.
    answers: Option<Lane<(u64, Bytes)>>,
}

/// The batches that the leader of one epoch takes: those of each incarnation in their order, each once.
#[derive(Debug)]
pub struct Taking {
    epoch: u64,
    sources: HashMap<Incarnation, Source>,
}

impl Taking {
    /// Returns what a leader begins its epoch with. Drop it with the epoch, and all commands that were taken and not
    /// decided too: their nodes forward them again.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            sources: HashMap::new(),
        }
    }

    /// Judges a batch of `from` that is meant for `epoch`.
    pub fn judge(&mut self, epoch: u64, from: Incarnation, number: u64) -> Verdict {
        if epoch != self.epoch {
            return Verdict::Ignore;
        }
        let is_full = self.sources.len() >= MAX_INCARNATIONS;
        let source = match self.sources.entry(from) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(_) if is_full => return Verdict::Renew,
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(Source {
                taken: 0,
                answers: Some(Lane::default()),
            }),
        };
        if number <= source.taken {
            return Verdict::Known;
        }
        match &source.answers {
            None => Verdict::Renew,
            Some(answers) if number == source.taken + 1 && answers.has_room() => {
                source.taken = number;
                Verdict::Take
            }
            Some(_) => Verdict::Ignore,
        }
    }

    /// Returns the number up to which the batches of a node were taken, for a receipt.
    #[must_use]
    pub fn taken(&self, from: Incarnation) -> u64 {
        self.sources.get(&from).map_or(0, |source| source.taken)
    }

    /// Adds answers for a node that are in no group. `after` is the index of the last group before the decision.
    ///
    /// # Errors
    /// The node is given up, now or before: it does not confirm its answers. What it forwarded gets no answers in this
    /// epoch.
    pub fn answer(&mut self, to: Incarnation, after: u64, bytes: Bytes) -> Result<(), GivenUp> {
        let source = self.sources.get_mut(&to).ok_or(GivenUp)?;
        let lane = source.answers.as_mut().ok_or(GivenUp)?;
        if lane.push((after, bytes)).is_err() {
            source.answers = None;
            return Err(GivenUp);
        }
        Ok(())
    }

    /// Notes that a node has the answers of an epoch up to a number.
    pub fn confirm(&mut self, epoch: u64, from: Incarnation, number: u64) {
        let source = self.sources.get_mut(&from);
        if let Some(answers) = source.and_then(|source| source.answers.as_mut())
            && epoch == self.epoch
        {
            answers.confirm(number);
        }
    }

    /// Gives a node up whose heartbeats have ended, with the answers that wait for it.
    pub fn give_up(&mut self, node: Incarnation) {
        if let Some(source) = self.sources.get_mut(&node) {
            source.answers = None;
        }
    }

    /// Returns whether a node was given up. Ask at each of its heartbeats, and begin a new epoch
    /// ([`Lease::renew`](crate::lease::Lease::renew)) if so: it waits for answers that this epoch does not have any more.
    #[must_use]
    pub fn is_given_up(&self, node: Incarnation) -> bool {
        let source = self.sources.get(&node);
        source.is_some_and(|source| source.answers.is_none())
    }

    /// Returns the next answers to send, with the node that they are for; `None` if there is nothing to send.
    pub fn poll(&mut self, now: Duration) -> Option<(Incarnation, Answers)> {
        self.sources.iter_mut().find_map(|(node, source)| {
            let (number, (after, bytes)) = source.answers.as_mut()?.poll(now)?;
            let answers = Answers {
                to: node.number,
                number,
                after: *after,
                bytes: bytes.clone(),
            };
            Some((*node, answers))
        })
    }

    /// Returns when [`poll`](Self::poll) has something again: at once if it is zero, never if it is `None`.
    #[must_use]
    pub fn wake(&self) -> Option<Duration> {
        let lanes = self
            .sources
            .values()
            .filter_map(|source| source.answers.as_ref());
        lanes.filter_map(Lane::wake).min()
    }
}

/// The error of answers for a node that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp;
