//! The questions of a shard's connections, until a reader is given them.
//!
//! A connection's questions are answered one after another, in their order. A question waits
//!
//! - for the writes that its connection sent before it: the answer to a question behind a `send`
//!   contains that message;
//! - for its connection to read earlier answers: no reader prepares an answer that would only take
//!   up memory.

use std::collections::{HashMap, VecDeque};

use trunkline_core::exchange::{QUEUE, Query};

/// The questions of a shard's connections that no reader has been given.
///
/// `waiting` is the number of questions in all queues. A connection stands in `ready` or `starved`
/// at most once, exactly while its queue is `listed`.
#[derive(Debug, Default)]
pub(super) struct Asking {
    queues: HashMap<u32, Queue>,
    /// Connections whose next question may be ready for a reader.
    ready: VecDeque<u32>,
    /// Connections whose next question waits for a reader, or for memory of the shard. The next
    /// round tries them again.
    starved: VecDeque<u32>,
    waiting: usize,
}

/// The questions of one connection.
#[derive(Debug, Default)]
struct Queue {
    questions: VecDeque<Question>,
    /// A reader works on a question of this connection.
    asked: bool,
    /// The connection stands in a list of [`Asking`].
    listed: bool,
}

/// A question that no reader has been given.
#[derive(Debug)]
pub(super) struct Question {
    /// The client's id for the command.
    pub(super) id: u32,
    /// The query to ask.
    pub(super) query: Query,
    /// The number of the connection's earlier writes that are not decided.
    pub(super) writes: u32,
}

impl Asking {
    /// Whether there is room for one more question.
    pub(super) fn has_room(&self) -> bool {
        self.waiting < QUEUE
    }

