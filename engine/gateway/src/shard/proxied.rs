//! Connections through trusted proxies: who the client is, before any work is done for it.

use std::io::{self, Read, Write};
use std::net::IpAddr;

use trunkline_core::cost::Cost;
use trunkline_proto::handshake::{self, Rejection};
use trunkline_proto::proxy::preamble::{self, LONGEST, Preamble, PreambleError, Progress};

use super::PIECE;
use super::admission::Refusal;
use super::connection::{Conn, Phase};
use super::core::Core;
use super::source::Source;
use super::tls::DENIED;
use crate::metrics::{Limit, Work};

const _: () = assert!(LONGEST <= PIECE, "a preamble fits into one look");

/// What a look at the first bytes of a proxy's connection found.
enum Look {
    /// The preamble is complete.
    Complete(Preamble),
    /// The kernel reports when more has come.
    Incomplete,
    /// The proxy is gone.
    Gone,
    /// The proxy does not speak the protocol.
    Wrong(PreambleError),
}

impl Core {
    /// Reads the PROXY protocol of a new connection. Returns whether it is complete: the bytes of the
    /// client are next.
    ///
    /// The bytes stay in the kernel until the preamble is complete: those behind it may belong to TLS,
    /// and a connection that waits takes no memory here.
    pub(super) fn read_preamble(&mut self, slot: u32, conn: &mut Conn, buffer: &mut [u8]) -> bool {
        self.parts.metrics.reads.one();
        let preamble = match look(conn, buffer) {
            Look::Complete(preamble) => preamble,
            Look::Incomplete => {
                if conn.incoming.has_ended() {
                    self.turn.drop_later(slot);
                }
                return false;
            }
            Look::Gone => {
                self.turn.drop_later(slot);
                return false;
            }
            Look::Wrong(error) => {
                self.parts.metrics.limited(Limit::Proxies);
                self.parts.metrics.rejected_handshakes.one();
                let peer = conn
                    .peer_addr()
                    .map_or_else(|_| "unknown".to_owned(), |peer| peer.to_string());
                tracing::debug!(%error, proxy = peer, shard = self.parts.index, "a trusted proxy is not understood");
                self.turn.drop_later(slot);
                return false;
            }
        };
        // These bytes are in the socket: a read takes exactly them.
        let taken = conn.transport().0.read_exact(&mut buffer[..preamble.size]);
        let Ok(peer) = conn.peer_addr().and_then(|peer| taken.map(|()| peer.ip())) else {
            self.turn.drop_later(slot);
            return false;
        };
        self.parts.metrics.bytes_in.add(preamble.size as u64);
        conn.times.note_received(self.turn.now());
        conn.enter(Phase::Handshake(Vec::new()), &mut self.admission);
        match self.named(slot, conn, preamble.client.unwrap_or(peer)) {
            Ok(()) => true,
            Err(refusal) => {
                self.turn_away(slot, conn, refusal);
                false
            }
        }
    }

    /// Finds the client of a proxy's connection in the head of its upgrade request. Returns `false` if
    /// the client may not connect; it has its answer then.
    pub(super) fn named_by_head(&mut self, slot: u32, conn: &mut Conn, head: &[u8]) -> bool {
        if !conn.source().is_unnamed() {
            return true;
        }
        let Ok(peer) = conn.peer_addr() else {
            self.turn.drop_later(slot);
            return false;
        };
        let proxies = self.parts.limits.proxies.now();
        let client = match handshake::client(head, &proxies, peer.ip()) {
            Ok(client) => client,
            Err(rejection) => {
                self.parts.metrics.limited(Limit::Proxies);
                self.reject(slot, conn, &rejection);
                return false;
            }
        };
        match self.named(slot, conn, client) {
            Ok(()) => true,
            Err(refusal) => {
                self.turn_away(slot, conn, refusal);
                false
            }
        }
    }

    /// Counts a connection for its client, whom a proxy has named.
    fn named(&mut self, slot: u32, conn: &mut Conn, client: IpAddr) -> Result<(), Refusal> {
        let source = Source::of(client);
        if let Some(ticks) = self.turns_away(source) {
            return Err(Refusal::Debt(ticks));
        }
        self.admission.name(source)?;
        conn.come_from(source);
        self.receive_newcomer(slot, conn);
        // The client pays for what was done before it was known.
        self.charge(slot, conn, Work::Open, Cost::NONE);
        Ok(())
    }

    /// Ends a connection whose client may not connect now.
    fn turn_away(&mut self, slot: u32, conn: &mut Conn, refusal: Refusal) {
        self.parts.metrics.refused.one();
        refusal.count(&self.parts.metrics);
        if conn.tls().is_some_and(|tls| !tls.has_keys()) {
            // There is no room for a hand-shake that would only encrypt the refusal.
            let _ = conn.transport().0.write(&DENIED);
            return self.turn.drop_later(slot);
        }
        self.reject(slot, conn, &Rejection::TOO_MANY);
    }
}

/// Looks at the first bytes of a connection, which stay in the kernel.
fn look(conn: &mut Conn, buffer: &mut [u8]) -> Look {
    let stream = conn.transport().0;
    loop {
        return match stream.peek(&mut buffer[..LONGEST]) {
            Ok(0) => Look::Gone,
            Ok(seen) => match preamble::read(&buffer[..seen]) {
                Ok(Progress::Complete(preamble)) => Look::Complete(preamble),
                Ok(Progress::Incomplete(_)) => Look::Incomplete,
                Err(error) => Look::Wrong(error),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Look::Incomplete,
            Err(_) => Look::Gone,
        };
    }
}
