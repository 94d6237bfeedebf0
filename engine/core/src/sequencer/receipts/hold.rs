//! Acknowledgements that wait to become receipts.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use compact_str::CompactString;
use smallvec::SmallVec;
use trunkline_storage::{IdBuildHasher, TimelineId};

use crate::exchange::{ConnRef, ReplyTo};
use crate::ids::{Side, UserId};
use crate::messaging::Messaging;
use crate::state::{Marks, Member};

/// Acknowledgements that may wait; one more and all become receipts.
pub(super) const MOST_HELD: usize = 65_536;

/// Milliseconds of a clock that never goes back.
pub(in crate::sequencer) type Instant = u64;

/// What was acknowledged and is not stored, by conversation.
pub(in crate::sequencer) struct Hold {
    delivered_delay: u64,
    read_delay: u64,
    held: HashMap<TimelineId, Held, IdBuildHasher>,
    /// Where among its conversation's members somebody is.
    places: HashMap<(TimelineId, UserId), usize, IdBuildHasher>,
    /// When conversations are due, the soonest first; those that were stored before are in it still.
    queues: [VecDeque<(Instant, TimelineId)>; 2],
    /// Commands that wait for an answer.
    commands: usize,
}

/// Who acknowledged something in a conversation since its last receipt.
pub(super) struct Held {
    pub(super) conversation: TimelineId,
    pub(super) name: CompactString,
    pub(super) namespace: CompactString,
    /// The two of a 1:1 conversation; in a group the sequencer knows who is in it.
    pub(super) both: Option<[UserId; 2]>,
    pub(super) members: Vec<Reader>,
    due: Instant,
}

/// Somebody who acknowledged something.
pub(super) struct Reader {
    pub(super) user: UserId,
    pub(super) name: CompactString,
    pub(super) of: Own,
    /// As they are stored.
    pub(super) before: Marks,
    /// As they are to be.
    pub(super) marks: Marks,
    /// Who said all of it; nobody in particular where several devices did.
    pub(super) by: Option<(usize, ConnRef)>,
    pub(super) commands: SmallVec<[ReplyTo; 2]>,
}

/// Whose marks they are.
#[derive(Clone, Copy)]
pub(super) enum Own {
    /// One of two.
    Direct(Side),
    /// A member of a group, as it is but for the marks.
    Group(TimelineId, Member),
}

impl Own {
    /// The first message that the member sees.
    pub(super) fn first_seq(&self) -> u64 {
        match self {
            Self::Direct(_) => 1,
            Self::Group(_, member) => member.first_seq,
        }
    }

    /// What an acknowledgement says of messages that the member sees, up to the `last`: nothing
    /// where it ends before them.
    pub(super) fn visible(&self, last: u64, (delivered, read): (u64, u64)) -> (u64, u64) {
        let first = self.first_seq();
        let visible = |mark: u64| if mark.min(last) < first { 0 } else { mark };
        (visible(delivered), visible(read))
    }
}

/// The device that asks, by its shard and connection; a call comes from no device.
pub(super) fn by(reply_to: &ReplyTo) -> Option<(usize, ConnRef)> {
    let conn = reply_to.conn()?;
    Some((conn.shard.into(), conn.conn))
}

impl Hold {
    pub(in crate::sequencer) fn new(rules: &Messaging) -> Self {
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

    /// From now on nothing waits longer than for the commit that comes next.
    pub(in crate::sequencer) fn hurry(&mut self) {
        (self.delivered_delay, self.read_delay) = (0, 0);
    }

    /// Whether all is to be stored now, whatever it waits for.
    pub(in crate::sequencer) fn is_pressed(&self) -> bool {
        self.is_full() || (self.delivered_delay == 0 && self.read_delay == 0)
    }

    /// Whether no more is to be taken before what is here is stored.
    pub(in crate::sequencer) fn is_full(&self) -> bool {
        self.commands >= MOST_HELD || self.queues.iter().any(|queue| queue.len() >= MOST_HELD)
    }

    /// Acknowledgements that wait.
    pub(in crate::sequencer) fn len(&self) -> usize {
        self.commands
    }

    /// When something is to be stored next, or a little sooner.
    pub(in crate::sequencer) fn next_due(&self) -> Option<Instant> {
        let fronts = self.queues.iter().filter_map(|queue| queue.front());
        fronts.map(|(due, _)| *due).min()
    }

    /// Somebody who has acknowledged something already.
    pub(super) fn reader(&self, at: (TimelineId, UserId)) -> Option<&Reader> {
        let place = *self.places.get(&at)?;
        self.held.get(&at.0)?.members.get(place)
    }

    /// One more acknowledgement of somebody who is here: `marks` are what it leaves.
    pub(super) fn join(
        &mut self,
        at: (TimelineId, UserId),
        marks: Marks,
        caller: ReplyTo,
        now: Instant,
    ) {
        let place = self.places.get(&at).copied().unwrap_or(usize::MAX);
        let Some(held) = self.held.get_mut(&at.0) else {
            return;
        };
        let Some(reader) = held.members.get_mut(place) else {
            return;
        };
        reader.marks = marks;
        if reader.by != by(&caller) {
            reader.by = None;
        }
        reader.commands.push(caller);
        self.commands += 1;
        let reads = reader.marks.read != reader.before.read;
        self.await_its_time(at.0, reads, now);
    }

    /// The first acknowledgement of somebody. `begin` tells of the conversation if it is its first.
    pub(super) fn enter(
        &mut self,
        conversation: TimelineId,
        begin: impl FnOnce() -> Held,
        reader: Reader,
        now: Instant,
    ) {
        let held = self.held.entry(conversation).or_insert_with(begin);
        self.places
            .insert((conversation, reader.user), held.members.len());
        let reads = reader.marks.read != reader.before.read;
        self.commands += reader.commands.len();
        held.members.push(reader);
        self.await_its_time(conversation, reads, now);
    }

    /// Makes a conversation due in time for what it has been told.
    fn await_its_time(&mut self, conversation: TimelineId, reads: bool, now: Instant) {
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
            // All with one delay: they come in their order.
            self.queues[usize::from(reads)].push_back((due, conversation));
        }
    }

    /// The next conversation that is due by now, or any if `all` are to be stored.
    pub(super) fn pop(&mut self, now: Instant, all: bool) -> Option<Held> {
        for number in 0..self.queues.len() {
            while let Some(&(due, conversation)) = self.queues[number].front() {
                if due > now && !all {
                    break;
                }
                self.queues[number].pop_front();
                // It may have been stored sooner, and wait again.
                let is_due = |held: &Held| all || held.due <= now;
                if self.held.get(&conversation).is_some_and(is_due) {
                    return self.take(conversation);
                }
            }
        }
        None
    }

    /// What waits of a conversation.
    pub(super) fn take(&mut self, conversation: TimelineId) -> Option<Held> {
        let held = self.held.remove(&conversation)?;
        for reader in &held.members {
            self.places.remove(&(conversation, reader.user));
            self.commands -= reader.commands.len();
        }
        if self.held.is_empty() && self.held.capacity() > MOST_HELD / 16 {
            // A burst must not keep its room for ever.
            self.held = HashMap::default();
            self.places = HashMap::default();
        }
        Some(held)
    }
}

impl Held {
    /// A conversation of which nothing waits yet.
    pub(super) fn new(
        conversation: TimelineId,
        (namespace, name): (&str, &str),
        both: Option<[UserId; 2]>,
    ) -> Self {
        Self {
            conversation,
            name: name.into(),
            namespace: namespace.into(),
            both,
            members: Vec::new(),
            due: Instant::MAX,
        }
    }
}
