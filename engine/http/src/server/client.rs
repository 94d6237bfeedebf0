//! The client of a connection: its address, also behind a trusted proxy.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use trunkline_proto::proxy::Proxies;
use trunkline_proto::proxy::preamble::{self, LONGEST, Progress};

use super::Refusal;
use super::open::Answering;
use crate::door::Door;

/// The end of a connection that the port can reach.
#[derive(Debug, Clone, Copy)]
pub(super) enum Peer {
    /// A client, or a proxy that has named its only client.
    Client(IpAddr),
    /// A trusted proxy: each request may come from another client.
    Proxy(IpAddr),
}

/// Takes a connection or request of an address back from the counts when it is dropped.
pub(super) struct AddressSeat {
    door: Arc<dyn Door>,
    address: IpAddr,
}

impl Drop for AddressSeat {
    fn drop(&mut self) {
        self.door.leave_address(self.address);
    }
}

impl AddressSeat {
    /// Counts a connection of an address, or a request of a client behind a proxy. Returns `None` at the
    /// limit.
    pub(super) fn take(door: &Arc<dyn Door>, address: IpAddr) -> Option<Self> {
        door.enter_address(address).then(|| Self {
            door: Arc::clone(door),
            address,
        })
    }
}

/// Returns the client of a request.
///
/// # Errors
/// The headers of a trusted proxy do not name one client.
pub(super) fn of_request<B>(
    proxies: &Proxies,
    peer: Peer,
    request: &Request<B>,
) -> Result<IpAddr, Refusal> {
    let peer = match peer {
        Peer::Client(address) => return Ok(address),
        Peer::Proxy(peer) => peer,
    };
    let lines = |name: &str| {
        let lines = request.headers().get_all(name).into_iter();
        lines.map(HeaderValue::as_bytes)
    };
    let client = proxies.client(peer, lines("x-forwarded-for"), lines("forwarded"));
    client.map_err(|unclear| Refusal {
        status: StatusCode::BAD_REQUEST,
        message: unclear.message(),
    })
}

/// Reads the PROXY protocol at the beginning of a connection, and not a byte more. Returns the client;
/// `None` if the proxy names none.
///
/// # Errors
/// The proxy is gone, or does not speak the protocol.
pub(super) async fn of_preamble(stream: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    let mut bytes = Vec::new();
    loop {
        match preamble::read(&bytes).map_err(io::Error::other)? {
            Progress::Complete(preamble) => return Ok(preamble.client),
            Progress::Incomplete(least) => {
                let have = bytes.len();
                bytes.resize((have + least).min(LONGEST), 0);
                // What has come may be wrong already.
                let read = stream.read(&mut bytes[have..]).await?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                bytes.truncate(have + read);
            }
        }
    }
}

/// Lets an answer keep what is dropped with the last byte of its body: a seat, and the note that it has not ended.
pub(super) fn keep(
    response: Response,
    seat: Option<AddressSeat>,
    answering: Answering,
) -> Response {
    response.map(|body| {
        Body::new(Kept {
            body,
            _seat: seat,
            _answering: answering,
        })
    })
}

/// The body of an answer, and what ends with it.
struct Kept {
    body: Body,
    _seat: Option<AddressSeat>,
    _answering: Answering,
}

impl HttpBody for Kept {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
