//! Messages under way: sent, and not yet both answered and delivered to all devices.
//!
//! The table is bounded. It finds a message by the id of its command, by its conversation and
//! number, and by its sender in the order of sending.

use fnv::FnvHashMap;

use super::origin::Origin;
use super::seats::{SeatSet, SeatSets};
use crate::clock::Nanos;

/// The value that stands for no flight.
const NONE: u32 = u32::MAX;

/// The most messages of one thread under way. A command's id has 24 bits for the place in the
/// table. The highest of these ids are for the client's other commands.
const MAX_FLIGHTS: u32 = (1 << 21) - 1;
const _: () = assert!(MAX_FLIGHTS < (1 << 24) - 4096);

/// The maximum number of words of seats for all messages under way; they take half a gigabyte.
const MAX_WORDS: usize = 1 << 26;

/// One message under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// When the message should have been sent.
    pub(super) intended: Nanos,
    /// The seats whose devices have not received the message yet.
    awaiting: SeatSet,
    pub(super) conversation: u32,
    pub(super) stream: u32,
    /// The message's number in its conversation.
    pub(super) counter: u32,
    /// The sequence in the acknowledgement; 0 before the acknowledgement.
    pub(super) ack_seq: u32,
    /// The sequence in the first push; 0 before the first push.
    pub(super) push_seq: u32,
    /// The flight that the same device sent before this one.
    earlier: u32,
    /// The flight that the same device sent after this one. In a free place: the next free place.
    later: u32,
    /// Whether the message was owed to no device of another member when it was sent.
    pub(super) to_offline: bool,
    /// Whether the message already counts as unknown or lost. Later events of the message are then
    /// no violations.
    pub(super) judged: bool,
    /// Whether a device received the message only by asking for it.
    pub(super) synced: bool,
    /// Whether a device that was owed the message began anew. History must then hold the message.
    pub(super) lapsed: bool,
    /// Whether the message has an idempotency key. The client can then send it again.
    pub(super) keyed: bool,
    /// Whether the client sent the message again.
    pub(super) resent: bool,
    /// Whether the sender's session broke before the answer. No answer then comes to a message sent
    /// on it.
    pub(super) orphaned: bool,
    /// Whether the run itself broke the session of an orphaned message.
    pub(super) by_run: bool,
    /// Whether the message's sequence is in the digest of its conversation.
    pub(super) digested: bool,
    /// Distinguishes this flight from earlier ones in the same place of the table.
    generation: u8,
    live: bool,
}

impl Flight {
    fn new(sent: Sent, awaiting: SeatSet) -> Self {
        Self {
            intended: sent.intended,
            awaiting,
            conversation: sent.conversation,
            stream: sent.stream,
            counter: sent.counter,
            ack_seq: 0,
            push_seq: 0,
            earlier: NONE,
            later: NONE,
            to_offline: false,
            judged: false,
            synced: false,
            lapsed: false,
            keyed: sent.keyed,
            resent: false,
            orphaned: false,
            by_run: false,
            digested: false,
            generation: 0,
            live: true,
        }
    }

    /// Returns which message the flight is.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            conversation: self.conversation,
            stream: self.stream,
            counter: self.counter,
            intended_us: self.intended / 1000,
        }
    }

    /// Returns the number of devices that have not received the message yet.
    pub(super) fn awaiting(&self) -> u32 {
        self.awaiting.len()
    }

    /// Returns whether a device, connected or not, still has to receive the message or find it in
    /// history.
    pub(super) fn is_owed(&self) -> bool {
        self.awaiting() != 0 || self.lapsed
    }

    /// Returns whether the message is known to be stored.
    pub(super) fn is_stored(&self) -> bool {
        self.ack_seq != 0 || (self.orphaned && self.push_seq != 0)
    }

    /// Returns whether an orphaned message has an unknown fate: it may be stored or not.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.orphaned && self.ack_seq == 0 && self.push_seq == 0
    }

    /// Returns whether the message was answered, and no device waits for it any more.
    pub(super) fn waits_for_history(&self) -> bool {
        self.ack_seq != 0 && self.awaiting() == 0
    }
}

/// A message to add to the table when it is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) intended: Nanos,
    pub(super) conversation: u32,
    pub(super) stream: u32,
    pub(super) counter: u32,
    pub(super) keyed: bool,
}

