//! Reading and writing the sockets of connections.

use std::io::{self, Read, Write};

use mio::event::Event as Readiness;

use super::{ConnectionState, Connections};
use crate::driver::Driver;
use crate::stats::Counters;

/// The reason for the end of a connection that the peer closed.
pub(super) const CLOSED: &str = "the gateway closed the connection";

/// The effect of a readiness event on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Progress {
    /// The TCP handshake is done.
    Connected,
    /// The TCP handshake is still under way.
    Connecting,
    /// The socket takes bytes again.
    Unblocked,
    /// The event does not concern writing.
    Unchanged,
}

/// The result of one read of a socket.
#[derive(Debug, Default)]
pub(in crate::client) struct Received {
    /// The number of decrypted bytes at the beginning of the caller's buffer.
    pub(in crate::client) plain: usize,
    /// The connection is over, and why.
    pub(in crate::client) ended: Option<String>,
}

impl Received {
    pub(super) fn ended(why: impl Into<String>) -> Self {
        Self {
            plain: 0,
            ended: Some(why.into()),
        }
    }
}

impl<D: Driver> Connections<D> {
    /// Looks at what a readiness event means for what is to be written.
    ///
    /// # Errors
    /// The TCP handshake failed.
    pub(in crate::client) fn progress(
        &mut self,
        device: u32,
        event: &Readiness,
    ) -> io::Result<Progress> {
        let Some(conn) = self.conn(device) else {
            return Ok(Progress::Unchanged);
        };
        if !event.is_writable() {
            return Ok(Progress::Unchanged);
        }
        if conn.state == ConnectionState::Connecting {
            return match conn.stream.take_error() {
                Ok(None) if conn.stream.peer_addr().is_ok() => Ok(Progress::Connected),
                Ok(None) => Ok(Progress::Connecting),
                Ok(Some(why)) | Err(why) => Err(why),
            };
        }
        match std::mem::take(&mut conn.blocked) {
            true => Ok(Progress::Unblocked),
            false => Ok(Progress::Unchanged),
        }
    }

    /// Notes that the gateway closed its end of a connection. The same event may report data, and
    /// no later event reports the end again.
    pub(in crate::client) fn note_read_closed(&mut self, device: u32) {
        if let Some(conn) = self.conn(device) {
            conn.ended = true;
        }
    }

    /// Reads a connection once; one with more to read comes again next turn.
    pub(in crate::client) fn read(
        &mut self,
        device: u32,
        buffer: &mut [u8],
        counters: &mut Counters,
    ) -> Received {
        let Some(conn) = &mut self.conns[device as usize] else {
            return Received::default();
        };
        if conn.state == ConnectionState::Connecting {
            return Received::default();
        }
        if self.sealing.is_some() {
            return self.read_sealed(device, buffer, counters);
        }
        let read = match conn.stream.read(buffer) {
            Ok(0) => return Received::ended(CLOSED),
            Ok(read) => read,
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Received::default(),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {
                self.unread.push(device);
                return Received::default();
            }
            Err(why) => return Received::ended(why.to_string()),
        };
        if read == buffer.len() || conn.ended {
            self.unread.push(device);
        }
        counters.bytes_in += read as u64;
        Received {
            plain: read,
            ended: None,
        }
    }

    /// Gives a socket what waits for it, unless the socket is known to take nothing.
    ///
    /// # Errors
    /// The connection is over.
    pub(in crate::client) fn flush(
        &mut self,
        device: u32,
        counters: &mut Counters,
    ) -> io::Result<()> {
        let Some(conn) = &mut self.conns[device as usize] else {
            return Ok(());
        };
        if conn.blocked {
            return Ok(());
        }
        if self.sealing.is_some() {
            return self.flush_sealed(device, counters);
        }
        let mut sent = 0;
        while sent < conn.out.len() {
            match conn.stream.write(&conn.out[sent..]) {
                Ok(n) => sent += n,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {
                    conn.blocked = true;
                    break;
                }
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
        conn.out.drain(..sent);
        // Most connections are idle most of the time: they hold no buffer.
        if conn.out.is_empty() && conn.out.capacity() > 0 {
            conn.out = Vec::new();
        }
        counters.bytes_out += sent as u64;
        Ok(())
    }
}
