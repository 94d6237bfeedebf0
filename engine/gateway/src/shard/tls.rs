//! TLS of a shard's connections: decrypts what a socket brings, and encrypts what it takes.
//!
//! [`Core::read_sealed`] decrypts into the shard's one read buffer, so that all later steps see
//! plaintext, with TLS and without. Output waits in the outbox as plaintext, and is encrypted a piece
//! at a time as the socket takes it. Limits, deadlines and backpressure are those of plain
//! connections. [`Tls`] is all that a TLS connection has besides.

use std::io::{self, Read};

use rustls::HandshakeKind;
use trunkline_proto::handshake::Rejection;
use trunkline_proto::tls::{MAX_HELD, Received, ServerTls, TlsError};

use super::connection::Conn;
use super::core::Core;
use super::price;
use super::{PIECE, READ};
use crate::mapped;
use crate::metrics::{ShardMetrics, TlsFailure, Work};

/// The number of plain connections without a session that a hand-shake counts as in a turn. Signing
/// takes a fraction of a millisecond, and open sessions wait for it.
pub(super) const HANDSHAKE_COST: usize = 8;

/// The fatal alert `internal_error`, for clients that there is no room for.
pub(super) const NO_ROOM: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// The fatal alert `access_denied`, for clients whose address has too many connections.
pub(super) const DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// The TLS of one connection.
#[derive(Debug)]
pub(crate) struct Tls {
    session: ServerTls,
    /// The peer has sent something.
    has_received: bool,
    /// The peer has said that nothing follows.
    has_ended: bool,
    /// The peer has been told that nothing follows.
    ending: bool,
}

impl Tls {
    /// Makes the TLS of a new connection.
    pub(super) const fn new(session: ServerTls) -> Self {
        Self {
            session,
            has_received: false,
            has_ended: false,
            ending: false,
        }
    }

    /// The bytes held of an incomplete record.
    pub(super) fn held(&self) -> usize {
        self.session.held_by(mapped::memory)
    }

    /// Whether the buffer of an incomplete record is one of the heap, and worth a move.
    pub(super) const fn is_small(&self) -> bool {
        mapped::is_small(self.session.held())
    }

    /// Gives an incomplete record memory that goes back to the kernel with it. Returns whether its memory
    /// is another one now.
    pub(super) fn settle(&mut self) -> bool {
        mapped::settle(self.session.incomplete(), 0)
    }

    /// Counts a peer that left during the hand-shake. A peer that sent nothing does not count: it only
    /// looked whether the port is open.
    pub(super) fn left(&self, metrics: &ShardMetrics) {
        if self.has_received && self.is_shaking() {
            metrics.tls_failed(TlsFailure::Left);
        }
    }

    /// Counts a hand-shake that took too long.
    pub(super) fn late(&self, metrics: &ShardMetrics) {
        if self.is_shaking() {
            metrics.tls_failed(TlsFailure::Time);
        }
    }

    /// Encrypts plaintext, and appends the records to `sealed`.
    ///
    /// # Errors
    /// TLS has failed.
    pub(super) fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> io::Result<()> {
        let done = self.session.seal(plain, sealed);
        done.map_err(io::Error::other)
    }

    /// Appends the alert that says that nothing follows. Returns whether there is an alert to send.
    pub(super) fn close(&mut self, sealed: &mut Vec<u8>) -> bool {
        self.ending = true;
        self.session.close(sealed).is_ok()
    }

    /// Throws incomplete records away, and reads and encrypts nothing any more.
    fn abandon(&mut self) {
        self.session.abandon();
    }

    fn is_shaking(&self) -> bool {
        self.session.is_handshaking() && !self.session.has_failed()
    }

    /// Whether plaintext can be encrypted.
    pub(super) fn has_keys(&self) -> bool {
        !self.session.is_handshaking() && !self.session.has_failed() && !self.ending
    }
}

/// Buffers that all TLS connections of a shard share. They are empty between two connections.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// The bytes that a read brings, after the bytes that the connection held.
    sealed: Vec<u8>,
    /// The records with which TLS itself answers.
    answer: Vec<u8>,
}

impl Buffers {
    /// Makes the buffers. A shard without TLS gets none.
    pub(super) fn new(with_tls: bool) -> Self {
        Self {
            sealed: if with_tls { vec![0; READ] } else { Vec::new() },
            answer: Vec::new(),
        }
    }
}

/// The state of the hand-shake before a read.
#[derive(Debug, Clone, Copy)]
struct Before {
    /// The hand-shake was not over.
    shaking: bool,
    /// The peer had sent nothing.
    fresh: bool,
}

const _: () = assert!(
    READ >= MAX_HELD + PIECE,
    "a read finds room behind what is held"
);

