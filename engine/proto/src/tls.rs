//! TLS of one connection: records in, plaintext out, and the reverse.
//!
//! Like [`connection`](crate::connection), it owns no buffer while nothing is incomplete, because
//! rustls's unbuffered interface leaves all buffers to its caller. It holds the bytes of an
//! incomplete record until the rest arrives, at most [`MAX_HELD`] bytes.
//!
//! To handle bytes from the peer, [`Tls::resume`] first puts the held bytes at the start of a
//! buffer. Then the caller reads its socket into the buffer behind them. Then [`Tls::receive`]
//! takes all of it.

use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, CommonState, ServerConfig};

use crate::connection::{LARGE, ROOM};

/// The most bytes that are held: the longest TLS 1.2 record with its header, and 2 KiB of handshake
/// messages before it, which are also held until they are complete.
pub const MAX_HELD: usize = (16 << 10) + 2_048 + 5 + 2_048;

/// The most bytes of plaintext in a record.
const RECORD: usize = 16 << 10;

/// The bytes of a record beside its plaintext: header, number, tag, kind. If a record needs more,
/// rustls reports it.
const OVERHEAD: usize = 40;

/// One end of a TLS connection: server or client.
pub trait Side {
    /// The data that rustls keeps for this end only.
    type Data;

    /// Processes records; see [`UnbufferedStatus`].
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Returns the state that both ends have in common.
    fn common(&self) -> &CommonState;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

/// The server's end of a TLS connection.
pub type ServerTls = Tls<UnbufferedServerConnection>;

/// The client's end of a TLS connection.
pub type ClientTls = Tls<UnbufferedClientConnection>;

/// The result of [`Tls::receive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// The number of bytes of plaintext.
    pub plain: usize,
    /// The number of records that held them. One may hold a single byte, or none.
    pub records: usize,
    /// Whether the peer announced the end of its data (`close_notify`).
    pub ended: bool,
}

/// The reason why a connection cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The peer broke the protocol, has no algorithm in common with this end, or sent a fatal
    /// alert.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// A handshake message is longer than any valid one.
    #[error("a TLS hand-shake message is longer than {MAX_HELD} bytes")]
    TooLong,
    /// There are no keys yet, or they are no longer usable.
    #[error("nothing can be encrypted on this TLS connection")]
    NoKeys,
}

/// One end of a TLS connection.
pub struct Tls<S> {
    session: S,
    /// The bytes of an incomplete record or handshake message.
    held: Vec<u8>,
    /// Whether an error ended the connection. Rustls is then not called again.
    failed: bool,
}

impl<S> std::fmt::Debug for Tls<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Makes the server's end, which waits for a client.
    ///
    /// # Errors
    /// The configuration is not usable.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self::new(UnbufferedServerConnection::new(config)?))
    }
}

impl ClientTls {
    /// Makes the client's end of a connection to the server `name`. [`Tls::receive`] without input
    /// gives the first bytes to send.
    ///
    /// # Errors
    /// The configuration is not usable.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, TlsError> {
        Ok(Self::new(UnbufferedClientConnection::new(config, name)?))
    }
}

impl<S: Side> Tls<S> {
    const fn new(session: S) -> Self {
        Self {
            session,
            held: Vec::new(),
            failed: false,
        }
    }

    /// Returns whether an error or [`Self::abandon`] ended the connection. All further input is
    /// discarded.
    pub const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Ends the connection without an alert. All further input is discarded.
    pub fn abandon(&mut self) {
        self.failed = true;
        self.held = Vec::new();
    }

    /// Returns whether there are no keys yet.
    pub fn is_handshaking(&self) -> bool {
        self.session.common().is_handshaking()
    }

    /// Returns what both ends have agreed on.
    pub fn common(&self) -> &CommonState {
        self.session.common()
    }

    /// Returns the bytes of memory for what is incomplete, 32 KiB or twice [`MAX_HELD`] at most; 0 for an
    /// idle connection.
    pub const fn held(&self) -> usize {
        self.held.capacity()
    }

    /// Returns the buffer of what is incomplete. A caller may give it other memory.
    pub const fn incomplete(&mut self) -> &mut Vec<u8> {
        &mut self.held
    }

    /// Returns the bytes of memory for what is incomplete. `memory` says how many a buffer takes.
    pub fn held_by(&self, memory: impl Fn(&Vec<u8>) -> usize) -> usize {
        memory(&self.held)
    }