    /// Whether a connection may have a question that is ready for a reader.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    fn list(&mut self, slot: u32) {
        if let Some(queue) = self.queues.get_mut(&slot)
            && !queue.listed
        {
            queue.listed = true;
            self.ready.push_back(slot);
        }
    }

    /// Adds a question of a connection.
    pub(super) fn enter(&mut self, slot: u32, question: Question) {
        let queue = self.queues.entry(slot).or_default();
        // The answer to a command that came before goes ahead of pages.
        if matches!(question.query, Query::Duplicate { .. } | Query::Made { .. }) {
            queue.questions.push_front(question);
        } else {
            queue.questions.push_back(question);
        }
        self.waiting += 1;
        self.list(slot);
    }

    /// Removes the questions of a connection whose session is over, and returns them.
    pub(super) fn forget(&mut self, slot: u32) -> VecDeque<Question> {
        let questions = self.queues.remove(&slot).unwrap_or_default().questions;
        self.waiting -= questions.len();
        questions
    }

    /// Notes that a reader has answered a connection: its next question may be ready.
    pub(super) fn answered(&mut self, slot: u32) {
        let Some(queue) = self.queues.get_mut(&slot) else {
            return;
        };
        queue.asked = false;
        if queue.questions.is_empty() && !queue.listed {
            self.queues.remove(&slot);
        } else {
            self.list(slot);
        }
    }

    /// Notes that a write of a connection is decided.
    pub(super) fn written(&mut self, slot: u32) {
        if self.waiting == 0 {
            return;
        }
        let Some(queue) = self.queues.get_mut(&slot) else {
            return;
        };
        for question in &mut queue.questions {
            question.writes = question.writes.saturating_sub(1);
        }
        self.list(slot);
    }

    /// Notes that a connection has taken all its output.
    pub(super) fn drained(&mut self, slot: u32) {
        if self.waiting > 0 {
            self.list(slot);
        }
    }

    /// Begins a round over the connections that may have a question for a reader. Returns their
    /// number: so often the round calls [`Self::next`].
    pub(super) fn begin_round(&mut self) -> usize {
        self.ready.append(&mut self.starved);
        self.ready.len()
    }

    /// Returns the next connection of the round. Returns `None` for a connection that has no questions any
    /// more; the round goes on.
    pub(super) fn next(&mut self) -> Option<u32> {
        let slot = self.ready.pop_front()?;
        let queue = self.queues.get_mut(&slot)?;
        queue.listed = false;
        Some(slot)
    }

    /// Whether a connection has a question that a reader may be given now.
    pub(super) fn has_next(&self, slot: u32) -> bool {
        self.queues.get(&slot).is_some_and(|queue| {
            let next = queue.questions.front();
            !queue.asked && next.is_some_and(|next| next.writes == 0)
        })
    }

    /// Takes a connection's next question for a reader.
    pub(super) fn take(&mut self, slot: u32) -> Option<Question> {
        let queue = self.queues.get_mut(&slot)?;
        let question = queue.questions.pop_front()?;
        queue.asked = true;
        self.waiting -= 1;
        Some(question)
    }

    /// Puts a question back that [`Self::take`] returned and that the readers had no room for.
    pub(super) fn put_back(&mut self, slot: u32, question: Question) {
        if let Some(queue) = self.queues.get_mut(&slot) {
            queue.questions.push_front(question);
            queue.asked = false;
            self.waiting += 1;
            self.starve(slot);
        }
    }

    /// Lets a connection wait for the next round.
    pub(super) fn starve(&mut self, slot: u32) {
        if let Some(queue) = self.queues.get_mut(&slot) {
            queue.listed = true;
            self.starved.push_back(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::exchange::Part;
    use trunkline_core::store::{Position, RecordRef, TimelineId};

    use super::*;

    fn question(id: u32, writes: u32) -> Question {
        let (user, watch, part) = (TimelineId(1), false, Part::WHOLE);
        let query = Query::Contacts { user, watch, part };
        Question { id, query, writes }
    }

    #[test]
    fn writes_before_a_question_count_down_and_those_behind_do_not() {
        let mut asking = Asking::default();
        asking.enter(3, question(1, 0));
        asking.enter(3, question(2, 2));
        asking.ready.clear();
        asking.queues.get_mut(&3).unwrap().listed = false;
        for left in [1, 0, 0] {
            asking.written(3);
            let questions = &asking.queues[&3].questions;
            assert_eq!((questions[0].writes, questions[1].writes), (0, left));
        }
        assert_eq!(asking.ready, [3]);
        asking.written(4);
        asking.forget(3);
        assert_eq!((asking.waiting, asking.queues.len()), (0, 0));
    }

    #[test]
    fn a_duplicate_is_answered_before_pages_and_queues_go_with_their_last_question() {
        let mut asking = Asking::default();
        asking.enter(3, question(1, 0));
        let place = RecordRef {
            timeline: TimelineId(1),
            seq: 1,
            position: Position(1),
        };
        let query = Query::Duplicate { place };
        let (id, writes) = (2, 0);
        asking.enter(3, Question { id, query, writes });
        let ids = asking.queues[&3].questions.iter().map(|q| q.id);
        assert_eq!(ids.collect::<Vec<_>>(), [2, 1]);
        asking.queues.get_mut(&3).unwrap().questions.clear();
        asking.queues.get_mut(&3).unwrap().listed = false;
        asking.answered(3);
        assert!(asking.queues.is_empty());
    }

    #[test]
    fn one_question_of_a_connection_is_asked_at_a_time_and_one_put_back_waits_for_a_round() {
        let mut asking = Asking::default();
        asking.enter(3, question(1, 0));
        asking.enter(3, question(2, 0));
        assert_eq!((asking.begin_round(), asking.next()), (1, Some(3)));
        let taken = asking.take(3).unwrap();
        assert_eq!((taken.id, asking.waiting), (1, 1));
        assert!(!asking.has_next(3), "a reader has one");
        asking.put_back(3, taken);
        assert!(!asking.is_ready(), "only the next round tries again");
        assert_eq!((asking.begin_round(), asking.next()), (1, Some(3)));
        assert!(asking.has_next(3));
        assert_eq!(asking.take(3).map(|question| question.id), Some(1));
        asking.answered(3);
        assert!(asking.is_ready() && asking.has_next(3));
        assert_eq!((asking.begin_round(), asking.next()), (1, Some(3)));
        asking.starve(3);
        assert_eq!(asking.begin_round(), 1);
        assert_eq!(asking.waiting, 1);
    }

    #[test]
    fn a_question_behind_an_undecided_write_is_not_next() {
        let mut asking = Asking::default();
        asking.enter(3, question(1, 1));
        assert!(!asking.has_next(3));
        asking.written(3);
        assert!(asking.has_next(3));
    }
}
