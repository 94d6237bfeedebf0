//! Messages in groups whose story is not over.

use fnv::FnvHashMap;

use super::seats::{Set, Sets};
use crate::clock::Nanos;

/// Most flights in groups of one thread at a time.
const MAX_FLIGHTS: u32 = (1 << 20) - 1;
/// The places of an id's 24 bits that are theirs, behind those of messages between two.
const FIRST_ID: u32 = 1 << 20;
const _: () = assert!(FIRST_ID > super::super::flights::MAX_FLIGHTS);
const _: () = assert!(FIRST_ID + MAX_FLIGHTS < (1 << 24) - 4096);

/// Most seats that all flights together may be waiting for: half a gigabyte of bits.
const MAX_WORDS: usize = 1 << 26;

/// No flight.
const NONE: u32 = u32::MAX;

/// One message in a group under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    /// When it should have been sent.
    pub(super) intended: Nanos,
    pub(super) group: u32,
    /// Who wrote it.
    pub(super) user: u32,
    /// Its number in the group.
    pub(super) counter: u32,
    /// The device that it was sent from.
    pub(super) from: u32,
    /// The sequence of its acknowledgement; 0 before that.
    pub(super) ack_seq: u32,
    /// The sequence of its first push; 0 before that.
    pub(super) push_seq: u32,
    /// How many devices have not got it yet,
    pub(super) awaiting: u32,
    /// and which.
    pub(super) devices: Set,
    /// No other member had a device there.
    pub(super) alone: bool,
    /// It counts as unknown or lost already; what still comes of it breaks no promise.
    pub(super) judged: bool,
    /// A device got it only by asking.
    pub(super) synced: bool,
    /// A device that was owed it began anew: it is looked for in history.
    pub(super) lapsed: bool,
    /// It carries an idempotency key: it can be sent again.
    pub(super) keyed: bool,
    /// It was.
    pub(super) resent: bool,
    /// Its session broke before it was answered,
    pub(super) adrift: bool,
    /// and that was the run's own doing.
    pub(super) excused: bool,
    /// What is known of its sequence is in the group's digest.
    pub(super) digested: bool,
    generation: u8,
    live: bool,
    next: u32,
}

impl Flight {
    /// Whether it was answered and all that is left is owed to nobody any more.
    pub(super) fn waits_for_history(&self) -> bool {
        self.ack_seq != 0 && self.awaiting == 0
    }
}

/// What a thread has under way in groups.
#[derive(Debug)]
pub(super) struct Flights {
    table: Vec<Flight>,
    free: u32,
    /// By group and number, the place in the table.
    places: FnvHashMap<(u32, u32), u32>,
    pub(super) sets: Sets,
    words: usize,
}

/// A message to be added.
#[derive(Debug, Clone, Copy)]
pub(super) struct New {
    pub(super) intended: Nanos,
    pub(super) group: u32,
    pub(super) user: u32,
    pub(super) counter: u32,
    pub(super) from: u32,
    pub(super) keyed: bool,
}

/// Whether a command's id is that of a message in a group.
pub(in crate::check) fn is_in_group(id: u32) -> bool {
    (FIRST_ID + 1..=FIRST_ID + MAX_FLIGHTS).contains(&(id & 0x00ff_ffff))
}

impl Flights {
    pub(super) fn new() -> Self {
        Self {
            table: Vec::new(),
            free: NONE,
            places: FnvHashMap::default(),
            sets: Sets::default(),
            words: 0,
        }
    }

    /// Flights now.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is room for one more with so many words of seats.
    pub(super) fn has_room(&self, words: usize) -> bool {
        self.len() < MAX_FLIGHTS as usize && self.words + words <= MAX_WORDS
    }

    /// Adds a message that is owed to the seats of `words`: its place and its command's id.
    pub(super) fn push(&mut self, new: New, words: &[u64]) -> (u32, u32) {
        let devices = self.sets.add(words);
        self.words += words.len();
        let mut flight = Flight {
            intended: new.intended,
            group: new.group,
            user: new.user,
            counter: new.counter,
            from: new.from,
            ack_seq: 0,
            push_seq: 0,
            awaiting: self.sets.len(devices),
            devices,
            alone: false,
            judged: false,
            synced: false,
            lapsed: false,
            keyed: new.keyed,
            resent: false,
            adrift: false,
            excused: false,
            digested: false,
            generation: 0,
            live: true,
            next: NONE,
        };
        let place = match self.free {
            NONE => {
                self.table.push(flight);
                self.table.len() as u32 - 1
            }
            place => {
                let before = &mut self.table[place as usize];
                self.free = before.next;
                flight.generation = before.generation.wrapping_add(1);
                *before = flight;
                place
            }
        };
        self.places.insert((new.group, new.counter), place);
        (place, self.id(place))
    }

