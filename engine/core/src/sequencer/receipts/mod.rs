//! Receipts: the marks of members, which say how far each has received and read a conversation.
//!
//! 1. An acknowledgement waits a short time ([`hold`]). Clients often acknowledge message by
//!    message, and the members of a group acknowledge at the same time.
//! 2. When a conversation is due, its waiting acknowledgements become one record with the last
//!    marks of each member. The record follows the messages of the same commit.
//! 3. After the commit the sequencer answers the acknowledgements.
//!
//! A receipt goes to the other devices of the reader. It also goes to the authors of the messages
//! that the marks newly cover, if the group has at most `receipt_fanout` members.

mod hold;

use std::ops::Range;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use trunkline_storage::{Draft, Position, TimelineId};

use super::asked::Asked;
use super::authors::{Found, KNOWN_AUTHORS};
use super::batch::{Changes, OpenBatch};
use super::outbox::Outbox;
use super::recent::Recent;
use super::refused::{CommitFirst, NO_CONVERSATION, Refused, Stop};
use super::subject;
use crate::event::{self, MOST_TOLD, Part, RecordKind};
use crate::exchange::{Done, Members, Outcome};
use crate::ids::UserId;
use crate::messaging::Messaging;
use crate::metrics::SequencerMetrics;
use crate::state::{self, Acked, Advance, Marks, Member};
use crate::told::Decision;
use crate::told::{Device, PartRecipients};
use hold::{Hold, MarksOwner, Waiting};

pub(super) use hold::{Held, Instant, Reader};

/// The bytes that a value under a key of its own takes in a record, besides the value.
const KEYED: usize = 20;

/// The bytes that a value under the id of the record's timeline takes in a record, besides the
/// value.
const OWN_KEYED: usize = 4;

/// The maximum number of members of a group whose marks may be one value. Each change writes the
/// whole value.
const MOST_TOGETHER: usize = 64;

/// Decides acknowledgements and stores them as receipts.
pub(super) struct Receipts {
    hold: Hold,
    /// The maximum number of members of a group in which authors receive receipts.
    receipt_fanout: usize,
    /// The memory for the body of a receipt.
    body: Vec<u8>,
    metrics: Arc<SequencerMetrics>,
}

/// The recipients of the parts of a receipt.
struct Recipients {
    /// The users whose timelines the record enters. The readers come first, in the order of their
    /// parts.
    fanout: SmallVec<[UserId; 10]>,
    /// For the part of each reader, its recipients as bits: bit N is the user at place N of the fan-out.
    told: SmallVec<[u64; 4]>,
    /// Parts that come behind those of the readers.
    also: SmallVec<[Delivered; 2]>,
}

/// A part of a receipt that says only what was delivered to a reader: for a user who does not see the last message
/// that the reader has read.
struct Delivered {
    /// The number of the reader.
    reader: usize,
    /// The recipients as bits: bit N is the user at place N of the fan-out.
    told: u64,
}

impl Recipients {
    /// Returns the recipients of parts of readers alone.
    fn of_readers(fanout: SmallVec<[UserId; 10]>, told: SmallVec<[u64; 4]>) -> Self {
        Self {
            fanout,
            told,
            also: SmallVec::new(),
        }
    }

    /// Returns the parts: for each the number of its reader, its recipients, and whether it says what the reader has
    /// read.
    fn parts(&self) -> impl Iterator<Item = (usize, u64, bool)> {
        let told = self.told.iter().enumerate();
        let of_readers = told.map(|(reader, told)| (reader, *told, true));
        let also = self.also.iter().map(|also| (also.reader, also.told, false));
        of_readers.chain(also)
    }
}

impl Receipts {
    /// Returns the part under these rules, without waiting acknowledgements. It counts receipts in
    /// `metrics`.
    pub(super) fn new(rules: &Messaging, metrics: Arc<SequencerMetrics>) -> Self {
        Self {
            hold: Hold::new(rules),
            receipt_fanout: rules.receipt_fanout,
            body: Vec::new(),
            metrics,
        }
    }

    /// Ends all delays, because the gateway stops.
    pub(super) fn hurry(&mut self) {
        self.hold.hurry();
    }

    /// Returns whether there is no room for another acknowledgement.
    pub(super) fn is_full(&self) -> bool {
        self.hold.is_full()
    }

