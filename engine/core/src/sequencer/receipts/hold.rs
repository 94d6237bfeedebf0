//! Acknowledgements that wait to become receipts, by conversation.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use compact_str::CompactString;
use smallvec::SmallVec;
use trunkline_storage::{IdBuildHasher, TimelineId};

use crate::event::{ConversationName, MOST_PARTS};
use crate::exchange::ReplyTo;
use crate::ids::{Side, UserId};
use crate::messaging::Messaging;
use crate::state::{Acked, Marks, Member};
use crate::told::Device;

/// The maximum number of waiting acknowledgements. When it is reached, all become receipts.
pub(super) const MOST_HELD: usize = 65_536;

/// The maximum number of members of a conversation that become receipts at once. More of them wait for
/// the next commits, so that a large group does not hold up other conversations.
const MOST_AT_ONCE: usize = 2 * MOST_PARTS;

/// The number of milliseconds on a clock that never goes back.
pub(in crate::sequencer) type Instant = u64;

/// The acknowledgements that are not stored yet, by conversation.
pub(super) struct Hold {
    /// The milliseconds that a delivered mark waits.
    delivered_delay: Instant,
    /// The milliseconds that a read mark waits.
    read_delay: Instant,
    held: HashMap<TimelineId, Held, IdBuildHasher>,
    /// The index of each waiting member in [`Held::members`].
    places: HashMap<Waiting, usize, IdBuildHasher>,
    /// For delivered marks and for read marks, the conversations with the time at which they are
    /// due, the earliest first. A conversation that was stored earlier may still be in a queue.
    queues: [VecDeque<(Instant, TimelineId)>; 2],
    /// The number of commands that wait for an answer.
    commands: usize,
}

/// A user with waiting acknowledgements in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Waiting {
    pub(super) conversation: TimelineId,
    pub(super) user: UserId,
}

/// The acknowledgements of a conversation since its last receipt.
pub(in crate::sequencer) struct Held {
    pub(super) conversation: TimelineId,
    name: CompactString,
    namespace: CompactString,
    /// The users of a 1:1 conversation; `None` in a group.
    pub(super) both: Option<[UserId; 2]>,
    pub(super) members: Vec<Reader>,
    /// When the conversation becomes a receipt.
    due: Instant,
}

/// A member with waiting acknowledgements.
pub(in crate::sequencer) struct Reader {
    pub(super) user: UserId,
    pub(super) name: CompactString,
    pub(super) owner: MarksOwner,
    /// The marks in the store.
    pub(super) before: Marks,
    /// The marks that the receipt will store.
    pub(super) marks: Marks,
    /// The only device that acknowledged; `None` if several devices or a call did.
    pub(super) device: Option<Device>,
    /// The commands to answer when the receipt is stored.
    pub(super) commands: SmallVec<[ReplyTo; 2]>,
}

/// The stored value that holds the marks of a reader.
#[derive(Clone, Copy)]
pub(super) enum MarksOwner {
    /// The value of a 1:1 conversation.
    Direct {
        /// The side on which the reader is.
        side: Side,
        /// The sequence of the first message that the reader sees: a new user of an erased name sees
        /// none of those before.
        first: u64,
    },
    /// The membership in a group.
    Group {
        /// The key of the membership.
        key: TimelineId,
        /// The membership. Its marks may be older than those in memory.
        member: Member,
    },
}

impl MarksOwner {
    /// Returns the sequence of the first message that the reader sees.
    pub(super) fn first_seq(&self) -> u64 {
        match self {
            Self::Direct { first, .. } => *first,
            Self::Group { member, .. } => member.first_seq,
        }
    }

    /// Limits an acknowledgement to the messages that the reader sees. `last` is the last message of
    /// the conversation. A mark before the first visible message becomes 0.
    pub(super) fn visible(&self, last: u64, acked: Acked) -> Acked {
        let first = self.first_seq();
        let visible = |mark: u64| if mark.min(last) < first { 0 } else { mark };
        Acked {
            delivered: visible(acked.delivered),
            read: visible(acked.read),
        }
    }
}

