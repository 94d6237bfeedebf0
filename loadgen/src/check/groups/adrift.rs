//! Sends in groups whose session broke before their answer came. What holds between two holds here,
//! see `check::adrift`.

use super::super::Checker;
use super::GroupDeparture;
use crate::clock::Nanos;
use crate::schedule::text::GroupOrigin;

impl Checker {
    /// No answer comes any more to what a device's session had sent in groups.
    pub(in crate::check) fn set_adrift_in_groups(
        &mut self,
        device: u32,
        excused: bool,
        again: bool,
    ) {
        for place in self.groups.flights.places() {
            let flight = self.groups.flights.at(place);
            if flight.from == device && flight.ack_seq == 0 && !flight.judged {
                flight.adrift = true;
                flight.excused |= excused;
                flight.keyed &= again;
                self.land_in_group(place);
            }
        }
    }

    /// Nobody sends anything again.
    pub(in crate::check) fn nothing_is_sent_again_in_groups(&mut self) {
        for place in self.groups.flights.places() {
            let flight = self.groups.flights.at(place);
            if flight.adrift && flight.keyed {
                flight.keyed = false;
                self.land_in_group(place);
            }
        }
    }

    /// The first send of a device in groups that is to be made again, now that its session is open
    /// again, in the order of the messages; each is given once. Places are no order: they are used
    /// again.
    pub(crate) fn send_again_in_group(&mut self, device: u32) -> Option<GroupDeparture> {
        let flights = &mut self.groups.flights;
        let mine = flights.places().into_iter().filter(|&place| {
            let flight = flights.get(place);
            flight.from == device && flight.adrift && flight.keyed && flight.ack_seq == 0
        });
        let place = mine.min_by_key(|&place| flights.get(place).counter)?;
        let flight = flights.at(place);
        (flight.adrift, flight.resent) = (false, true);
        let origin = flight.origin();
        self.counters.resent += 1;
        Some(GroupDeparture {
            id: flights.id(place),
            origin,
        })
    }

    /// A message came to the device that sent it, where that may be: behind a reconnect.
    pub(super) fn is_echo_in_group(
        &mut self,
        now: Nanos,
        device: u32,
        (origin, seq): (GroupOrigin, u32),
    ) -> bool {
        let may_be =
            self.sessions.back_at(device).is_some() && self.sent_from(origin) == Some(device);
        if may_be && let Some(place) = self.groups.flights.find(origin.group, origin.counter) {
            self.prove_in_group(now, place, seq);
            self.land_in_group(place);
        }
        may_be
    }

    /// A message is stored, whatever became of its answer.
    fn prove_in_group(&mut self, now: Nanos, place: u32, seq: u32) {
        self.sequence_in_group(now, place, seq);
        let flight = self.groups.flights.at(place);
        if flight.push_seq == 0 {
            flight.push_seq = seq;
        }
    }

    /// A page of history has a message that was never answered: what it says goes into the digest
    /// that an answer would have gone into. Whether that settles its fate.
    pub(super) fn found_in_group(&mut self, now: Nanos, place: u32, seq: u32) -> bool {
        let flight = *self.groups.flights.at(place);
        if flight.ack_seq != 0 {
            return false;
        }
        self.note_group_digest(place, seq);
        if !flight.adrift || flight.judged {
            return false;
        }
        self.prove_in_group(now, place, seq);
        // Devices that are there are still owed it, until the end.
        if self.waiting_in_group(place).is_empty() {
            let awaited = flight.awaiting != 0 || flight.lapsed;
            self.groups.flights.settle_all(place);
            self.groups.flights.at(place).synced |= awaited;
            self.land_in_group(place);
        }
        true
    }

    /// Notes in its group's digest which sequence a message has, once.
    pub(super) fn note_group_digest(&mut self, place: u32, seq: u32) {
        let flight = self.groups.flights.at(place);
        if !std::mem::replace(&mut flight.digested, true) {
            let digest = super::history::digest(flight.group, flight.counter, seq);
            self.groups.states[flight.group as usize].digest ^= digest;
        }
    }

    /// Whether only the fate of sends without an answer is waited for in groups.
    pub(in crate::check) fn only_doubts_in_groups(&self) -> bool {
        let mut places = self.groups.flights.places().into_iter();
        places.all(|place| {
            let flight = self.groups.flights.get(place);
            let doubt = flight.adrift && flight.ack_seq == 0 && flight.push_seq == 0;
            doubt || flight.waits_for_history()
        })
    }

    /// Whether history has shown messages that devices are still owed.
    pub(in crate::check) fn still_owed_in_groups(&self) -> bool {
        let mut places = self.groups.flights.places().into_iter();
        places.any(|place| {
            let flight = *self.groups.flights.get(place);
            let shown = flight.adrift && !flight.judged && flight.push_seq != 0;
            shown && !self.waiting_in_group(place).is_empty()
        })
    }

    /// The last word on a flight that was adrift to the end; whether it was.
    pub(super) fn end_of_adrift_in_group(&mut self, now: Nanos, place: u32) -> bool {
        let flight = *self.groups.flights.at(place);
        if flight.ack_seq != 0 || !flight.adrift {
            return false;
        }
        if flight.push_seq == 0 {
            self.counters.unknown += 1;
            self.counters.unknown_excused += u64::from(flight.excused);
            return true;
        }
        let waiting = self.waiting_in_group(place);
        if !waiting.is_empty() {
            self.lost_in_group(now, place, &waiting);
        }
        !waiting.is_empty()
    }
}