    /// Returns the time at which a receipt is due next, in milliseconds of the monotonic clock;
    /// `None` if nothing waits.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.hold.next_due()
    }

    /// Returns whether everything that waits is due now.
    pub(super) fn is_pressed(&self) -> bool {
        self.hold.is_pressed()
    }

    /// Writes the number of waiting acknowledgements into the metrics.
    pub(super) fn show(&self) {
        self.metrics.receipts_held.set(self.hold.len() as u64);
    }

    /// Removes and returns the next conversation that is due, or any one if `all` are due.
    pub(super) fn pop(&mut self, batch: &OpenBatch, all: bool) -> Option<Held> {
        self.hold.pop(batch.moment().passed, all)
    }

    /// Removes and returns the waiting acknowledgements of one conversation.
    pub(super) fn take(&mut self, conversation: TimelineId) -> Option<Held> {
        self.hold.take(conversation)
    }

    /// Adds an acknowledgement. Returns the decision if it moves no mark; `None` if it waits, and
    /// [`store`](Self::store) answers it.
    ///
    /// # Errors
    /// The caller is not a member, the conversation does not exist, or the store could not be read.
    pub(super) fn ack(
        &mut self,
        batch: &OpenBatch,
        recent: &mut Recent,
        command: Asked<'_>,
        acked: Acked,
    ) -> Result<Option<Decision>, Refused> {
        recent.check_member(batch, command)?;
        let conversation = recent.conversation(command.conversation)?;
        let (last, now) = (conversation.last_seq(), batch.moment().passed);
        let waiting = Waiting {
            conversation: command.conversation,
            user: command.user,
        };
        if let Some(reader) = self.hold.reader(waiting) {
            let acked = reader.owner.visible(last, acked);
            let moved = reader.marks.acked(last, acked, 0).unwrap_or(reader.marks);
            let caller = command.reply_to.clone();
            self.hold.join(waiting, moved, caller, now);
            return Ok(None);
        }
        let (owner, before, both) = match command.members {
            Members::Direct { side, other } => {
                let before = conversation.marks(side);
                let first = subject::first_seen(batch, command.user, command.conversation)?;
                if last < first {
                    return Err(NO_CONVERSATION);
                }
                let owner = MarksOwner::Direct { side, first };
                (owner, before, Some([command.user, other]))
            }
            Members::Group => {
                let key = batch.ids().member(command.conversation, command.user);
                let member = batch.member(key)?;
                let advance = advance(batch, command.conversation)?;
                let before = advance.of(member.number, member.marks);
                (MarksOwner::Group { key, member }, before, None)
            }
        };
        let Some(marks) = before.acked(last, owner.visible(last, acked), 0) else {
            return Ok(Some(Decision::unchanged(Done::Ack)));
        };
        let reader = Reader {
            user: command.user,
            name: command.user_name()?.into(),
            owner,
            before,
            marks,
            device: Device::of(&command.reply_to),
            commands: smallvec![command.reply_to.clone()],
        };
        let name = command.conversation_name()?;
        let begin = || Held::new(command.conversation, name, both);
        self.hold.enter(command.conversation, begin, reader, now);
        Ok(None)
    }

    /// Stores the marks of some readers of a conversation as one receipt, and answers their
    /// acknowledgements. Answers with the refusal if the receipt cannot be stored.
    ///
    /// # Errors
    /// The batch must be committed first. Nothing is answered yet.
    pub(super) fn store(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        outbox: &mut Outbox,
        receipt: Receipt<'_>,
    ) -> Result<(), CommitFirst> {
        let outcome = match self.append(batch, recent, outbox, receipt) {
            Ok(()) => Outcome::Done(Done::Ack, None),
            Err(Stop::Refused(refused)) => refused.outcome().of_ack(),
            Err(Stop::CommitFirst) => return Err(CommitFirst),
        };
        for reader in receipt.readers {
            for reply_to in &reader.commands {
                let decision = Decision::private(outcome);
                outbox.answer(reply_to.clone(), reader.user, 0, decision);
            }
        }
        Ok(())
    }

    fn append(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        outbox: &mut Outbox,
        receipt: Receipt<'_>,
    ) -> Result<(), Stop> {
        let Receipt { held, readers } = receipt;
        let recipients = self.recipients(batch, recent, receipt)?;
        let now = batch.moment().wire;
        let marks = |reader: &Reader| {
            let acked = Acked {
                delivered: reader.marks.delivered,
                read: reader.marks.read,
            };
            let moved = reader.before.acked(u64::MAX, acked, now);
            moved.unwrap_or(reader.before)
        };
        let marks: SmallVec<[Marks; 4]> = readers.iter().map(marks).collect();
        let mut changes = receipt.changes(batch, recent, &marks)?;
        let parts = recipients.parts().map(|(reader, told, with_read)| Part {
            user: &readers[reader].name,
            delivered: marks[reader].delivered,
            read: if with_read { marks[reader].read } else { 0 },
            told,
        });
        self.body.clear();
        event::write_receipt(&mut self.body, held.name(), parts);
        let draft = Draft {
            kind: RecordKind::Receipt as u8,
            timeline: held.conversation,
            fanout: &recipients.fanout,
            body: &self.body,
            ..Draft::default()
        };
        let position = batch.append(&draft, &mut changes)?;
        for (reader, &marks) in readers.iter().zip(&marks) {
            if let (MarksOwner::Direct { side, .. }, Ok(conversation)) =
                (reader.owner, recent.conversation(held.conversation))
            {
                conversation.set_marks(side, marks);
            }
        }
        tell(outbox, readers, &recipients, position);
        self.metrics.receipts.one();
        self.metrics.receipt_marks.add(readers.len() as u64);
        let commands = readers.iter().map(|reader| reader.commands.len() as u64);
        self.metrics.receipt_acks.add(commands.sum());
        Ok(())
    }

    /// Returns the recipients of a receipt.
    fn recipients(
        &self,
        batch: &OpenBatch,
        recent: &mut Recent,
        receipt: Receipt<'_>,
    ) -> Result<Recipients, Stop> {
        let Receipt { held, readers } = receipt;
        let mut fanout: SmallVec<[UserId; 10]> = readers.iter().map(|one| one.user).collect();
        let own = |part: usize| 1_u64 << part;
        if let Some(both) = held.both {
            for user in both {
                if !fanout.contains(&user) {
                    fanout.push(user);
                }
            }
            let mut firsts = SmallVec::<[u64; 2]>::new();
            for &user in &fanout {
                firsts.push(subject::first_seen(batch, user, held.conversation)?);
            }
            return Ok(in_direct(readers, fanout, &firsts));
        }
        let members = recent.group(batch, held.namespace(), held.conversation)?;
        if members.len() > self.receipt_fanout.min(MOST_TOLD) {
            // In a large group the receipts of all members to all authors would cost more than the
            // messages.
            let told = (0..readers.len()).map(own).collect();
            return Ok(Recipients::of_readers(fanout, told));
        }
        let mut told = SmallVec::new();
        for (part, reader) in readers.iter().enumerate() {
            let mut bits = own(part);
            for user in authors(batch, recent, held, reader)? {
                let place = fanout.iter().position(|one| *one == user);
                bits |= 1
                    << place.unwrap_or_else(|| {
                        fanout.push(user);
                        fanout.len() - 1
                    });
            }
            told.push(bits);
        }
        Ok(Recipients::of_readers(fanout, told))
    }
}