/// The messages of one thread that are under way.
#[derive(Debug)]
pub(super) struct Flights {
    table: Vec<Flight>,
    free: u32,
    /// The place in the table, by conversation and number.
    places: FnvHashMap<(u32, u32), u32>,
    /// The flights that each device sent.
    sent_by: Vec<Line>,
    seats: SeatSets,
}

/// The flights of one device, linked in the order of sending.
#[derive(Clone, Copy, Debug)]
struct Line {
    first: u32,
    last: u32,
}

impl Flights {
    /// Makes an empty table for messages of `devices` devices.
    pub(super) fn new(devices: usize) -> Self {
        let line = Line {
            first: NONE,
            last: NONE,
        };
        Self {
            table: Vec::new(),
            free: NONE,
            places: FnvHashMap::default(),
            sent_by: vec![line; devices],
            seats: SeatSets::default(),
        }
    }

    /// Returns the number of messages under way.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns whether there is room for one more message whose owed seats take `words` words.
    pub(super) fn has_room(&self, words: usize) -> bool {
        self.len() < MAX_FLIGHTS as usize && self.seats.used() + words <= MAX_WORDS
    }

    /// Adds a message that the device `sender` sends and that is owed to the seats of `owed`, one
    /// bit per seat. Returns its place.
    pub(super) fn push(&mut self, sent: Sent, sender: u32, owed: &[u64]) -> u32 {
        let mut flight = Flight::new(sent, self.seats.add(owed));
        let line = &mut self.sent_by[sender as usize];
        flight.earlier = line.last;
        let place = match self.free {
            NONE => {
                self.table.push(flight);
                self.table.len() as u32 - 1
            }
            place => {
                let before = &mut self.table[place as usize];
                self.free = before.later;
                flight.generation = before.generation.wrapping_add(1);
                *before = flight;
                place
            }
        };
        match line.last {
            NONE => line.first = place,
            last => self.table[last as usize].later = place,
        }
        line.last = place;
        self.places.insert((sent.conversation, sent.counter), place);
        place
    }

    /// Returns the command id of the flight at a place.
    pub(super) fn id(&self, place: u32) -> u32 {
        u32::from(self.get(place).generation) << 24 | (place + 1)
    }

    /// Returns the place of the flight with this command id, if it is still under way.
    pub(super) fn by_id(&self, id: u32) -> Option<u32> {
        let place = (id & 0x00ff_ffff).checked_sub(1)?;
        let flight = self.table.get(place as usize)?;
        (flight.live && u32::from(flight.generation) == id >> 24).then_some(place)
    }

    /// Returns the place of a message, if it is still under way.
    pub(super) fn find(&self, origin: Origin) -> Option<u32> {
        let place = *self.places.get(&(origin.conversation, origin.counter))?;
        (self.get(place).stream == origin.stream).then_some(place)
    }

    /// Returns the place of the first flight that a device sent.
    pub(super) fn first_of(&self, sender: u32) -> Option<u32> {
        Some(self.sent_by[sender as usize].first).filter(|place| *place != NONE)
    }

    /// Returns the place of the flight that the same device sent next.
    pub(super) fn after(&self, place: u32) -> Option<u32> {
        Some(self.get(place).later).filter(|place| *place != NONE)
    }

    /// Returns the flight at a place that `push`, `by_id`, `find` or `places` gave, to change.
    pub(super) fn at(&mut self, place: u32) -> &mut Flight {
        &mut self.table[place as usize]
    }

    /// Returns the flight at a place that `push`, `by_id`, `find` or `places` gave.
    pub(super) fn get(&self, place: u32) -> &Flight {
        &self.table[place as usize]
    }

    /// Returns whether a flight is still owed to a seat.
    pub(super) fn awaits(&self, place: u32, seat: u32) -> bool {
        self.seats.has(&self.get(place).awaiting, seat)
    }

    /// Notes that a flight has come to a seat that awaits it, or is owed to that seat no more.
    pub(super) fn settle(&mut self, place: u32, seat: u32) {
        let flight = &mut self.table[place as usize];
        self.seats.take(&mut flight.awaiting, seat);
    }

    /// Notes that a flight is owed to no device any more.
    pub(super) fn settle_all(&mut self, place: u32) {
        let flight = &mut self.table[place as usize];
        self.seats.clear(&mut flight.awaiting);
        flight.lapsed = false;
    }

    /// Returns the seats that await a flight.
    pub(super) fn seats(&self, place: u32) -> impl Iterator<Item = u32> {
        self.seats.seats(&self.get(place).awaiting)
    }

