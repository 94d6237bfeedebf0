//! One connection of a shard.

use std::io;
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use trunkline_core::exchange::{ConnRef, ReplyConn, ReplyTo};
use trunkline_core::ids::UserId;
use trunkline_core::store::Position;
use trunkline_proto::Encoding;

use super::admission::Admission;
use super::incoming::Incoming;
use super::memory::Memory;
use super::outbox::{Flushed, Outbox};
use super::pool::Pool;
use super::price;
use super::purse::Purse;
use super::source::Source;
use super::times::Times;
use super::tls::Tls;
use super::unanswered::Unanswered;
use crate::mapped;
use crate::rate::Holders;
use crate::session::Session;
use crate::timer::Tick;

/// The phase of a connection.
#[derive(Debug)]
pub(crate) enum Phase {
    /// A trusted proxy says who its client is, before the first byte of the client. The bytes stay in
    /// the socket until they are complete.
    Preamble,
    /// The HTTP upgrade. Holds the bytes of a request that arrives in pieces.
    Handshake(Vec<u8>),
    /// Upgraded, without a session.
    Upgraded,
    /// Upgraded at the echo path: every message comes back.
    Echo,
    /// Connected, with a session.
    Open(Session),
    /// The gateway has said its last, with a Close frame or an HTTP response. It throws input away
    /// until the peer closes.
    Closing,
}

impl Phase {
    /// Whether there is no session yet.
    const fn is_opening(&self) -> bool {
        matches!(self, Self::Preamble | Self::Handshake(_) | Self::Upgraded)
    }
}

/// A connection of a shard, in parts with state of their own.
///
/// A gateway may have millions: what few connections need at a time is behind a pointer.
#[derive(Debug)]
pub(crate) struct Conn {
    /// The input of the connection: incomplete frames, and whether more waits to be read.
    pub(super) incoming: Incoming,
    /// The output that waits to be sent.
    pub(super) out: Outbox,
    /// The timer, the deadline and the silence of the peer.
    pub(super) times: Times,
    /// The commands without an answer.
    pub(super) unanswered: Unanswered,
    /// The work that was done for this connection, and who pays for it.
    pub(super) purse: Purse,
    stream: TcpStream,
    /// The encryption, on a TLS connection.
    tls: Option<Box<Tls>>,
    /// Differs from the numbers of earlier connections in the same slot.
    generation: u32,
    /// The address under which connections are counted.
    source: Source,
    /// The bytes of the shard's memory that this connection was last counted with.
    held: u32,
    phase: Phase,
}

// Every idle session takes this much, and nothing on the heap besides if its names are short. Debug builds
// of mio remember the selector of each socket.
const _: () = assert!(size_of::<Conn>() <= if cfg!(debug_assertions) { 208 } else { 192 });
const _: () = assert!(size_of::<Session>() <= 64);

impl Conn {
    /// Makes a connection that has not sent anything.
    pub(super) fn new(
        stream: TcpStream,
        tls: Option<Box<Tls>>,
        generation: u32,
        source: Source,
    ) -> Self {
        Self {
            incoming: Incoming::new(),
            out: Outbox::default(),
            times: Times::default(),
            unanswered: Unanswered::default(),
            purse: Purse::new(price::CONNECTION),
            stream,
            tls,
            generation,
            source,
            held: 0,
            phase: Phase::Handshake(Vec::new()),
        }
    }

    /// The number that tells this connection from others of its shard.
    pub(super) const fn number(&self) -> u32 {
        self.generation
    }

    /// The address under which this connection is counted.
    pub(super) const fn source(&self) -> Source {
        self.source
    }

    /// Notes the address of the client, which a proxy has named.
    pub(super) const fn come_from(&mut self, source: Source) {
        self.source = source;
    }

    /// Returns a reference to this connection, which no later connection in its slot has.
    pub(super) const fn reference(&self, slot: u32) -> ConnRef {
        ConnRef {
            slot,
            generation: self.generation,
        }
    }

    /// Returns where the answer to a command of this connection goes. `id` is the client's id for
    /// the command.
    pub(super) fn reply_to(&self, shard: usize, slot: u32, id: u32) -> ReplyTo {
        ReplyTo::Conn(ReplyConn {
            // A shard's number is less than `MAX_SHARDS`.
            shard: shard as u16,
            encoding: self.encoding(),
            conn: self.reference(slot),
            id,
        })
    }

    /// The encoding that the client chose.
    pub(super) const fn encoding(&self) -> Encoding {
        self.out.encoding()
    }

    /// Returns the phase of the connection.
    pub(super) const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether there is no session yet.
    pub(super) const fn is_opening(&self) -> bool {
        self.phase.is_opening()
    }

