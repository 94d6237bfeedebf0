//! TLS of a shard's connections: where the bytes of a socket are decrypted and encrypted.
//!
//! What is read goes through [`Core::read_sealed`] into the shard's one read buffer, so that what
//! handles input sees plaintext, whichever way it came. What is to be sent waits in the outbox as
//! plaintext and is encrypted a piece at a time as the socket takes it. Limits, deadlines and
//! backpressure are those of plain connections; [`Tls`] is all that a connection has besides.

use std::io::{self, Read};

use mio::net::TcpStream;
use rustls::HandshakeKind;
use trunkline_proto::handshake::Rejection;
use trunkline_proto::tls::{MAX_HELD, Received, ServerTls, TlsError};

use super::READ;
use super::connection::{Conn, Phase};
use super::core::Core;
use super::outbox::{Outbox, write_out};
use super::pool::Pool;
use crate::metrics::{ShardMetrics, TlsFailure};

/// What a hand-shake counts as among those without a session that a turn reads: signing takes a
/// fraction of a millisecond, and those who are in wait for it.
pub(super) const HANDSHAKE_COST: usize = 8;

/// Plaintext that is encrypted before the socket is tried again: two records.
const PIECE: usize = 32 << 10;

/// Fatal alerts, for those who are turned away before any hand-shake: `internal_error` where there
/// is no room, `access_denied` where their address has too many connections.
pub(super) const NO_ROOM: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];
pub(super) const DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// A connection's TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    session: ServerTls,
    /// Something came.
    has_received: bool,
    /// It was said that nothing follows.
    ending: bool,
}

impl Tls {
    pub(super) const fn new(session: ServerTls) -> Self {
        Self {
            session,
            has_received: false,
            ending: false,
        }
    }

    /// Bytes held of what is not complete.
    pub(super) const fn held(&self) -> usize {
        self.session.held()
    }

    /// Counts that the peer left, where that was in the middle of the hand-shake. Whoever only
    /// looks whether the port is open is none of them.
    pub(super) fn left(&self, metrics: &ShardMetrics) {
        if self.has_received && self.is_shaking() {
            metrics.tls_failed(TlsFailure::Left);
        }
    }

    /// Counts that the time for the hand-shake is over.
    pub(super) fn late(&self, metrics: &ShardMetrics) {
        if self.is_shaking() {
            metrics.tls_failed(TlsFailure::Time);
        }
    }

    fn is_shaking(&self) -> bool {
        self.session.is_handshaking() && !self.session.has_failed()
    }

    /// Whether plaintext can be encrypted.
    fn has_keys(&self) -> bool {
        !self.session.is_handshaking() && !self.session.has_failed() && !self.ending
    }
}

/// Buffers for all connections of a shard, empty between two of them.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// What was read, behind what the connection held.
    sealed: Vec<u8>,
    /// What TLS itself has to say.
    answer: Vec<u8>,
}

impl Buffers {
    /// For a shard with TLS.
    pub(super) fn new() -> Self {
        Self {
            sealed: vec![0; READ],
            answer: Vec::new(),
        }
    }
}

const _: () = assert!(READ > 2 * MAX_HELD, "a read brings more than is held");

impl Core {
    /// Reads a TLS connection once and handles what came.
    pub(super) fn read_sealed(&mut self, slot: u32, conn: &mut Conn, buffer: &mut [u8]) {
        let Some(tls) = &mut conn.tls else {
            return;
        };
        let sealed = &mut self.tls.sealed;
        let held = tls.session.resume(sealed);
        let read = match conn.stream.read(&mut sealed[held..]) {
            Ok(0) => {
                // Without `close_notify` the end may be anybody's; a session is not over before
                // its Close frame, so nothing is taken for complete here.
                tls.left(&self.parts.metrics);
                return self.turn.drop_later(slot);
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return self.read_later(slot, conn);
            }
            Err(_) => {
                tls.left(&self.parts.metrics);
                return self.turn.drop_later(slot);
            }
        };
        let input = &mut sealed[..held + read];
        let full = held + read == READ;
        let first = !std::mem::replace(&mut tls.has_received, true);
        if first && input[0].is_ascii_uppercase() {
            self.parts.metrics.bytes_in.add(read as u64);
            return self.no_tls(slot, conn);
        }
        let shaking = tls.session.is_handshaking();
        let received = tls.session.receive(input, buffer, &mut self.tls.answer);
        if full || conn.ended {
            self.read_later(slot, conn);
        }
        self.note_received(conn, read);
        if shaking {
            self.admission.costs(HANDSHAKE_COST);
        }
        self.received(slot, conn, (shaking, first), received, buffer);
    }