    /// Puts the held bytes at the start of `buffer`, and returns their number. The caller reads
    /// more bytes behind them and passes all to [`Self::receive`], which continues where the last
    /// input ended.
    ///
    /// # Panics
    /// Panics if the buffer is not longer than [`MAX_HELD`].
    pub fn resume(&self, buffer: &mut [u8]) -> usize {
        assert!(buffer.len() > MAX_HELD, "no room behind what is held");
        buffer[..self.held.len()].copy_from_slice(&self.held);
        self.held.len()
    }

    /// Receives records. Writes their plaintext to `plain`, which must be as long as the input.
    /// Appends the bytes for the peer to `out`, even on an error.
    ///
    /// # Errors
    /// The connection cannot continue. Send the bytes in `out` and close.
    pub fn receive(
        &mut self,
        input: &mut [u8],
        plain: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Received, TlsError> {
        if self.failed {
            return Ok(Received::default());
        }
        debug_assert!(input.starts_with(&self.held), "resume comes first");
        let received = self.advance(input, plain, out);
        if received.is_err() {
            self.abandon();
        }
        received
    }

    fn advance(
        &mut self,
        input: &mut [u8],
        plain: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Received, TlsError> {
        let (mut used, mut got, mut records) = (0, 0, 0);
        loop {
            let status = self.session.process(&mut input[used..]);
            let mut discard = status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        let end = got + record.payload.len();
                        plain[got..end].copy_from_slice(record.payload);
                        got = end;
                        records += 1;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.held = Vec::new();
                    return Ok(Received {
                        plain: got,
                        records,
                        ended: true,
                    });
                }
                // What is left is incomplete. Early data is never offered nor taken.
                Ok(_) => {
                    used += discard;
                    break;
                }
                Err(error) => {
                    used += discard;
                    self.tell(&mut input[used..], out);
                    return Err(error.into());
                }
            }
            used += discard;
        }
        self.hold(&input[used..])?;
        Ok(Received {
            plain: got,
            records,
            ended: false,
        })
    }

    fn hold(&mut self, rest: &[u8]) -> Result<(), TlsError> {
        if rest.is_empty() {
            self.held = Vec::new();
        } else if rest.len() > MAX_HELD {
            return Err(TlsError::TooLong);
        } else {
            self.held.clear();
            if self.held.capacity() == 0 && rest.len() >= LARGE {
                self.held.reserve_exact(ROOM);
            }
            self.held.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Appends the alert for an error. `input` is what the error left of the input, because rustls
    /// looks at the place where it stopped.
    fn tell(&mut self, input: &mut [u8], out: &mut Vec<u8>) {
        while self.session.common().wants_write() {
            match self.session.process(input).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                _ => return,
            }
        }
    }

    /// Encrypts `plain` and appends the records to `out`.
    ///
    /// # Errors
    /// The handshake is not complete, or the connection has ended.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        let room = plain.len() + plain.len().div_ceil(RECORD) * OVERHEAD;
        self.write(out, room, |traffic, room| traffic.encrypt(plain, room))
    }

    /// Appends the end of this side's data (`close_notify`) to `out`. Nothing can be encrypted
    /// after it.
    ///
    /// # Errors
    /// The handshake is not complete, or the connection has ended.
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        self.write(out, 2 * OVERHEAD, |traffic, room| {
            traffic.queue_close_notify(room)
        })
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        mut room: usize,
        mut write: impl FnMut(&mut WriteTraffic<'_, S::Data>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), TlsError> {
        if self.failed || self.session.common().is_handshaking() {
            return Err(TlsError::NoKeys);
        }
        loop {
            // With what is held: rustls looks at the place where it stopped, also without news.
            match self.session.process(&mut self.held).state? {
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, out),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(mut traffic) => loop {
                    let start = out.len();
                    out.resize(start + room, 0);
                    let written = write(&mut traffic, &mut out[start..]);
                    out.truncate(start + *written.as_ref().unwrap_or(&0));
                    match written {
                        Ok(_) => return Ok(()),
                        Err(EncryptError::InsufficientSize(size)) if size.required_size > room => {
                            room = size.required_size;
                        }
                        Err(_) => return Err(TlsError::NoKeys),
                    }
                },
                _ => return Err(TlsError::NoKeys),
            }
        }
    }
}

/// Appends the bytes that rustls wants to send.
fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    let start = out.len();
    let written = match data.encode(&mut []) {
        Ok(written) => Ok(written),
        Err(EncodeError::InsufficientSize(size)) => {
            out.resize(start + size.required_size, 0);
            data.encode(&mut out[start..])
        }
        Err(error) => Err(error),
    };
    out.truncate(start + written.unwrap_or(0));
}
