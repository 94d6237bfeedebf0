//! Receipts: how far the members of a conversation have come.
//!
//! A client that acknowledges message by message says the same thing again and again, each time a
//! little more of it, and members of a group say it all at the same time. So what is acknowledged
//! waits a little ([`hold`]) and becomes one record for each conversation, with the last marks of
//! each member, behind the messages of the commit that it is in. Only then is it answered.
//!
//! Who is told: the reader's other devices, and whoever wrote one of the messages that the marks
//! newly cover ([`authors`]), as far as the group has no more than `receipt_fanout` members.

mod authors;
mod hold;

use smallvec::{SmallVec, smallvec};
use trunkline_storage::{Draft, Order, Page, Position, TimelineId};

use super::asked::Asked;
use super::groups::Group;
use super::membership::member;
use super::refused::Refused;
use super::route::{Audience, PartRecipients};
use super::states::Changes;
use super::{COMMIT_BYTES, COMMIT_COMMANDS, CORRUPT, Decided, NO_CONVERSATION};
use super::{Sequencer, unreadable};
use crate::event::{self, Body, MOST_PARTS, MOST_TOLD, Part, RecordKind};
use crate::exchange::{Done, Members, Outcome};
use crate::ids::UserId;
use crate::state::{self, Advance, Marks, Member};
use authors::{Found, KNOWN_AUTHORS};
use hold::{Held, Own, Reader, by};

pub(super) use authors::Authors;
pub(super) use hold::{Hold, Instant};

/// Messages that are read at a time to know who wrote them.
const AUTHORS_PAGE: usize = 8;

/// Bytes that a value under a key takes in a record beside itself, and one under the id of the
/// record's timeline.
const KEYED: usize = 20;
const OWN_KEYED: usize = 4;

/// Members of a group up to which their marks may be one value, which is written as a whole.
const MOST_TOGETHER: usize = 64;

/// To whom the parts of a record go: the users, and for each part those who are told, as bits.
struct Reached {
    fanout: SmallVec<[UserId; 10]>,
    told: SmallVec<[u64; 4]>,
}

impl Sequencer {
    /// Takes an acknowledgement: it is answered when its receipt is stored, or at once where there
    /// is none to store.
    pub(super) fn ack(
        &mut self,
        command: Asked<'_>,
        marks: (u64, u64),
    ) -> Result<Option<(Outcome, Audience)>, Refused> {
        self.reach(command)?;
        let conversation = self.conversations.get(command.conversation);
        let conversation = conversation.map_err(|error| unreadable(&error))?;
        let last = conversation.last_seq();
        let at = (command.conversation, command.user);
        let caller = || command.reply_to.clone();
        if let Some(reader) = self.hold.reader(at) {
            let marks = reader.of.visible(last, marks);
            let moved = reader.marks.acked(last, marks, 0).unwrap_or(reader.marks);
            self.hold.join(at, moved, caller(), self.at);
            return Ok(None);
        }
        let (of, before) = match command.members {
            Members::Direct { side, .. } => {
                if last == 0 {
                    return Err(NO_CONVERSATION);
                }
                (Own::Direct(side), conversation.direct.marks[side as usize])
            }
            Members::Group => {
                let key = self.ids.member(command.conversation, command.user);
                let own = member(&self.states, key)?;
                let advance = self.advance(command.conversation)?;
                (Own::Group(key, own), advance.of(own.number, own.marks))
            }
        };
        let Some(marks) = before.acked(last, of.visible(last, marks), 0) else {
            return Ok(Some((Outcome::Done(Done::Ack, None), Audience::Nobody)));
        };
        let both = match command.members {
            Members::Direct { other, .. } => Some([command.user, other]),
            Members::Group => None,
        };
        let reader = Reader {
            user: command.user,
            name: command.user_name()?.into(),
            of,
            before,
            marks,
            by: by(&command.reply_to),
            commands: smallvec![caller()],
        };
        let name = (command.namespace()?, command.conversation_name()?);
        let begin = || Held::new(command.conversation, name, both);
        self.hold
            .enter(command.conversation, begin, reader, self.at);
        Ok(None)
    }

    /// Puts receipts that are due into the batch, behind what is in it, until it is full: whether
    /// more are due.
    pub(super) fn store_due(&mut self) -> bool {
        let all = self.hold.is_pressed();
        while self.writer.batch_bytes() < COMMIT_BYTES && self.touched < COMMIT_COMMANDS {
            match self.hold.pop(self.at, all) {
                Some(held) => self.store_held(&held),
                None => return false,
            }
        }
        true
    }

