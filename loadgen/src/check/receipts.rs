//! Watermarks: what clients acknowledged, and what the others were told of it.

use fnv::FnvHashMap;
use trunkline_proto::message::Receipt;

use super::evidence::{Evidence, Kind};
use super::sessions::Sessions;
use super::{Checker, Via, clip};
use crate::clock::Nanos;
use crate::population::Part;

/// Two cumulative watermarks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) delivered: u32,
    pub(crate) read: u32,
}

impl Marks {
    /// The higher of each.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            delivered: self.delivered.max(other.delivered),
            read: self.read.max(other.read),
        }
    }

    /// Whether neither is below the other's.
    pub(super) fn covers(self, other: Self) -> bool {
        self.delivered >= other.delivered && self.read >= other.read
    }
}

/// The watermarks of one thread's conversations.
#[derive(Debug)]
pub(super) struct Receipts {
    /// By stream, what its user acknowledged.
    acknowledged: Vec<Marks>,
    /// By device and slot, what its user's contact is known to have.
    seen: Vec<Marks>,
    /// By device and slot, what had been acknowledged when the device's session opened: it is
    /// not told of that again.
    waived: Vec<Marks>,
    /// By device and slot, what `sync` told before the pushes of it came, if they do.
    synced: FnvHashMap<usize, Marks>,
}

impl Receipts {
    pub(super) fn new(part: &Part) -> Self {
        Self {
            acknowledged: vec![Marks::default(); part.streams()],
            seen: vec![Marks::default(); (part.devices() * part.slots()) as usize],
            waived: vec![Marks::default(); (part.devices() * part.slots()) as usize],
            synced: FnvHashMap::default(),
        }
    }

    /// A device's session opened: it is owed the receipts from now on.
    pub(super) fn opened(&mut self, part: &Part, device: u32) {
        let user = part.user_of(device);
        for slot in 0..part.slots() {
            let theirs = part.stream(part.contact(user, slot), slot ^ 1);
            self.waived[(device * part.slots() + slot) as usize] =
                self.acknowledged[theirs as usize];
        }
    }

    /// The first device that was not told of a contact's last watermarks.
    fn missing(&self, part: &Part, sessions: &Sessions) -> Option<(u32, Marks, Marks)> {
        for device in (0..part.devices()).filter(|device| sessions.is_open(*device)) {
            let user = part.user_of(device);
            for slot in 0..part.slots() {
                let contact = part.contact(user, slot);
                let first = part.first_device(contact);
                let mut theirs = first..first + part.device_count(contact);
                if theirs.any(|device| sessions.is_gone(device)) {
                    // What a session that ended had said last may not have left this machine.
                    continue;
                }
                let at = (device * part.slots() + slot) as usize;
                let expected = self.acknowledged[part.stream(contact, slot ^ 1) as usize];
                let seen = self.seen[at];
                if seen != expected && self.waived[at] != expected {
                    return Some((part.stream(user, slot), expected, seen));
                }
            }
        }
        None
    }

    pub(super) fn settled(&self, part: &Part, sessions: &Sessions) -> bool {
        self.missing(part, sessions).is_none()
    }

    /// Takes note of marks; whether they are where these may be: pushed ones never behind what
    /// was there, unless it was `sync` that told of them first.
    fn moved(&mut self, at: usize, marks: Marks, via: Via) -> bool {
        let before = self.seen[at];
        if via == Via::Sync {
            self.seen[at] = before.max(marks);
            let synced = self.synced.entry(at).or_default();
            *synced = synced.max(marks);
            return true;
        }
        let forward = marks.covers(before);
        if !forward && self.synced.get(&at).is_some_and(|s| s.covers(marks)) {
            return true;
        }
        if forward {
            self.synced.remove(&at);
        }
        self.seen[at] = marks;
        forward
    }

    pub(super) fn close(
        &self,
        now: Nanos,
        part: &Part,
        sessions: &Sessions,
        evidence: &mut Evidence,
    ) {
        if let Some((stream, expected, seen)) = self.missing(part, sessions) {
            let conversation = Some(part.conversation(stream));
            evidence.violation(now, Kind::ReceiptMissing, conversation, || {
                format!("the contact acknowledged {expected:?}, the last receipt said {seen:?}")
            });
        }
    }
}

impl Checker {
    /// What to acknowledge in the reader's conversation, having got everything up to `delivered`
    /// and read up to `read`; `None` where it has been said.
    pub(crate) fn acknowledge(&mut self, reader: u32, read: bool) -> Option<Marks> {
        let (user, slot) = self.part.stream_parts(reader);
        let first = self.part.first_device(user);
        let got = (0..self.part.device_count(user))
            .map(|i| {
                let at = ((first + i) * self.part.slots() + slot) as usize;
                let synced = self.synced.get(&at).copied().unwrap_or(0);
                self.last_pushed[at].max(synced)
            })
            .max()
            .unwrap_or(0);
        let said = &mut self.receipts.acknowledged[reader as usize];
        let next = Marks {
            delivered: got.max(said.delivered),
            read: if read { got.max(said.read) } else { said.read },
        };
        if *said == next {
            return None;
        }
        *said = next;
        self.counters.receipts_sent += 1;
        Some(next)
    }

    /// What has been acknowledged in the reader's conversation, to be said again.
    pub(crate) fn acknowledged_so_far(&mut self, reader: u32) -> Option<Marks> {
        let said = self.receipts.acknowledged[reader as usize];
        if said == Marks::default() {
            return None;
        }
        self.counters.receipts_sent += 1;
        Some(said)
    }

    /// A receipt came to a device.
    pub(crate) fn receipt(&mut self, now: Nanos, device: u32, receipt: &Receipt<'_>, via: Via) {
        self.counters.receipt_pushes += u64::from(via == Via::Push);
        if receipt.conversation.starts_with("g:") {
            return self.receipt_in_group(now, device, receipt, via);
        }
        let own = self.part.user_of(device);
        let reader = self.part.parse_user(&receipt.user);
        if reader == Some(own) {
            // The user's own other device said so; this one is only kept in step.
            return;
        }
        let Some((reader, slot)) =
            reader.and_then(|user| Some((user, self.part.slot_of(own, user)?)))
        else {
            return self.violation(now, Kind::ReceiptWrong, None, || {
                format!("a receipt of {:?}, who is no contact", clip(&receipt.user))
            });
        };
        self.name.clear();
        self.part.write_conversation(own, reader, &mut self.name);
        let stream = self.part.stream(own, slot);
        let theirs = self.part.stream(reader, slot ^ 1) as usize;
        let said = self.receipts.acknowledged[theirs];
        let at = (device * self.part.slots() + slot) as usize;
        let before = self.receipts.seen[at];
        let marks = Marks {
            delivered: u32::try_from(receipt.delivered).unwrap_or(u32::MAX),
            read: u32::try_from(receipt.read).unwrap_or(u32::MAX),
        };
        let forward = self.receipts.moved(at, marks, via);
        let true_so_far = marks.delivered <= said.delivered && marks.read <= said.read;
        if !forward || !true_so_far || *self.name != *receipt.conversation {
            self.violation(now, Kind::ReceiptWrong, Some(stream), || {
                format!("{marks:?} behind {before:?}, while {said:?} was acknowledged")
            });
        }
    }
}
