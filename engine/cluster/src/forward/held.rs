//! Answers that wait for their groups.

use std::collections::VecDeque;

use bytes::Bytes;

use super::lane::WINDOW;
use crate::envelope::Answers;

/// The answers of the leader that are in no group, at the node that they are for.
///
/// They come in their order, and hold once the node has taken the group before their decision: a client must not get an
/// answer that follows from something that its node does not have. Answers of another epoch than the current one never
/// hold: their commands have been forwarded again.
///
/// Between two calls: the answers have the numbers `done + 1..=done + answers.len()`, none is confirmed, and there are at
/// most [`WINDOW`].
#[derive(Debug, Default)]
pub struct Held {
    epoch: u64,
    /// The number of the last answers that were handed out.
    done: u64,
    answers: VecDeque<(u64, Bytes)>,
}

impl Held {
    /// Begins an epoch, in which the node has taken the groups up to `index`. Call it when the node takes the epoch's
    /// record. Returns the answers of the epoch before that hold: note them before
    /// [`Waiting::begin`](super::Waiting::begin), which forwards their commands again otherwise. All others never hold.
    #[must_use]
    pub fn begin(&mut self, epoch: u64, index: u64) -> Vec<Bytes> {
        let mut hold = Vec::new();
        while let Some((_, bytes)) = self.poll(index) {
            hold.push(bytes);
        }
        *self = Self {
            epoch,
            ..Self::default()
        };
        hold
    }

    /// Takes answers that the leader of `epoch` itself sent. Those of another epoch and those that are not next are dropped; the
    /// leader sends them again. Returns the receipt to send if they are known: the number of the last that were handed
    /// out.
    pub fn add(&mut self, epoch: u64, answers: &Answers) -> Option<u64> {
        if epoch != self.epoch {
            return None;
        }
        let next = self.done + self.answers.len() as u64 + 1;
        if answers.number == next && self.answers.len() < WINDOW {
            self.answers
                .push_back((answers.after, answers.bytes.clone()));
        }
        (answers.number <= self.done).then_some(self.done)
    }

    /// Returns the next answers that hold after the group `index`, with the number for the receipt.
    pub fn poll(&mut self, index: u64) -> Option<(u64, Bytes)> {
        let &(after, _) = self.answers.front()?;
        if after > index {
            return None;
        }
        let (_, bytes) = self.answers.pop_front()?;
        self.done += 1;
        Some((self.done, bytes))
    }

    /// Notes that a group of this epoch has the answers of this number for this node too ([`Rider`]). Returns whether they
    /// are new: hand them out before what the group itself tells. Answers without a number, 0, are always new.
    ///
    /// [`Rider`]: crate::envelope::Rider
    #[must_use]
    pub fn rides(&mut self, number: u64) -> bool {
        if number == 0 {
            return true;
        }
        let Some(new) = number.checked_sub(self.done).filter(|new| *new > 0) else {
            return false;
        };
        let held = self.answers.len();
        self.answers
            .drain(..usize::try_from(new).map_or(held, |new| new.min(held)));
        self.done = number;
        true
    }
}
