//! Messages in groups, judged like those between two: once to every device of every member but the
//! one that sent it, in the order of their sequences, with the right text, acknowledged, and found in
//! history.
//!
//! What takes memory is a word for each device and round of groups (the last sequence pushed), a few
//! words for each group, and for each message under way a bit for each seat of its group.

mod adrift;
mod answers;
mod closing;
mod flights;
mod history;
mod pushes;
mod receipts;
mod seats;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use fnv::FnvHashMap;

use super::evidence::{Event, Kind, What};
use super::sequences::Sequences;
use super::{Checker, NOBODY};
use crate::clock::Nanos;
use crate::membership::Memberships;
use crate::population::Part;
use crate::schedule::text::GroupOrigin;

use flights::{Flights, New};
use receipts::GroupReceipts;
use seats::Seats;

pub(super) use flights::is_in_group;

/// Members of each group whose pushes are remembered for evidence: in a large group all would be more
/// than is remembered.
const WITNESSES: u32 = 16;

/// The groups of one thread's part.
#[derive(Debug)]
pub(super) struct Groups {
    members: Arc<Memberships>,
    flights: Flights,
    /// Who is owed what is sent now.
    seats: Seats,
    states: Vec<State>,
    /// By round and device, the last sequence pushed.
    last_pushed: Vec<u32>,
    /// The same for the last sequence fetched with `sync`, where something was.
    synced: FnvHashMap<usize, u32>,
    receipts: GroupReceipts,
    /// What each member's last message in a group was, where that is being read back.
    orders: FnvHashMap<(u32, u32), u32>,
    shown: Shown,
}

/// One group's story so far.
#[derive(Debug, Default)]
struct State {
    sequences: Sequences,
    /// Which message has which sequence, over acknowledged ones.
    digest: u64,
    sent: u32,
    refused: u32,
    /// History has been read to its end.
    read: bool,
    /// Some sends had no answer when the time for answers was over.
    uncertain: bool,
}

/// The message that was judged last, and what belongs to it: in a group the same one comes to one
/// device after another.
#[derive(Debug, Default)]
struct Shown {
    origin: Option<GroupOrigin>,
    text: String,
    conversation: String,
    from: String,
}

/// A send to be made in a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupDeparture {
    /// The command's id.
    pub(crate) id: u32,
    /// Which message it is.
    pub(crate) origin: GroupOrigin,
}

impl Groups {
    pub(super) fn new(part: &Part, members: Arc<Memberships>) -> Self {
        let states = (0..members.groups()).map(|_| State::default()).collect();
        Self {
            flights: Flights::new(),
            seats: Seats::new(part, &members),
            states,
            last_pushed: vec![0; (members.rounds() * part.devices()) as usize],
            synced: FnvHashMap::default(),
            receipts: GroupReceipts::default(),
            orders: FnvHashMap::default(),
            shown: Shown::default(),
            members,
        }
    }

    /// Where a device's sequences in a group are.
    fn line(&self, part: &Part, group: u32, device: u32) -> usize {
        (self.members.round(group) * part.devices() + device) as usize
    }

    /// Appends a group's conversation.
    fn write_conversation(&self, group: u32, out: &mut String) {
        out.push_str("g:");
        self.members.write_name(group, out);
    }
}

/// The device that a membership's messages are sent from.
pub(crate) fn group_sender(part: &Part, members: &Memberships, membership: u32) -> u32 {
    let user = members.user(membership);
    part.first_device(user) + membership % part.device_count(user).max(1)
}

impl Checker {
    /// Who is in which group.
    pub(crate) fn members(&self) -> &Arc<Memberships> {
        &self.groups.members
    }

    /// Conversations, those of groups behind those between two.
    pub(crate) fn conversations(&self) -> u32 {
        self.part.conversations() as u32 + self.groups.members.groups()
    }

    /// The group of a conversation, if it is one's.
    pub(crate) fn group_of(&self, conversation: u32) -> Option<u32> {
        conversation.checked_sub(self.part.conversations() as u32)
    }

