//! The message that a command is about: whether it exists, and what is left of it.

use trunkline_proto::ErrorCode;
use trunkline_storage::{Page, TimelineId};

use super::asked::Asked;
use super::refused::Refused;
use super::route::Reach;
use super::{CORRUPT, NO_CONVERSATION, Sequencer, unreadable};
use crate::event::Body;
use crate::exchange::Members;

pub(super) const NO_MESSAGE: Refused = Refused::new(
    ErrorCode::Unknown,
    "the conversation has no message with this sequence",
);

/// A message that the caller can see.
pub(super) struct Subject {
    /// Who has to do with what becomes of it.
    pub(super) reach: Reach,
    pub(super) recalled: bool,
}

impl Sequencer {
    /// The message with this sequence in the command's conversation.
    ///
    /// # Errors
    /// The caller is no member or does not see the message, it never was, or it has expired; or
    /// the store could not be read.
    pub(super) fn subject(&mut self, command: Asked<'_>, seq: u64) -> Result<Subject, Refused> {
        let reach = self.reach(command)?;
        let conversation = self.conversations.get(command.conversation);
        let last = conversation.map_err(|error| unreadable(&error))?.last_seq();
        if last == 0 && matches!(command.members, Members::Direct { .. }) {
            return Err(NO_CONVERSATION);
        }
        if seq == 0 || seq > last {
            return Err(NO_MESSAGE);
        }
        let reach = match command.members {
            Members::Direct { .. } => reach,
            Members::Group => self.who_see(command, seq)?,
        };
        let recalled = self.is_recalled(command.conversation, seq)?;
        Ok(Subject { reach, recalled })
    }

    /// The members of a group who see a message, of whom the caller has to be one: those who joined
    /// later cannot read it, and are not told of what becomes of it.
    fn who_see(&mut self, command: Asked<'_>, seq: u64) -> Result<Reach, Refused> {
        let namespace = command.namespace()?;
        let (id, user) = (command.conversation, command.user);
        let group = self.groups.of_member(&self.states, namespace, id, user)?;
        if !group.sees(user, seq) {
            return Err(NO_MESSAGE);
        }
        let channel = group.pull.then_some(group.channel);
        Ok(Reach::members(&group.who_see(seq), channel))
    }

    /// Whether a message was taken back, as the batch under construction leaves it.
    ///
    /// # Errors
    /// The message is no longer kept, or the store could not be read.
    fn is_recalled(&self, conversation: TimelineId, seq: u64) -> Result<bool, Refused> {
        if self.recalling == Some((conversation, seq)) {
            return Ok(true);
        }
        let store = self.states.store();
        let mut page = Page::default();
        store
            .get(conversation, seq, &mut page)
            .map_err(|error| unreadable(&error))?;
        if let Some(record) = page.records().next() {
            return Ok(Body::read(record.body).ok_or(CORRUPT)?.recalled);
        }
        let visible = store.try_last_seq(conversation);
        if seq > visible.map_err(|error| unreadable(&error))? {
            // It is in the batch under construction.
            return Ok(false);
        }
        Err(NO_MESSAGE)
    }
}
