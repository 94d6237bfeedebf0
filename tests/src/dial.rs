//! The address, encoding, TLS and `connect` fields of a client that is about to connect.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::{Map, Value, json};
use trunkline_proto::Encoding;

use crate::client::{Client, Upgrade};
use crate::tls::{Stream, Trust};
use crate::wait::LIMIT;

/// Connections tried to land on a wanted shard: the kernel spreads them, so with two shards this
/// fails once in 2^100 times.
const TRIES: usize = 100;

/// How a client will connect: address, encoding, shard, TLS, fields of `connect`.
#[derive(Debug, Clone)]
pub struct Dial {
    upgrade: Upgrade,
    /// The bytes to send first, before TLS too.
    preamble: Vec<u8>,
    /// The address to connect from; `None`: the kernel chooses one.
    from: Option<Ipv4Addr>,
    trust: Option<Trust>,
    shard: Option<usize>,
    extra: Map<String, Value>,
}

impl Dial {
    /// Makes a client of this address, in JSON, without TLS, on any shard.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            upgrade: Upgrade {
                address,
                path: "/v1/ws",
                encoding: Encoding::Json,
                lines: String::new(),
            },
            preamble: Vec::new(),
            from: None,
            trust: None,
            shard: None,
            extra: Map::new(),
        }
    }

    /// Sets the encoding.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.upgrade.encoding = encoding;
        self
    }

    /// Connects with TLS and trusts these certificates.
    #[must_use]
    pub fn tls(mut self, trust: &Trust) -> Self {
        self.trust = Some(trust.clone());
        self
    }

    /// Adds a header to the upgrade request.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.upgrade.lines.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Sends these bytes first, before the hand-shake of TLS too.
    #[must_use]
    pub fn preamble(mut self, bytes: &[u8]) -> Self {
        self.preamble = bytes.to_vec();
        self
    }

    /// Connects from this address of the machine.
    #[must_use]
    pub fn from(mut self, address: Ipv4Addr) -> Self {
        self.from = Some(address);
        self
    }

    /// Asks for another path than `/v1/ws`.
    #[must_use]
    pub fn path(mut self, path: &'static str) -> Self {
        self.upgrade.path = path;
        self
    }

    /// Sets the encoding to protobuf.
    #[must_use]
    pub fn proto(self) -> Self {
        self.encoding(Encoding::Proto)
    }

    /// Connects to this shard: the client tries again until the kernel picks it.
    #[must_use]
    pub fn shard(mut self, shard: usize) -> Self {
        self.shard = Some(shard);
        self
    }

    /// Connects two devices of a user: one on each of two shards, one in each encoding.
    pub fn devices(&self, user: &str) -> [Client; 2] {
        [
            self.clone().shard(0).connect(user, "phone"),
            self.clone().shard(1).proto().connect(user, "tablet"),
        ]
    }

    /// Adds a field to `connect`.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(field.to_owned(), value.into());
        self
    }

    /// Sets `since`: the session goes on from this position.
    #[must_use]
    pub fn since(self, pos: &str) -> Self {
        self.with("since", pos)
    }

    /// Opens a WebSocket and does not send `connect`.
    ///
    /// # Panics
    /// The connection or the upgrade fails.
    pub fn open(&self) -> Client {
        Client::upgrade(self.stream(), &self.upgrade)
    }

    /// Opens the stream below a WebSocket. With TLS, the hand-shake has not begun.
    fn stream(&self) -> Stream {
        let mut stream = match self.from {
            None => TcpStream::connect(self.upgrade.address).expect("the gateway listens"),
            Some(from) => connect_from(from, self.upgrade.address).expect("the gateway listens"),
        };
        stream.set_read_timeout(Some(LIMIT)).expect("not zero");
        stream.set_write_timeout(Some(LIMIT)).expect("not zero");
        stream.set_nodelay(true).expect("a TCP option");
        stream.write_all(&self.preamble).expect("the gateway reads");
        if let Some(trust) = &self.trust {
            return Stream::Tls(Box::new(trust.connect_on(stream)));
        }
        Stream::Plain(stream)
    }

    /// Opens a session of this user and device.
    ///
    /// # Panics
    /// `connect` fails, or never lands on the wanted shard.
    pub fn connect(&self, user: &str, device: &str) -> Client {
        let mut request = json!({"user": user, "device": device});
        for (field, value) in &self.extra {
            request[field] = value.clone();
        }
        for _ in 0..TRIES {
            let mut client = self.open();
            client.opening = client.done("connect", &request);
            let wanted = self
                .shard
                .is_none_or(|shard| client.session().split('-').next() == Some(&shard.to_string()));
            if wanted {
                return client;
            }
            client.close();
        }
        panic!("no connection to shard {:?}", self.shard);
    }
}

/// Connects from an address of the machine.
///
/// # Errors
/// Nobody listens, or the address is not of this machine.
pub fn connect_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(from, 0))?;
    connect(&socket, &to)?;
    Ok(socket.into())
}
