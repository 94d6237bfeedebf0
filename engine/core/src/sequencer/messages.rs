//! Messages: sent, taken back, hidden, reacted to.

use trunkline_proto::ErrorCode;
use trunkline_storage::{Draft, Page, RecordRef, Redaction, TimelineId};

use super::asked::Asked;
use super::inboxes::{Turn, mark_hiding, update_inbox};
use super::refused::Refused;
use super::route::{Audience, Reach};
use super::states::Changes;
use super::subject::{NO_MESSAGE, Subject};
use super::{CORRUPT, Sequencer, unreadable};
use crate::event::{Body, RecordKind};
use crate::exchange::{Done, Members, Outcome};
use crate::ids::Side;
use crate::state::{self, Full, Hidden, Reactions};

const RECALLED: Refused = Refused::new(
    ErrorCode::Unknown,
    "the message was recalled: it takes no reactions",
);

impl Sequencer {
    pub(super) fn send(
        &mut self,
        command: Asked<'_>,
        now: u64,
        key: Option<TimelineId>,
    ) -> Result<(Outcome, Audience), Refused> {
        // Before anything else: whoever sends again may no longer be a member.
        if let Some(key) = key
            && let Some(place) = self.repeated(command, key)?
        {
            self.metrics.duplicates.one();
            return Ok((Outcome::Duplicate(place), Audience::Nobody));
        }
        let reach = self.reach(command)?;
        let conversation = self.conversations.get(command.conversation);
        let conversation = conversation.map_err(|error| unreadable(&error))?;
        let (seq, is_first) = (conversation.next_seq(), conversation.last_seq() == 0);
        let mut changes = Changes::new();
        if let (true, Members::Direct { other, side }) = (is_first, command.members) {
            self.begin(command, (other, side), &mut changes)?;
        }
        self.end_stretch(command, seq, &mut changes)?;
        let draft = Draft {
            kind: RecordKind::Message as u8,
            time: now,
            timeline: command.conversation,
            seq,
            fanout: reach.fanout(),
            body: command.body,
            key,
            ..Draft::default()
        };
        let position = self.append(&draft, &mut changes)?;
        if let Ok(conversation) = self.conversations.get(command.conversation) {
            conversation.stored(seq);
            if let Members::Direct { side, .. } = command.members {
                conversation.sides.wrote(seq, side);
            }
        }
        if let Members::Group = command.members {
            self.note_author(command, seq);
        }
        if let Some(key) = key {
            let place = RecordRef {
                timeline: command.conversation,
                seq,
                position,
            };
            self.keys.insert(key, place);
        }
        self.metrics.messages.one();
        Ok((Outcome::Sent(position), reach.audience()))
    }

    /// Remembers who wrote to a group.
    fn note_author(&mut self, command: Asked<'_>, seq: u64) {
        let namespace = command.namespace().unwrap_or_default();
        let group = self
            .groups
            .get(&self.states, namespace, command.conversation);
        // It is in memory: the message has just been sent to its members.
        if let Ok(Some(group)) = group {
            group.running.wrote(seq, command.user);
            if group.len() <= self.rules.receipt_fanout {
                group.authors.wrote(seq, command.user);
            }
        }
    }

