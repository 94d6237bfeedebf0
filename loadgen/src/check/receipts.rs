//! Receipts: the acknowledgements of clients, and what the gateway tells other members about them.
//!
//! A receipt must be true, and must not go back. In a pair the last receipt is owed, too. In a
//! group it is not, because a gateway tells only members of small groups, and may report several
//! acknowledgements at once.

use fnv::FnvHashMap;
use trunkline_proto::message::Receipt;

use super::clip;
use super::evidence::Violation;
use super::pushes::{Inboxes, Via};
use super::roster::{Roster, Seat};
use super::scene::Scene;
use crate::clock::Nanos;

/// The most members of a group for which the checker keeps what each device was told of each other
/// member: two words for each such pair. In a larger group it only compares receipts with the
/// acknowledgements.
const KEPT: u32 = 16;

/// Two cumulative watermarks: the sequences up to which a user has received and read a
/// conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) delivered: u32,
    pub(crate) read: u32,
}

impl Marks {
    /// Returns the higher one of each watermark.
    fn max(self, other: Self) -> Self {
        Self {
            delivered: self.delivered.max(other.delivered),
            read: self.read.max(other.read),
        }
    }

    /// Returns whether no watermark is below the other's.
    fn covers(self, other: Self) -> bool {
        self.delivered >= other.delivered && self.read >= other.read
    }
}

/// The watermarks of one thread's conversations.
#[derive(Debug)]
pub(super) struct Receipts {
    /// The acknowledgement of the member, by stream. Streams of groups are added when the first
    /// member of a group acknowledges.
    acknowledged: Vec<Marks>,
    /// The contact's watermarks that the device was told, by inbox of a pair.
    told_in_pairs: Vec<Marks>,
    /// The contact's watermarks when the device's session opened, by inbox of a pair. The device is
    /// not told of these again.
    waived: Vec<Marks>,
    /// The member's watermarks that the device was told, by conversation, then by seat and member.
    /// A small group has an entry from its first receipt on.
    told_in_groups: FnvHashMap<u32, Vec<Marks>>,
    /// The watermarks that `sync` told before their pushes, which may still come.
    synced: FnvHashMap<ReceiptKey, Marks>,
    /// The time of the last receipt or acknowledgement in a group.
    last_in_group: Nanos,
}

/// The key of the receipts that a device got about a member: the device's inbox, and the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ReceiptKey {
    /// The inbox of the device for the conversation.
    inbox: usize,
    /// The place of the member that acknowledged.
    nth: u32,
}

/// A pair's receipt that did not come.
#[derive(Debug)]
struct Missing {
    conversation: u32,
    expected: Marks,
    told: Marks,
}

impl Receipts {
    /// Makes the watermarks of a run without receipts so far.
    pub(super) fn new(roster: &Roster) -> Self {
        let none = vec![Marks::default(); roster.pair_inboxes()];
        Self {
            acknowledged: vec![Marks::default(); roster.pair_streams() as usize],
            told_in_pairs: none.clone(),
            waived: none,
            told_in_groups: FnvHashMap::default(),
            synced: FnvHashMap::default(),
            last_in_group: 0,
        }
    }

    fn acknowledged(&self, stream: u32) -> Marks {
        let marks = self.acknowledged.get(stream as usize);
        marks.copied().unwrap_or_default()
    }

    /// Returns the time of the last receipt or acknowledgement in a group; 0 if there was none.
    pub(super) fn last_in_group(&self) -> Nanos {
        self.last_in_group
    }

    /// Notes that a device's session opened: the receipts of pairs are owed to it from now on.
    pub(super) fn opened(&mut self, roster: &Roster, device: u32) {
        let part = roster.part();
        let user = part.user_of(device);
        for slot in 0..part.slots() {
            let theirs = part.stream(part.contact(user, slot), slot ^ 1);
            let inbox = device * part.slots() + slot;
            self.waived[inbox as usize] = self.acknowledged[theirs as usize];
        }
    }

    /// Returns the acknowledgement for a stream's member that received the messages in its inboxes
    /// and, if `read`, read them. `None` if that is acknowledged already, or if the stream has no
    /// member.
    pub(super) fn acknowledge(
        &mut self,
        scene: &mut Scene<'_>,
        inboxes: &Inboxes,
        stream: u32,
        read: bool,
    ) -> Option<Marks> {
        let roster = scene.roster;
        let reader = roster.writer(stream)?;
        let seats = { roster.devices(reader.user) }
            .filter_map(|device| roster.seat(reader.conversation, device));
        let got = seats.map(|seat| inboxes.highest(seat.inbox)).max();
        let got = got.unwrap_or(0);
        if stream as usize >= self.acknowledged.len() {
            let all = roster.streams();
            self.acknowledged.resize(all, Marks::default());
        }
        let said = &mut self.acknowledged[stream as usize];
        let next = Marks {
            delivered: got.max(said.delivered),
            read: if read { got.max(said.read) } else { said.read },
        };
        if *said == next {
            return None;
        }
        *said = next;
        if !roster.is_pair(reader.conversation) {
            self.last_in_group = scene.now;
        }
        scene.counters.receipts_sent += 1;
        Some(next)
    }

    /// Returns the last acknowledgement of a stream's member, to be sent again; `None` if there was
    /// none.
    pub(super) fn acknowledge_again(&self, scene: &mut Scene<'_>, stream: u32) -> Option<Marks> {
        let said = self.acknowledged(stream);
        if said == Marks::default() {
            return None;
        }
        scene.counters.receipts_sent += 1;
        Some(said)
    }

