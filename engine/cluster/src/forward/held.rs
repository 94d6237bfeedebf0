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
    /// Begins an epoch, as [`Waiting::begin`](super::Waiting::begin) does. Drops all that is held.
    pub fn begin(&mut self, epoch: u64) {
        *self = Self {
            epoch,
            ..Self::default()
        };
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
}
