//! TLS of a thread's connections. A run without TLS uses nothing of this module.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use trunkline_proto::tls::{ClientTls, TlsError};

use super::socket::{CLOSED, Received};
use super::{Connections, READ};
use crate::driver::Driver;
use crate::stats::Counters;
use crate::tls::Trust;

/// Plaintext that is encrypted before the socket is tried again.
const PIECE: usize = 64 << 10;

/// The TLS state of a thread.
pub(super) struct Sealing {
    /// The TLS state of each device; `None` without a connection.
    conns: Vec<Option<Box<Sealed>>>,
    /// Encrypted bytes from the gateway: first those that the connection kept, then those just
    /// read.
    buffer: Vec<u8>,
}

/// A connection's TLS.
struct Sealed {
    tls: ClientTls,
    /// Records that the socket has not taken.
    out: Vec<u8>,
}

impl Sealing {
    pub(super) fn new(devices: usize) -> Self {
        Self {
            conns: (0..devices).map(|_| None).collect(),
            buffer: vec![0; READ],
        }
    }

    /// Begins a connection to a target that is trusted by `trust`. Its first record waits for the socket.
    pub(super) fn begin(&mut self, trust: &Trust, device: u32) -> Result<(), TlsError> {
        let mut tls = trust.begin()?;
        let mut out = Vec::new();
        tls.receive(&mut [], &mut [], &mut out)?;
        self.conns[device as usize] = Some(Box::new(Sealed { tls, out }));
        Ok(())
    }

    /// Forgets a connection.
    pub(super) fn end(&mut self, device: u32) {
        self.conns[device as usize] = None;
    }
}

/// The result of writing to a socket.
struct Flushed {
    /// Encrypted bytes.
    sent: usize,
    /// Whether nothing is left to write.
    whole: bool,
}

impl Sealed {
    /// Encrypts what waits, once there are keys, and gives the socket what it takes.
    fn flush(&mut self, stream: &mut TcpStream, plain: &mut Vec<u8>) -> io::Result<Flushed> {
        let (mut sent, mut sealed) = (0, 0);
        loop {
            let mut taken = 0;
            while taken < self.out.len() {
                match stream.write(&self.out[taken..]) {
                    Ok(n) => taken += n,
                    Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                    Err(why) if why.kind() == io::ErrorKind::WouldBlock => {
                        self.out.drain(..taken);
                        plain.drain(..sealed);
                        return Ok(Flushed {
                            sent: sent + taken,
                            whole: false,
                        });
                    }
                    Err(why) => return Err(why),
                }
            }
            sent += taken;
            self.out.clear();
            if sealed == plain.len() || self.tls.is_handshaking() {
                break;
            }
            let piece = &plain[sealed..plain.len().min(sealed + PIECE)];
            self.tls
                .seal(piece, &mut self.out)
                .map_err(io::Error::other)?;
            sealed += piece.len();
        }
        // Idle connections hold no buffer.
        self.out = Vec::new();
        plain.drain(..sealed);
        if plain.is_empty() {
            *plain = Vec::new();
        }
        Ok(Flushed { sent, whole: true })
    }
}

impl<D: Driver> Connections<D> {
    /// Reads a connection once and decrypts.
    pub(super) fn read_sealed(
        &mut self,
        device: u32,
        buffer: &mut [u8],
        counters: &mut Counters,
    ) -> Received {
        let (Some(conn), Some(sealing)) = (&mut self.conns[device as usize], &mut self.sealing)
        else {
            return Received::default();
        };
        let Some(sealed) = &mut sealing.conns[device as usize] else {
            return Received::default();
        };
        let held = sealed.tls.resume(&mut sealing.buffer);
        let read = match conn.stream.read(&mut sealing.buffer[held..]) {
            Ok(0) => return Received::ended(CLOSED),
            Ok(read) => read,
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Received::default(),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {
                self.unread.push(device);
                return Received::default();
            }
            Err(why) => return Received::ended(why.to_string()),
        };
        let end = held + read;
        if end == READ || conn.ended {
            self.unread.push(device);
        }
        let shaking = sealed.tls.is_handshaking();
        let input = &mut sealing.buffer[..end];
        let received = sealed.tls.receive(input, buffer, &mut sealed.out);
        // The handshake is done, so the bytes that waited for the keys can be sent.
        let more = !sealed.out.is_empty() || (shaking && !sealed.tls.is_handshaking());
        counters.bytes_in += read as u64;
        let received = match received {
            Ok(received) => received,
            Err(why) => {
                // Tells the gateway, if the socket takes the bytes at once.
                let _ = self.flush(device, counters);
                return Received::ended(format!("TLS: {why}"));
            }
        };
        if more {
            self.mark_dirty(device);
        }
        Received {
            plain: received.plain,
            ended: received.ended.then(|| CLOSED.to_owned()),
        }
    }

    /// Gives the socket what waits, encrypted.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) fn flush_sealed(&mut self, device: u32, counters: &mut Counters) -> io::Result<()> {
        let (Some(conn), Some(sealing)) = (&mut self.conns[device as usize], &mut self.sealing)
        else {
            return Ok(());
        };
        let Some(sealed) = &mut sealing.conns[device as usize] else {
            return Ok(());
        };
        let flushed = sealed.flush(&mut conn.stream, &mut conn.out)?;
        conn.blocked = !flushed.whole;
        counters.bytes_out += flushed.sent as u64;
        Ok(())
    }
}
