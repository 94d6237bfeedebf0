//! Receipts: how far the members of a conversation have come.
//!
//! A client that acknowledges message by message says the same thing again and again, each time a
//! little more of it. What one connection says of one conversation within one commit therefore
//! becomes one record, with what was said last, behind the messages of that commit.

use std::collections::HashMap;
use std::ops::Range;

use smallvec::{SmallVec, smallvec};
use trunkline_storage::{Draft, IdBuildHasher, Position, TimelineId};

use super::command::{Command, ConnRef, Done, Members, Outcome, Side};
use super::membership::member;
use super::route::{Audience, Reach};
use super::states::Changes;
use super::{CORRUPT, Decided, NO_CONVERSATION, Sequencer, unreadable};
use crate::event::{self, Body, Kind};
use crate::ids::UserId;
use crate::state::{self, Marks, Member};

/// What a receipt takes of a batch beside its body and its fan-out, about.
const RECORD_BYTES: usize = 128;

/// Receipts that are to be in the batch under construction.
#[derive(Default)]
pub(super) struct Pending {
    receipts: Vec<Receipt>,
    /// The last receipt of each user in each conversation.
    last: HashMap<(TimelineId, UserId), usize, IdBuildHasher>,
    /// Bodies of the commands, one behind another.
    bodies: Vec<u8>,
    commands: usize,
    bytes: usize,
}

/// What one connection acknowledged in one conversation.
struct Receipt {
    conversation: TimelineId,
    user: UserId,
    of: Own,
    marks: Marks,
    time: u64,
    /// The first command's, in [`Pending::bodies`].
    body: Range<usize>,
    reach: Reach,
    shard: usize,
    conn: ConnRef,
    /// The commands to answer.
    ids: SmallVec<[u32; 4]>,
}

/// Whose marks they are.
#[derive(Clone, Copy)]
enum Own {
    /// One of two.
    Direct(Side),
    /// A member of a group, as it is but for the marks.
    Group(TimelineId, Member),
}

impl Pending {
    /// Commands that wait for their receipt.
    pub(super) fn commands(&self) -> usize {
        self.commands
    }

    /// Bytes that the receipts add to the batch, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, body: &[u8], receipt: Receipt) {
        let start = self.bodies.len();
        self.bodies.extend_from_slice(body);
        let fanout = size_of_val(receipt.reach.fanout());
        self.bytes += RECORD_BYTES + body.len() + fanout;
        self.commands += 1;
        let at = (receipt.conversation, receipt.user);
        self.last.insert(at, self.receipts.len());
        self.receipts.push(Receipt {
            body: start..self.bodies.len(),
            ..receipt
        });
    }

    fn clear(&mut self) {
        self.receipts.clear();
        self.last.clear();
        self.bodies.clear();
        (self.commands, self.bytes) = (0, 0);
    }
}

impl Sequencer {
    /// What becomes of an acknowledgement; nothing yet, if a receipt comes of it.
    pub(super) fn ack(
        &mut self,
        shard: usize,
        command: &Command,
        body: &[u8],
        now: u64,
        marks: (u64, u64),
    ) -> Result<Option<(Outcome, Audience)>, Outcome> {
        let at = (command.conversation, command.user);
        let before = self.pending.last.get(&at).copied();
        let mut reach = self.reach(command, body)?;
        let conversation = self.conversations.get(command.conversation);
        let conversation = conversation.map_err(|error| unreadable(&error))?;
        let last = conversation.last_seq();
        let before = before.map(|at| &mut self.pending.receipts[at]);
        let (of, own) = match (&before, command.members) {
            (Some(before), _) => (before.of, before.marks),
            (None, Members::Direct { side, .. }) => {
                if last == 0 {
                    return Err(NO_CONVERSATION);
                }
                (Own::Direct(side), conversation.direct.marks[side as usize])
            }
            (None, Members::Group) => {
                let key = self.ids.member(command.conversation, command.user);
                let own = member(&self.states, key)?;
                (Own::Group(key, own), own.marks)
            }
        };
        let moved = own.acked(last, marks, now);
        if let Some(before) = before
            && (before.shard, before.conn) == (shard, command.conn)
        {
            before.marks = moved.unwrap_or(own);
            before.time = now;
            before.ids.push(command.id);
            self.pending.commands += 1;
            return Ok(None);
        }
        let Some(marks) = moved else {
            return Ok(Some((Outcome::Done(Done::Ack, None), Audience::Nobody)));
        };
        if matches!(of, Own::Group(..)) && reach.len() > self.rules.receipt_fanout {
            // Everybody telling everybody would cost more than the messages do.
            reach = Reach::both(command.user, command.user);
        }
        let receipt = Receipt {
            conversation: command.conversation,
            user: command.user,
            of,
            marks,
            time: now,
            body: 0..0,
            reach,
            shard,
            conn: command.conn,
            ids: smallvec![command.id],
        };
        self.pending.push(body, receipt);
        Ok(None)
    }

    /// Puts the receipts into the batch, behind what is in it.
    pub(super) fn store_receipts(&mut self) {
        if self.pending.receipts.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        for receipt in pending.receipts.drain(..) {
            let stored = self.store_receipt(&receipt, &pending.bodies[receipt.body.clone()]);
            let mut audience = match stored {
                Ok(_) => receipt.reach.audience(),
                Err(_) => Audience::Nobody,
            };
            // The record goes with the first answer: it is told once.
            let mut position = stored.ok();
            for id in receipt.ids {
                let done = |_| Outcome::Done(Done::Ack, position.take());
                self.decided.push(Decided {
                    shard: receipt.shard,
                    conn: receipt.conn,
                    id,
                    user: receipt.user,
                    outcome: stored.map_or_else(|no| no, done),
                    audience: std::mem::replace(&mut audience, Audience::Nobody),
                });
            }
        }
        pending.clear();
        self.pending = pending;
    }

    fn store_receipt(&mut self, receipt: &Receipt, body: &[u8]) -> Result<Position, Outcome> {
        let said = Body::read(body).ok_or(CORRUPT)?;
        let conversation = self.conversations.get(receipt.conversation);
        let conversation = conversation.map_err(|error| unreadable(&error))?;
        let mut direct = conversation.direct;
        let (side, change) = match receipt.of {
            Own::Direct(side) => {
                direct.marks[side as usize] = receipt.marks;
                (Some(side), (receipt.conversation, state::encode(&direct)))
            }
            Own::Group(key, own) => {
                let marks = receipt.marks;
                (None, (key, state::encode(&Member { marks, ..own })))
            }
        };
        let mut body = std::mem::take(&mut self.scratch);
        body.clear();
        event::write_receipt(&mut body, &said, side, &receipt.marks);
        let draft = Draft {
            kind: Kind::Receipt as u8,
            time: receipt.time,
            timeline: receipt.conversation,
            fanout: receipt.reach.fanout(),
            body: &body,
            ..Draft::default()
        };
        let appended = self.append(&draft, &mut Changes::from([change]));
        self.scratch = body;
        let position = appended?;
        if let (Some(_), Ok(conversation)) = (side, self.conversations.get(receipt.conversation)) {
            conversation.direct = direct;
        }
        self.metrics.receipts.one();
        Ok(position)
    }
}

#[cfg(test)]
mod tests;
