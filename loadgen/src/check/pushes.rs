//! Checks pushes of messages: each must be due at its device, in order, and have the right text.

use fnv::FnvHashMap;
use trunkline_proto::message::Message;

use super::WITNESSES;
use super::evidence::{EventKind, Violation};
use super::ledger::Ledger;
use super::origin::{Origin, Recognizer};
use super::roster::{Roster, Seat};
use super::scene::Scene;
use crate::clock::Nanos;

/// The way in which an event reached a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// The gateway pushed the event, in the order of the log.
    Push,
    /// The client fetched the event with `sync` after a `gap`. The answer may hold events that were
    /// pushed before, and events that are pushed later: pushes and fetched pages have no common
    /// order.
    Sync,
}

/// The meaning of a push for the client that received it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Landing {
    /// The recipient's stream in the conversation, which the client uses to acknowledge.
    pub(crate) reader: u32,
    /// The intended time of the send; `None` for a message that was not expected.
    pub(crate) intended: Option<Nanos>,
    /// Whether the message is a group's.
    pub(crate) in_group: bool,
}

/// The highest sequences of each device in each of its conversations.
#[derive(Debug)]
pub(super) struct Inboxes {
    /// The highest sequence pushed, by inbox.
    pushed: Vec<u32>,
    /// The highest sequence fetched with `sync`, by inbox; only inboxes with such a fetch.
    synced: FnvHashMap<usize, u32>,
}

/// A message that came to a device.
#[derive(Clone, Copy, Debug)]
struct Arrived {
    device: u32,
    seat: Seat,
    origin: Origin,
    seq: u32,
    via: Via,
    /// The highest sequence pushed to the device before.
    last: u32,
}

impl Inboxes {
    /// Makes empty inboxes for all devices and conversations.
    pub(super) fn new(roster: &Roster) -> Self {
        Self {
            pushed: vec![0; roster.inboxes()],
            synced: FnvHashMap::default(),
        }
    }

    /// Returns the highest sequence that an inbox received, pushed or fetched; 0 if there is none.
    pub(super) fn highest(&self, inbox: usize) -> u32 {
        self.pushed[inbox].max(self.synced(inbox))
    }

    fn synced(&self, inbox: usize) -> u32 {
        self.synced.get(&inbox).copied().unwrap_or(0)
    }

    /// Notes a received sequence. Returns the highest sequence that was pushed before.
    fn note(&mut self, inbox: usize, seq: u32, via: Via) -> u32 {
        let last = self.pushed[inbox];
        match via {
            Via::Push => self.pushed[inbox] = last.max(seq),
            Via::Sync => {
                let synced = self.synced.entry(inbox).or_default();
                *synced = (*synced).max(seq);
            }
        }
        last
    }