    /// Whether the gateway has said its last.
    pub(super) const fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing)
    }

    /// Moves this connection to another phase. `admission` counts those without a session.
    pub(super) fn enter(&mut self, phase: Phase, admission: &mut Admission) {
        admission.change(self.phase.is_opening(), phase.is_opening());
        self.phase = phase;
    }

    /// Takes the bytes of an incomplete upgrade request. `None`: the upgrade is over.
    pub(super) fn take_request(&mut self) -> Option<Vec<u8>> {
        match &mut self.phase {
            Phase::Handshake(request) => Some(std::mem::take(request)),
            _ => None,
        }
    }

    /// Keeps the bytes of an upgrade request that is still incomplete.
    pub(super) fn keep_request(&mut self, bytes: &[u8]) {
        if let Phase::Handshake(request) = &mut self.phase {
            *request = bytes.to_vec();
            mapped::settle(request, 0);
        }
    }

    /// The session, if there is one.
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Open(session) => Some(session),
            _ => None,
        }
    }

    /// The session, if there is one.
    pub(super) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Open(session) => Some(session),
            _ => None,
        }
    }

    /// Whether there is a session of this user.
    #[inline]
    pub(super) fn is_of(&self, user: UserId) -> bool {
        self.session().is_some_and(|session| session.id == user)
    }

    /// The tick at which the session's token expires; [`Tick::MAX`] without a token.
    pub(super) fn expires(&self) -> Tick {
        self.session().map_or(Tick::MAX, Session::expires)
    }

    /// Whether the client is still being pushed the events that it missed.
    pub(super) fn is_catching_up(&self) -> bool {
        self.session().is_some_and(Session::is_catching_up)
    }

    /// Whether there is a session that gets ephemeral events.
    pub(super) fn is_listening(&self) -> bool {
        self.session().is_some() && !self.unanswered.is_leaving()
    }

    /// The position up to which every event has been written for the client. `seen` is the last
    /// position that the shard has seen. `None`: events are missing.
    pub(super) fn written(&self, seen: Position) -> Option<Position> {
        let session = self.session()?;
        let complete = !session.is_catching_up() && !self.out.has_gap();
        complete.then(|| session.until(seen))
    }

    /// Returns all who pay for the work that is done for this connection.
    pub(super) fn holders(&self) -> Holders<'_, Source> {
        holders(&self.phase, self.source)
    }

    /// Returns the purse of this connection, and all who pay into it.
    pub(super) fn payers(&mut self) -> (&mut Purse, Holders<'_, Source>) {
        (&mut self.purse, holders(&self.phase, self.source))
    }

    /// The bytes held of input: requests, messages and TLS records that are not complete, and what
    /// is left to a later turn.
    pub(super) fn unfinished(&self) -> usize {
        let request = match &self.phase {
            Phase::Handshake(request) => mapped::memory(request),
            _ => 0,
        };
        request + self.incoming.buffered() + self.sealed()
    }

    /// The bytes held of an incomplete TLS record.
    fn sealed(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.held())
    }

    /// Whether input that waits has a small buffer of the heap, which is worth a move if it waits for long.
    pub(super) fn is_small(&self) -> bool {
        self.incoming.is_small() || self.tls.as_ref().is_some_and(|tls| tls.is_small())
    }

    /// Gives input that has waited for long memory that goes back to the kernel with it, and counts it.
    pub(super) fn settle(&mut self, slot: u32, memory: &mut Memory) {
        let record = self.tls.as_mut().is_some_and(|tls| tls.settle());
        if self.incoming.settle() || record {
            self.account(slot, memory);
        }
    }

    /// Whether a message or TLS record is incomplete.
    pub(super) fn is_mid_message(&self) -> bool {
        !self.incoming.is_idle() || self.sealed() > 0
    }

    /// The bytes that the end of this connection would free, if nobody else had its shared frames.
    pub(super) fn weight(&self) -> usize {
        self.out.len().max(self.out.memory()) + self.unfinished()
    }

    /// The bytes that this connection was last counted with.
    pub(super) const fn held(&self) -> u32 {
        self.held
    }

    /// Counts the memory that this connection holds now.
    pub(super) fn account(&mut self, slot: u32, memory: &mut Memory) {
        let held = self.out.memory() + self.unfinished();
        memory.count(slot, &mut self.held, held);
    }

    /// Counts this connection out, which is gone.
    pub(super) fn release(&mut self, slot: u32, memory: &mut Memory) {
        memory.count(slot, &mut self.held, 0);
    }

    /// The socket, for the event loop.
    pub(super) const fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The address of the peer.
    ///
    /// # Errors
    /// The peer is gone.
    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// The encryption, on a TLS connection.
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// The socket, and the encryption on a TLS connection.
    pub(super) fn transport(&mut self) -> (&mut TcpStream, Option<&mut Tls>) {
        (&mut self.stream, self.tls.as_deref_mut())
    }

    /// Gives the socket about `most` bytes of the output that waits, encrypted on a TLS connection.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn flush(&mut self, pool: &mut Pool, most: usize) -> io::Result<Flushed> {
        match &mut self.tls {
            None => self.out.flush(&mut self.stream, pool, most),
            Some(tls) => self.out.flush_sealed(&mut self.stream, tls, pool, most),
        }
    }

    /// Appends the TLS alert that says that nothing follows, once. Returns whether there is
    /// something to send now.
    pub(super) fn end_tls(&mut self, pool: &mut Pool) -> bool {
        let tls = self.tls.as_mut().filter(|tls| tls.has_keys());
        tls.is_some_and(|tls| tls.close(self.out.sealed(pool)))
    }

    /// Tells the peer's kernel that nothing follows. The connection still reads, so that the peer's
    /// Close frame does not reset it before the peer has read ours.
    pub(super) fn end_writing(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// Returns all who pay for a connection in this phase, from this address.
fn holders(phase: &Phase, address: Source) -> Holders<'_, Source> {
    let session = match phase {
        Phase::Open(session) => Some(session),
        _ => None,
    };
    Holders {
        user: session.map(|session| session.id),
        name: session.map_or("", |session| session.names.user()),
        namespace: session.map_or("", |session| session.names.namespace()),
        address,
    }
}