/// Returns the recipients of a receipt of a 1:1 conversation. `firsts` are the sequences of the first messages that
/// the users of the fan-out see.
///
/// A new user of an erased name is not told who received or read what was said before. That user's part of the
/// receipt of a new message has no mark of an earlier one.
fn in_direct(readers: &[Reader], mut fanout: SmallVec<[UserId; 10]>, firsts: &[u64]) -> Recipients {
    let (mut told, mut also) = (SmallVec::new(), SmallVec::new());
    for (number, reader) in readers.iter().enumerate() {
        let Marks {
            delivered, read, ..
        } = reader.marks;
        let bits = |seen: &dyn Fn(u64) -> bool| {
            let seeing = firsts.iter().enumerate().filter(|(_, first)| seen(**first));
            seeing.fold(0, |bits, (place, _)| bits | 1_u64 << place)
        };
        let see_both = |first: u64| first <= delivered && (read == 0 || first <= read);
        told.push(1 << number | bits(&see_both));
        let see_one = bits(&|first| first <= delivered && !see_both(first)) & !(1 << number);
        if see_one != 0 && reader.before.delivered < delivered {
            also.push(Delivered {
                reader: number,
                told: see_one,
            });
        }
    }
    let recipients = |told: &[u64], also: &[Delivered]| {
        let also = also.iter().map(|also| also.told);
        told.iter()
            .copied()
            .chain(also)
            .fold(0, |all, one| all | one)
    };
    let all = recipients(&told, &also);
    while fanout.len() > readers.len() && all >> (fanout.len() - 1) & 1 == 0 {
        fanout.pop();
    }
    Recipients { fanout, told, also }
}

