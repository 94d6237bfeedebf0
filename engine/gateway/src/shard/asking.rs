//! The questions of a shard's connections, until a reader is given them.
//!
//! A connection's questions are answered one after another, in their order. A question waits
//!
//! - for the writes that its connection sent before it: the answer to a question behind a `send`
//!   contains that message;
//! - for its connection to read earlier answers: no reader prepares an answer that would only take
//!   up memory;
//! - for answers on their way: their number is bounded, because each may take the memory of a whole
//!   message. A user may have as many on their way as are free.

use std::collections::{HashMap, VecDeque};

use trunkline_core::exchange::{QUEUE, Query};
use trunkline_core::ids::UserId;

/// The maximum number of answers on their way to a shard.
pub(super) const ANSWERS: usize = 64;

/// The questions of a shard's connections that no reader has been given.
///
/// `waiting` is the number of questions in all queues, and `asked` the number of queues with a
/// question at the readers. A connection stands in `ready`, in `starved` or in the `held` of its
/// user at most once, exactly while its queue is `listed`.
#[derive(Debug, Default)]
pub(super) struct Asking {
    queues: HashMap<u32, Queue>,
    users: HashMap<UserId, Own>,
    /// Connections whose next question may be ready for a reader.
    ready: VecDeque<u32>,
    /// Connections whose next question waits for memory of the shard, or for room at the readers.
    /// The next round tries them again.
    starved: VecDeque<u32>,
    waiting: usize,
    asked: usize,
}

/// The questions of one connection.
#[derive(Debug)]
struct Queue {
    user: UserId,
    questions: VecDeque<Question>,
    /// A reader works on a question of this connection.
    asked: bool,
    /// The bytes that this question holds, as [`Query::held_bytes`] has them.
    held: u32,
    /// The connection stands in a list.
    listed: bool,
}

/// The questions of all connections of one user. The user is forgotten once there are none.
#[derive(Debug, Default)]
struct Own {
    waiting: usize,
    asked: usize,
    /// Connections that wait until fewer answers are on their way to the user.
    held: VecDeque<u32>,
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
    /// Returns whether there is room for one more question of a user. A user may have as many questions
    /// as are free, so one user has half of them at most.
    pub(super) fn has_room(&self, user: UserId) -> bool {
        let own = self.users.get(&user).map_or(0, |own| own.waiting);
        own < QUEUE.saturating_sub(self.waiting)
    }