impl Core {
    /// Reads a TLS connection once, and handles the plaintext.
    pub(super) fn read_sealed(&mut self, slot: u32, conn: &mut Conn, buffer: &mut [u8]) {
        let (stream, Some(tls)) = conn.transport() else {
            return;
        };
        let sealed = &mut self.tls.sealed;
        let held = tls.session.resume(sealed);
        let read = match stream.read(&mut sealed[held..held + PIECE]) {
            Ok(0) => {
                // Anybody could end the stream without `close_notify`. A session is over with its
                // Close frame only, so nothing is taken for complete here.
                tls.left(&self.parts.metrics);
                return self.turn.drop_later(slot);
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return conn.incoming.read_later(slot, &mut self.turn);
            }
            Err(_) => {
                tls.left(&self.parts.metrics);
                return self.turn.drop_later(slot);
            }
        };
        let input = &mut sealed[..held + read];
        let full = read == PIECE;
        let before = Before {
            fresh: !std::mem::replace(&mut tls.has_received, true),
            shaking: tls.session.is_handshaking(),
        };
        if before.fresh && input[0].is_ascii_uppercase() {
            self.parts.metrics.bytes_in.add(read as u64);
            return self.no_tls(slot, conn);
        }
        let received = tls.session.receive(input, buffer, &mut self.tls.answer);
        if full || conn.incoming.has_ended() {
            conn.incoming.read_later(slot, &mut self.turn);
        }
        self.parts.metrics.bytes_in.add(read as u64);
        conn.times.note_received(self.turn.now());
        if before.shaking {
            self.admission.costs(HANDSHAKE_COST);
            self.charge(slot, conn, Work::Open, price::TLS_STEP);
        }
        self.received(slot, conn, before, received, buffer);
        self.rest_from_pieces(slot, conn, read);
    }

    /// Handles what rustls made of a read: the plaintext is at the front of `buffer`.
    fn received(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        before: Before,
        received: Result<Received, TlsError>,
        buffer: &mut [u8],
    ) {
        if !self.tls.answer.is_empty() {
            conn.out.flush_later(slot, &mut self.turn);
            let sealed = conn.out.sealed(&mut self.pool);
            sealed.append(&mut self.tls.answer);
        }
        let received = match received {
            Ok(received) => received,
            Err(error) => {
                let failure = TlsFailure::of(&error, before.fresh);
                tracing::debug!(%error, shard = self.parts.index, "TLS failed");
                return self.break_off(slot, conn, failure);
            }
        };
        if before.shaking
            && let Some(tls) = conn.tls()
        {
            match tls.session.common().handshake_kind() {
                _ if tls.session.is_handshaking() => {}
                Some(HandshakeKind::Resumed) => self.parts.metrics.tls_resumed.one(),
                _ => self.parts.metrics.tls_full.one(),
            }
        }
        self.slice.take_records(received.records);
        if received.plain > 0 {
            self.new_input(slot, conn, &mut buffer[..received.plain]);
        }
        self.after_input(slot, conn);
        if received.ended {
            if let (_, Some(tls)) = conn.transport() {
                tls.has_ended = true;
            }
            self.end_sealed(slot, conn);
        }
    }

    /// Ends a TLS connection whose peer sends nothing more, once all that it sent is handled.
    pub(super) fn end_sealed(&mut self, slot: u32, conn: &mut Conn) {
        let ended = conn.tls().is_some_and(|tls| tls.has_ended);
        if !ended || conn.incoming.has_backlog() {
            return;
        }
        // The answers go out before our own `close_notify`.
        self.flush(slot, conn);
        if conn.end_tls(&mut self.pool) {
            self.flush(slot, conn);
        }
        self.turn.drop_later(slot);
    }

    /// Answers plain HTTP at a TLS port with plain HTTP.
    fn no_tls(&mut self, slot: u32, conn: &mut Conn) {
        if let (_, Some(tls)) = conn.transport() {
            tls.abandon();
        }
        conn.out.flush_later(slot, &mut self.turn);
        Rejection::TLS_ONLY.response(conn.out.sealed(&mut self.pool));
        self.parts.metrics.rejected_handshakes.one();
        self.break_off(slot, conn, TlsFailure::Http);
    }

    /// Ends a connection that cannot encrypt any more. The alert of TLS goes out, and the peer gets
    /// some time to read it.
    fn break_off(&mut self, slot: u32, conn: &mut Conn, failure: TlsFailure) {
        self.parts.metrics.tls_failed(failure);
        if !conn.is_closing() {
            self.last_words(slot, conn, |_| ());
        }
        conn.incoming.abandon();
        conn.account(slot, &mut self.memory);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mio::net::TcpStream;
    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use trunkline_proto::tls::ClientTls;

    use super::super::outbox::Outbox;
    use super::super::pool::Pool;
    use super::*;

    /// Returns both ends of a connection after the hand-shake.
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

    /// Output waits as plaintext, except for one piece, and arrives whole and in order.
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
        // A connection whose turn is over keeps no records and no room for them.
        let flushed = out.flush_sealed(&mut ours, &mut tls, &mut pool, 1).unwrap();
        let sent = flushed.bytes;
        assert!(sent > 0 && !out.is_blocked() && out.sealed_capacity() == 0);
        let flushed = out
            .flush_sealed(&mut ours, &mut tls, &mut pool, usize::MAX)
            .unwrap();
        let sent = sent + flushed.bytes;
        assert!(out.is_blocked() && sent > 0 && out.len() > text.len() - sent);
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
            out.flush_sealed(&mut ours, &mut tls, &mut pool, usize::MAX)
                .unwrap();
            assert_eq!(out.is_blocked(), out.len() > 0);
            assert!(out.sealed_capacity() <= 64 << 10, "two pieces");
        }
        assert!(out.len() == 0 && out.is_unused());
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
        tls.abandon();
        let flushed = out
            .flush_sealed(&mut ours, &mut tls, &mut pool, usize::MAX)
            .unwrap();
        assert_eq!((flushed.bytes, out.len(), out.is_blocked()), (8, 0, false));
        drop(ours);
        let mut told = Vec::new();
        peer.read_to_end(&mut told).unwrap();
        assert_eq!(told, b"an alert");
    }
}
