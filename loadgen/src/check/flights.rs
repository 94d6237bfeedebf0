//! Messages whose story is not over: sent, and not yet both answered and delivered everywhere.
//!
//! The table is bounded; what a stream has in it is a list in the order of sending, so that the
//! next expected message is found at once.

use crate::clock::Nanos;

/// No flight.
const NONE: u32 = u32::MAX;

/// Most flights of one thread at a time. An id has 24 bits for the place in the table, and the
/// highest of them are left for the client's other commands.
pub(crate) const MAX_FLIGHTS: u32 = (1 << 20) - 1;
const _: () = assert!(MAX_FLIGHTS < (1 << 24) - 256);

/// One message under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// When it should have been sent.
    pub(super) intended: Nanos,
    /// Who wrote to whom.
    pub(super) stream: u32,
    /// Its number in the stream.
    pub(super) counter: u32,
    /// The sequence of its acknowledgement; 0 before that.
    pub(super) ack_seq: u32,
    /// The sequence of its first push; 0 before that.
    pub(super) push_seq: u32,
    /// Devices that should get it.
    pub(super) expected: u16,
    /// Those that have not got it yet.
    pub(super) awaiting: u16,
    /// Those whose session began anew meanwhile: they are owed it no more.
    pub(super) lapsed: u16,
    /// It counts as unknown or lost already; what still comes of it breaks no promise.
    pub(super) judged: bool,
    /// A device got it only by asking.
    pub(super) synced: bool,
    /// It carries an idempotency key: it can be sent again.
    pub(super) keyed: bool,
    /// It was.
    pub(super) resent: bool,
    /// Its session broke before it was answered,
    pub(super) adrift: bool,
    /// and that was the run's own doing.
    pub(super) excused: bool,
    /// What is known of its sequence is in the conversation's digest.
    pub(super) digested: bool,
    /// Tells this flight from earlier ones in the same place of the table.
    generation: u8,
    live: bool,
    next: u32,
}

/// What a thread has under way, and how far each stream is.
#[derive(Debug)]
pub(super) struct Flights {
    table: Vec<Flight>,
    free: u32,
    live: u32,
    streams: Vec<Stream>,
}

/// One sender's messages to one contact.
#[derive(Clone, Copy, Debug)]
struct Stream {
    sent: u32,
    refused: u32,
    head: u32,
    tail: u32,
}

impl Flights {
    /// An empty table for `streams` streams.
    pub(super) fn new(streams: usize) -> Self {
        let stream = Stream {
            sent: 0,
            refused: 0,
            head: NONE,
            tail: NONE,
        };
        Self {
            table: Vec::new(),
            free: NONE,
            live: 0,
            streams: vec![stream; streams],
        }
    }

    /// Flights now.
    pub(super) fn len(&self) -> usize {
        self.live as usize
    }

    /// Messages sent in a stream.
    pub(super) fn sent(&self, stream: u32) -> u32 {
        self.streams[stream as usize].sent
    }

    /// Messages of a stream that were refused.
    pub(super) fn refused(&self, stream: u32) -> u32 {
        self.streams[stream as usize].refused
    }

    /// Notes that a message of a stream was refused.
    pub(super) fn note_refused(&mut self, stream: u32) {
        self.streams[stream as usize].refused += 1;
    }

    /// Adds the next message of a stream; `None` when the table is full. Returns its command id
    /// and its number in the stream.
    pub(super) fn push(
        &mut self,
        stream: u32,
        intended: Nanos,
        expected: u16,
        keyed: bool,
    ) -> Option<(u32, u32)> {
        if self.live >= MAX_FLIGHTS {
            return None;
        }
        let place = match self.free {
            NONE => {
                self.table.push(Flight {
                    intended: 0,
                    stream: 0,
                    counter: 0,
                    ack_seq: 0,
                    push_seq: 0,
                    expected: 0,
                    awaiting: 0,
                    lapsed: 0,
                    judged: false,
                    synced: false,
                    keyed: false,
                    resent: false,
                    adrift: false,
                    excused: false,
                    digested: false,
                    generation: 0,
                    live: false,
                    next: NONE,
                });
                self.table.len() as u32 - 1
            }
            place => {
                self.free = self.table[place as usize].next;
                place
            }
        };
        let line = &mut self.streams[stream as usize];
        line.sent += 1;
        let generation = self.table[place as usize].generation.wrapping_add(1);
        self.table[place as usize] = Flight {
            intended,
            stream,
            counter: line.sent,
            ack_seq: 0,
            push_seq: 0,
            expected,
            awaiting: expected,
            lapsed: 0,
            judged: false,
            synced: false,
            keyed,
            resent: false,
            adrift: false,
            excused: false,
            digested: false,
            generation,
            live: true,
            next: NONE,
        };
        match line.tail {
            NONE => line.head = place,
            tail => self.table[tail as usize].next = place,
        }
        line.tail = place;
        let counter = line.sent;
        self.live += 1;
        Some((self.id(place), counter))
    }

