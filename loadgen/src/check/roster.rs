//! The members of each conversation: pairs and groups under one numbering.
//!
//! A pair is a group of two. Its numbers come first, those of groups follow:
//!
//! | number | for pairs | for groups, behind those of the pairs |
//! |---|---|---|
//! | conversation | one per pair of contacts | one per group |
//! | stream: one member's messages in one conversation | user × slots + slot | one per membership |
//! | inbox: one device in one conversation | device × slots + slot | round × devices + device |
//!
//! Within a conversation a member has a place (`nth`), and each of its devices has a seat: place ×
//! devices that a user has at most + number of the device. Everything here is arithmetic on the
//! population and on the groups; nothing is kept per conversation.

use std::ops::Range;
use std::sync::Arc;

use crate::membership::Memberships;
use crate::population::{MAX_DEVICES, Part, StreamParts};

/// Members of a pair.
const PAIR: u32 = 2;
// The seats of a pair fit into one word.
const _: () = assert!(PAIR * MAX_DEVICES <= u64::BITS);

/// The members of each conversation of one thread.
#[derive(Debug)]
pub(crate) struct Roster {
    part: Part,
    members: Arc<Memberships>,
    /// Conversations between two; the first group has this number.
    pairs: u32,
    /// Streams of pairs; the first membership has this number.
    pair_streams: u32,
    /// Seats of each member.
    seats_each: u32,
}

/// One member of one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) conversation: u32,
    /// The member's place in the conversation, from 0.
    pub(crate) nth: u32,
    pub(crate) user: u32,
}

/// One device in one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    /// The place of the device's user in the conversation.
    pub(crate) nth: u32,
    /// The seat's number in the conversation.
    pub(crate) number: u32,
    /// The number of the device's inbox for the conversation.
    pub(crate) inbox: usize,
}

impl Roster {
    /// Makes the roster of a part of the population with these groups.
    pub(crate) fn new(part: Part, members: Arc<Memberships>) -> Self {
        Self {
            pairs: part.conversations() as u32,
            pair_streams: part.streams() as u32,
            seats_each: part.most_devices(),
            part,
            members,
        }
    }

    /// Returns the part of the population that takes part.
    pub(crate) fn part(&self) -> &Part {
        &self.part
    }

    /// Returns the groups, by their own numbers.
    pub(crate) fn members(&self) -> &Memberships {
        &self.members
    }

    /// Returns the number of conversations: pairs, then groups.
    pub(crate) fn conversations(&self) -> u32 {
        self.pairs + self.members.groups()
    }

    /// Returns the group of a conversation; `None` for a pair.
    pub(crate) fn group(&self, conversation: u32) -> Option<u32> {
        conversation.checked_sub(self.pairs)
    }

    /// Returns the conversation of a group.
    pub(crate) fn conversation_of(&self, group: u32) -> u32 {
        self.pairs + group
    }

    /// Returns whether a conversation is between two contacts.
    pub(crate) fn is_pair(&self, conversation: u32) -> bool {
        conversation < self.pairs
    }

    /// Returns the number of streams of pairs. Streams from this number on belong to groups.
    pub(crate) fn pair_streams(&self) -> u32 {
        self.pair_streams
    }

    /// Returns the number of streams of pairs and groups. Some streams of groups may have no
    /// member.
    pub(crate) fn streams(&self) -> usize {
        self.pair_streams as usize + self.members.count()
    }

    /// Returns the member that writes a stream; `None` if the stream has no member.
    pub(crate) fn writer(&self, stream: u32) -> Option<Member> {
        let Some(membership) = stream.checked_sub(self.pair_streams) else {
            let StreamParts { user, slot } = self.part.stream_parts(stream);
            return Some(Member {
                conversation: self.part.conversation(stream),
                nth: slot % PAIR,
                user,
            });
        };
        let group = self.members.group(membership)?;
        Some(Member {
            conversation: self.pairs + group,
            nth: membership - self.members.membership(group, 0),
            user: self.members.user(membership),
        })
    }

    /// Returns the user that writes a stream.
    pub(crate) fn user(&self, stream: u32) -> u32 {
        match stream.checked_sub(self.pair_streams) {
            Some(membership) => self.members.user(membership),
            None => self.part.stream_parts(stream).user,
        }
    }

    /// Returns the device that a stream's messages are sent from.
    pub(crate) fn sender(&self, stream: u32) -> u32 {
        let number = match stream.checked_sub(self.pair_streams) {
            Some(membership) => membership,
            None => stream,
        };
        let devices = self.devices(self.user(stream));
        devices.start + number % devices.len().max(1) as u32
    }

    /// Returns the devices of a user.
    pub(crate) fn devices(&self, user: u32) -> Range<u32> {
        let first = self.part.first_device(user);
        first..first + self.part.device_count(user)
    }

