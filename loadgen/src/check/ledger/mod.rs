//! The fate of each message, from sending to the last device and history.
//!
//! | file | what it decides |
//! |---|---|
//! | this one | which devices a message is owed to, and when it has reached all of them |
//! | `answers` | what an acknowledgement or a refusal means for a message |
//! | `orphans` | messages whose session broke before their answer came |
//! | `closing` | what is still under way at the end |

mod answers;
mod closing;
mod orphans;

use fnv::FnvHashSet;

use super::conversations::Conversations;
use super::evidence::{EventKind, Violation};
use super::flights::{Flights, Sent};
use super::origin::Origin;
use super::pushes::Via;
use super::roster::{Roster, Seat};
use super::scene::Scene;
use super::seats::Attendance;
use crate::clock::Nanos;
use crate::schedule::Arrival;

/// The messages of one thread that are under way, and the state of their conversations.
#[derive(Debug)]
pub(super) struct Ledger {
    flights: Flights,
    attendance: Attendance,
    conversations: Conversations,
    /// Messages that were sent again after an answer which left their fate open, by conversation and number.
    late: FnvHashSet<(u32, u32)>,
}

/// A send that the client is to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Departure {
    /// The command's id.
    pub(crate) id: u32,
    /// The message to send.
    pub(crate) origin: Origin,
}

impl Ledger {
    /// Makes a ledger without messages.
    pub(super) fn new(roster: &Roster) -> Self {
        Self {
            flights: Flights::new(roster.part().devices() as usize),
            attendance: Attendance::new(roster),
            conversations: Conversations::new(roster.conversations()),
            late: FnvHashSet::default(),
        }
    }

    /// Returns the state of each conversation.
    pub(super) fn conversations(&self) -> &Conversations {
        &self.conversations
    }

    /// Returns the state of each conversation, to change it.
    pub(super) fn conversations_mut(&mut self) -> &mut Conversations {
        &mut self.conversations
    }

    /// Notes whether a device is owed the messages sent from now on.
    pub(super) fn attend(&mut self, roster: &Roster, device: u32, owed: bool) {
        self.attendance.set(roster, device, owed);
    }

    /// Notes that a device begins anew: history must hold the messages that it was owed.
    pub(super) fn lapse(&mut self, roster: &Roster, device: u32) {
        for place in self.flights.places() {
            let conversation = self.flights.get(place).conversation;
            let Some(seat) = roster.seat(conversation, device) else {
                continue;
            };
            if self.flights.awaits(place, seat.number) {
                self.flights.settle(place, seat.number);
                self.flights.at(place).lapsed = true;
            }
        }
    }

    /// Notes the next message of a stream. Returns the send to make; `None` if too many messages
    /// are under way, or if the stream belongs to nobody.
    pub(super) fn depart(
        &mut self,
        scene: &mut Scene<'_>,
        arrival: Arrival,
        intended: Nanos,
    ) -> Option<Departure> {
        let roster = scene.roster;
        let writer = roster.writer(arrival.stream)?;
        let conversation = writer.conversation;
        let pair;
        let owed = match roster.group(conversation) {
            Some(group) => self.attendance.words(group),
            None => {
                pair = [owed_in_pair(scene, conversation)];
                &pair
            }
        };
        if !self.flights.has_room(owed.len()) {
            return None;
        }
        let sent = Sent {
            intended,
            conversation,
            stream: arrival.stream,
            counter: self.conversations.count_sent(conversation),
            keyed: arrival.keyed,
        };
        let sender = roster.sender(arrival.stream);
        let place = self.flights.push(sent, sender, owed);
        let mut own = 0;
        for (index, device) in (0..).zip(roster.devices(writer.user)) {
            let seat = roster.seat_number(writer.nth, index);
            let awaited = self.flights.awaits(place, seat);
            if awaited && device == sender {
                self.flights.settle(place, seat);
            } else {
                own += u32::from(awaited);
            }
        }
        let flight = self.flights.at(place);
        flight.to_offline = flight.awaiting() == own;
        let origin = flight.origin();
        scene.counters.attempted += 1;
        scene.counters.group_messages += u64::from(!roster.is_pair(conversation));
        scene.remember(EventKind::Sent, origin, 0, sender);
        Some(Departure {
            id: self.flights.id(place),
            origin,
        })
    }

