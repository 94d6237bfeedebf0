//! TLS of one connection: records in, plaintext out, and the other way round.
//!
//! Like [`connection`](crate::connection) it owns no buffer while nothing is incomplete: rustls's
//! unbuffered interface leaves all buffers to its caller. What came of a record that is not
//! complete is held until the rest comes, at most [`MAX_HELD`] bytes of it.
//!
//! The order of calls for what comes from the peer: [`Tls::resume`] puts what is held in front of a
//! buffer, the caller reads its socket behind that, and [`Tls::receive`] takes all of it.

use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, CommonState, ServerConfig};

/// The longest record with its header, of TLS 1.2, and 2 KiB of the hand-shake messages before it:
/// these are held too until they are complete.
pub const MAX_HELD: usize = (16 << 10) + 2_048 + 5 + 2_048;

/// Plaintext of a record.
const RECORD: usize = 16 << 10;

/// What a record takes besides: header, number, tag, kind. Where more is needed rustls says so.
const OVERHEAD: usize = 40;

/// Which end of the connection this is.
pub trait Side {
    /// What rustls knows of this end only.
    type Data;

    /// See [`UnbufferedStatus`].
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// What both ends have in common.
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

/// A server's end.
pub type ServerTls = Tls<UnbufferedServerConnection>;

/// A client's end.
pub type ClientTls = Tls<UnbufferedClientConnection>;

/// What [`Tls::receive`] brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// Bytes of plaintext.
    pub plain: usize,
    /// The peer has said that nothing follows (`close_notify`).
    pub ended: bool,
}

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The peer broke the protocol, shares nothing with us, or said that it does not go on.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// A hand-shake message is longer than any of an honest peer.
    #[error("a TLS hand-shake message is longer than {MAX_HELD} bytes")]
    TooLong,
    /// There are no keys yet, or they may not be used any more.
    #[error("nothing can be encrypted on this TLS connection")]
    NoKeys,
}

/// One end of a TLS connection.
pub struct Tls<S> {
    session: S,
    /// What came of a record or hand-shake message that is not complete.
    held: Vec<u8>,
    /// An error ended it: rustls is not asked again.
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
    /// Waits for a client.
    ///
    /// # Errors
    /// The configuration cannot work.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self::new(UnbufferedServerConnection::new(config)?))
    }
}

impl ClientTls {
    /// Connects to a server of this name. [`Tls::receive`] without input gives the first bytes to
    /// send.
    ///
    /// # Errors
    /// The configuration cannot work.
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

    /// Whether an error ended it, or [`Self::abandon`]: what comes is thrown away.
    pub const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Ends it without a word: what comes is thrown away.
    pub fn abandon(&mut self) {
        self.failed = true;
        self.held = Vec::new();
    }

    /// Whether there are no keys yet.
    pub fn is_handshaking(&self) -> bool {
        self.session.common().is_handshaking()
    }

    /// What was agreed on.
    pub fn common(&self) -> &CommonState {
        self.session.common()
    }

    /// Memory of what is incomplete, at most twice [`MAX_HELD`]; an idle connection has none.
    pub const fn held(&self) -> usize {
        self.held.capacity()
    }

    /// Puts what is held in front of `buffer`; how much that is. What is read behind it and given
    /// to [`Self::receive`] together with it goes on where the last input ended.
    ///
    /// # Panics
    /// The buffer is not longer than [`MAX_HELD`].
    pub fn resume(&self, buffer: &mut [u8]) -> usize {
        assert!(buffer.len() > MAX_HELD, "no room behind what is held");
        buffer[..self.held.len()].copy_from_slice(&self.held);
        self.held.len()
    }

    /// Takes records. Their plaintext goes to `plain`, which must be as long as the input; what the
    /// peer is to be told goes to the end of `out`, also where this fails.
    ///
    /// # Errors
    /// The connection cannot go on: send what is in `out` and close.
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
        let (mut used, mut got) = (0, 0);
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
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.held = Vec::new();
                    return Ok(Received {
                        plain: got,
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
            self.held.extend_from_slice(rest);
        }
        Ok(())
    }

    /// The alert behind an error. The input is what the error left of it: rustls looks at the place
    /// where it stopped.
    fn tell(&mut self, input: &mut [u8], out: &mut Vec<u8>) {
        while self.session.common().wants_write() {
            match self.session.process(input).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                _ => return,
            }
        }
    }

    /// Encrypts, to the end of `out`.
    ///
    /// # Errors
    /// The hand-shake is not complete, or the connection has ended.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        let room = plain.len() + plain.len().div_ceil(RECORD) * OVERHEAD;
        self.write(out, room, |traffic, room| traffic.encrypt(plain, room))
    }

    /// Says that nothing follows (`close_notify`), to the end of `out`. Nothing can be encrypted
    /// from then on.
    ///
    /// # Errors
    /// The hand-shake is not complete, or the connection has ended.
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

/// Appends what rustls has to say.
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
