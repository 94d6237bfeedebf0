//! A command that is being decided, with its body.

use std::ops::Deref;

use super::refused::{CORRUPT, Refused};
use crate::event::ConversationName;
use crate::exchange::Command;
use crate::ids::Side;

/// A command that is being decided.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) command: &'a Command,
    /// The body of the command's record, as the caller made it.
    pub(super) body: &'a [u8],
}

impl Deref for Asked<'_> {
    type Target = Command;

    fn deref(&self) -> &Command {
        self.command
    }
}

impl<'a> Asked<'a> {
    /// Returns the namespace of all names in the command.
    pub(super) fn namespace(self) -> Result<&'a str, Refused> {
        self.command.names.namespace(self.body).ok_or(CORRUPT)
    }

    /// Returns the name of the calling user.
    pub(super) fn user_name(self) -> Result<&'a str, Refused> {
        self.command.names.user(self.body).ok_or(CORRUPT)
    }

    /// Returns the name of the conversation, with its namespace.
    pub(super) fn conversation_name(self) -> Result<ConversationName<'a>, Refused> {
        let name = self.command.names.conversation(self.body);
        Ok(ConversationName {
            namespace: self.namespace()?,
            name: name.ok_or(CORRUPT)?,
        })
    }

    /// Returns the name of the other user of a 1:1 conversation. `side` is the caller's side.
    pub(super) fn peer_name(self, side: Side) -> Result<&'a str, Refused> {
        self.command.names.peer(self.body, side).ok_or(CORRUPT)
    }
}