    /// Ends a flight of the device `sender`.
    pub(super) fn remove(&mut self, place: u32, sender: u32) {
        let Flight { earlier, later, .. } = *self.get(place);
        let line = &mut self.sent_by[sender as usize];
        match earlier {
            NONE => line.first = later,
            earlier => self.table[earlier as usize].later = later,
        }
        match later {
            NONE => line.last = earlier,
            later => self.table[later as usize].earlier = earlier,
        }
        let flight = &mut self.table[place as usize];
        flight.live = false;
        flight.later = self.free;
        self.free = place;
        self.places.remove(&(flight.conversation, flight.counter));
        self.seats.free(flight.awaiting);
    }

    /// Returns all flights.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Flight> {
        let none = self.places.is_empty();
        let table = if none { &[] } else { &self.table[..] };
        table.iter().filter(|flight| flight.live)
    }

    /// Returns the places of all flights.
    pub(super) fn places(&self) -> Vec<u32> {
        let all = 0..self.table.len() as u32;
        all.filter(|place| self.get(*place).live).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Message `counter` of conversation 3, sent by device 1 and owed to three seats.
    fn sent(counter: u32) -> Sent {
        Sent {
            intended: 5_000,
            conversation: 3,
            stream: 6,
            counter,
            keyed: false,
        }
    }

    const SENDER: u32 = 1;

    fn push(flights: &mut Flights, counter: u32) -> u32 {
        flights.push(sent(counter), SENDER, &[0b111])
    }

    fn sent_by(flights: &Flights, device: u32) -> Vec<u32> {
        let places = std::iter::successors(flights.first_of(device), |it| flights.after(*it));
        places.map(|place| flights.get(place).counter).collect()
    }

    #[test]
    fn ids_find_their_flight_and_no_later_one() {
        let mut flights = Flights::new(2);
        let place = push(&mut flights, 1);
        let (id, origin) = (flights.id(place), flights.get(place).origin());
        assert_eq!(
            (flights.by_id(id), flights.find(origin)),
            (Some(place), Some(place))
        );
        let other = Origin {
            stream: 7,
            ..origin
        };
        assert_eq!(flights.find(other), None);
        flights.remove(place, SENDER);
        assert_eq!((flights.by_id(id), flights.find(origin)), (None, None));
        let again = push(&mut flights, 2);
        assert_eq!((again, flights.len()), (place, 1));
        assert_ne!(flights.id(again), id);
        assert_eq!(flights.by_id(id), None);
    }

    #[test]
    fn the_order_of_sending_survives_removal_anywhere() {
        for order in [
            [0, 1, 2],
            [2, 1, 0],
            [1, 0, 2],
            [1, 2, 0],
            [0, 2, 1],
            [2, 0, 1],
        ] {
            let mut flights = Flights::new(2);
            let places: Vec<_> = (1..=3).map(|it| push(&mut flights, it)).collect();
            let mut left = vec![1, 2, 3];
            for which in order {
                assert_eq!(sent_by(&flights, SENDER), left);
                flights.remove(places[which], SENDER);
                left.retain(|counter| *counter != which as u32 + 1);
            }
            assert!(sent_by(&flights, SENDER).is_empty());
            push(&mut flights, 9);
            flights.push(sent(10), 0, &[1]);
            push(&mut flights, 11);
            assert_eq!(sent_by(&flights, SENDER), [9, 11]);
            assert_eq!(sent_by(&flights, 0), [10]);
            assert_eq!((flights.iter().count(), flights.places().len()), (3, 3));
        }
    }

    #[test]
    fn a_flight_waits_for_each_seat_once() {
        for owed in [&[0b111][..], &[0b111, 0]] {
            let mut flights = Flights::new(2);
            let place = flights.push(sent(1), SENDER, owed);
            for left in (0..3).rev() {
                assert!(flights.awaits(place, left));
                flights.settle(place, left);
                assert!(!flights.awaits(place, left));
                assert_eq!(flights.get(place).awaiting(), left);
            }
            assert!(!flights.has_room(MAX_WORDS + 1));
            flights.remove(place, SENDER);
            assert!(flights.has_room(MAX_WORDS));
        }
    }

    #[test]
    fn a_flight_fits_into_a_cache_line() {
        assert_eq!(size_of::<Flight>(), 64);
    }
}
