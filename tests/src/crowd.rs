//! Many users who connect and never read a byte.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::{AddressFamily, SocketType, connect, socket};
use serde_json::{Value, json};
use trunkline_proto::Encoding;
use trunkline_proto::frame::{Opcode, write_frame, write_header};
use trunkline_proto::handshake::{key_from, write_request};

use crate::gateway::Gateway;
use crate::tls::Stream;
use crate::wait;

/// The masking key.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The receive buffer of a member in bytes. Thousands of full ones would take the memory that the kernel has for TCP.
const WINDOW: usize = 4 << 10;

/// The bytes of a TCP segment. The gateway's kernel gives a connection with small segments a small send
/// buffer.
const SEGMENT: u32 = 536;

/// Connections that read nothing. Dropping the crowd ends them.
#[derive(Debug)]
pub struct Crowd {
    sockets: Vec<Stream>,
}

impl Crowd {
    /// Sends an upgrade and `connect` with these fields on a connection for each, with TLS if the gateway has it.
    /// Waits for no answer.
    ///
    /// # Panics
    /// Nobody listens.
    pub fn knock(gateway: &Gateway, fields: impl Iterator<Item = Value>) -> Self {
        let knock = |fields| {
            let mut socket = over_tls(gateway, open(gateway.ws()));
            let connect = json!({"id": 1, "connect": fields}).to_string();
            let mut out = upgrade(gateway.ws());
            write_frame(&mut out, Opcode::Text, connect.as_bytes(), Some(MASK));
            socket.write_all(&out).expect("the gateway reads");
            socket
        };
        let sockets = fields.map(knock).collect();
        Self { sockets }
    }

    /// Sends a request to the client API on a connection for each of these users and paths, and reads no answer.
    ///
    /// # Panics
    /// Nobody listens.
    pub fn ask(gateway: &Gateway, asked: impl Iterator<Item = (String, &'static str)>) -> Self {
        let ask = |(user, path): (String, &str)| {
            let mut socket = open(gateway.http());
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Trunkline-User: {user}\r\n\r\n"
            );
            socket
                .write_all(request.as_bytes())
                .expect("the gateway reads");
            Stream::Plain(socket)
        };
        let sockets = asked.map(ask).collect();
        Self { sockets }
    }

    /// Opens a session for each of these users, and waits until the gateway has them all. With `batches`, half
    /// of them let messages share frames.
    ///
    /// # Panics
    /// The gateway does not take them.
    pub fn join(gateway: &Gateway, users: impl Iterator<Item = String>, batches: bool) -> Self {
        let sessions = || gateway.metric("trunkline_sessions") as usize;
        let before = sessions();
        let fields = |(user, batch)| json!({"user": user, "device": "d", "batch": batch});
        let crowd = Self::knock(
            gateway,
            users.zip([batches, false].into_iter().cycle()).map(fields),
        );
        wait::until("the crowd to be in", || {
            (sessions() == before + crowd.sockets.len()).then_some(())
        });
        crowd
    }

    /// Sends a command on each connection, and waits for no answer.
    ///
    /// # Panics
    /// A connection has ended.
    pub fn say(&mut self, command: &Value) {
        let mut out = Vec::new();
        let text = command.to_string();
        write_frame(&mut out, Opcode::Text, text.as_bytes(), Some(MASK));
        for socket in &mut self.sockets {
            socket.write_all(&out).expect("the gateway reads");
        }
    }

    /// Sends the first bytes of a text message of `whole` bytes on each connection: as many as `sent` says for
    /// one after another, in turn.
    ///
    /// # Panics
    /// A connection has ended.
    pub fn begin_message(&mut self, whole: usize, sent: &[usize]) {
        for (socket, &sent) in self.sockets.iter_mut().zip(sent.iter().cycle()) {
            let mut out = Vec::new();
            write_header(&mut out, Opcode::Text, whole, Some([0; 4]));
            out.resize(out.len() + sent, b' ');
            socket.write_all(&out).expect("the gateway reads");
        }
    }

    /// Sends the first bytes of a TLS record of `whole` bytes on each connection, as [`Self::begin_message`] does.
    ///
    /// # Panics
    /// A connection has ended.
    pub fn begin_record(&mut self, whole: u16, sent: &[usize]) {
        for (socket, &sent) in self.sockets.iter_mut().zip(sent.iter().cycle()) {
            // RFC 8446 §5.1: application data.
            let mut out = vec![23, 3, 3];
            out.extend_from_slice(&whole.to_be_bytes());
            out.resize(out.len() + sent, 0);
            socket.tcp().write_all(&out).expect("the gateway reads");
        }
    }
}

/// Makes the TLS hand-shake if the gateway has TLS.
fn over_tls(gateway: &Gateway, socket: TcpStream) -> Stream {
    let Some(trust) = gateway.trusted() else {
        return Stream::Plain(socket);
    };
    let mut stream = trust.connect_on(socket);
    while stream.conn.is_handshaking() {
        let done = stream.conn.complete_io(&mut stream.sock);
        done.expect("a hand-shake");
    }
    Stream::Tls(Box::new(stream))
}

/// Opens a connection with small buffers in the kernel.
fn open(address: SocketAddr) -> TcpStream {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket(family, SocketType::STREAM, None).expect("a socket");
    setsockopt(&socket, sockopt::RcvBuf, &WINDOW).expect("a socket option");
    setsockopt(&socket, sockopt::TcpMaxSeg, &SEGMENT).expect("a TCP option");
    connect(&socket, &address).expect("the gateway listens");
    socket.into()
}

/// Returns an upgrade request.
fn upgrade(address: SocketAddr) -> Vec<u8> {
    let mut out = Vec::new();
    let key = key_from(*b"not very random.");
    write_request(
        &mut out,
        &address.to_string(),
        "/v1/ws",
        &key,
        Encoding::Json,
    );
    out
}
