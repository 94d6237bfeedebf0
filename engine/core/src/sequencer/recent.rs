//! The conversations and groups that the sequencer holds in memory: the recently used ones.

use std::sync::Arc;

use trunkline_proto::ErrorCode;
use trunkline_storage::TimelineId;

use super::asked::Asked;
use super::batch::OpenBatch;
use super::blocks;
use super::conversations::{Conversation, Conversations};
use super::groups::{Group, Groups};
use super::refused::{CORRUPT, Refused, unreadable};
use super::route::Reach;
use crate::exchange::Members;
use crate::hub::BlockFilter;

/// The recently used conversations and groups, as the batch under construction leaves them.
pub(super) struct Recent {
    conversations: Conversations,
    groups: Groups,
    /// Says which users certainly do not block another one.
    blocks: Arc<BlockFilter>,
}

const MAY_NOT_SEND: Refused = Refused::new(
    ErrorCode::PermissionDenied,
    "only owners and admins send messages to this group",
);

impl Recent {
    /// Returns an empty memory with room for these conversations and groups.
    pub(super) fn new(
        conversations: Conversations,
        groups: Groups,
        blocks: Arc<BlockFilter>,
    ) -> Self {
        Self {
            conversations,
            groups,
            blocks,
        }
    }

    /// Returns the filter of blocks.
    pub(super) fn blocks(&self) -> &Arc<BlockFilter> {
        &self.blocks
    }

    /// Returns the number of conversations in memory.
    pub(super) fn conversations(&self) -> usize {
        self.conversations.len()
    }

    /// Returns a conversation; an empty one if it is new.
    ///
    /// # Errors
    /// The store could not be read.
    #[inline]
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

    /// Checks that the caller of a command is a member of its conversation. Costs the same in groups
    /// of all sizes.
    ///
    /// # Errors
    /// The caller is not a member, or the store could not be read.
    pub(super) fn check_member(
        &mut self,
        batch: &OpenBatch,
        command: Asked<'_>,
    ) -> Result<(), Refused> {
        match command.members {
            Members::Direct { .. } => Ok(()),
            Members::Group => self.group_of(batch, command).map(drop),
        }
    }

    /// Returns the recipients of a message in the command's conversation.
    ///
    /// # Errors
    /// The caller is not a member or may not send, the other user blocks the caller, or the store could
    /// not be read.
    #[inline]
    pub(super) fn reach_of_send(
        &mut self,
        batch: &OpenBatch,
        command: Asked<'_>,
    ) -> Result<Reach, Refused> {
        match command.members {
            Members::Direct { other, .. } => {
                blocks::check(batch, &self.blocks, command.user, other)?;
                Ok(Reach::both(command.user, other))
            }
            Members::Group => {
                let group = self.group_of(batch, command)?;
                if !group.may_send(command.user) {
                    return Err(MAY_NOT_SEND);
                }
                let channel = group.pull_channel();
                Ok(Reach::members(group.everybody(), channel, 0))
            }
        }
    }

    /// Checks that the other user of the command's 1:1 conversation does not block the caller. In a
    /// group nobody is blocked.
    ///
    /// # Errors
    /// The other user blocks the caller, or the store could not be read.
    pub(super) fn check_not_blocked(
        &self,
        batch: &OpenBatch,
        command: Asked<'_>,
    ) -> Result<(), Refused> {
        match command.members {
            Members::Direct { other, .. } => {
                blocks::check(batch, &self.blocks, command.user, other)
            }
            Members::Group => Ok(()),
        }
    }

    /// Checks that the caller may tell something new in the command's conversation, of which the caller
    /// is a member.
    ///
    /// # Errors
    /// The caller may not send, the other user blocks the caller, or the store could not be read.
    pub(super) fn check_may_say(
        &mut self,
        batch: &OpenBatch,
        command: Asked<'_>,
    ) -> Result<(), Refused> {
        match command.members {
            Members::Direct { .. } => self.check_not_blocked(batch, command),
            Members::Group if self.group_of(batch, command)?.may_send(command.user) => Ok(()),
            Members::Group => Err(MAY_NOT_SEND),
        }
    }

    /// Drops groups that were unused for a while, and frees some of their memory. Call it after a
    /// commit. `passed` is the monotonic time in milliseconds.
    #[inline]
    pub(super) fn age(&mut self, passed: u64) {
        self.groups.age(passed);
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

#[cfg(test)]
mod tests {
    use super::super::fixture::{AB, ENG, Fixture, RULES};
    use super::*;
    use crate::event::Body;
    use crate::exchange::{Action, Change};

    fn reach(fixture: &mut Fixture, user: &str, conversation: &str) -> Result<Reach, Refused> {
        let request = fixture.request(
            user,
            conversation,
            Action::Recall { seq: 1 },
            Body::default(),
        );
        fixture
            .recent
            .reach_of_send(&fixture.batch, request.asked())
    }

    #[test]
    fn an_event_reaches_timelines_and_in_large_groups_the_channel() {
        let mut fixture = Fixture::new();
        let reached = reach(&mut fixture, "bob", AB).unwrap();
        let both = ["bob", "alice"].map(|name| fixture.user(name));
        assert_eq!(reached.fanout(), both);
        let notes = reach(&mut fixture, "bob", "u:bob:bob").unwrap();
        assert_eq!(notes.fanout(), [fixture.user("bob")]);
        fixture.create_group(&["alice", "bob"]);
        assert_eq!(reach(&mut fixture, "bob", ENG).unwrap().fanout().len(), 2);
        let stranger = reach(&mut fixture, "zoe", ENG).err();
        assert_eq!(stranger, Some(super::super::refused::NOT_A_MEMBER));
        let more = ["c", "d", "e", "f"];
        fixture.change_group("alice", Change::Add, &more).unwrap();
        assert!(2 + more.len() > RULES.fanout_limit);
        let channel = fixture.ids().channel(fixture.ids().group("", "eng"));
        let reached = reach(&mut fixture, "bob", ENG).unwrap();
        assert_eq!(reached.fanout(), [channel]);
    }

    #[test]
    fn what_is_forgotten_is_as_the_store_has_it() {
        let mut fixture = Fixture::new();
        fixture.send("alice", AB).unwrap();
        fixture.commit();
        fixture.send("bob", AB).unwrap();
        let id = fixture.ids().direct("", "alice", "bob");
        let last = |fixture: &mut Fixture| fixture.recent.conversation(id).unwrap().last_seq();
        assert_eq!((last(&mut fixture), fixture.recent.conversations()), (2, 1));
        fixture.recent.forget_all();
        assert_eq!(fixture.recent.conversations(), 0);
        assert_eq!(last(&mut fixture), 1, "the batch is not in the store");
    }
}