    /// Passes on what rustls made of it.
    fn received(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        (shaking, first): (bool, bool),
        received: Result<Received, TlsError>,
        buffer: &mut [u8],
    ) {
        if !self.tls.answer.is_empty() {
            let answer = std::mem::take(&mut self.tls.answer);
            self.sealed_of(slot, conn).extend_from_slice(&answer);
            self.tls.answer = answer;
            self.tls.answer.clear();
        }
        let received = match received {
            Ok(received) => received,
            Err(error) => {
                let failure = TlsFailure::of(&error, first);
                tracing::debug!(%error, shard = self.parts.index, "TLS failed");
                return self.break_off(slot, conn, failure);
            }
        };
        if shaking && let Some(tls) = &conn.tls {
            match tls.session.common().handshake_kind() {
                _ if tls.session.is_handshaking() => {}
                Some(HandshakeKind::Resumed) => self.parts.metrics.tls_resumed.one(),
                _ => self.parts.metrics.tls_full.one(),
            }
        }
        if received.plain > 0 {
            self.input(slot, conn, &mut buffer[..received.plain]);
        }
        self.after_input(slot, conn);
        if received.ended {
            // What there is to answer goes out before our own `close_notify`.
            self.flush(slot, conn);
            if self.end_tls(conn) {
                self.flush(slot, conn);
            }
            self.turn.drop_later(slot);
        }
    }

    /// Where to append what TLS says of itself.
    fn sealed_of<'c>(&mut self, slot: u32, conn: &'c mut Conn) -> &'c mut Vec<u8> {
        self.mark_dirty(slot, conn);
        conn.out.sealed(&mut self.pool)
    }

    /// Answers what is no TLS but HTTP, in its own words.
    fn no_tls(&mut self, slot: u32, conn: &mut Conn) {
        if let Some(tls) = &mut conn.tls {
            tls.session.abandon();
        }
        Rejection::TLS_ONLY.response(self.sealed_of(slot, conn));
        self.parts.metrics.rejected_handshakes.one();
        self.break_off(slot, conn, TlsFailure::Http);
    }

    /// Ends a connection on which nothing can be encrypted any more: what TLS has to say of it goes
    /// out, then the peer is given some time to read that.
    fn break_off(&mut self, slot: u32, conn: &mut Conn, failure: TlsFailure) {
        self.parts.metrics.tls_failed(failure);
        if !matches!(conn.phase, Phase::Closing) {
            self.last_words(slot, conn, |_| ());
        }
        conn.framing.abandon();
        self.account(slot, conn);
    }

    /// Says to the peer that nothing follows, once; whether there is something to send now.
    pub(super) fn end_tls(&mut self, conn: &mut Conn) -> bool {
        let Some(tls) = conn.tls.as_mut().filter(|tls| tls.has_keys()) else {
            return false;
        };
        tls.ending = true;
        tls.session.close(conn.out.sealed(&mut self.pool)).is_ok()
    }
}