/// The readers of a conversation whose marks become one receipt.
#[derive(Clone, Copy)]
pub(super) struct Receipt<'a> {
    pub(super) held: &'a Held,
    pub(super) readers: &'a [Reader],
}

impl Receipt<'_> {
    /// Returns the values that the receipt changes. `marks` are the new marks of the readers.
    fn changes(
        self,
        batch: &OpenBatch,
        recent: &mut Recent,
        marks: &[Marks],
    ) -> Result<Changes, Refused> {
        let Receipt { held, readers } = self;
        let mut direct = recent.conversation(held.conversation)?.direct();
        let mut changes = Changes::new();
        for (reader, &marks) in readers.iter().zip(marks) {
            match reader.owner {
                MarksOwner::Direct { side, .. } => direct.marks[side as usize] = marks,
                MarksOwner::Group { key, member } => {
                    changes.push((key, state::encode(&Member { marks, ..member })));
                }
            }
        }
        if held.both.is_some() {
            return Ok(vec![(held.conversation, state::encode(&direct))]);
        }
        let group = recent.group(batch, held.namespace(), held.conversation)?;
        if group.len() > MOST_TOGETHER {
            return Ok(changes);
        }
        // The shorter form counts: a value for each reader, or one value for all members.
        let mut advance = advance(batch, held.conversation)?;
        for (reader, &marks) in readers.iter().zip(marks) {
            if let MarksOwner::Group { member, .. } = reader.owner {
                advance.set(member.number, marks);
            }
        }
        let together = state::encode(&advance);
        let apart = changes.iter().map(|(_, value)| KEYED + value.len());
        if OWN_KEYED + together.len() < apart.sum() {
            changes = vec![(held.conversation, together)];
        }
        Ok(changes)
    }
}

/// Returns the marks of members of a group that are one value, as the batch leaves them.
fn advance(batch: &OpenBatch, group: TimelineId) -> Result<Advance, Refused> {
    Ok(batch.decoded(group)?.unwrap_or_default())
}

/// Returns the members of a small group who wrote the messages that a reader's marks newly cover.
/// Returns all members who see these messages if the marks cover messages before the last
/// [`KNOWN_AUTHORS`].
fn authors(
    batch: &OpenBatch,
    recent: &mut Recent,
    held: &Held,
    reader: &Reader,
) -> Result<Found, Stop> {
    let last = recent.conversation(held.conversation)?.last_seq();
    let (before, after) = (reader.before, reader.marks);
    let first = reader.owner.first_seq();
    let newly = [
        first.max(before.delivered + 1)..=after.delivered,
        first.max(before.read + 1)..=after.read,
    ];
    let moved = newly.iter().filter(|seqs| !seqs.is_empty());
    let from = moved.clone().map(|seqs| *seqs.start()).min();
    let from = from.unwrap_or(last + 1);
    let group = recent.group(batch, held.namespace(), held.conversation)?;
    if from + KNOWN_AUTHORS <= last {
        let seeing = group.seats().filter(|seat| seat.first <= after.delivered);
        return Ok(seeing.map(|seat| seat.user).collect());
    }
    let authors = group.authors();
    authors.know(batch, held.conversation, from, last)?;
    let mut found = Found::new();
    for seqs in moved {
        authors.of(seqs.clone(), &mut found);
    }
    found.retain(|user| group.sees(*user, after.delivered));
    Ok(found)
}

/// Notes the recipients of the parts of a receipt, which receive them after the commit.
fn tell(outbox: &mut Outbox, readers: &[Reader], recipients: &Recipients, position: Position) {
    // The answers follow in the order of the readers.
    let mut acks = SmallVec::<[Range<usize>; 4]>::new();
    for reader in readers {
        let start = acks.last().map_or(0, |before| before.end);
        acks.push(start..start + reader.commands.len());
    }
    for (part, (number, told, with_read)) in recipients.parts().enumerate() {
        let reader = &readers[number];
        let others = recipients.fanout.iter().enumerate();
        let others = others.filter(|(place, _)| told >> place & 1 == 1);
        let others = others.map(|(_, user)| *user);
        outbox.tell(PartRecipients {
            position,
            part,
            reader: with_read.then_some(reader.user),
            device: reader.device,
            others: others.filter(|user| *user != reader.user).collect(),
            acks: acks[number].clone(),
        });
    }
}

#[cfg(test)]
mod tests;
