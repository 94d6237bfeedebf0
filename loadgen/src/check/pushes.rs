//! Pushes of messages: are they due here, now, with this text?

use trunkline_proto::message::Message;

use super::evidence::{Kind, What};
use super::{Checker, Landing, clip};
use crate::clock::Nanos;
use crate::population::MAX_DEVICES;
use crate::schedule::text::Origin;

/// How an event reached a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// Pushed, in the order of the log.
    Push,
    /// Fetched with `sync` after a `gap`. The answer may hold what was pushed before, and what is
    /// still to be pushed behind it: the two ways are not ordered against each other.
    Sync,
}

impl Checker {
    /// A message came to a device.
    pub(crate) fn pushed(
        &mut self,
        now: Nanos,
        device: u32,
        message: &Message<'_>,
        via: Via,
    ) -> Option<Landing> {
        self.counters.message_pushes += u64::from(via == Via::Push);
        let text = message.text.as_deref().unwrap_or_default();
        let Some(origin) = self.texts.origin(&self.part, text) else {
            if let Some(origin) = self.origin_in_group(text) {
                return self.pushed_in_group(now, device, (message, origin), via);
            }
            self.counters.unexpected += 1;
            self.violation(now, Kind::Unexpected, None, || {
                format!(
                    "a message nobody sent: {:?} from {:?}",
                    clip(text),
                    message.from
                )
            });
            return None;
        };
        let seq = u32::try_from(message.seq).unwrap_or(0);
        self.remember(
            now,
            What::Pushed,
            origin.stream,
            origin.counter,
            seq,
            device,
        );
        let Some((reader, bit)) = self.seat(device, origin.stream) else {
            self.counters.unexpected += 1;
            self.violation(now, Kind::Unexpected, Some(origin.stream), || {
                format!("device {device} got a message between two others")
            });
            return None;
        };
        self.expect_conversation(now, origin.stream, &message.conversation);
        if !self.is_as_sent(now, origin, message, Kind::TextChanged) {
            self.counters.unexpected += 1;
        }
        let intended = self.arrived(now, device, reader, (origin, seq), bit, via);
        Some(Landing {
            reader,
            intended,
            in_group: false,
        })
    }

    /// The stream of a device's user in the conversation of `stream`, and the device's bit.
    pub(super) fn seat(&self, device: u32, stream: u32) -> Option<(u32, u16)> {
        let (user, slot) = self.part.stream_parts(stream);
        let contact = self.part.contact(user, slot);
        let own = self.part.user_of(device);
        let index = self.part.device_index(device);
        if own == contact {
            Some((self.part.stream(contact, slot ^ 1), 1 << index))
        } else if own == user {
            Some((stream, 1 << (index + MAX_DEVICES)))
        } else {
            None
        }
    }

    /// Whether a message has the text it was sent with; its sender is judged too. `kind` is what
    /// a wrong text is called.
    pub(super) fn is_as_sent(
        &mut self,
        now: Nanos,
        origin: Origin,
        message: &Message<'_>,
        kind: Kind,
    ) -> bool {
        let mut expected = std::mem::take(&mut self.text);
        self.texts.write(&self.part, origin, &mut expected);
        let (user, _) = self.part.stream_parts(origin.stream);
        let same = message.text.as_deref() == Some(&*expected);
        if !same {
            self.violation(now, kind, Some(origin.stream), || {
                format!(
                    "message {} has another text than it was sent with",
                    origin.counter
                )
            });
        }
        if self.part.parse_user(&message.from) != Some(user) {
            self.violation(now, Kind::WrongConversation, Some(origin.stream), || {
                format!("the sender is called {:?}", message.from)
            });
        }
        self.text = expected;
        same
    }

    /// Order and number of an arrival; the intended time where it was awaited.
    fn arrived(
        &mut self,
        now: Nanos,
        device: u32,
        reader: u32,
        (origin, seq): (Origin, u32),
        bit: u16,
        via: Via,
    ) -> Option<Nanos> {
        let (_, slot) = self.part.stream_parts(reader);
        let at = (device * self.part.slots() + slot) as usize;
        let last = self.last_pushed[at];
        match via {
            Via::Push => self.last_pushed[at] = last.max(seq),
            Via::Sync => {
                let synced = self.synced.entry(at).or_default();
                *synced = (*synced).max(seq);
            }
        }
        let awaited = self
            .flights
            .find(origin.stream, origin.counter)
            .filter(|&place| self.flights.at(place).awaiting & bit != 0);
        let Some(place) = awaited else {
            // A device whose session was being opened when the message was sent may get it or
            // not: only the gateway knows which came first.
            let sent = origin.counter <= self.flights.sent(origin.stream);
            let before = origin.intended_us * 1000 < self.sessions.owed_since(device);
            if sent && before && seq > last {
                return None;
            }
            if via == Via::Push && seq > last && self.is_echo(now, device, origin, seq) {
                return None;
            }
            let synced = || self.synced.get(&at).is_some_and(|synced| seq <= *synced);
            if sent && (via == Via::Sync || (seq > last && synced())) {
                // Fetched and pushed: a client tells by the sequence that it is the same.
                return None;
            }
            // Never sent, to a device that was not there, or once too often.
            if !sent || seq > last {
                self.counters.unexpected += 1;
                // Its sequence is taken all the same: no second violation follows from this one.
                let conversation = self.part.conversation(origin.stream);
                self.sequences[conversation as usize].insert(seq);
                self.violation(now, Kind::Unexpected, Some(origin.stream), || {
                    format!("message {} was not due at device {device}", origin.counter)
                });
            } else {
                self.counters.duplicated += 1;
                self.violation(now, Kind::Duplicated, Some(origin.stream), || {
                    format!("message {} (sequence {seq}) came twice", origin.counter)
                });
            }
            return None;
        };
        if via == Via::Push && seq <= last {
            self.counters.reordered += 1;
            self.violation(now, Kind::Reordered, Some(origin.stream), || {
                format!("sequence {seq} came behind sequence {last}")
            });
        }
        self.sequence(now, place, seq);
        let flight = self.flights.at(place);
        flight.push_seq = seq;
        flight.awaiting &= !bit;
        flight.synced |= via == Via::Sync;
        let intended = flight.intended;
        self.land(place);
        Some(intended)
    }
}