    /// Returns the streams that a user writes, those of groups first.
    pub(crate) fn streams_of(&self, user: u32) -> Vec<u32> {
        let memberships = (0..self.members.rounds())
            .filter_map(|round| self.members.in_round(round, user))
            .map(|membership| self.pair_streams + membership);
        let of_pairs = self.part.stream(user, 0)..self.part.stream(user + 1, 0);
        memberships.chain(of_pairs).collect()
    }

    /// Members of a conversation.
    pub(crate) fn size(&self, conversation: u32) -> u32 {
        match self.group(conversation) {
            Some(group) => self.members.size(group),
            None => PAIR,
        }
    }

    /// Returns the two users of a pair, by place.
    fn pair(&self, conversation: u32) -> [u32; 2] {
        let half = self.part.slots() / PAIR;
        let (owner, slot) = (conversation / half, conversation % half * PAIR);
        [owner, self.part.contact(owner, slot)]
    }

    /// Returns the user in the `nth` place of a conversation.
    pub(crate) fn member(&self, conversation: u32, nth: u32) -> u32 {
        match self.group(conversation) {
            Some(group) => self.members.member(group, nth),
            None => self.pair(conversation)[nth as usize],
        }
    }

    /// Returns the stream that the member in the `nth` place of a conversation writes.
    pub(crate) fn stream(&self, conversation: u32, nth: u32) -> u32 {
        match self.group(conversation) {
            Some(group) => self.pair_streams + self.members.membership(group, nth),
            None => self.part.conversation_streams(conversation)[nth as usize],
        }
    }

    /// Returns the place of a user in a conversation; `None` if the user is not a member.
    pub(crate) fn nth(&self, conversation: u32, user: u32) -> Option<u32> {
        match self.group(conversation) {
            Some(group) => self.members.nth(group, user),
            None => {
                let nth = { self.pair(conversation) }
                    .iter()
                    .position(|it| *it == user)?;
                Some(nth as u32)
            }
        }
    }

    /// Returns the seat of a device in a conversation; `None` if its user is not a member.
    pub(crate) fn seat(&self, conversation: u32, device: u32) -> Option<Seat> {
        let user = self.part.user_of(device);
        let nth = self.nth(conversation, user)?;
        let (slots, devices) = (self.part.slots(), self.part.devices());
        let inbox = match self.group(conversation) {
            Some(group) => devices * (slots + self.members.round(group)) + device,
            None => device * slots + conversation % (slots / PAIR) * PAIR + nth,
        };
        Some(Seat {
            nth,
            number: self.seat_number(nth, device - self.part.first_device(user)),
            inbox: inbox as usize,
        })
    }

    /// Returns the seat of the device with this number among those of the `nth` member.
    pub(crate) fn seat_number(&self, nth: u32, index: u32) -> u32 {
        nth * self.seats_each + index
    }

    /// Seats of a conversation.
    pub(crate) fn seats(&self, conversation: u32) -> u32 {
        self.size(conversation) * self.seats_each
    }

    /// Returns the device in a seat of a conversation.
    pub(crate) fn device_in(&self, conversation: u32, seat: u32) -> u32 {
        let user = self.member(conversation, seat / self.seats_each);
        self.part.first_device(user) + seat % self.seats_each
    }

    /// Inboxes of pairs and groups.
    pub(crate) fn inboxes(&self) -> usize {
        self.part.devices() as usize * (self.part.slots() + self.members.rounds()) as usize
    }

    /// Returns the number of inboxes of pairs. Inboxes from this number on belong to groups.
    pub(crate) fn pair_inboxes(&self) -> usize {
        self.part.devices() as usize * self.part.slots() as usize
    }

    /// Appends a conversation's id.
    pub(crate) fn write_conversation(&self, conversation: u32, out: &mut String) {
        match self.group(conversation) {
            Some(group) => {
                out.push_str("g:");
                self.members.write_name(group, out);
            }
            None => {
                let [one, other] = self.pair(conversation);
                self.part.write_conversation(one, other, out);
            }
        }
    }

    /// Appends the name of a message's recipient: the group's name, or the contact's.
    pub(crate) fn write_recipient(&self, conversation: u32, stream: u32, out: &mut String) {
        match self.group(conversation) {
            Some(group) => self.members.write_name(group, out),
            None => {
                let StreamParts { user, slot } = self.part.stream_parts(stream);
                self.part.write_user(self.part.contact(user, slot), out);
            }
        }
    }