    /// Judges a receipt that came to a device.
    pub(super) fn arrive(
        &mut self,
        scene: &mut Scene<'_>,
        device: u32,
        receipt: &Receipt<'_>,
        via: Via,
    ) {
        scene.counters.receipt_pushes += u64::from(via == Via::Push);
        if receipt.conversation.starts_with("g:") {
            self.last_in_group = scene.now;
        }
        let roster = scene.roster;
        let conversation = roster.parse_conversation(&receipt.conversation);
        let reader = roster.part().parse_user(&receipt.user);
        let places = conversation.zip(reader).and_then(|(conversation, reader)| {
            let nth = roster.nth(conversation, reader)?;
            Some((conversation, nth)).zip(roster.seat(conversation, device))
        });
        let Some(((conversation, nth), seat)) = places else {
            return scene.violation(Violation::ReceiptWrong, None, || {
                format!(
                    "a receipt of {:?} in {:?}, where not both are members",
                    clip(&receipt.user),
                    clip(&receipt.conversation)
                )
            });
        };
        if nth == seat.nth && roster.is_pair(conversation) {
            // Another device of the same user sent this acknowledgement. The gateway only keeps
            // this device in step.
            return;
        }
        let marks = Marks {
            delivered: u32::try_from(receipt.delivered).unwrap_or(u32::MAX),
            read: u32::try_from(receipt.read).unwrap_or(u32::MAX),
        };
        let said = self.acknowledged(roster.stream(conversation, nth));
        let told = ReceiptKey {
            inbox: seat.inbox,
            nth,
        };
        let (mut before, mut forward) = (Marks::default(), true);
        if let Some(kept) = self.told(roster, conversation, seat, nth) {
            before = *kept;
            let moved = self.moved(told, before, marks, via);
            forward = moved.forward;
            if let Some(kept) = self.told(roster, conversation, seat, nth) {
                *kept = moved.now;
            }
        }
        if !forward || !said.covers(marks) {
            scene.violation_at(Violation::ReceiptWrong, conversation, device, || {
                format!(
                    "{} was told {marks:?} of {:?} behind {before:?}, while {said:?} was \
                     acknowledged",
                    roster.device_name(device),
                    clip(&receipt.user)
                )
            });
        }
    }

    /// Returns the last receipt about the `nth` member that the device in a seat got; `None` if
    /// that is not kept.
    fn told(
        &mut self,
        roster: &Roster,
        conversation: u32,
        seat: Seat,
        nth: u32,
    ) -> Option<&mut Marks> {
        if roster.is_pair(conversation) {
            return Some(&mut self.told_in_pairs[seat.inbox]);
        }
        let size = roster.size(conversation);
        if size > KEPT {
            return None;
        }
        let all = (size * roster.seats(conversation)) as usize;
        let none = || vec![Marks::default(); all];
        let told = self.told_in_groups.entry(conversation).or_insert_with(none);
        Some(&mut told[(seat.number * size + nth) as usize])
    }

    /// Judges marks against the marks reported `before`. Pushed marks never go back, unless `sync`
    /// reported them first.
    fn moved(&mut self, told: ReceiptKey, before: Marks, marks: Marks, via: Via) -> Moved {
        if via == Via::Sync {
            let synced = self.synced.entry(told).or_default();
            *synced = synced.max(marks);
            return Moved {
                forward: true,
                now: before.max(marks),
            };
        }
        let forward = marks.covers(before);
        if !forward && self.synced.get(&told).is_some_and(|it| it.covers(marks)) {
            return Moved {
                forward: true,
                now: before,
            };
        }
        if forward {
            self.synced.remove(&told);
        }
        Moved {
            forward,
            now: marks,
        }
    }

    /// Returns the first device of a pair that was not told of the contact's last watermarks.
    fn missing(&self, scene: &Scene<'_>) -> Option<Missing> {
        let (part, sessions) = (scene.roster.part(), scene.sessions);
        for device in (0..part.devices()).filter(|device| sessions.is_open(*device)) {
            let user = part.user_of(device);
            for slot in 0..part.slots() {
                let contact = part.contact(user, slot);
                let mut theirs = scene.roster.devices(contact);
                if theirs.any(|device| sessions.is_gone(device)) {
                    // The last words of a session that ended may not have left this machine.
                    continue;
                }
                let inbox = (device * part.slots() + slot) as usize;
                let expected = self.acknowledged(part.stream(contact, slot ^ 1));
                let told = self.told_in_pairs[inbox];
                if told != expected && self.waived[inbox] != expected {
                    return Some(Missing {
                        conversation: part.conversation(part.stream(user, slot)),
                        expected,
                        told,
                    });
                }
            }
        }
        None
    }

    /// Returns whether every receipt that is owed has come.
    pub(super) fn is_settled(&self, scene: &Scene<'_>) -> bool {
        self.missing(scene).is_none()
    }

    /// Counts the first receipt that is owed and did not come as a violation.
    pub(super) fn close(&self, scene: &mut Scene<'_>) {
        if let Some(missing) = self.missing(scene) {
            let Missing {
                conversation,
                expected,
                told,
            } = missing;
            scene.violation(Violation::ReceiptMissing, Some(conversation), || {
                format!("the contact acknowledged {expected:?}, the last receipt said {told:?}")
            });
        }
    }
}

/// The effect of a receipt.
#[derive(Debug)]
struct Moved {
    /// Whether the receipt may come now.
    forward: bool,
    /// The watermarks told from now on.
    now: Marks,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_compared_one_by_one() {
        let marks = |delivered, read| Marks { delivered, read };
        assert_eq!(marks(3, 1).max(marks(2, 2)), marks(3, 2));
        assert!(marks(3, 2).covers(marks(3, 2)) && marks(3, 2).covers(marks(0, 2)));
        assert!(!marks(3, 1).covers(marks(2, 2)) && !marks(1, 1).covers(marks(2, 0)));
    }
}
