//! The conversations and groups that the sequencer holds in memory: the recently used ones.

use trunkline_storage::TimelineId;

use super::asked::Asked;
use super::batch::OpenBatch;
use super::conversations::{Conversation, Conversations};
use super::groups::{Group, Groups};
use super::refused::{CORRUPT, Refused, unreadable};
use super::route::Reach;
use crate::exchange::Members;

/// The recently used conversations and groups, as the batch under construction leaves them.
pub(super) struct Recent {
    conversations: Conversations,
    groups: Groups,
}

impl Recent {
    /// Returns an empty memory with room for these conversations and groups.
    pub(super) fn new(conversations: Conversations, groups: Groups) -> Self {
        Self {
            conversations,
            groups,
        }
    }

    /// Returns the number of conversations in memory.
    pub(super) fn conversations(&self) -> usize {
        self.conversations.len()
    }

    /// Returns a conversation; an empty one if it is new.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn conversation(&mut self, id: TimelineId) -> Result<&mut Conversation, Refused> {
        let conversation = self.conversations.get(id);
        conversation.map_err(|error| unreadable(&error))
    }

    /// Returns the groups in memory.
    pub(super) fn groups(&mut self) -> &mut Groups {
        &mut self.groups
    }

    /// Returns a group that exists.
    ///
    /// # Errors
    /// The store has no such group, or could not be read.
    pub(super) fn group(
        &mut self,
        batch: &OpenBatch,
        namespace: &str,
        id: TimelineId,
    ) -> Result<&mut Group, Refused> {
        self.groups.get(batch, namespace, id)?.ok_or(CORRUPT)
    }

    /// Returns the group that a command is about, if the caller is a member of it.
    ///
    /// # Errors
    /// The caller is not a member, or the store could not be read.
    pub(super) fn group_of(
        &mut self,
        batch: &OpenBatch,
        command: Asked<'_>,
    ) -> Result<&mut Group, Refused> {
        let (namespace, id) = (command.namespace()?, command.conversation);
        self.groups.of_member(batch, namespace, id, command.user)
    }

    /// Returns the recipients of an event in the command's conversation.
    ///
    /// # Errors
    /// The caller is not a member, or the store could not be read.
    pub(super) fn reach(
        &mut self,
        batch: &OpenBatch,
        command: Asked<'_>,
    ) -> Result<Reach, Refused> {
        match command.members {
            Members::Direct { other, .. } => Ok(Reach::both(command.user, other)),
            Members::Group => {
                let group = self.group_of(batch, command)?;
                let channel = group.pull_channel();
                Ok(Reach::members(group.everybody(), channel))
            }
        }
    }

    /// Drops everything, because some of it has changes of a batch that was given up.
    pub(super) fn forget_all(&mut self) {
        self.conversations.forget_all();
        self.groups.forget_all();
    }

    /// Replaces the groups in memory.
    #[cfg(test)]
    pub(super) fn replace_groups(&mut self, groups: Groups) {
        self.groups = groups;
    }
}
