//! Questions of connections to the store, until a reader is given them.
//!
//! A connection is answered one question after another, in their order. A question waits
//!
//! - for what its connection wrote before it: what is asked behind a `send` knows of it;
//! - for the connection to take what it was answered before: no reader makes an answer that would
//!   only lie about.

use std::collections::{HashMap, VecDeque};

use slab::Slab;
use trunkline_core::exchange::{Job, QUEUE, Query};

use super::connection::Conn;
use super::core::Core;
use crate::metrics::Limit;

/// Questions of a shard's connections.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    queues: HashMap<u32, Queue>,
    /// Connections of which a question may be ready to be answered.
    ready: VecDeque<u32>,
    /// Those of them that wait for others: for a reader, or for room in the shard.
    starved: VecDeque<u32>,
    /// Questions in the queues.
    waiting: usize,
}

/// Those of one connection.
#[derive(Debug, Default)]
struct Queue {
    questions: VecDeque<Question>,
    /// A reader has one.
    asked: bool,
    /// Stands in a list of [`Asking`].
    listed: bool,
}

#[derive(Debug)]
struct Question {
    id: u32,
    query: Query,
    /// So many writes of the connection, sent before it, are not decided yet.
    writes: u32,
}

impl Asking {
    /// Whether there is room for one more question.
    fn has_room(&self) -> bool {
        self.waiting < QUEUE
    }

    /// Whether a turn has something to do here.
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

    fn enter(&mut self, slot: u32, question: Question) {
        let queue = self.queues.entry(slot).or_default();
        // The answer to what is stored already goes before pages.
        if matches!(question.query, Query::Duplicate { .. } | Query::Made { .. }) {
            queue.questions.push_front(question);
        } else {
            queue.questions.push_back(question);
        }
        self.waiting += 1;
        self.list(slot);
    }

    /// Takes the questions of a connection out that nobody waits for any more.
    fn forget(&mut self, slot: u32) -> VecDeque<Question> {
        let questions = self.queues.remove(&slot).unwrap_or_default().questions;
        self.waiting -= questions.len();
        questions
    }

    /// A reader has answered a connection.
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

    /// A write of a connection is decided.
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

    /// A connection has taken all that waited for it.
    pub(super) fn drained(&mut self, slot: u32) {
        if self.waiting > 0 {
            self.list(slot);
        }
    }
}

impl Core {
    /// Lets a question wait for its turn; `false` where too many do.
    pub(super) fn enter_question(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        query: Query,
    ) -> bool {
        let room = self.asking.has_room();
        if room {
            let (paged, recovers) = (query.is_paged(), query.recovers());
            conn.pages += u8::from(paged);
            self.recovering += usize::from(recovers);
            // Catching up may take long and goes on after a reconnect: stopping does not wait.
            conn.in_flight += u32::from(!recovers);
            let wanted = self.questions.flag(slot);
            self.questions.asked(slot, wanted, !recovers);
            let writes = conn.writes;
            self.asking.enter(slot, Question { id, query, writes });
        }
        room
    }

    /// The session that asked is gone.
    pub(super) fn drop_questions(&mut self, slot: u32, conn: &mut Conn) {
        for question in self.asking.forget(slot) {
            let recovers = question.query.recovers();
            conn.pages -= u8::from(question.query.is_paged());
            self.recovering -= usize::from(recovers);
            conn.in_flight -= u32::from(!recovers);
        }
    }

    /// Gives readers what is ready to be answered.
    pub(super) fn ask_readers(&mut self, conns: &mut Slab<Conn>) {
        let starved = std::mem::take(&mut self.asking.starved);
        self.asking.ready.extend(starved);
        for _ in 0..self.asking.ready.len() {
            let Some(slot) = self.asking.ready.pop_front() else {
                return;
            };
            if let Some(queue) = self.asking.queues.get_mut(&slot) {
                queue.listed = false;
                if let Some(conn) = conns.get_mut(slot as usize) {
                    if conn.session().is_some() {
                        self.ask_next(slot, conn);
                    } else {
                        self.drop_questions(slot, conn);
                    }
                }
            }
        }
    }

    /// Gives a reader the next question of a connection, if its time has come.
    fn ask_next(&mut self, slot: u32, conn: &Conn) {
        let limits = &self.parts.limits;
        let Some(queue) = self.asking.queues.get_mut(&slot) else {
            return;
        };
        let Some(next) = queue.questions.front().filter(|_| !queue.asked) else {
            return;
        };
        if next.writes > 0 {
            return;
        }
        if conn.out.len() > limits.answer_bytes {
            // Taken up again once it has read.
            self.parts.metrics.limited(Limit::Answers);
            return;
        }
        // As with pushes: while much is held, those that do not read wait for those that do.
        let crowded = self.memory.is_scarce() && conn.held > 0;
        let question = if crowded {
            self.parts.metrics.limited(Limit::Answers);
            None
        } else {
            queue.questions.pop_front()
        };
        let Some(Question { id, query, .. }) = question else {
            queue.listed = true;
            self.asking.starved.push_back(slot);
            return;
        };
        queue.asked = true;
        let job = self.job(slot, conn, (id, query));
        match self.parts.readers.try_send(job) {
            Ok(()) => self.asking.waiting -= 1,
            Err(back) => {
                let Job { query, .. } = back.into_inner();
                if let Some(queue) = self.asking.queues.get_mut(&slot) {
                    let writes = 0;
                    queue.questions.push_front(Question { id, query, writes });
                    (queue.asked, queue.listed) = (false, true);
                    self.asking.starved.push_back(slot);
                }
            }
        }
    }

    fn job(&self, slot: u32, conn: &Conn, (id, query): (u32, Query)) -> Job {
        let until = match conn.session() {
            Some(session) if session.catching_up => session.live_from,
            Some(session) => session.live_from.max(self.seen),
            None => self.seen,
        };
        Job {
            reply_to: self.reply_to(slot, conn, id),
            until,
            wanted: self.questions.flag(slot),
            query,
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::store::{Position, RecordRef, TimelineId};

    use super::*;
    use trunkline_core::exchange::Part;

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
        asking.enter(
            3,
            Question {
                id: 2,
                query,
                writes: 0,
            },
        );
        let ids = asking.queues[&3].questions.iter().map(|q| q.id);
        assert_eq!(ids.collect::<Vec<_>>(), [2, 1]);
        asking.queues.get_mut(&3).unwrap().questions.clear();
        asking.queues.get_mut(&3).unwrap().listed = false;
        asking.answered(3);
        assert!(asking.queues.is_empty());
    }
}
