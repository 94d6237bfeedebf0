//! The message that a command is about.

use std::collections::HashSet;

use trunkline_storage::{Page, TimelineId};

use super::asked::Asked;
use super::batch::OpenBatch;
use super::groups::Group;
use super::recent::Recent;
use super::refused::{CORRUPT, NO_CONVERSATION, NO_MESSAGE, Refused, unreadable};
use super::route::Reach;
use crate::event::Body;
use crate::exchange::Members;
use crate::ids::UserId;
use crate::state::FirstSeen;

/// Returns the recipients of an event about the message with sequence `seq` in the command's conversation,
/// which the caller sees. In a group of which some members do not see the message, each member is looked
/// up, at the caller's cost. So a command asks for it when nothing else can refuse it.
///
/// # Errors
/// The caller is not a member, or the store could not be read.
pub(super) fn reach(
    batch: &OpenBatch,
    recent: &mut Recent,
    command: Asked<'_>,
    seq: u64,
) -> Result<Reach, Refused> {
    match command.members {
        Members::Direct { other, .. } => direct(batch, command, other, seq),
        Members::Group => {
            let group = recent.group_of(batch, command)?;
            Ok(in_group(batch, group, seq))
        }
    }
}

/// Returns the recipients of an event about a message of a group. Members who joined later cannot read the message,
/// and receive no events about it.
pub(super) fn in_group(batch: &OpenBatch, group: &mut Group, seq: u64) -> Reach {
    let channel = group.pull_channel();
    if !group.is_seen_by_all(seq) {
        batch.name(group.len());
    }
    Reach::members(&group.who_see(seq), channel, seq)
}

/// Returns the recipients of an event about a message of a 1:1 conversation. A new user of an erased name cannot
/// read what was said before, and receives no events about it.
///
/// # Errors
/// The store could not be read.
pub(super) fn direct(
    batch: &OpenBatch,
    command: Asked<'_>,
    other: UserId,
    seq: u64,
) -> Result<Reach, Refused> {
    match sees_direct(batch, other, command.conversation, seq)? {
        true => Ok(Reach::both(command.user, other)),
        false => Ok(Reach::both(command.user, command.user)),
    }
}

/// Returns whether a user of a 1:1 conversation sees a message of it.
fn sees_direct(
    batch: &OpenBatch,
    user: UserId,
    conversation: TimelineId,
    seq: u64,
) -> Result<bool, Refused> {
    Ok(first_seen(batch, user, conversation)? <= seq)
}

/// Returns the sequence of the first message of a 1:1 conversation that a user of it sees. It is 1, unless an
/// earlier user of the name was erased.
///
/// # Errors
/// The store could not be read.
pub(super) fn first_seen(
    batch: &OpenBatch,
    user: UserId,
    conversation: TimelineId,
) -> Result<u64, Refused> {
    let seen = batch.decoded::<FirstSeen>(batch.ids().sight(user, conversation))?;
    Ok(seen.map_or(1, |seen| seen.first))
}

/// The look-up of the messages that commands are about.
#[derive(Default)]
pub(super) struct Subjects {
    /// The messages that the batch under construction recalls.
    recalling: HashSet<Changing>,
    /// The messages that the batch under construction edits.
    editing: HashSet<Changing>,
}

/// A message that the batch under construction recalls or edits.
#[derive(PartialEq, Eq, Hash)]
struct Changing {
    conversation: TimelineId,
    seq: u64,
}

impl Subjects {
    /// Notes that a record of the batch recalls a message.
    pub(super) fn recall(&mut self, conversation: TimelineId, seq: u64) {
        self.recalling.insert(Changing { conversation, seq });
    }

    /// Returns whether a record of the batch recalls a message.
    pub(super) fn is_recalling(&self, conversation: TimelineId, seq: u64) -> bool {
        self.recalling.contains(&Changing { conversation, seq })
    }

    /// Notes that a record of the batch edits a message.
    pub(super) fn edit(&mut self, conversation: TimelineId, seq: u64) {
        self.editing.insert(Changing { conversation, seq });
    }

    /// Returns whether a record of the batch edits a message.
    pub(super) fn is_edited(&self, conversation: TimelineId, seq: u64) -> bool {
        self.editing.contains(&Changing { conversation, seq })
    }

    /// Forgets the recalls and edits of the batch, after the batch was committed or given up.
    pub(super) fn clear(&mut self) {
        self.recalling.clear();
        self.editing.clear();
    }

    /// Checks that the caller sees the message with sequence `seq` in the command's conversation.
    /// Returns whether its content is gone. Costs the same in groups of all sizes.
    ///
    /// # Errors
    /// The caller is not a member or does not see the message, the message never existed or has
    /// expired, or the store could not be read.
    pub(super) fn see(
        &self,
        batch: &OpenBatch,
        recent: &mut Recent,
        command: Asked<'_>,
        seq: u64,
    ) -> Result<bool, Refused> {
        let is_visible = match command.members {
            Members::Direct { .. } => sees_direct(batch, command.user, command.conversation, seq)?,
            Members::Group => recent.group_of(batch, command)?.sees(command.user, seq),
        };
        let last = recent.conversation(command.conversation)?.last_seq();
        if last == 0 && matches!(command.members, Members::Direct { .. }) {
            return Err(NO_CONVERSATION);
        }
        if seq == 0 || seq > last || !is_visible {
            return Err(NO_MESSAGE);
        }
        self.is_recalled(batch, command.conversation, seq)
    }