    /// Appends a conversation's id.
    pub(crate) fn write_conversation(&self, conversation: u32, out: &mut String) {
        match self.group_of(conversation) {
            Some(group) => self.groups.write_conversation(group, out),
            None => {
                let streams = self.part.conversation_streams(conversation);
                let [one, other] = streams.map(|stream| self.part.stream_parts(stream).0);
                self.part.write_conversation(one, other, out);
            }
        }
    }

    /// From now on a device is owed what is sent in its groups, or is not.
    pub(super) fn seat_in_groups(&mut self, device: u32, there: bool) {
        let Groups { seats, members, .. } = &mut self.groups;
        seats.set(&self.part, members, device, there);
    }

    /// A device begins anew: what it was owed in groups is looked for in history instead.
    pub(super) fn lapse_in_groups(&mut self, device: u32) {
        let user = self.part.user_of(device);
        let groups = &mut self.groups;
        for place in groups.flights.places() {
            let group = groups.flights.at(place).group;
            let Some(nth) = groups.members.nth(group, user) else {
                continue;
            };
            let seat = groups.seats.seat(&self.part, nth, device);
            if groups.flights.awaits(place, seat) {
                groups.flights.settle(place, seat);
                groups.flights.at(place).lapsed = true;
            }
        }
    }

    /// Notes the next message of a membership, sent from the device `from`; `None` where too many are
    /// under way.
    pub(crate) fn depart_in_group(
        &mut self,
        now: Nanos,
        (membership, keyed): (u32, bool),
        intended: Nanos,
        from: u32,
    ) -> Option<GroupDeparture> {
        let groups = &mut self.groups;
        let group = groups.members.group(membership)?;
        let user = groups.members.user(membership);
        let words = groups.seats.words(group);
        if !groups.flights.has_room(words.len()) {
            return None;
        }
        let state = &mut groups.states[group as usize];
        state.sent += 1;
        let new = New {
            intended,
            group,
            user,
            counter: state.sent,
            from,
            keyed,
        };
        let (place, id) = groups.flights.push(new, words);
        let nth = membership - groups.members.membership(group, 0);
        let first = self.part.first_device(user);
        let mut own = 0;
        for device in first..first + self.part.device_count(user) {
            let seat = groups.seats.seat(&self.part, nth, device);
            let there = groups.flights.awaits(place, seat);
            if there && device == from {
                groups.flights.settle(place, seat);
            }
            own += u32::from(there && device != from);
        }
        let flight = groups.flights.at(place);
        flight.alone = flight.awaiting == own;
        self.counters.attempted += 1;
        self.counters.group_messages += 1;
        let origin = GroupOrigin::new(group, user, new.counter, intended);
        self.remember_in_group(now, What::Sent, origin, 0, from);
        Some(GroupDeparture { id, origin })
    }

    /// The device that a message is sent from.
    fn sent_from(&self, origin: GroupOrigin) -> Option<u32> {
        let members = &self.groups.members;
        let nth = members.nth(origin.group, origin.user)?;
        let membership = members.membership(origin.group, nth);
        Some(group_sender(&self.part, members, membership))
    }

    fn remember_in_group(
        &mut self,
        at: Nanos,
        what: What,
        origin: GroupOrigin,
        seq: u32,
        device: u32,
    ) {
        self.evidence.remember(Event {
            at,
            what,
            conversation: self.part.conversations() as u32 + origin.group,
            stream: origin.user,
            counter: origin.counter,
            seq,
            device,
        });
    }

    /// Counts a violation in a group. Of the events before it, those of these devices are kept, or
    /// all where none are named.
    fn group_violation(
        &mut self,
        at: Nanos,
        kind: Kind,
        (group, devices): (u32, &[u32]),
        detail: impl FnOnce() -> String,
    ) {
        let about = |event: &Event| {
            let whose = event.what != What::Pushed || devices.is_empty();
            whose || devices.contains(&event.device)
        };
        let conversation = Some(self.part.conversations() as u32 + group);
        self.evidence
            .violation_of(at, kind, conversation, about, detail);
    }

    /// A device's name for people: its user's and its own.
    fn device_name(&self, device: u32) -> String {
        let mut name = String::new();
        if device == NOBODY {
            return name;
        }
        self.part.write_user(self.part.user_of(device), &mut name);
        name.push('/');
        self.part.write_device(device, &mut name);
        name
    }
}