impl Hold {
    /// Returns an empty collection with the delays of these rules.
    pub(super) fn new(rules: &Messaging) -> Self {
        let millis = |delay: Duration| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Self {
            delivered_delay: millis(rules.delivered_delay),
            read_delay: millis(rules.receipt_delay),
            held: HashMap::default(),
            places: HashMap::default(),
            queues: Default::default(),
            commands: 0,
        }
    }

    /// Ends all delays: from now on acknowledgements wait only for the next commit.
    pub(super) fn hurry(&mut self) {
        (self.delivered_delay, self.read_delay) = (0, 0);
    }

    /// Returns whether everything is due now: there is no room left, or there are no delays.
    pub(super) fn is_pressed(&self) -> bool {
        self.is_full() || (self.delivered_delay == 0 && self.read_delay == 0)
    }

    /// Returns whether there is no room for another acknowledgement.
    pub(super) fn is_full(&self) -> bool {
        self.commands >= MOST_HELD || self.queues.iter().any(|queue| queue.len() >= MOST_HELD)
    }

    /// Returns the number of waiting acknowledgements.
    pub(super) fn len(&self) -> usize {
        self.commands
    }

    /// Returns the time at which a conversation is due next, or a little earlier; `None` if nothing
    /// waits.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let fronts = self.queues.iter().filter_map(|queue| queue.front());
        fronts.map(|(due, _)| *due).min()
    }

    /// Returns a member with waiting acknowledgements.
    pub(super) fn reader(&self, waiting: Waiting) -> Option<&Reader> {
        let place = *self.places.get(&waiting)?;
        self.held.get(&waiting.conversation)?.members.get(place)
    }

    /// Adds another acknowledgement of a waiting member. `marks` are the member's marks with it.
    pub(super) fn join(&mut self, waiting: Waiting, marks: Marks, caller: ReplyTo, now: Instant) {
        let place = self.places.get(&waiting).copied().unwrap_or(usize::MAX);
        let Some(held) = self.held.get_mut(&waiting.conversation) else {
            return;
        };
        let Some(reader) = held.members.get_mut(place) else {
            return;
        };
        reader.marks = marks;
        if reader.device != Device::of(&caller) {
            reader.device = None;
        }
        reader.commands.push(caller);
        self.commands += 1;
        let reads = reader.marks.read != reader.before.read;
        self.schedule(waiting.conversation, reads, now);
    }

    /// Adds the first acknowledgement of a member. Calls `begin` if it is the first of the
    /// conversation.
    pub(super) fn enter(
        &mut self,
        conversation: TimelineId,
        begin: impl FnOnce() -> Held,
        reader: Reader,
        now: Instant,
    ) {
        let held = self.held.entry(conversation).or_insert_with(begin);
        let waiting = Waiting {
            conversation,
            user: reader.user,
        };
        self.places.insert(waiting, held.members.len());
        let reads = reader.marks.read != reader.before.read;
        self.commands += reader.commands.len();
        held.members.push(reader);
        self.schedule(conversation, reads, now);
    }

    /// Makes a conversation due after the delay of a read mark or a delivered mark, unless it is due
    /// earlier already.
    fn schedule(&mut self, conversation: TimelineId, reads: bool, now: Instant) {
        let Some(held) = self.held.get_mut(&conversation) else {
            return;
        };
        let delay = if reads {
            self.read_delay
        } else {
            self.delivered_delay
        };
        let due = now.saturating_add(delay);
        if due < held.due {
            held.due = due;
            // All entries of a queue have the same delay, so they stay in order.
            self.queues[usize::from(reads)].push_back((due, conversation));
        }
    }

    /// Removes and returns the next conversation that is due at `now`, or any conversation if `all`
    /// are due. Takes at most [`MOST_AT_ONCE`] members; the others stay due.
    pub(super) fn pop(&mut self, now: Instant, all: bool) -> Option<Held> {
        for number in 0..self.queues.len() {
            while let Some(&(due, conversation)) = self.queues[number].front() {
                if due > now && !all {
                    break;
                }
                // The entry may be old: the conversation was stored earlier, and waits again.
                let is_due = |held: &&mut Held| all || held.due <= now;
                let mut held = self.held.get_mut(&conversation).filter(is_due);
                if let Some(held) = &mut held
                    && let Some(from) = held.members.len().checked_sub(MOST_AT_ONCE + 1)
                {
                    let last = held.split_off(from + 1);
                    self.forget_places(&last);
                    return Some(last);
                }
                let is_due = held.is_some();
                self.queues[number].pop_front();
                if is_due {
                    return self.take(conversation);
                }
            }
        }
        None
    }

    /// Removes and returns the waiting acknowledgements of a conversation.
    pub(super) fn take(&mut self, conversation: TimelineId) -> Option<Held> {
        let held = self.held.remove(&conversation)?;
        self.forget_places(&held);
        if self.held.is_empty() && self.held.capacity() > MOST_HELD / 16 {
            // The maps give the memory of a burst back.
            self.held = HashMap::default();
            self.places = HashMap::default();
        }
        Some(held)
    }

    /// Forgets the places of members that were taken out.
    fn forget_places(&mut self, taken: &Held) {
        for reader in &taken.members {
            self.places.remove(&Waiting {
                conversation: taken.conversation,
                user: reader.user,
            });
            self.commands -= reader.commands.len();
        }
    }
}

