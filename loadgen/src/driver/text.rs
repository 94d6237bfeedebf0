//! Drivers of servers that pass texts on, and of which nothing else is known.

use std::borrow::Cow;

use super::{Driver, Line};
use crate::clock::Nanos;

/// A driver whose messages are texts from one user to another.
pub(crate) trait TextDriver: Driver {
    /// Appends the first bytes of a user's connection.
    fn connect(&mut self, line: Line<'_, Self::Opening, Self::Session>, user: &str);

    /// Appends what opens a user's session, once the transport is ready. Returns whether the session
    /// counts as open at once, because the server does not say when it is.
    fn open(&mut self, line: Line<'_, Self::Opening, Self::Session>, user: &str) -> bool;

    /// Returns whether a session takes another message now.
    fn has_room(&self, _session: &Self::Session) -> bool {
        true
    }

    /// Appends a message.
    fn send(&mut self, line: Line<'_, Self::Opening, Self::Session>, message: &Outgoing<'_>);

    /// Returns the next thing that a message of the server says; `None` after the last one. Appends
    /// what the protocol answers by itself.
    ///
    /// # Errors
    /// The server refuses the session or breaks the protocol.
    fn hear<'s>(
        &mut self,
        line: Line<'_, Self::Opening, Self::Session>,
        said: &'s mut Self::Said<'_>,
    ) -> Result<Option<Heard<'s>>, String>;

    /// Returns the time between the pings of a session; `None` if the client sends none.
    fn ping_every(&self) -> Option<Nanos>;

    /// Appends a ping of a user.
    fn ping(&mut self, line: Line<'_, Self::Opening, Self::Session>, user: &str);
}

/// A message to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// The number that the acknowledgement names.
    pub(crate) id: u32,
    /// The name of the sender.
    pub(crate) user: &'a str,
    /// The name of the recipient.
    pub(crate) peer: &'a str,
    pub(crate) text: &'a str,
}

/// Something that the server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'s> {
    /// The session is open.
    Opened,
    /// The server has taken the message with this number.
    Acked(u32),
    /// The server refuses the message with this number.
    Refused {
        id: u32,
        /// The beginning of what the server says.
        why: String,
    },
    /// A message with this text.
    Pushed(Cow<'s, str>),
    /// The server asked whether the client is there, and the driver answered.
    Pinged,
    /// Something that is not described. Holds its beginning.
    Strange(String),
}

/// The most characters of a strange message that are shown.
const SHOWN: usize = 120;

impl Heard<'_> {
    /// Makes the event of a refusal.
    pub(crate) fn refused(id: u32, payload: &[u8]) -> Self {
        Self::Refused {
            id,
            why: beginning(payload),
        }
    }

    /// Makes the event of a message that is not described.
    pub(crate) fn strange(payload: &[u8]) -> Self {
        Self::Strange(beginning(payload))
    }
}

fn beginning(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload)
        .chars()
        .take(SHOWN)
        .collect()
}