    /// The first message of a 1:1 conversation: from here on both find it among theirs.
    fn begin(
        &mut self,
        command: Asked<'_>,
        (other, side): (TimelineId, Side),
        changes: &mut Changes,
    ) -> Result<(), Refused> {
        let (sender, peer) = (command.user_name()?, command.peer_name(side)?);
        for (user, with) in [(command.user, peer), (other, sender)] {
            let place = Some(state::InboxEntry::Direct(with));
            update_inbox(&self.states, &self.ids, user, place, Turn::Stay, changes)?;
            if other == command.user {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn recall(
        &mut self,
        command: Asked<'_>,
        now: u64,
        seq: u64,
    ) -> Result<(Outcome, Audience), Refused> {
        let done = (Outcome::Done(Done::Recall, None), Audience::Nobody);
        let reach = self.subject(command, seq)?.reach;
        let mut page = Page::default();
        let store = self.states.store();
        store
            .get(command.conversation, seq, &mut page)
            .map_err(|error| unreadable(&error))?;
        let record = page.records().next().ok_or(NO_MESSAGE)?;
        let message = Body::read(record.body).ok_or(CORRUPT)?;
        if message.user != command.user_name()? {
            return Err(Refused::new(
                ErrorCode::PermissionDenied,
                "only its sender recalls a message",
            ));
        }
        if message.recalled {
            return Ok(done);
        }
        if self.stamp().saturating_sub(record.time) > self.rules.recall_window.as_millis() as u64 {
            return Err(Refused::new(
                ErrorCode::RecallWindowPassed,
                "the message is older than recall_window",
            ));
        }
        let mut rest = Vec::new();
        Body {
            recalled: true,
            text: None,
            mime: None,
            data: None,
            url: None,
            size: None,
            ..message
        }
        .write(&mut rest);
        let draft = Draft {
            kind: RecordKind::Recall as u8,
            time: now,
            timeline: command.conversation,
            fanout: reach.fanout(),
            body: command.body,
            redacts: Some(Redaction { seq, body: &rest }),
            ..Draft::default()
        };
        // With the message go the reactions to it.
        let key = self.ids.reactions(command.conversation, seq);
        let mut changes = self.uncount(command, seq)?;
        if self.states.get(key).map_err(|e| unreadable(&e))?.is_some() {
            changes.push((key, Vec::new()));
        }
        let position = self.append(&draft, &mut changes)?;
        self.recalling = Some((command.conversation, seq));
        Ok((
            Outcome::Done(Done::Recall, Some(position)),
            reach.audience(),
        ))
    }

    pub(super) fn delete(
        &mut self,
        command: Asked<'_>,
        now: u64,
        seq: u64,
    ) -> Result<(Outcome, Audience), Refused> {
        self.subject(command, seq)?;
        let stretch = Hidden::stretch(seq);
        let key = self.ids.hidden(command.user, command.conversation, stretch);
        let value = self.states.get(key).map_err(|error| unreadable(&error))?;
        let mut hidden = Hidden::read(value.as_deref());
        if hidden.has(seq) {
            return Ok((Outcome::Done(Done::Delete, None), Audience::Nobody));
        }
        hidden.hide(seq);
        let draft = Draft {
            kind: RecordKind::Delete as u8,
            time: now,
            timeline: command.conversation,
            fanout: &[command.user],
            body: command.body,
            ..Draft::default()
        };
        let mut changes = vec![(key, hidden.bytes().to_vec())];
        mark_hiding(&self.states, &self.ids, command.user, &mut changes)?;
        let position = self.append(&draft, &mut changes)?;
        Ok((
            Outcome::Done(Done::Delete, Some(position)),
            Audience::Nobody,
        ))
    }

    pub(super) fn react(
        &mut self,
        command: Asked<'_>,
        now: u64,
        (seq, remove): (u64, bool),
    ) -> Result<(Outcome, Audience), Refused> {
        let Subject { reach, recalled } = self.subject(command, seq)?;
        if recalled {
            return Err(RECALLED);
        }
        let said = Body::read(command.body).ok_or(CORRUPT)?;
        let reaction = said.reaction.ok_or(CORRUPT)?;
        let key = self.ids.reactions(command.conversation, seq);
        let value = self.states.get(key).map_err(|error| unreadable(&error))?;
        let value = value.unwrap_or_default();
        let mut reactions = if value.is_empty() {
            Reactions::default()
        } else {
            state::decode(&value).ok_or(CORRUPT)?
        };
        let set = reactions.set(command.user_name()?, reaction, remove);
        if !set.map_err(no_room)? {
            return Ok((Outcome::Done(Done::React, None), Audience::Nobody));
        }
        let left = if reactions.list.is_empty() {
            Vec::new()
        } else {
            state::encode(&reactions)
        };
        let draft = Draft {
            kind: RecordKind::Reaction as u8,
            time: now,
            timeline: command.conversation,
            fanout: reach.fanout(),
            body: command.body,
            ..Draft::default()
        };
        // So that whoever reads the conversation need not look for reactions where none are.
        let any = self.ids.reactions(command.conversation, 0);
        let mut changes = vec![(key, left)];
        if self.states.get(any).map_err(|e| unreadable(&e))?.is_none() {
            changes.push((any, vec![1]));
        }
        let position = self.append(&draft, &mut changes)?;
        Ok((Outcome::Done(Done::React, Some(position)), reach.audience()))
    }

    /// Who has to do with an event of the command's conversation.
    pub(super) fn reach(&mut self, command: Asked<'_>) -> Result<Reach, Refused> {
        match command.members {
            Members::Direct { other, .. } => Ok(Reach::both(command.user, other)),
            Members::Group => {
                let namespace = command.namespace()?;
                let (id, user) = (command.conversation, command.user);
                let group = self.groups.of_member(&self.states, namespace, id, user)?;
                let channel = group.pull.then_some(group.channel);
                Ok(Reach::members(group.everybody(), channel))
            }
        }
    }
}

/// There is no room for one more reaction to a message.
fn no_room(full: Full) -> Refused {
    let text = match full {
        Full::OfUser => "you have 20 reactions to this message: take one back first",
        Full::Different => {
            "a message has at most 100 different reactions: choose one that is there"
        }
        Full::All => {
            "a message has at most 2,000 reactions, and from 1,000 on one more of each user who has none"
        }
    };
    Refused::new(ErrorCode::LimitExceeded, text)
}
