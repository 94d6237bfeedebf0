//! How a client connects.

use std::net::{SocketAddr, TcpStream};

use serde_json::{Map, Value, json};
use trunkline_proto::Encoding;

use crate::client::Client;
use crate::tls::{Stream, Trust};
use crate::wait::LIMIT;

/// Connections tried to land on a wanted shard: the kernel spreads them, so with two shards this
/// fails once in 2^100 times.
const TRIES: usize = 100;

/// A client that is about to connect.
#[derive(Debug, Clone)]
pub struct Dial {
    pub(crate) address: SocketAddr,
    pub(crate) encoding: Encoding,
    pub(crate) path: &'static str,
    trust: Option<Trust>,
    shard: Option<usize>,
    extra: Map<String, Value>,
}

impl Dial {
    /// To this address, in JSON, on any shard.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            encoding: Encoding::Json,
            path: "/v1/ws",
            trust: None,
            shard: None,
            extra: Map::new(),
        }
    }

    /// In this encoding.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// With TLS.
    #[must_use]
    pub fn tls(mut self, trust: &Trust) -> Self {
        self.trust = Some(trust.clone());
        self
    }

    /// To another path.
    #[must_use]
    pub fn path(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    /// In protobuf.
    #[must_use]
    pub fn proto(self) -> Self {
        self.encoding(Encoding::Proto)
    }

    /// On this shard.
    #[must_use]
    pub fn shard(mut self, shard: usize) -> Self {
        self.shard = Some(shard);
        self
    }

    /// Two devices of a user, on two shards, in both encodings.
    pub fn devices(&self, user: &str) -> [Client; 2] {
        [
            self.clone().shard(0).connect(user, "phone"),
            self.clone().shard(1).proto().connect(user, "tablet"),
        ]
    }

    /// With another field of `connect`.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(field.to_owned(), value.into());
        self
    }

    /// Going on from a position.
    #[must_use]
    pub fn since(self, pos: &str) -> Self {
        self.with("since", pos)
    }

    /// A WebSocket without `connect`.
    pub fn open(&self) -> Client {
        Client::open(self)
    }

    /// A connection, in TLS before the hand-shake.
    pub(crate) fn stream(&self) -> Stream {
        if let Some(trust) = &self.trust {
            return Stream::Tls(Box::new(trust.connect(self.address)));
        }
        let stream = TcpStream::connect(self.address).expect("the gateway listens");
        stream.set_read_timeout(Some(LIMIT)).expect("not zero");
        stream.set_write_timeout(Some(LIMIT)).expect("not zero");
        stream.set_nodelay(true).expect("a TCP option");
        Stream::Plain(stream)
    }

    /// A session.
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