    /// Returns the place of a message that is owed to a seat; `None` if it is not.
    pub(super) fn awaited(&self, origin: Origin, seat: Seat) -> Option<u32> {
        let place = self.flights.find(origin)?;
        self.flights.awaits(place, seat.number).then_some(place)
    }

    /// Notes that a message reached a seat that awaited it, with this sequence. Returns when the
    /// message should have been sent.
    pub(super) fn reached(
        &mut self,
        scene: &mut Scene<'_>,
        place: u32,
        seat: Seat,
        (seq, via): (u32, Via),
    ) -> Nanos {
        self.flights.settle(place, seat.number);
        self.set_sequence(scene, place, seq);
        let flight = self.flights.at(place);
        flight.push_seq = seq;
        flight.synced |= via == Via::Sync;
        let intended = flight.intended;
        self.land(scene, place);
        intended
    }

    /// Notes the sequence of a message, from its acknowledgement, a push or history.
    fn set_sequence(&mut self, scene: &mut Scene<'_>, place: u32, seq: u32) {
        let flight = *self.flights.get(place);
        let known = [flight.ack_seq, flight.push_seq];
        // Where the two differ, that was said already, and need not be said for each device.
        if known.contains(&seq) && seq != 0 {
            return;
        }
        let conversation = flight.conversation;
        let highest = flight.ack_seq.max(flight.push_seq);
        // A lower second sequence does not count as taken: it could hide that no message has it.
        let is_new = seq < highest || self.conversations.take(conversation, seq);
        if highest != 0 {
            scene.violation(Violation::SequenceDiffers, Some(conversation), || {
                format!("sequence {seq} here, {highest} before")
            });
        } else if !is_new {
            scene.violation(Violation::SequenceReused, Some(conversation), || {
                format!("sequence {seq} is another message's, or 0")
            });
        }
    }

    /// Adds a message with its sequence to the digest of its conversation, once.
    fn add_to_digest(&mut self, place: u32, seq: u32) {
        let flight = self.flights.at(place);
        if !std::mem::replace(&mut flight.digested, true) {
            let origin = flight.origin();
            self.conversations.add_to_digest(origin, seq);
        }
    }

    /// Ends a flight that is known to be stored and has reached all devices. Its answer came, or
    /// cannot come.
    fn land(&mut self, scene: &mut Scene<'_>, place: u32) {
        let flight = *self.flights.get(place);
        let no_answer_comes = flight.orphaned && !flight.keyed;
        let stored = flight.ack_seq != 0 || (no_answer_comes && flight.push_seq != 0);
        if !stored || flight.is_owed() {
            return;
        }
        if flight.ack_seq == 0 && !flight.judged {
            scene.counters.unknown_then_delivered += 1;
            self.add_to_digest(place, flight.push_seq);
        }
        self.remove(scene, place);
        if flight.judged {
            return;
        }
        scene.counters.to_offline += u64::from(flight.to_offline);
        match flight.synced {
            true => scene.counters.recovered += 1,
            false => scene.counters.delivered += 1,
        }
    }

    fn remove(&mut self, scene: &Scene<'_>, place: u32) {
        let sender = scene.roster.sender(self.flights.get(place).stream);
        self.flights.remove(place, sender);
    }

    /// Returns the devices with an open session that a flight is owed to.
    fn waiting<'a>(&'a self, scene: &'a Scene<'_>, place: u32) -> impl Iterator<Item = u32> + 'a {
        let conversation = self.flights.get(place).conversation;
        let seats = self.flights.seats(place);
        let devices = seats.map(move |seat| scene.roster.device_in(conversation, seat));
        devices.filter(|device| scene.sessions.is_open(*device))
    }

    fn is_waited_for(&self, scene: &Scene<'_>, place: u32) -> bool {
        self.waiting(scene, place).next().is_some()
    }

    /// Returns the number of messages under way.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.flights.len()
    }
}

/// Returns the seats of a pair that are owed a message sent now, one bit per seat.
fn owed_in_pair(scene: &Scene<'_>, conversation: u32) -> u64 {
    let mut owed = 0;
    for nth in 0..scene.roster.size(conversation) {
        let user = scene.roster.member(conversation, nth);
        for (index, device) in (0..).zip(scene.roster.devices(user)) {
            let there = u64::from(scene.sessions.is_owed(device));
            owed |= there << scene.roster.seat_number(nth, index);
        }
    }
    owed
}