    /// Returns whether `id` is the id of a conversation.
    pub(crate) fn is_called(&self, conversation: u32, id: &str) -> bool {
        match self.group(conversation) {
            Some(group) => self.members.parse_conversation(id) == Some(group),
            None => {
                let [one, other] = self.pair(conversation);
                self.parse_pair(id) == Some([one.min(other), one.max(other)])
            }
        }
    }

    /// Returns the conversation with this id; `None` if it does not belong to this part.
    pub(crate) fn parse_conversation(&self, id: &str) -> Option<u32> {
        let Some([one, other]) = self.parse_pair(id) else {
            return Some(self.pairs + self.members.parse_conversation(id)?);
        };
        let slot = self.part.slot_of(one, other).filter(|_| one < other)?;
        Some(self.part.conversation(self.part.stream(one, slot)))
    }

    /// Returns the users that the id of a pair names, in the order of the id.
    fn parse_pair(&self, id: &str) -> Option<[u32; 2]> {
        let names = id.strip_prefix("u:")?;
        let (one, rest) = names.split_at_checked(names.len() / 2)?;
        let other = rest.strip_prefix(':')?;
        Some([self.part.parse_user(one)?, self.part.parse_user(other)?])
    }

    /// Returns a device's name for people: its user's, a slash, and its own.
    pub(crate) fn device_name(&self, device: u32) -> String {
        let mut name = String::new();
        self.part.write_user(self.part.user_of(device), &mut name);
        name.push('/');
        self.part.write_device(device, &mut name);
        name
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::membership::tests::wanted;
    use crate::population::tests::population;

    /// Fifty users with one or two devices, three contacts' worth of pairs, groups and a large one.
    fn roster() -> Roster {
        let part = population(50, 1500, 6).part(0, 1);
        let members = Memberships::new(&part, &wanted(2.5, "exp(10)", &[40]), 1);
        Roster::new(part, members.into())
    }

    #[test]
    fn members_streams_and_places_agree() {
        let roster = roster();
        let mut streams = BTreeSet::new();
        for conversation in 0..roster.conversations() {
            for nth in 0..roster.size(conversation) {
                let user = roster.member(conversation, nth);
                let stream = roster.stream(conversation, nth);
                assert_eq!(roster.nth(conversation, user), Some(nth));
                let expected = Member {
                    conversation,
                    nth,
                    user,
                };
                assert_eq!(roster.writer(stream), Some(expected));
                assert_eq!(roster.user(stream), user);
                assert!(roster.devices(user).contains(&roster.sender(stream)));
                assert!(streams.insert(stream) && (stream as usize) < roster.streams());
                assert_eq!(stream < roster.pair_streams(), roster.is_pair(conversation));
            }
            let members = 0..roster.size(conversation);
            let members: BTreeSet<_> = { members }
                .map(|nth| roster.member(conversation, nth))
                .collect();
            for user in (0..50).filter(|user| !members.contains(user)) {
                assert_eq!(roster.nth(conversation, user), None);
            }
        }
    }

    #[test]
    fn each_device_has_one_seat_and_one_inbox_in_each_of_its_conversations() {
        let roster = roster();
        let mut inboxes = BTreeSet::new();
        for conversation in 0..roster.conversations() {
            let mut seats = BTreeSet::new();
            for device in 0..roster.part().devices() {
                let Some(seat) = roster.seat(conversation, device) else {
                    continue;
                };
                assert!(seats.insert(seat.number) && seat.number < roster.seats(conversation));
                assert_eq!(roster.device_in(conversation, seat.number), device);
                assert!(inboxes.insert(seat.inbox) && seat.inbox < roster.inboxes());
                let of_pair = seat.inbox < roster.pair_inboxes();
                assert_eq!(of_pair, roster.is_pair(conversation));
            }
            let size = roster.size(conversation) as usize;
            assert!((size..=2 * size).contains(&seats.len()), "{conversation}");
        }
    }

    #[test]
    fn ids_name_one_conversation() {
        let roster = roster();
        let mut ids = BTreeSet::new();
        for conversation in 0..roster.conversations() {
            let mut id = String::new();
            roster.write_conversation(conversation, &mut id);
            assert_eq!(roster.parse_conversation(&id), Some(conversation), "{id}");
            assert!(roster.is_called(conversation, &id));
            let next = (conversation + 1) % roster.conversations();
            assert!(!roster.is_called(next, &id));
            assert!(ids.insert(id));
        }
        let turned = {
            let first = ids.iter().find(|id| id.starts_with("u:"));
            let (one, other) = first.unwrap()[2..].split_once(':').unwrap();
            format!("u:{other}:{one}")
        };
        for bad in [
            &*turned,
            "u:",
            "u::",
            "u:t1.000000000",
            "g:t1.g9999",
            "",
            "é",
        ] {
            assert_eq!(roster.parse_conversation(bad), None, "{bad}");
        }
    }
}
