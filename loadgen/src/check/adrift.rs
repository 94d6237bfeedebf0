//! Sends whose session broke before their answer came: adrift until something tells their fate.
//!
//! What carries an idempotency key is sent again when the session is back, and answered then. What
//! carries none may be stored or not: a push to anybody, the sender's own catch-up included, or
//! history tells; what nobody was told and history does not hold was never stored. It is never
//! guessed: without an answer and without a trace a message is unknown, not lost.

use super::evidence::Kind;
use super::{Checker, sender};
use crate::clock::{Nanos, SECOND};
use crate::schedule::text::Origin;

/// After the last session came back, so long is waited for what tells the fate of sends. Nobody is
/// accused for it: history is asked next.
const QUIET: Nanos = 2 * SECOND;

/// Most flights that are looked through to find that only doubts are left.
const LOOKED_THROUGH: usize = 1 << 14;

/// A send to be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Again {
    /// The command's id, the same as before.
    pub(crate) id: u32,
    /// Which message it is.
    pub(crate) origin: Origin,
}

impl Checker {
    /// The streams that a device's messages are sent in.
    fn streams_of(&self, device: u32) -> impl Iterator<Item = u32> + use<> {
        let user = self.part.user_of(device);
        let (first, count) = (self.part.first_device(user), self.part.device_count(user));
        let streams = self.part.stream(user, 0)..self.part.stream(user + 1, 0);
        streams.filter(move |stream| first + stream % count.max(1) == device)
    }

    /// No answer comes any more to what a device's session had sent. `excused`: the run broke the
    /// session itself. `again`: it will come back and send again what it can.
    pub(super) fn set_adrift(&mut self, device: u32, excused: bool, again: bool) {
        self.set_adrift_in_groups(device, excused, again);
        for stream in self.streams_of(device) {
            let mut next = self.flights.first(stream);
            while let Some(place) = next {
                next = self.flights.behind(place);
                let flight = self.flights.at(place);
                if flight.ack_seq == 0 && !flight.judged {
                    flight.adrift = true;
                    flight.excused |= excused;
                    flight.keyed &= again;
                    self.land(place);
                }
            }
        }
    }

    /// Nobody sends anything again.
    pub(super) fn nothing_is_sent_again(&mut self) {
        self.nothing_is_sent_again_in_groups();
        for place in self.flights.places() {
            let flight = self.flights.at(place);
            if flight.adrift && flight.keyed {
                flight.keyed = false;
                self.land(place);
            }
        }
    }

    /// The first send of a device that is to be made again, now that its session is open again;
    /// each is given once.
    pub(crate) fn send_again(&mut self, device: u32) -> Option<Again> {
        for stream in self.streams_of(device) {
            let mut next = self.flights.first(stream);
            while let Some(place) = next {
                next = self.flights.behind(place);
                let flight = self.flights.at(place);
                if flight.adrift && flight.keyed && flight.ack_seq == 0 {
                    (flight.adrift, flight.resent) = (false, true);
                    let origin = Origin::new(stream, flight.counter, flight.intended);
                    self.counters.resent += 1;
                    let id = self.flights.id(place);
                    return Some(Again { id, origin });
                }
            }
        }
        None
    }

    /// A message came to the device that sent it, where that may be: behind a reconnect what was
    /// missed includes the user's own messages. Nobody outside can tell where that ends and what is
    /// live begins, so they are taken in order, once, and not owed. Whether it was such a one.
    pub(super) fn is_echo(&mut self, now: Nanos, device: u32, origin: Origin, seq: u32) -> bool {
        let may_be = device == sender(&self.part, origin.stream)
            && self.sessions.back_at(device).is_some()
            && origin.counter <= self.flights.sent(origin.stream);
        if may_be && let Some(place) = self.flights.find(origin.stream, origin.counter) {
            self.prove(now, place, seq);
            self.land(place);
        }
        may_be
    }

    /// A message is stored, whatever became of its answer.
    pub(super) fn prove(&mut self, now: Nanos, place: u32, seq: u32) {
        self.sequence(now, place, seq);
        let flight = self.flights.at(place);
        if flight.push_seq == 0 {
            flight.push_seq = seq;
        }
    }

    /// A page of history has a message that was never answered: what it says goes into the digest
    /// that an answer would have gone into. Whether that settles its fate.
    pub(super) fn found_in_history(&mut self, now: Nanos, place: u32, seq: u32) -> bool {
        let flight = *self.flights.at(place);
        if flight.ack_seq != 0 {
            return false;
        }
        self.note_digest(place, seq);
        if !flight.adrift || flight.judged {
            return false;
        }
        self.prove(now, place, seq);
        // Devices that are there are still owed it, until the end.
        if self.waiting(place) == 0 {
            let flight = self.flights.at(place);
            flight.synced |= flight.awaiting != 0;
            flight.awaiting = 0;
            self.land(place);
        }
        true
    }

    /// Devices with an open session that are owed a flight and have not got it.
    pub(super) fn waiting(&mut self, place: u32) -> usize {
        let flight = *self.flights.at(place);
        let owed = flight.awaiting & !flight.lapsed;
        let waiting = self.devices_of(flight.stream, owed);
        waiting.filter(|&it| self.sessions.is_open(it)).count()
    }

    /// Whether nothing more is waited for but the fate of sends without an answer.
    pub(crate) fn only_doubts(&mut self, now: Nanos) -> bool {
        if now < self.sessions.last_back() + QUIET
            || self.sessions.some_away()
            || self.flights.len() > LOOKED_THROUGH
            || !self.only_doubts_in_groups()
            || !self.receipts.settled(&self.part, &self.sessions)
        {
            return false;
        }
        let mut places = self.flights.places().into_iter();
        places.all(|place| {
            let flight = self.flights.at(place);
            flight.adrift && flight.ack_seq == 0 && flight.push_seq == 0
        })
    }

    /// Whether history has shown messages that devices are still owed.
    pub(crate) fn still_owed(&mut self) -> bool {
        if self.still_owed_in_groups() {
            return true;
        }
        let mut places = self.flights.places().into_iter();
        places.any(|place| {
            let flight = *self.flights.at(place);
            flight.adrift && !flight.judged && flight.push_seq != 0 && self.waiting(place) > 0
        })
    }

    /// The last word on a flight that was adrift to the end; whether it was.
    pub(super) fn end_of_adrift(&mut self, now: Nanos, place: u32) -> bool {
        let flight = *self.flights.at(place);
        if flight.ack_seq != 0 || !flight.adrift {
            return false;
        }
        if flight.push_seq == 0 {
            self.counters.unknown += 1;
            self.counters.unknown_excused += u64::from(flight.excused);
            return true;
        }
        let waiting = self.waiting(place);
        if waiting > 0 {
            self.counters.lost += 1;
            self.violation(now, Kind::Lost, Some(flight.stream), || {
                format!(
                    "message {} (sequence {}) is stored, though its answer did not come, and did \
                     not reach {waiting} device(s)",
                    flight.counter, flight.push_seq
                )
            });
        }
        waiting > 0
    }
}