    /// Puts what waits of one conversation into the batch.
    pub(super) fn store_held_of(&mut self, conversation: TimelineId) {
        if let Some(held) = self.hold.take(conversation) {
            self.store_held(&held);
        }
    }

    fn store_held(&mut self, held: &Held) {
        self.touched += held.members.len();
        for readers in held.members.chunks(MOST_PARTS) {
            let stored = self.store_receipt(held, readers);
            for reader in readers {
                for reply_to in &reader.commands {
                    let outcome = match stored {
                        Ok(()) => Outcome::Done(Done::Ack, None),
                        Err(refused) => refused.outcome().of_ack(),
                    };
                    self.decided.push(Decided {
                        reply_to: reply_to.clone(),
                        user: reader.user,
                        outcome,
                        audience: Audience::Nobody,
                    });
                }
            }
        }
    }

    fn store_receipt(&mut self, held: &Held, readers: &[Reader]) -> Result<(), Refused> {
        let reached = self.reached(held, readers)?;
        let now = self.now;
        let marks = |reader: &Reader| {
            let marks = (reader.marks.delivered, reader.marks.read);
            let moved = reader.before.acked(u64::MAX, marks, now);
            moved.unwrap_or(reader.before)
        };
        let marks: SmallVec<[Marks; 4]> = readers.iter().map(marks).collect();
        let mut changes = self.changes(held, readers, &marks)?;
        let told = reached.told.iter().copied();
        let parts = readers.iter().zip(&marks).zip(told);
        let parts = parts.map(|((reader, marks), told)| Part {
            user: &reader.name,
            delivered: marks.delivered,
            read: marks.read,
            told,
        });
        let mut body = std::mem::take(&mut self.scratch);
        body.clear();
        event::write_receipt(&mut body, (&held.namespace, &held.name), parts);
        let draft = Draft {
            kind: RecordKind::Receipt as u8,
            time: now,
            timeline: held.conversation,
            fanout: &reached.fanout,
            body: &body,
            ..Draft::default()
        };
        let appended = self.append(&draft, &mut changes);
        self.scratch = body;
        let position = appended?;
        for (reader, &marks) in readers.iter().zip(&marks) {
            if let (Own::Direct(side), Ok(conversation)) =
                (reader.of, self.conversations.get(held.conversation))
            {
                conversation.direct.marks[side as usize] = marks;
            }
        }
        self.tell(readers, &reached, position);
        self.metrics.receipts.one();
        self.metrics.receipt_marks.add(readers.len() as u64);
        let commands = readers.iter().map(|reader| reader.commands.len() as u64);
        self.metrics.receipt_acks.add(commands.sum());
        Ok(())
    }

    /// The values that a receipt changes.
    fn changes(
        &mut self,
        held: &Held,
        readers: &[Reader],
        marks: &[Marks],
    ) -> Result<Changes, Refused> {
        let conversation = self.conversations.get(held.conversation);
        let mut direct = conversation.map_err(|error| unreadable(&error))?.direct;
        let mut changes = Changes::new();
        for (reader, &marks) in readers.iter().zip(marks) {
            match reader.of {
                Own::Direct(side) => direct.marks[side as usize] = marks,
                Own::Group(key, own) => {
                    changes.push((key, state::encode(&Member { marks, ..own })));
                }
            }
        }
        if held.both.is_some() {
            return Ok(vec![(held.conversation, state::encode(&direct))]);
        }
        if self.group(held)?.len() > MOST_TOGETHER {
            return Ok(changes);
        }
        // Few at a time are shorter under their own keys, many in one value.
        let mut advance = self.advance(held.conversation)?;
        for (reader, &marks) in readers.iter().zip(marks) {
            if let Own::Group(_, own) = reader.of {
                advance.set(own.number, marks);
            }
        }
        let together = state::encode(&advance);
        let apart = changes.iter().map(|(_, value)| KEYED + value.len());
        if OWN_KEYED + together.len() < apart.sum() {
            changes = vec![(held.conversation, together)];
        }
        Ok(changes)
    }

    /// How far members of a group have come, as the batch leaves it.
    pub(super) fn advance(&self, group: TimelineId) -> Result<Advance, Refused> {
        let value = self.states.get(group).map_err(|error| unreadable(&error))?;
        match value {
            None => Ok(Advance::default()),
            Some(value) => state::decode(&value).ok_or(CORRUPT),
        }
    }

    fn group(&mut self, held: &Held) -> Result<&mut Group, Refused> {
        let group = self
            .groups
            .get(&self.states, &held.namespace, held.conversation)?;
        group.ok_or(CORRUPT)
    }