    /// Judges a message that came to a device. Returns its meaning for the client; `None` if the
    /// device should not have received it.
    pub(super) fn arrive(
        &mut self,
        scene: &mut Scene<'_>,
        ledger: &mut Ledger,
        recognizer: &mut Recognizer,
        device: u32,
        (message, via): (&Message<'_>, Via),
    ) -> Option<Landing> {
        scene.counters.message_pushes += u64::from(via == Via::Push);
        let text = message.text.as_deref().unwrap_or_default();
        let Some(origin) = recognizer.recognize(scene.roster, text) else {
            scene.counters.unexpected += 1;
            scene.violation(Violation::Unexpected, None, || {
                format!(
                    "a message nobody sent: {:?} from {:?}",
                    super::clip(text),
                    message.from
                )
            });
            return None;
        };
        let conversation = origin.conversation;
        let in_group = !scene.roster.is_pair(conversation);
        scene.counters.group_pushes += u64::from(in_group && via == Via::Push);
        let seq = u32::try_from(message.seq).unwrap_or(0);
        let Some(seat) = scene.roster.seat(conversation, device) else {
            scene.counters.unexpected += 1;
            scene.remember(EventKind::Pushed, origin, seq, device);
            let roster = scene.roster;
            scene.violation_at(Violation::Unexpected, conversation, device, || {
                let name = roster.device_name(device);
                format!("{name} got message {}, and is no member", origin.counter)
            });
            return None;
        };
        if seat.nth < WITNESSES {
            scene.remember(EventKind::Pushed, origin, seq, device);
        }
        if !recognizer.compare(scene, message, Violation::TextChanged) {
            scene.counters.unexpected += 1;
        }
        let arrived = Arrived {
            device,
            seat,
            origin,
            seq,
            via,
            last: self.note(seat.inbox, seq, via),
        };
        Some(Landing {
            reader: scene.roster.stream(conversation, seat.nth),
            intended: self.take(scene, ledger, arrived),
            in_group,
        })
    }

    /// Judges order and number of a message that came. Returns when it should have been sent, where
    /// the device waited for it.
    fn take(&self, scene: &mut Scene<'_>, ledger: &mut Ledger, arrived: Arrived) -> Option<Nanos> {
        let Arrived {
            device,
            seat,
            origin,
            seq,
            via,
            last,
        } = arrived;
        let Some(place) = ledger.awaited(origin, seat) else {
            self.judge_unawaited(scene, ledger, arrived);
            return None;
        };
        if via == Via::Push && seq <= last {
            scene.counters.reordered += 1;
            witness(scene, arrived);
            let roster = scene.roster;
            scene.violation_at(Violation::Reordered, origin.conversation, device, || {
                let name = roster.device_name(device);
                format!("sequence {seq} came to {name} behind sequence {last}")
            });
        }
        Some(ledger.reached(scene, place, seat, (seq, via)))
    }

    /// Judges a message that came to a device that did not wait for it.
    fn judge_unawaited(&self, scene: &mut Scene<'_>, ledger: &mut Ledger, arrived: Arrived) {
        let Arrived {
            device,
            seat,
            origin,
            seq,
            via,
            last,
        } = arrived;
        let sent = ledger.conversations().was_sent(origin);
        // A device whose session was being opened when the message was sent may get it or not: only
        // the gateway knows which came first.
        let before = origin.intended() < scene.sessions.owed_since(device);
        if sent && before && seq > last {
            return;
        }
        if via == Via::Push && seq > last && ledger.is_echo(scene, device, origin, seq) {
            return;
        }
        if sent && (via == Via::Sync || (seq > last && seq <= self.synced(seat.inbox))) {
            // The message was fetched and pushed. A client recognizes it by its sequence.
            return;
        }
        witness(scene, arrived);
        let roster = scene.roster;
        let (conversation, counter) = (origin.conversation, origin.counter);
        if !sent || seq > last {
            scene.counters.unexpected += 1;
            // The sequence counts as taken, so that no second violation follows from this one.
            ledger.conversations_mut().take(conversation, seq);
            scene.violation_at(Violation::Unexpected, conversation, device, || {
                let name = roster.device_name(device);
                format!("message {counter} was not due at {name}")
            });
        } else {
            scene.counters.duplicated += 1;
            scene.violation_at(Violation::Duplicated, conversation, device, || {
                let name = roster.device_name(device);
                format!("message {counter} (sequence {seq}) came to {name} twice")
            });
        }
    }
}

/// Remembers a push that is evidence, where pushes to that member are not remembered anyway.
fn witness(scene: &mut Scene<'_>, arrived: Arrived) {
    let Arrived {
        device,
        seat,
        origin,
        seq,
        ..
    } = arrived;
    if seat.nth >= WITNESSES {
        scene.remember(EventKind::Pushed, origin, seq, device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::tests::none;
    use crate::population::tests::population;

    #[test]
    fn an_inbox_is_as_far_as_pushes_and_fetched_pages_together() {
        let part = population(5, 2000, 2).part(0, 1);
        let roster = Roster::new(part.clone(), none(&part).into());
        let mut inboxes = Inboxes::new(&roster);
        assert_eq!(inboxes.pushed.len(), 20);
        assert_eq!(inboxes.note(3, 5, Via::Push), 0);
        assert_eq!(inboxes.note(3, 9, Via::Sync), 5);
        assert_eq!(inboxes.note(3, 7, Via::Push), 5);
        // A push that comes too late does not move it back.
        assert_eq!(inboxes.note(3, 6, Via::Push), 7);
        assert_eq!((inboxes.note(3, 8, Via::Sync), inboxes.synced(3)), (7, 9));
        assert_eq!((inboxes.highest(3), inboxes.highest(4)), (9, 0));
    }
}
