//! The message that a command is about.

use trunkline_storage::{Page, TimelineId};

use super::asked::Asked;
use super::batch::OpenBatch;
use super::recent::Recent;
use super::refused::{CORRUPT, NO_CONVERSATION, NO_MESSAGE, Refused, unreadable};
use super::route::Reach;
use crate::event::Body;
use crate::exchange::Members;

/// A message that the caller can see.
pub(super) struct Subject {
    /// The recipients of an event about the message.
    pub(super) reach: Reach,
    /// Whether its sender recalled the message.
    pub(super) is_recalled: bool,
}

/// The look-up of the messages that commands are about.
#[derive(Default)]
pub(super) struct Subjects {
    /// The message that the batch under construction recalls. There is at most one, because a
    /// recall starts a new batch.
    recalling: Option<Recalling>,
}

/// A message that the batch under construction recalls.
#[derive(PartialEq, Eq)]
struct Recalling {
    conversation: TimelineId,
    seq: u64,
}

impl Subjects {
    /// Notes that a record of the batch recalls a message.
    pub(super) fn recall(&mut self, conversation: TimelineId, seq: u64) {
        self.recalling = Some(Recalling { conversation, seq });
    }

    /// Forgets the recall of the batch, after the batch was committed or given up.
    pub(super) fn clear(&mut self) {
        self.recalling = None;
    }

    /// Returns the message with sequence `seq` in the command's conversation.
    ///
    /// # Errors
    /// The caller is not a member or does not see the message, the message never existed or has
    /// expired, or the store could not be read.
    pub(super) fn find(
        &self,
        batch: &OpenBatch,
        recent: &mut Recent,
        command: Asked<'_>,
        seq: u64,
    ) -> Result<Subject, Refused> {
        let reach = recent.reach(batch, command)?;
        let last = recent.conversation(command.conversation)?.last_seq();
        if last == 0 && matches!(command.members, Members::Direct { .. }) {
            return Err(NO_CONVERSATION);
        }
        if seq == 0 || seq > last {
            return Err(NO_MESSAGE);
        }
        let reach = match command.members {
            Members::Direct { .. } => reach,
            Members::Group => who_see(batch, recent, command, seq)?,
        };
        let is_recalled = self.is_recalled(batch, command.conversation, seq)?;
        Ok(Subject { reach, is_recalled })
    }

    /// Returns whether a message is recalled, as the batch under construction leaves it.
    ///
    /// # Errors
    /// The message is no longer kept, or the store could not be read.
    fn is_recalled(
        &self,
        batch: &OpenBatch,
        conversation: TimelineId,
        seq: u64,
    ) -> Result<bool, Refused> {
        if self.recalling == Some(Recalling { conversation, seq }) {
            return Ok(true);
        }
        let mut page = Page::default();
        batch.read_message(conversation, seq, &mut page)?;
        if let Some(record) = page.records().next() {
            return Ok(Body::read(record.body).ok_or(CORRUPT)?.recalled);
        }
        let stored = batch.store().try_last_seq(conversation);
        if seq > stored.map_err(|error| unreadable(&error))? {
            // The message is in the batch under construction.
            return Ok(false);
        }
        Err(NO_MESSAGE)
    }
}

/// Returns the members of a group who see a message. Members who joined later cannot read it, and
/// receive no events about it.
///
/// # Errors
/// The caller does not see the message, or the store could not be read.
fn who_see(
    batch: &OpenBatch,
    recent: &mut Recent,
    command: Asked<'_>,
    seq: u64,
) -> Result<Reach, Refused> {
    let group = recent.group_of(batch, command)?;
    if !group.sees(command.user, seq) {
        return Err(NO_MESSAGE);
    }
    let channel = group.pull_channel();
    Ok(Reach::members(&group.who_see(seq), channel))
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
        let found = subjects.find(batch, recent, request.asked(), seq);
        found.map(|subject| subject.is_recalled)
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
    fn a_recall_of_the_batch_is_known_until_it_is_cleared() {
        let mut fixture = Fixture::new();
        fixture.send("alice", AB).unwrap();
        let mut subjects = Subjects::default();
        subjects.recall(fixture.ids().direct("", "alice", "bob"), 1);
        assert_eq!(find(&mut fixture, &subjects, "bob", AB, 1), Ok(true));
        subjects.clear();
        assert_eq!(find(&mut fixture, &subjects, "bob", AB, 1), Ok(false));
    }
}