    /// Returns whether a round may find a question for a reader now.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty() && self.asked < ANSWERS
    }

    fn list(&mut self, slot: u32) {
        if let Some(queue) = self.queues.get_mut(&slot)
            && !queue.listed
        {
            queue.listed = true;
            self.ready.push_back(slot);
        }
    }

    /// Adds a question of a user's connection.
    pub(super) fn enter(&mut self, slot: u32, user: UserId, question: Question) {
        let queue = self.queues.entry(slot).or_insert_with(|| Queue {
            user,
            questions: VecDeque::new(),
            asked: false,
            held: 0,
            listed: false,
        });
        if question.query.goes_first() {
            let mut earlier = queue.questions.iter();
            let earlier = { earlier.by_ref() }.take_while(|earlier| earlier.query.goes_first());
            let place = earlier.count();
            queue.questions.insert(place, question);
        } else {
            queue.questions.push_back(question);
        }
        self.users.entry(queue.user).or_default().waiting += 1;
        self.waiting += 1;
        self.list(slot);
    }

    /// Removes the questions of a connection whose session is over, and returns them.
    pub(super) fn forget(&mut self, slot: u32) -> VecDeque<Question> {
        let Some(queue) = self.queues.remove(&slot) else {
            return VecDeque::new();
        };
        self.left(queue.user, queue.questions.len());
        if queue.asked {
            self.came_back(queue.user);
        }
        queue.questions
    }

    /// Counts questions of a user out that wait no longer.
    fn left(&mut self, user: UserId, count: usize) {
        self.waiting -= count;
        if let Some(own) = self.users.get_mut(&user) {
            own.waiting -= count;
        }
        self.forget_idle(user);
    }

    /// Counts an answer to a user in: one more of the user's connections may ask.
    fn came_back(&mut self, user: UserId) {
        /// Two go on for one that came back. So a user's number grows again when others have ended.
        const NEXT: usize = 2;
        self.asked -= 1;
        if let Some(own) = self.users.get_mut(&user) {
            own.asked -= 1;
            let next = NEXT.min(own.held.len());
            self.ready.extend(own.held.drain(..next));
        }
        self.forget_idle(user);
    }

    fn forget_idle(&mut self, user: UserId) {
        let own = self.users.get(&user);
        if own.is_some_and(|own| own.waiting == 0 && own.asked == 0) {
            self.users.remove(&user);
        }
    }

    /// Notes that a reader has answered a connection: its next question may be ready. Returns the bytes that
    /// the answered question held.
    pub(super) fn answered(&mut self, slot: u32) -> u32 {
        let Some(queue) = self.queues.get_mut(&slot) else {
            return 0;
        };
        let held = std::mem::take(&mut queue.held);
        let (user, asked) = (queue.user, std::mem::take(&mut queue.asked));
        if queue.questions.is_empty() && !queue.listed {
            self.queues.remove(&slot);
        } else {
            self.list(slot);
        }
        if asked {
            self.came_back(user);
        }
        held
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
    /// number: the round calls [`Self::next`] that many times.
    pub(super) fn begin_round(&mut self) -> usize {
        self.ready.append(&mut self.starved);
        self.ready.len()
    }

    /// Returns whether one more answer may be on its way. If not, the round ends.
    pub(super) fn has_room_for_answers(&self) -> bool {
        self.asked < ANSWERS
    }

    /// Returns the next connection of the round. Returns `None` for a connection that has no questions any
    /// more; the round goes on.
    pub(super) fn next(&mut self) -> Option<u32> {
        let slot = self.ready.pop_front()?;
        let queue = self.queues.get_mut(&slot)?;
        queue.listed = false;
        Some(slot)
    }

    /// Returns whether the next question of a connection can go to a reader now.
    pub(super) fn has_next(&self, slot: u32) -> bool {
        self.queues.get(&slot).is_some_and(|queue| {
            let next = queue.questions.front();
            !queue.asked && next.is_some_and(|next| next.writes == 0)
        })
    }

    /// Lets a connection wait if too many answers are on their way to its user. Returns whether it
    /// waits.
    pub(super) fn holds(&mut self, slot: u32) -> bool {
        let free = ANSWERS.saturating_sub(self.asked);
        let Some(queue) = self.queues.get_mut(&slot) else {
            return false;
        };
        let Some(own) = self.users.get_mut(&queue.user) else {
            return false;
        };
        let is_held = own.asked > 0 && own.asked >= free;
        if is_held {
            queue.listed = true;
            own.held.push_back(slot);
        }
        is_held
    }

    /// Takes a connection's next question for a reader. Returns it with its user.
    pub(super) fn take(&mut self, slot: u32) -> Option<(UserId, Question)> {
        let queue = self.queues.get_mut(&slot)?;
        let question = queue.questions.pop_front()?;
        let user = queue.user;
        queue.asked = true;
        queue.held = question.query.held_bytes() as u32;
        self.asked += 1;
        self.users.entry(user).or_default().asked += 1;
        self.left(user, 1);
        Some((user, question))
    }

    /// Puts a question back that [`Self::take`] returned and that the readers had no room for.
    pub(super) fn put_back(&mut self, slot: u32, question: Question) {
        if let Some(queue) = self.queues.get_mut(&slot) {
            queue.questions.push_front(question);
            (queue.asked, queue.held) = (false, 0);
            let user = queue.user;
            self.waiting += 1;
            self.users.entry(user).or_default().waiting += 1;
            self.came_back(user);
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

    const USER: UserId = TimelineId(1);

    fn question(id: u32, writes: u32) -> Question {
        let (user, watch, part) = (TimelineId(1), false, Part::WHOLE);
        let query = Query::Contacts { user, watch, part };
        Question { id, query, writes }
    }

    #[test]
    fn writes_before_a_question_count_down_and_those_behind_do_not() {
        let mut asking = Asking::default();
        asking.enter(3, USER, question(1, 0));
        asking.enter(3, USER, question(2, 2));
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
        asking.enter(3, USER, question(1, 0));
        let place = RecordRef {
            timeline: TimelineId(1),
            seq: 1,
            position: Position(1),
        };
        let query = Query::Duplicate { place };
        let (id, writes) = (2, 0);
        asking.enter(3, USER, Question { id, query, writes });
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
        asking.enter(3, USER, question(1, 0));
        asking.enter(3, USER, question(2, 0));
        assert_eq!((asking.begin_round(), asking.next()), (1, Some(3)));
        let (user, taken) = asking.take(3).unwrap();
        assert_eq!((user, taken.id, asking.waiting), (USER, 1, 1));
        assert!(!asking.has_next(3), "a reader has one");
        asking.put_back(3, taken);
        assert!(!asking.is_ready(), "only the next round tries again");
        assert_eq!((asking.begin_round(), asking.next()), (1, Some(3)));
        assert!(asking.has_next(3));
        assert_eq!(asking.take(3).map(|(_, question)| question.id), Some(1));
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
        asking.enter(3, USER, question(1, 1));
        assert!(!asking.has_next(3));
        asking.written(3);
        assert!(asking.has_next(3));
    }

    /// Asks what a round lets through, and returns the slots.
    fn round(asking: &mut Asking) -> Vec<u32> {
        let mut asked = Vec::new();
        for _ in 0..asking.begin_round() {
            if !asking.has_room_for_answers() {
                break;
            }
            if let Some(slot) = asking.next()
                && asking.has_next(slot)
                && !asking.holds(slot)
            {
                asking.take(slot).unwrap();
                asked.push(slot);
            }
        }
        asked
    }

    #[test]
    fn answers_on_their_way_are_bounded_and_a_user_leaves_room_for_others() {
        let mut asking = Asking::default();
        for slot in 0..200 {
            asking.enter(slot, USER, question(1, 0));
        }
        assert_eq!(round(&mut asking).len(), ANSWERS / 2);
        assert!(round(&mut asking).is_empty());
        let stranger = TimelineId(2);
        asking.enter(500, stranger, question(1, 0));
        assert_eq!(round(&mut asking), [500]);
        // Crowds of other users take what is left, and not more.
        for slot in 1_000..1_200 {
            asking.enter(slot, TimelineId(slot.into()), question(1, 0));
        }
        assert_eq!(round(&mut asking).len(), ANSWERS / 2 - 1);
        assert!(!asking.is_ready());
        asking.answered(500);
        assert!(asking.is_ready());
        assert_eq!(round(&mut asking).len(), 1);
        for slot in (0..200).chain(1_000..1_200) {
            asking.forget(slot);
        }
        assert_eq!((asking.asked, asking.waiting), (0, 0));
        assert!(asking.users.is_empty() && asking.queues.is_empty());
    }

    #[test]
    fn connections_that_wait_for_their_user_go_on_as_answers_come() {
        let mut asking = Asking::default();
        for slot in 0..100 {
            asking.enter(slot, USER, question(1, 0));
        }
        let mut open = round(&mut asking);
        let mut all = open.len();
        while let Some(slot) = open.pop() {
            asking.answered(slot);
            let next = round(&mut asking);
            all += next.len();
            open.extend(next);
        }
        assert_eq!(all, 100);
        assert!(asking.users.is_empty() && asking.queues.is_empty());
    }

    #[test]
    fn a_user_may_have_as_many_questions_as_are_free() {
        let mut asking = Asking::default();
        let mut fill = |user| {
            let mut count = 0;
            while asking.has_room(TimelineId(user)) {
                asking.enter(user as u32, TimelineId(user), question(1, 0));
                count += 1;
            }
            count
        };
        let halves = (fill(1), fill(2), fill(3));
        assert_eq!(halves, (QUEUE / 2, QUEUE / 4, QUEUE / 8));
    }
}