    /// The command id of the flight at a place.
    pub(super) fn id(&self, place: u32) -> u32 {
        u32::from(self.table[place as usize].generation) << 24 | (FIRST_ID + 1 + place)
    }

    /// The place of the flight with this command id, if it is still under way.
    pub(super) fn by_id(&self, id: u32) -> Option<u32> {
        let place = (id & 0x00ff_ffff).checked_sub(FIRST_ID + 1)?;
        let flight = self.table.get(place as usize)?;
        (flight.live && u32::from(flight.generation) == id >> 24).then_some(place)
    }

    /// The place of message `counter` of a group, if it is still under way.
    pub(super) fn find(&self, group: u32, counter: u32) -> Option<u32> {
        self.places.get(&(group, counter)).copied()
    }

    /// The flight at a place that `by_id`, `find` or `places` gave.
    pub(super) fn at(&mut self, place: u32) -> &mut Flight {
        &mut self.table[place as usize]
    }

    /// The same, to look at.
    pub(super) fn get(&self, place: u32) -> &Flight {
        &self.table[place as usize]
    }

    /// Whether all that is under way was answered and is owed to nobody who can still get it.
    pub(super) fn all_wait_for_history(&self) -> bool {
        let mut table = self.table.iter();
        self.places.is_empty() || table.all(|it| !it.live || it.waits_for_history())
    }

    /// Whether a flight is still owed to a seat.
    pub(super) fn awaits(&self, place: u32, seat: u32) -> bool {
        self.sets.has(self.table[place as usize].devices, seat)
    }

    /// Notes that a flight has come to a seat that it was owed to, or is owed to it no more.
    pub(super) fn settle(&mut self, place: u32, seat: u32) {
        let flight = &mut self.table[place as usize];
        self.sets.take(flight.devices, seat);
        flight.awaiting -= 1;
    }

    /// Notes that a flight is owed to nobody any more.
    pub(super) fn settle_all(&mut self, place: u32) {
        let flight = &mut self.table[place as usize];
        self.sets.clear(flight.devices);
        (flight.awaiting, flight.lapsed) = (0, false);
    }

    /// Ends a flight.
    pub(super) fn remove(&mut self, place: u32) {
        let flight = &mut self.table[place as usize];
        flight.live = false;
        flight.next = self.free;
        self.free = place;
        self.places.remove(&(flight.group, flight.counter));
        self.words -= self.sets.words_of(flight.devices);
        self.sets.free(flight.devices);
    }

    /// The places of all flights.
    pub(super) fn places(&self) -> Vec<u32> {
        let all = 0..self.table.len() as u32;
        all.filter(|place| self.table[*place as usize].live)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(flights: &mut Flights, counter: u32) -> (u32, u32) {
        let new = New {
            intended: 5,
            group: 3,
            user: 1,
            counter,
            from: 2,
            keyed: false,
        };
        flights.push(new, &[0b111])
    }

    #[test]
    fn ids_find_their_flight_and_no_later_one() {
        let mut flights = Flights::new();
        let (place, id) = push(&mut flights, 1);
        assert!(is_in_group(id) && !is_in_group(1) && !is_in_group(0x00ff_ffff));
        assert_eq!(flights.by_id(id), Some(place));
        assert_eq!(flights.find(3, 1), Some(place));
        flights.remove(place);
        assert_eq!((flights.by_id(id), flights.find(3, 1)), (None, None));
        let (again, later) = push(&mut flights, 2);
        assert_eq!((again, flights.len()), (place, 1));
        assert_ne!(later, id);
        assert_eq!(flights.by_id(id), None);
    }

    #[test]
    fn a_flight_waits_for_each_seat_once() {
        let mut flights = Flights::new();
        let (place, _) = push(&mut flights, 1);
        for left in (0..3).rev() {
            assert!(flights.awaits(place, left));
            flights.settle(place, left);
            assert!(!flights.awaits(place, left));
            assert_eq!(flights.at(place).awaiting, left);
        }
        flights.remove(place);
        assert!(flights.has_room(MAX_WORDS) && !flights.has_room(MAX_WORDS + 1));
    }
}