    /// Whose timelines a receipt enters, and who is told of which part. The readers come first, in
    /// the order of their parts.
    fn reached(&mut self, held: &Held, readers: &[Reader]) -> Result<Reached, Refused> {
        let mut fanout: SmallVec<[UserId; 10]> = readers.iter().map(|one| one.user).collect();
        let own = |part: usize| 1_u64 << part;
        if let Some(both) = held.both {
            for user in both {
                if !fanout.contains(&user) {
                    fanout.push(user);
                }
            }
            let all = (1 << fanout.len()) - 1;
            let told = readers.iter().map(|_| all).collect();
            return Ok(Reached { fanout, told });
        }
        if self.group(held)?.len() > self.rules.receipt_fanout.min(MOST_TOLD) {
            // Everybody telling everybody would cost more than the messages do.
            let told = (0..readers.len()).map(own).collect();
            return Ok(Reached { fanout, told });
        }
        let mut told = SmallVec::new();
        for (part, reader) in readers.iter().enumerate() {
            let mut bits = own(part);
            for user in self.concerned(held, reader)? {
                let place = fanout.iter().position(|one| *one == user);
                bits |= 1
                    << place.unwrap_or_else(|| {
                        fanout.push(user);
                        fanout.len() - 1
                    });
            }
            told.push(bits);
        }
        Ok(Reached { fanout, told })
    }

    /// The members of a small group who wrote what a reader's marks newly cover. All, where that
    /// goes back further than authors are known.
    fn concerned(&mut self, held: &Held, reader: &Reader) -> Result<Found, Refused> {
        let conversation = self.conversations.get(held.conversation);
        let last = conversation.map_err(|error| unreadable(&error))?.last_seq();
        let (before, after) = (reader.before, reader.marks);
        let first = reader.of.first_seq();
        let newly = [
            first.max(before.delivered + 1)..=after.delivered,
            first.max(before.read + 1)..=after.read,
        ];
        let moved = newly.iter().filter(|seqs| !seqs.is_empty());
        let from = moved.clone().map(|seqs| *seqs.start()).min();
        let from = from.unwrap_or(last + 1);
        if from + KNOWN_AUTHORS <= last {
            let seats = self.group(held)?.seats();
            let seeing = seats.filter(|seat| seat.first <= after.delivered);
            return Ok(seeing.map(|seat| seat.user).collect());
        }
        self.know_authors(held, from, last)?;
        let group = self.group(held)?;
        let mut found = Found::new();
        for seqs in moved {
            group.authors.of(seqs.clone(), &mut found);
        }
        found.retain(|user| group.sees(*user, after.delivered));
        Ok(found)
    }

    /// Sees to it that the authors of messages from `from` on are known: nearly always they are,
    /// but for groups that were not in memory when the messages were sent.
    fn know_authors(&mut self, held: &Held, from: u64, last: u64) -> Result<(), Refused> {
        let group = self.group(held)?;
        group.authors.begin(last);
        if group.authors.first() <= from {
            return Ok(());
        }
        if self.writer.batch_bytes() > 0 {
            // They may be in the batch, where the store does not show them yet.
            self.commit_batch();
        }
        let Self {
            groups,
            states,
            ids,
            ..
        } = self;
        let group = groups.get(states, &held.namespace, held.conversation)?;
        let authors = &mut group.ok_or(CORRUPT)?.authors;
        authors.begin(last);
        let mut page = Page::default();
        while authors.first() > from {
            let (first, store) = (authors.first(), states.store());
            page.clear();
            store
                .range(
                    held.conversation,
                    from..=first - 1,
                    AUTHORS_PAGE,
                    Order::Descending,
                    &mut page,
                )
                .map_err(|error| unreadable(&error))?;
            let records: Vec<_> = page.records().collect();
            for record in records.iter().rev() {
                if record.seq + 1 != authors.first() {
                    break;
                }
                let body = Body::read(record.body).ok_or(CORRUPT)?;
                authors.wrote_before(ids.user(body.namespace, body.user));
            }
            if authors.first() == first {
                // Gone for ever: nobody waits to hear of them.
                break;
            }
        }
        Ok(())
    }

    /// Notes who is to be told once the record is stored.
    fn tell(&mut self, readers: &[Reader], reached: &Reached, position: Position) {
        for (part, (reader, &told)) in readers.iter().zip(&reached.told).enumerate() {
            let others = reached.fanout.iter().enumerate();
            let others = others.filter(|(place, _)| told >> place & 1 == 1);
            let others = others.map(|(_, user)| *user);
            self.told.push(PartRecipients {
                behind: self.decided.len(),
                position,
                part,
                user: reader.user,
                by: reader.by,
                others: others.filter(|user| *user != reader.user).collect(),
            });
        }
    }
}

#[cfg(test)]
mod tests;
