//! One connection of a shard.

use mio::net::TcpStream;
use trunkline_proto::Encoding;
use trunkline_proto::connection::{Connection as Framing, Role};

use super::outbox::Outbox;
use super::source::Source;
use super::tls::Tls;
use crate::rate::{Allowance, PerSecond};
use crate::session::Session;
use crate::timer::Tick;

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The HTTP upgrade; what has arrived of the request, where it came in pieces.
    Handshake(Vec<u8>),
    /// Upgraded, without a session.
    Upgraded,
    /// Upgraded at the echo path: every message comes back.
    Echo,
    /// With a session.
    Open(Box<Session>),
    /// Our Close frame or last answer is out; input is thrown away until the peer closes.
    Closing,
}

/// There may be a million: what only a few need at a time is behind a pointer.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
    /// What encrypts it, where it is encrypted.
    pub(crate) tls: Option<Box<Tls>>,
    /// Tells this connection from earlier ones in the same slot.
    pub(crate) generation: u32,
    /// What it counts as where connections of an address are limited.
    pub(crate) source: Source,
    /// Bytes it holds of the shard's, as last counted.
    pub(crate) held: u32,
    /// Commands of which the outcome has not come back.
    pub(crate) in_flight: u32,
    /// Of them, those that write and wait for nobody: all but acknowledgements.
    pub(crate) writes: u32,
    /// The gateway stops: it is told so once its commands are answered, and not read any more.
    pub(crate) leaving: bool,
    /// When the message began that is not complete; 0 without one.
    pub(crate) begun: Tick,
    /// Control frames of late.
    pub(crate) controls: PerSecond,
    pub(crate) phase: Phase,
    pub(crate) framing: Framing,
    pub(crate) encoding: Encoding,
    pub(crate) out: Outbox,
    /// What is left of what it may send, where that is limited and it has sent something.
    pub(crate) allowance: Option<Box<Allowance>>,
    /// Several messages may share a frame.
    pub(crate) batch: bool,
    /// Stands in the list of connections to flush.
    pub(crate) dirty: bool,
    /// May have input that was not read.
    pub(crate) unread: bool,
    /// The peer sends nothing more: read on until that end is reached.
    pub(crate) ended: bool,
    /// Pages that readers are asked for.
    pub(crate) pages: u8,
    /// Is not read until it has taken what waits for it.
    pub(crate) paused: bool,
    /// The timer entry that counts.
    pub(crate) due: Tick,
    /// When this phase, or the current blockage of the outbox, must have ended.
    pub(crate) deadline: Tick,
    /// Since when the peer has been silent, or is taken to have been.
    pub(crate) silent_since: Tick,
    /// When a ping went out that is not answered; 0 without one.
    pub(crate) pinged_at: Tick,
}

impl Phase {
    /// There is no session yet.
    pub(crate) const fn is_opening(&self) -> bool {
        matches!(self, Self::Handshake(_) | Self::Upgraded)
    }
}

// Debug builds of mio remember the selector of each socket.
const _: () = assert!(cfg!(debug_assertions) || size_of::<Conn>() <= 160);
const _: () = assert!(size_of::<Session>() <= 64);

impl Conn {
    pub(crate) fn new(stream: TcpStream, generation: u32, source: Source) -> Self {
        Self {
            stream,
            tls: None,
            generation,
            source,
            held: 0,
            in_flight: 0,
            writes: 0,
            leaving: false,
            begun: 0,
            controls: PerSecond::default(),
            phase: Phase::Handshake(Vec::new()),
            framing: Framing::new(Role::Server),
            encoding: Encoding::default(),
            out: Outbox::default(),
            allowance: None,
            batch: false,
            dirty: false,
            unread: false,
            ended: false,
            pages: 0,
            paused: false,
            due: 0,
            deadline: 0,
            silent_since: 0,
            pinged_at: 0,
        }
    }

    /// Bytes held of what it has sent and not completed.
    pub(crate) fn unfinished(&self) -> usize {
        self.framing.buffered() + self.tls.as_ref().map_or(0, |tls| tls.held())
    }

    /// Whether it is in the middle of saying something.
    pub(crate) fn is_mid_message(&self) -> bool {
        !self.framing.is_idle() || self.tls.as_ref().is_some_and(|tls| tls.held() > 0)
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Open(session) => Some(session),
            _ => None,
        }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Open(session) => Some(session),
            _ => None,
        }
    }
}
