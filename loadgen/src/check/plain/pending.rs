//! Messages of which something is still to come, in a bounded table.

use fnv::FnvHashMap;

use super::super::origin::Origin;
use crate::clock::Nanos;

/// The most messages of one thread under way. A number has 24 bits for the place in the table.
const MAX: usize = 1 << 21;

/// What is known of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    /// When the message should have been sent.
    pub(super) intended: Nanos,
    /// When it was sent.
    pub(super) sent: Nanos,
    pub(super) conversation: u32,
    pub(super) stream: u32,
    /// The message's number in its conversation.
    pub(super) counter: u32,
    /// Whether the session of the recipient was open at the sending.
    pub(super) owed: bool,
    /// Whether the server has acknowledged the message.
    pub(super) acked: bool,
    /// Whether it has come to its recipient.
    pub(super) came: bool,
}

impl Fate {
    /// Returns which message it is.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            conversation: self.conversation,
            stream: self.stream,
            counter: self.counter,
            intended_us: self.intended / 1_000,
        }
    }
}

/// What a message still waits for, at a server that keeps its promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waits {
    /// Its acknowledgement.
    pub(super) answer: bool,
    /// Its arrival.
    pub(super) arrival: bool,
}

impl Waits {
    /// Returns whether it waits for nothing.
    pub(super) const fn is_over(self) -> bool {
        !self.answer && !self.arrival
    }
}

/// A place in the table.
#[derive(Debug)]
struct Slot {
    /// The last message in this place.
    fate: Fate,
    /// Distinguishes the message from earlier ones in the same place.
    generation: u8,
    /// Whether the message is still there.
    live: bool,
}

/// The messages of one thread of which something is still to come.
#[derive(Debug, Default)]
pub(super) struct Pending {
    table: Vec<Slot>,
    free: Vec<u32>,
    /// The place of each message, by conversation and number.
    places: FnvHashMap<(u32, u32), u32>,
}

impl Pending {
    /// Returns whether there is room for one more message.
    pub(super) fn has_room(&self) -> bool {
        self.places.len() < MAX
    }

    /// Adds a message. Returns its place.
    pub(super) fn push(&mut self, fate: Fate) -> u32 {
        let place = match self.free.pop() {
            Some(place) => {
                let slot = &mut self.table[place as usize];
                slot.fate = fate;
                slot.generation = slot.generation.wrapping_add(1);
                slot.live = true;
                place
            }
            None => {
                self.table.push(Slot {
                    fate,
                    generation: 0,
                    live: true,
                });
                self.table.len() as u32 - 1
            }
        };
        self.places.insert((fate.conversation, fate.counter), place);
        place
    }

    /// Returns the number that acknowledgements name.
    pub(super) fn id(&self, place: u32) -> u32 {
        u32::from(self.table[place as usize].generation) << 24 | (place + 1)
    }

    /// Returns the place of the message with this number, if it is still there.
    pub(super) fn by_id(&self, id: u32) -> Option<u32> {
        let place = (id & 0x00ff_ffff).checked_sub(1)?;
        let slot = self.table.get(place as usize)?;
        (slot.live && u32::from(slot.generation) == id >> 24).then_some(place)
    }

    /// Returns the place of a message, if it is still there.
    pub(super) fn find(&self, origin: Origin) -> Option<u32> {
        let place = *self.places.get(&(origin.conversation, origin.counter))?;
        (self.table[place as usize].fate.stream == origin.stream).then_some(place)
    }

    /// Returns the message at a place that `push`, `by_id`, `find` or `places` gave.
    pub(super) fn at(&mut self, place: u32) -> &mut Fate {
        &mut self.table[place as usize].fate
    }

    /// Removes a message.
    pub(super) fn remove(&mut self, place: u32) {
        let slot = &mut self.table[place as usize];
        if std::mem::take(&mut slot.live) {
            let Fate {
                conversation,
                counter,
                ..
            } = slot.fate;
            self.places.remove(&(conversation, counter));
            self.free.push(place);
        }
    }

    /// Returns all messages.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Fate> {
        let live = self.table.iter().filter(|slot| slot.live);
        live.map(|slot| &slot.fate)
    }

    /// Returns the places of all messages, in the order of their conversations.
    pub(super) fn places(&self) -> Vec<u32> {
        let mut all: Vec<_> = self.places.iter().collect();
        all.sort_unstable();
        all.into_iter().map(|(_, place)| *place).collect()
    }
}
