//! Drivers: the protocols that the load lab speaks to a server.
//!
//! A [`Driver`] is the client's end of one protocol. Bytes and the time go in, bytes and events come
//! out. It has no sockets, no clock and no messages of its own, so each protocol is a file that tests
//! without a network can cover.
//!
//! | part | what it is |
//! |---|---|
//! | `websocket` | the upgrade and the frames, for drivers over WebSocket |
//! | `gateway` | the gateway's own protocol |
//! | `text` | what drivers of servers have that only pass texts on |
//! | `template` | any such server over WebSocket, as a scenario describes it |
//! | `centrifuge` | the JSON protocol of Centrifugo |
//! | `mqtt` | MQTT 5, over TCP or WebSocket |

pub(crate) mod centrifuge;
pub(crate) mod gateway;
pub(crate) mod mqtt;
pub(crate) mod template;
pub(crate) mod text;
pub(crate) mod websocket;

use std::fmt::Debug;

use compact_str::CompactString;

use crate::clock::Nanos;

/// The client's end of a protocol, for all connections of a thread.
pub(crate) trait Driver {
    /// The data that a connection needs until its session is open.
    type Opening: Debug;
    /// The data that a connection keeps as long as it lives.
    type Session: Debug;
    /// One message of the server.
    type Said<'b>;

    /// Makes the state of a new connection. `random` differs from connection to connection.
    fn begin(&mut self, random: [u8; 16]) -> (Self::Opening, Self::Session);

    /// Takes the next event out of the bytes that came, and moves `input` past it. Appends to the
    /// line what the protocol answers by itself, such as pongs. Returns `None` if the rest is
    /// incomplete.
    ///
    /// # Errors
    /// The server refuses the connection or breaks the protocol.
    fn receive<'b>(
        &mut self,
        now: Nanos,
        line: Line<'_, Self::Opening, Self::Session>,
        input: &mut &'b mut [u8],
    ) -> Result<Option<Event<Self::Said<'b>>>, Broken>;

    /// Appends what tells the server that the session ends.
    fn close(&mut self, line: Line<'_, Self::Opening, Self::Session>);

    /// Returns the position from which a session continues whose connection has ended; `None` if it
    /// begins anew.
    fn position(session: Self::Session) -> Option<CompactString>;
}

/// One connection, as a driver sees it.
#[derive(Debug)]
pub(crate) struct Line<'a, O, S> {
    /// The data for opening the session; `None` once the session is open.
    pub(crate) opening: Option<&'a mut O>,
    pub(crate) session: &'a mut S,
    /// Bytes for the server. The driver appends to them.
    pub(crate) out: &'a mut Vec<u8>,
}

/// An event of a connection.
#[derive(Debug)]
pub(crate) enum Event<S> {
    /// The transport is ready: the client can ask for its session.
    Ready,
    /// The server asked whether the client is there, and the driver answered.
    Pinged,
    /// The server sent a message.
    Said(S),
    /// The server ends the connection, with a close code of WebSocket; 0 if there is none.
    Closed { code: u16, reason: String },
}

impl<S> Event<S> {
    /// Returns the event with its message changed.
    pub(crate) fn map<T>(self, change: impl FnOnce(S) -> T) -> Event<T> {
        match self {
            Self::Ready => Event::Ready,
            Self::Pinged => Event::Pinged,
            Self::Said(said) => Event::Said(change(said)),
            Self::Closed { code, reason } => Event::Closed { code, reason },
        }
    }
}

/// The reason why a connection cannot go on.
#[derive(Debug)]
pub(crate) struct Broken {
    /// The reason, for people.
    pub(crate) why: String,
    /// The answer to the upgrade, if the server refused that.
    pub(crate) refused: Option<Refused>,
}

/// A refused upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The seconds of a Retry-After header.
    pub(crate) retry_after: Option<u64>,
}

impl From<String> for Broken {
    fn from(why: String) -> Self {
        Self { why, refused: None }
    }
}