impl Outbox {
    /// Gives the socket what waits, encrypted; the bytes it took. What cannot be encrypted, before
    /// the hand-shake or after TLS failed, is thrown away.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn flush_sealed(
        &mut self,
        stream: &mut TcpStream,
        tls: &mut Tls,
        pool: &mut Pool,
    ) -> io::Result<(usize, u64)> {
        let (mut taken, mut writes) = (0, 0);
        if let Some(waiting) = self.waiting.as_deref_mut() {
            loop {
                let before = waiting.sealed_sent;
                let (sealed, sent) = (&waiting.sealed, &mut waiting.sealed_sent);
                let done = write_out(stream, sealed, sent, &mut writes)?;
                taken += waiting.sealed_sent - before;
                if !done {
                    self.blocked = true;
                    waiting.make_room();
                    return Ok((taken, writes));
                }
                waiting.sealed.clear();
                waiting.sealed_sent = 0;
                let left = waiting.bytes.len() - waiting.sent;
                if left == 0 || !tls.has_keys() {
                    break;
                }
                let end = waiting.sent + left.min(PIECE);
                let piece = &waiting.bytes[waiting.sent..end];
                tls.session
                    .seal(piece, &mut waiting.sealed)
                    .map_err(io::Error::other)?;
                waiting.sent = end;
            }
        }
        self.done(pool);
        Ok((taken, writes))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use trunkline_proto::tls::ClientTls;

    use super::*;

    /// Both ends, with keys.
    fn shaken() -> (ClientTls, Tls) {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientTls::client(Arc::new(client), name).unwrap();
        let mut server = ServerTls::server(Arc::new(server)).unwrap();
        let (mut there, mut back) = (Vec::new(), Vec::new());
        let mut plain = vec![0; READ];
        client.receive(&mut [], &mut [], &mut there).unwrap();
        while !there.is_empty() {
            server.receive(&mut there, &mut plain, &mut back).unwrap();
            there.clear();
            client.receive(&mut back, &mut plain, &mut there).unwrap();
            back.clear();
        }
        (client, Tls::new(server))
    }

    /// What waits is plaintext but for one piece, and comes whole and in order.
    #[test]
    fn a_reader_that_takes_little_at_a_time() {
        let (mut client, mut tls) = shaken();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut ours = TcpStream::from_std(ours);
        let (mut out, mut pool) = (Outbox::default(), Pool::default());
        // More than the kernel takes at once.
        let text: Vec<u8> = (0..24_u32 << 20).map(|i| (i ^ (i >> 9)) as u8).collect();
        out.frames(&mut pool).extend_from_slice(&text);
        let (sent, _) = out.flush_sealed(&mut ours, &mut tls, &mut pool).unwrap();
        assert!(out.blocked && sent > 0 && out.len() > text.len() - sent);
        let (mut buffer, mut plain) = (vec![0; READ], vec![0; READ]);
        let mut got = 0;
        while got < text.len() {
            let held = client.resume(&mut buffer);
            let read = peer.read(&mut buffer[held..]).unwrap();
            let received = client
                .receive(&mut buffer[..held + read], &mut plain, &mut Vec::new())
                .unwrap();
            assert!(plain[..received.plain] == text[got..got + received.plain]);
            got += received.plain;
            out.flush_sealed(&mut ours, &mut tls, &mut pool).unwrap();
            assert_eq!(out.blocked, out.len() > 0);
            if let Some(waiting) = &out.waiting {
                assert!(waiting.sealed.capacity() <= 2 * PIECE);
            }
        }
        assert!(out.len() == 0 && out.waiting.is_none());
    }

    #[test]
    fn what_cannot_be_encrypted_is_thrown_away() {
        let (_, mut tls) = shaken();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        let mut ours = TcpStream::from_std(ours);
        let (mut out, mut pool) = (Outbox::default(), Pool::default());
        out.frames(&mut pool).extend_from_slice(b"a secret");
        out.sealed(&mut pool).extend_from_slice(b"an alert");
        tls.session.abandon();
        let (sent, _) = out.flush_sealed(&mut ours, &mut tls, &mut pool).unwrap();
        assert_eq!((sent, out.len(), out.blocked), (8, 0, false));
        drop(ours);
        let mut told = Vec::new();
        peer.read_to_end(&mut told).unwrap();
        assert_eq!(told, b"an alert");
    }
}