    /// Returns whether the content of a message is gone, as the batch under construction leaves it.
    ///
    /// # Errors
    /// The message is no longer kept, or the store could not be read.
    fn is_recalled(
        &self,
        batch: &OpenBatch,
        conversation: TimelineId,
        seq: u64,
    ) -> Result<bool, Refused> {
        if self.recalling.contains(&Changing { conversation, seq }) {
            return Ok(true);
        }
        let mut page = Page::default();
        batch.read_message(conversation, seq, &mut page)?;
        if let Some(record) = page.records().next() {
            let body = Body::read(record.body).ok_or(CORRUPT)?;
            let now = batch.moment().steady;
            return Ok(body.recalled || body.extras().is_due(record.time, now));
        }
        let stored = batch.store().try_last_seq(conversation);
        if seq > stored.map_err(|error| unreadable(&error))? {
            // The message is in the batch under construction.
            return Ok(false);
        }
        Err(NO_MESSAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{AB, ENG, Fixture};
    use super::super::refused::NOT_A_MEMBER;
    use super::*;
    use crate::exchange::{Action, Change};

    fn find(
        fixture: &mut Fixture,
        subjects: &Subjects,
        user: &str,
        conversation: &str,
        seq: u64,
    ) -> Result<bool, Refused> {
        let request = fixture.request(user, conversation, Action::Recall { seq }, Body::default());
        let (batch, recent) = (&fixture.batch, &mut fixture.recent);
        subjects.see(batch, recent, request.asked(), seq)
    }

    #[test]
    fn only_a_message_that_the_caller_sees_is_found() {
        let mut fixture = Fixture::new();
        let subjects = Subjects::default();
        assert_eq!(
            find(&mut fixture, &subjects, "bob", AB, 1),
            Err(NO_CONVERSATION)
        );
        fixture.send("alice", AB).unwrap();
        for (seq, expected) in [(0, Err(NO_MESSAGE)), (1, Ok(false)), (2, Err(NO_MESSAGE))] {
            assert_eq!(
                find(&mut fixture, &subjects, "bob", AB, seq),
                expected,
                "{seq}"
            );
        }
        // A new member does not see what was sent before.
        fixture.create_group(&["alice", "bob"]);
        fixture.send("alice", ENG).unwrap();
        fixture
            .change_group("alice", Change::Add, &["carol"])
            .unwrap();
        for (user, expected) in [
            ("bob", Ok(false)),
            ("carol", Err(NO_MESSAGE)),
            ("zoe", Err(NOT_A_MEMBER)),
        ] {
            assert_eq!(
                find(&mut fixture, &subjects, user, ENG, 1),
                expected,
                "{user}"
            );
        }
    }

    #[test]
    fn seeing_a_message_lists_no_members() {
        let mut fixture = Fixture::new();
        fixture.create_group(&["alice", "bob"]);
        fixture.send("alice", ENG).unwrap();
        let id = fixture.ids().group("", "eng");
        fixture.commit();
        fixture.recent.forget_all();
        let action = Action::Delete { seq: 1 };
        let request = fixture.request("bob", ENG, action, Body::default());
        let (batch, recent) = (&fixture.batch, &mut fixture.recent);
        let subjects = Subjects::default();
        let seen = subjects.see(batch, recent, request.asked(), 1);
        assert_eq!(seen, Ok(false));
        recent.check_member(batch, request.asked()).unwrap();
        assert!(!recent.group(batch, "", id).unwrap().is_listed());
        reach(batch, recent, request.asked(), 1).unwrap();
        assert!(recent.group(batch, "", id).unwrap().is_listed());
    }

    #[test]
    fn a_recall_of_the_batch_is_known_until_it_is_cleared() {
        let mut fixture = Fixture::new();
        fixture.send("alice", AB).unwrap();
        fixture.send("bob", AB).unwrap();
        let mut subjects = Subjects::default();
        subjects.recall(fixture.ids().direct("", "alice", "bob"), 1);
        assert_eq!(find(&mut fixture, &subjects, "bob", AB, 1), Ok(true));
        assert_eq!(find(&mut fixture, &subjects, "bob", AB, 2), Ok(false));
        subjects.recall(fixture.ids().direct("", "alice", "bob"), 2);
        for seq in [1, 2] {
            assert_eq!(find(&mut fixture, &subjects, "bob", AB, seq), Ok(true));
        }
        subjects.clear();
        assert_eq!(find(&mut fixture, &subjects, "bob", AB, 1), Ok(false));
    }
}
