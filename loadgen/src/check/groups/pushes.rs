//! Pushes of messages in groups: are they due here, now, with this text?

use trunkline_proto::message::Message;

use super::super::evidence::{Kind, What};
use super::super::{Checker, Landing, Via};
use super::WITNESSES;
use crate::clock::Nanos;
use crate::schedule::text::GroupOrigin;

impl Checker {
    /// Which message in a group a text is. What it should be in full is kept for the next.
    pub(in crate::check) fn origin_in_group(&mut self, text: &str) -> Option<GroupOrigin> {
        let groups = &mut self.groups;
        let shown = &mut groups.shown;
        if shown.origin.is_some() && shown.text == text {
            return shown.origin;
        }
        if groups.states.is_empty() {
            return None;
        }
        let origin = (self.texts).origin_in_group(&self.part, &groups.members, text)?;
        if shown.origin != Some(origin) {
            let members = &groups.members;
            self.texts
                .write_in_group(&self.part, members, origin, &mut shown.text);
            shown.conversation.clear();
            shown.conversation.push_str("g:");
            members.write_name(origin.group, &mut shown.conversation);
            shown.from.clear();
            self.part.write_user(origin.user, &mut shown.from);
            shown.origin = Some(origin);
        }
        Some(origin)
    }

    /// A message in a group came to a device; [`origin_in_group`](Self::origin_in_group) has told
    /// which.
    pub(in crate::check) fn pushed_in_group(
        &mut self,
        now: Nanos,
        device: u32,
        (message, origin): (&Message<'_>, GroupOrigin),
        via: Via,
    ) -> Option<Landing> {
        self.counters.group_pushes += u64::from(via == Via::Push);
        let seq = u32::try_from(message.seq).unwrap_or(0);
        let user = self.part.user_of(device);
        let Some(nth) = self.groups.members.nth(origin.group, user) else {
            self.counters.unexpected += 1;
            self.remember_in_group(now, What::Pushed, origin, seq, device);
            let name = self.device_name(device);
            self.group_violation(now, Kind::Unexpected, (origin.group, &[device]), || {
                format!("{name} got message {}, and is no member", origin.counter)
            });
            return None;
        };
        if nth < WITNESSES {
            self.remember_in_group(now, What::Pushed, origin, seq, device);
        }
        if *self.groups.shown.conversation != *message.conversation {
            self.expect_group(now, origin.group, &message.conversation);
        }
        if !self.is_as_sent_in_group(now, origin, message, Kind::TextChanged) {
            self.counters.unexpected += 1;
        }
        let intended = self.arrived_in_group(now, (device, nth), (origin, seq), via);
        let membership = self.groups.members.membership(origin.group, nth);
        Some(Landing {
            reader: self.part.streams() as u32 + membership,
            intended,
            in_group: true,
        })
    }

    /// Whether a message has the text it was sent with; its sender is judged too. `kind` is what
    /// a wrong text is called.
    pub(super) fn is_as_sent_in_group(
        &mut self,
        now: Nanos,
        origin: GroupOrigin,
        message: &Message<'_>,
        kind: Kind,
    ) -> bool {
        let shown = &self.groups.shown;
        let same = message.text.as_deref() == Some(&*shown.text);
        let from = *shown.from == *message.from;
        let about = (origin.group, &[][..]);
        if !same {
            self.group_violation(now, kind, about, || {
                format!(
                    "message {} has another text than it was sent with",
                    origin.counter
                )
            });
        }
        if !from {
            self.group_violation(now, Kind::WrongConversation, about, || {
                format!("the sender is called {:?}", message.from)
            });
        }
        same
    }

    /// Order and number of an arrival; the intended time where it was awaited.
    fn arrived_in_group(
        &mut self,
        now: Nanos,
        (device, nth): (u32, u32),
        (origin, seq): (GroupOrigin, u32),
        via: Via,
    ) -> Option<Nanos> {
        let groups = &mut self.groups;
        let at = groups.line(&self.part, origin.group, device);
        let last = groups.last_pushed[at];
        match via {
            Via::Push => groups.last_pushed[at] = last.max(seq),
            Via::Sync => {
                let synced = groups.synced.entry(at).or_default();
                *synced = (*synced).max(seq);
            }
        }
        let seat = groups.seats.seat(&self.part, nth, device);
        let place = groups.flights.find(origin.group, origin.counter);
        let Some(place) = place.filter(|&place| groups.flights.awaits(place, seat)) else {
            self.not_due(now, device, (origin, seq), (last, via));
            return None;
        };
        groups.flights.settle(place, seat);
        let flight = groups.flights.at(place);
        flight.synced |= via == Via::Sync;
        let intended = flight.intended;
        if via == Via::Push && seq <= last {
            self.counters.reordered += 1;
            self.witness(now, nth, (origin, seq), device);
            let name = self.device_name(device);
            self.group_violation(now, Kind::Reordered, (origin.group, &[device]), || {
                format!("sequence {seq} came to {name} behind sequence {last}")
            });
        }
        self.sequence_in_group(now, place, seq);
        self.groups.flights.at(place).push_seq = seq;
        self.land_in_group(place);
        Some(intended)
    }

    /// A message came to a device that did not wait for it: it may, or it must not.
    fn not_due(
        &mut self,
        now: Nanos,
        device: u32,
        (origin, seq): (GroupOrigin, u32),
        (last, via): (u32, Via),
    ) {
        let GroupOrigin { group, counter, .. } = origin;
        let groups = &mut self.groups;
        let at = groups.line(&self.part, group, device);
        let sent = counter <= groups.states[group as usize].sent;
        let intended = origin.intended_us * 1000;
        // A device whose session was being opened when the message was sent may get it or not: only
        // the gateway knows which came first.
        let before = intended < self.sessions.owed_since(device);
        if sent && before && seq > last {
            return;
        }
        if sent
            && via == Via::Push
            && seq > last
            && self.is_echo_in_group(now, device, (origin, seq))
        {
            return;
        }
        let groups = &self.groups;
        let synced = || groups.synced.get(&at).is_some_and(|synced| seq <= *synced);
        if sent && (via == Via::Sync || (seq > last && synced())) {
            // Fetched and pushed: a client tells by the sequence that it is the same.
            return;
        }
        let nth = groups.members.nth(group, self.part.user_of(device));
        self.witness(now, nth.unwrap_or(0), (origin, seq), device);
        let name = self.device_name(device);
        let about = (group, &[device][..]);
        if !sent || seq > last {
            self.counters.unexpected += 1;
            // Its sequence is taken all the same: no second violation follows from this one.
            self.groups.states[group as usize].sequences.insert(seq);
            self.group_violation(now, Kind::Unexpected, about, || {
                format!("message {counter} was not due at {name}")
            });
        } else {
            self.counters.duplicated += 1;
            self.group_violation(now, Kind::Duplicated, about, || {
                format!("message {counter} (sequence {seq}) came to {name} twice")
            });
        }
    }

    /// Remembers a push that is evidence, where it is not remembered anyway.
    fn witness(&mut self, now: Nanos, nth: u32, (origin, seq): (GroupOrigin, u32), device: u32) {
        if nth >= WITNESSES {
            self.remember_in_group(now, What::Pushed, origin, seq, device);
        }
    }
}
