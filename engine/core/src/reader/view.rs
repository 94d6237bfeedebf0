//! The messages that a user has deleted from the own view.

use trunkline_proto::message::{Event, Message};
use trunkline_storage::TimelineId;

use super::reading::Reading;
use crate::exchange::Failure;
use crate::ids::UserId;
use crate::state::Hidden;

/// The own view of one user. It reads a stretch of deleted messages when it is asked for one, and
/// keeps the last.
pub(super) struct View<'a> {
    reading: &'a Reading,
    user: UserId,
    last: Option<Stretch>,
}

/// The deleted messages of one stretch of a conversation.
struct Stretch {
    conversation: TimelineId,
    number: u64,
    hidden: Hidden,
}

impl<'a> View<'a> {
    pub(super) fn new(reading: &'a Reading, user: UserId) -> Self {
        Self {
            reading,
            user,
            last: None,
        }
    }

    /// Returns whether the user has deleted this message.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn hides(&mut self, conversation: TimelineId, seq: u64) -> Result<bool, Failure> {
        let number = Hidden::stretch(seq);
        if let Some(last) = &self.last
            && (last.conversation, last.number) == (conversation, number)
        {
            return Ok(last.hidden.has(seq));
        }
        let key = self.reading.ids().hidden(self.user, conversation, number);
        let hidden = Hidden::read(self.reading.bytes(key)?.as_deref());
        let hides = hidden.has(seq);
        self.last = Some(Stretch {
            conversation,
            number,
            hidden,
        });
        Ok(hides)
    }

    /// Removes the content of a message, if the user has deleted it.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn conceal(
        &mut self,
        conversation: TimelineId,
        message: &mut Message<'_>,
    ) -> Result<(), Failure> {
        if self.hides(conversation, message.seq)? {
            message.deleted = true;
            message.remove_content();
        }
        Ok(())
    }

    /// Removes the content of a message that comes as an event, if the user has deleted it.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn conceal_event(
        &mut self,
        conversation: TimelineId,
        event: &mut Event<'_>,
    ) -> Result<(), Failure> {
        match event {
            Event::Message(message) | Event::Edit(message) => self.conceal(conversation, message),
            _ => Ok(()),
        }
    }
}
