//! Receipts: how far the members of a conversation have come.

use trunkline_storage::Draft;

use super::command::{Command, Done, Members, Outcome};
use super::membership::member;
use super::route::{Audience, Reach};
use super::states::Changes;
use super::{NO_CONVERSATION, Sequencer, unreadable};
use crate::event::{self, Kind};
use crate::state;

impl Sequencer {
    pub(super) fn ack(
        &mut self,
        command: &Command,
        body: &[u8],
        now: u64,
        marks: (u64, u64),
    ) -> Result<(Outcome, Audience), Outcome> {
        let unmoved = (Outcome::Done(Done::Ack, None), Audience::Nobody);
        let mut reach = self.reach(command, body)?;
        let conversation = self.conversations.get(command.conversation);
        let conversation = conversation.map_err(|error| unreadable(&error))?;
        let last = conversation.last_seq();
        let (moved, key, value) = match command.members {
            Members::Direct { side, .. } => {
                if last == 0 {
                    return Err(NO_CONVERSATION);
                }
                let mut direct = conversation.direct;
                let own = &mut direct.marks[side as usize];
                let Some(moved) = own.acked(last, marks, now) else {
                    return Ok(unmoved);
                };
                *own = moved;
                (moved, command.conversation, state::encode(&direct))
            }
            Members::Group => {
                let key = self.ids.member(command.conversation, command.user);
                let mut own = member(&self.states, key)?;
                let Some(moved) = own.marks.acked(last, marks, now) else {
                    return Ok(unmoved);
                };
                own.marks = moved;
                if reach.len() > self.rules.receipt_fanout {
                    // Everybody telling everybody would cost more than the messages do.
                    reach = Reach::both(command.user, command.user);
                }
                (moved, key, state::encode(&own))
            }
        };
        self.scratch.clear();
        self.scratch.extend_from_slice(body);
        event::write_marks(&mut self.scratch, moved.delivered, moved.read);
        let body = std::mem::take(&mut self.scratch);
        let draft = Draft {
            kind: Kind::Receipt as u8,
            time: now,
            timeline: command.conversation,
            fanout: reach.fanout(),
            body: &body,
            ..Draft::default()
        };
        let appended = self.append(&draft, &mut Changes::from([(key, value)]));
        self.scratch = body;
        let position = appended?;
        if let (Members::Direct { side, .. }, Ok(conversation)) = (
            command.members,
            self.conversations.get(command.conversation),
        ) {
            conversation.direct.marks[side as usize] = moved;
        }
        self.metrics.receipts.one();
        Ok((Outcome::Done(Done::Ack, Some(position)), reach.audience()))
    }
}