    /// The command id of the flight at a place.
    pub(super) fn id(&self, place: u32) -> u32 {
        u32::from(self.table[place as usize].generation) << 24 | (place + 1)
    }

    /// The place of the first flight of a stream.
    pub(super) fn first(&self, stream: u32) -> Option<u32> {
        Some(self.streams[stream as usize].head).filter(|place| *place != NONE)
    }

    /// The place of the flight behind another of the same stream.
    pub(super) fn behind(&self, place: u32) -> Option<u32> {
        Some(self.table[place as usize].next).filter(|place| *place != NONE)
    }

    /// The place of the flight with this command id, if it is still under way.
    pub(super) fn by_id(&self, id: u32) -> Option<u32> {
        let place = (id & 0x00ff_ffff).checked_sub(1)?;
        let flight = self.table.get(place as usize)?;
        (flight.live && u32::from(flight.generation) == id >> 24).then_some(place)
    }

    /// The place of message `counter` of a stream, if it is still under way.
    pub(super) fn find(&self, stream: u32, counter: u32) -> Option<u32> {
        let mut place = self.streams[stream as usize].head;
        while place != NONE {
            let flight = &self.table[place as usize];
            if flight.counter == counter {
                return Some(place);
            }
            place = flight.next;
        }
        None
    }

    /// The flight at a place that `by_id`, `find` or `places` gave.
    pub(super) fn at(&mut self, place: u32) -> &mut Flight {
        &mut self.table[place as usize]
    }

    /// Ends a flight.
    pub(super) fn remove(&mut self, place: u32) {
        let Flight { stream, next, .. } = self.table[place as usize];
        let line = &mut self.streams[stream as usize];
        if line.head == place {
            line.head = next;
            if next == NONE {
                line.tail = NONE;
            }
        } else {
            let mut before = line.head;
            while self.table[before as usize].next != place {
                before = self.table[before as usize].next;
            }
            self.table[before as usize].next = next;
            if line.tail == place {
                line.tail = before;
            }
        }
        let flight = &mut self.table[place as usize];
        flight.live = false;
        flight.next = self.free;
        self.free = place;
        self.live -= 1;
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

    #[test]
    fn ids_find_their_flight_and_no_later_one() {
        let mut flights = Flights::new(2);
        let (id, counter) = flights.push(1, 5, 1, false).unwrap();
        assert_eq!(counter, 1);
        let place = flights.by_id(id).unwrap();
        assert_eq!(flights.find(1, 1), Some(place));
        flights.remove(place);
        assert_eq!(
            (flights.by_id(id), flights.find(1, 1), flights.len()),
            (None, None, 0)
        );
        let (later, _) = flights.push(0, 6, 1, false).unwrap();
        assert_ne!(later, id);
        assert_eq!(flights.by_id(id), None);
    }

    #[test]
    fn lists_survive_removal_anywhere() {
        for order in [
            [0, 1, 2],
            [2, 1, 0],
            [1, 0, 2],
            [1, 2, 0],
            [0, 2, 1],
            [2, 0, 1],
        ] {
            let mut flights = Flights::new(1);
            let ids: Vec<_> = (0..3)
                .map(|i| flights.push(0, i, 1, false).unwrap().0)
                .collect();
            for i in order {
                let place = flights.by_id(ids[i]).unwrap();
                flights.remove(place);
                assert_eq!(flights.find(0, i as u32 + 1), None);
            }
            let (_, counter) = flights.push(0, 9, 1, false).unwrap();
            assert!(flights.find(0, counter).is_some());
            assert_eq!(flights.len(), 1);
        }
    }
}
