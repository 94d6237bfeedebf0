//! TLS of a thread's connections. A run without TLS has none of this.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use trunkline_proto::tls::{ClientTls, TlsError};

use super::{Client, READ};
use crate::clock::Nanos;
use crate::tls::Trust;

/// Plaintext that is encrypted before the socket is tried again.
const PIECE: usize = 64 << 10;

/// What a thread needs for TLS.
pub(super) struct Sealing {
    trust: Trust,
    /// By device.
    conns: Vec<Option<Box<Sealed>>>,
    /// What was read, behind what the connection held.
    buffer: Vec<u8>,
}

/// A connection's TLS.
struct Sealed {
    tls: ClientTls,
    /// Records that the socket has not taken.
    out: Vec<u8>,
}

impl Sealing {
    pub(super) fn new(trust: Trust, devices: usize) -> Self {
        Self {
            trust,
            conns: (0..devices).map(|_| None).collect(),
            buffer: vec![0; READ],
        }
    }

    /// Begins a connection: what it says first waits for the socket.
    pub(super) fn begin(&mut self, device: u32) -> Result<(), TlsError> {
        let mut tls = self.trust.begin()?;
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

impl Sealed {
    /// Encrypts what waits, once there are keys, and gives the socket what it takes: the bytes, and
    /// whether that was all.
    fn flush(&mut self, stream: &mut TcpStream, plain: &mut Vec<u8>) -> io::Result<(usize, bool)> {
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
                        return Ok((sent + taken, false));
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
        Ok((sent, true))
    }
}

impl Client {
    /// Reads once and decrypts.
    pub(super) fn read_sealed(&mut self, now: Nanos, device: u32, buffer: &mut [u8]) {
        let (Some(conn), Some(sealing)) = (&mut self.conns[device as usize], &mut self.sealing)
        else {
            return;
        };
        let Some(sealed) = &mut sealing.conns[device as usize] else {
            return;
        };
        let held = sealed.tls.resume(&mut sealing.buffer);
        let read = match conn.stream.read(&mut sealing.buffer[held..]) {
            Ok(0) => return self.failed(now, device, "the gateway closed the connection"),
            Ok(read) => read,
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {
                return self.unread.push(device);
            }
            Err(why) => return self.failed(now, device, &why.to_string()),
        };
        let end = held + read;
        if end == READ || conn.ended {
            self.unread.push(device);
        }
        let shaking = sealed.tls.is_handshaking();
        let input = &mut sealing.buffer[..end];
        let received = sealed.tls.receive(input, buffer, &mut sealed.out);
        // With the keys, what waited for them may go.
        let more = !sealed.out.is_empty() || (shaking && !sealed.tls.is_handshaking());
        self.count().bytes_in += read as u64;
        let received = match received {
            Ok(received) => received,
            Err(why) => {
                // The gateway is told, where it takes that at once.
                self.flush(now, device);
                return self.failed(now, device, &format!("TLS: {why}"));
            }
        };
        if more {
            self.mark_dirty(device);
        }
        if received.plain > 0 {
            self.heard(now, device, &mut buffer[..received.plain]);
        }
        if received.ended {
            self.failed(now, device, "the gateway closed the connection");
        }
    }

    /// Gives the socket what waits, encrypted.
    pub(super) fn flush_sealed(&mut self, now: Nanos, device: u32) {
        let (Some(conn), Some(sealing)) = (&mut self.conns[device as usize], &mut self.sealing)
        else {
            return;
        };
        let Some(sealed) = &mut sealing.conns[device as usize] else {
            return;
        };
        match sealed.flush(&mut conn.stream, &mut conn.out) {
            Ok((sent, all)) => {
                conn.blocked = !all;
                self.count().bytes_out += sent as u64;
            }
            Err(why) => self.failed(now, device, &why.to_string()),
        }
    }
}