impl Held {
    /// Returns a conversation without acknowledgements. `both` are the users of a 1:1 conversation.
    pub(super) fn new(
        conversation: TimelineId,
        name: ConversationName<'_>,
        both: Option<[UserId; 2]>,
    ) -> Self {
        Self {
            conversation,
            name: name.name.into(),
            namespace: name.namespace.into(),
            both,
            members: Vec::new(),
            due: Instant::MAX,
        }
    }

    /// Takes out the members from index `from` on.
    fn split_off(&mut self, from: usize) -> Self {
        Self {
            conversation: self.conversation,
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            both: self.both,
            members: self.members.split_off(from),
            due: self.due,
        }
    }

    /// Returns the name of the conversation.
    pub(super) fn name(&self) -> ConversationName<'_> {
        ConversationName {
            namespace: &self.namespace,
            name: &self.name,
        }
    }

    /// Returns the namespace of all names in the conversation.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the waiting members, as many at a time as one receipt has parts.
    pub(in crate::sequencer) fn receipts(&self) -> impl Iterator<Item = &[Reader]> {
        self.members.chunks(MOST_PARTS)
    }

    /// Returns the number of waiting members.
    pub(in crate::sequencer) fn len(&self) -> usize {
        self.members.len()
    }
}

#[cfg(test)]
mod tests {
    use trunkline_proto::Encoding;

    use super::*;
    use crate::exchange::{ConnRef, ReplyConn};

    const READ: u64 = 100;
    const DELIVERED: u64 = 1_000;

    fn hold() -> Hold {
        Hold::new(&Messaging {
            receipt_delay: Duration::from_millis(READ),
            delivered_delay: Duration::from_millis(DELIVERED),
            ..Messaging::of_tests()
        })
    }

    fn device(slot: u32) -> ReplyTo {
        ReplyTo::Conn(ReplyConn {
            shard: 3,
            encoding: Encoding::Json,
            conn: ConnRef {
                slot,
                generation: 0,
            },
            id: 1,
        })
    }

    fn marks(delivered: u64, read: u64) -> Marks {
        Marks {
            delivered,
            read,
            ..Marks::default()
        }
    }

    fn enter(hold: &mut Hold, conversation: u128, user: u128, marks: Marks, now: u64) {
        let (conversation, user) = (TimelineId(conversation), TimelineId(user));
        let name = ConversationName {
            namespace: "acme",
            name: "g:eng",
        };
        let reader = Reader {
            user,
            name: "bob".into(),
            owner: MarksOwner::Direct {
                side: Side::Lesser,
                first: 1,
            },
            before: Marks::default(),
            marks,
            device: Device::of(&device(1)),
            commands: [device(1)].into_iter().collect(),
        };
        let begin = || Held::new(conversation, name, None);
        hold.enter(conversation, begin, reader, now);
    }

    #[test]
    fn a_conversation_is_due_after_the_delay_of_its_marks() {
        let mut hold = hold();
        assert_eq!(hold.next_due(), None);
        enter(&mut hold, 1, 7, marks(1, 0), 0);
        assert_eq!(hold.next_due(), Some(DELIVERED));
        enter(&mut hold, 2, 7, marks(1, 1), 10);
        assert_eq!(hold.next_due(), Some(10 + READ));
        assert!(hold.pop(9 + READ, false).is_none());
        let due = |held: Option<Held>| held.map(|held| held.conversation.0);
        assert_eq!(due(hold.pop(10 + READ, false)), Some(2));
        assert_eq!(due(hold.pop(10 + READ, false)), None);
        // A read mark makes a conversation due earlier, and its first entry has no effect then.
        enter(&mut hold, 1, 8, marks(1, 1), 20);
        assert_eq!(due(hold.pop(20 + READ, false)), Some(1));
        enter(&mut hold, 1, 8, marks(2, 1), 500);
        assert!(hold.pop(DELIVERED, false).is_some(), "a read mark is due");
        assert_eq!((hold.len(), due(hold.pop(u64::MAX, true))), (0, None));
    }

    #[test]
    fn acknowledgements_of_one_member_join() {
        let mut hold = hold();
        enter(&mut hold, 1, 7, marks(1, 0), 0);
        let waiting = Waiting {
            conversation: TimelineId(1),
            user: TimelineId(7),
        };
        hold.join(waiting, marks(2, 0), device(1), 1);
        let reader = hold.reader(waiting).unwrap();
        assert_eq!(reader.device, Device::of(&device(1)), "one device");
        hold.join(waiting, marks(3, 3), device(2), 2);
        let reader = hold.reader(waiting).unwrap();
        assert_eq!((reader.device, reader.commands.len()), (None, 3));
        assert_eq!((hold.len(), hold.next_due()), (3, Some(2 + READ)));
        let held = hold.take(TimelineId(1)).unwrap();
        assert_eq!((held.len(), held.members[0].marks), (1, marks(3, 3)));
        assert_eq!((held.namespace(), held.name().name), ("acme", "g:eng"));
        assert!(hold.len() == 0 && hold.reader(waiting).is_none());
    }

    #[test]
    fn a_crowd_is_due_a_part_at_a_time_and_nobody_is_lost() {
        let mut hold = hold();
        let users = 3 * MOST_AT_ONCE as u128 + 5;
        for user in 0..users {
            enter(&mut hold, 1, user, marks(1, 1), 0);
        }
        enter(&mut hold, 2, 0, marks(1, 1), 0);
        let mut told = Vec::new();
        while let Some(held) = hold.pop(READ, false) {
            assert!(held.len() <= MOST_AT_ONCE);
            assert_eq!(held.name().name, "g:eng");
            told.extend(
                held.members
                    .iter()
                    .map(|reader| (held.conversation.0, reader.user.0)),
            );
            let left = users as usize + 1 - told.len();
            assert_eq!(hold.len(), left);
            if left > 1 {
                // Who waits still joins, and who has a receipt begins again.
                let waiting = |user| Waiting {
                    conversation: TimelineId(1),
                    user: TimelineId(user),
                };
                assert!(hold.reader(waiting(0)).is_some());
                assert!(hold.reader(waiting(users - 1)).is_none());
            }
        }
        told.sort_unstable();
        let expected = (0..users).map(|user| (1, user)).chain([(2, 0)]);
        assert_eq!(told, expected.collect::<Vec<_>>());
    }

    #[test]
    fn without_delays_or_room_everything_is_due() {
        let mut hold = hold();
        enter(&mut hold, 1, 7, marks(1, 0), 0);
        assert!(!hold.is_pressed());
        hold.hurry();
        assert!(hold.is_pressed() && !hold.is_full());
        let mut hold = self::hold();
        for user in 0..MOST_HELD as u128 {
            assert!(!hold.is_full());
            enter(&mut hold, 1, user, marks(1, 0), 0);
        }
        assert!(hold.is_full() && hold.is_pressed());
        assert_eq!(hold.take(TimelineId(1)).unwrap().len(), MOST_HELD);
        assert!(!hold.is_full(), "the room is free again");
    }
}
