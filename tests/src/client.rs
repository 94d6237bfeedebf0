//! A blocking client that keeps every message of the gateway until the test asks for it.
//!
//! Commands and answers are JSON values as docs/protocol.md writes them, in both encodings. What is
//! sent and read in JSON passes through no code of ours; in protobuf it is converted by the
//! `trunkline-proto` crate. Whatever waits does so for at most [`LIMIT`].

mod wire;

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use serde_json::{Value, json};
use trunkline_proto::CloseCode;
use trunkline_proto::Encoding;
use trunkline_proto::connection::{Connection, Role};
use trunkline_proto::frame::{Opcode, write_close, write_frame};
use trunkline_proto::handshake::{key_from, parse_response, write_request};

use crate::tls::Stream;
use crate::wait::LIMIT;

/// The masking key: any will do, zero would hide a server that does not unmask.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The gateway sent a Close frame with this code and reason.
    Close(u16, String),
    /// The stream ended without a Close frame.
    Dropped,
}

/// What a client asks for when it upgrades a stream to a WebSocket.
#[derive(Debug, Clone)]
pub(crate) struct Upgrade {
    /// The address of the gateway, for the `Host` header.
    pub(crate) address: SocketAddr,
    /// The path of the request.
    pub(crate) path: &'static str,
    /// The encoding of the messages.
    pub(crate) encoding: Encoding,
    /// Further lines of the request, each with CR and LF.
    pub(crate) lines: String,
}

/// One WebSocket connection.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    framing: Connection,
    encoding: Encoding,
    next_id: u32,
    replies: HashMap<u32, Value>,
    /// Error replies without an id that no test has asked for yet.
    strays: VecDeque<Value>,
    pushes: VecDeque<Value>,
    /// `caught_up` pushes. They are kept apart, so that tests of other pushes need not skip them.
    caught_up: VecDeque<Value>,
    end: Option<End>,
    /// Whether the client answers pings of the gateway.
    pub answers_pings: bool,
    /// The number of pings that the gateway has sent.
    pub pings: usize,
    /// The payloads of the pongs that the gateway has sent, oldest first.
    pub pongs: VecDeque<Vec<u8>>,
    /// The number of messages in each frame, oldest frame first.
    pub frames: Vec<usize>,
    /// What the gateway has sent in each frame, oldest frame first; empty unless `keeps_payloads`.
    pub payloads: Vec<Vec<u8>>,
    /// Whether the client keeps what the gateway sends as it came.
    pub keeps_payloads: bool,
    /// The content of the reply to `connect`; null before that.
    pub(crate) opening: Value,
}

impl Client {
    /// Upgrades a stream to a WebSocket and does not send `connect`.
    ///
    /// # Panics
    /// The upgrade fails.
    pub(crate) fn upgrade(mut stream: Stream, upgrade: &Upgrade) -> Self {
        let encoding = upgrade.encoding;
        let key = key_from(*b"not very random.");
        let mut request = Vec::new();
        let host = upgrade.address.to_string();
        write_request(&mut request, &host, upgrade.path, &key, encoding);
        request.truncate(request.len() - 2);
        request.extend_from_slice(upgrade.lines.as_bytes());
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).expect("the gateway reads");
        let mut client = Self {
            stream,
            framing: Connection::new(Role::Client),
            encoding,
            next_id: 0,
            replies: HashMap::new(),
            strays: VecDeque::new(),
            pushes: VecDeque::new(),
            caught_up: VecDeque::new(),
            end: None,
            answers_pings: true,
            pings: 0,
            pongs: VecDeque::new(),
            frames: Vec::new(),
            payloads: Vec::new(),
            keeps_payloads: false,
            opening: Value::Null,
        };
        let mut head = Vec::new();
        loop {
            let mut piece = [0; 4 << 10];
            let read = client
                .stream
                .read(&mut piece)
                .expect("an answer to the upgrade");
            assert_ne!(
                read, 0,
                "the gateway closes without an answer to the upgrade"
            );
            head.extend_from_slice(&piece[..read]);
            if let Some(size) = parse_response(&head, &key, encoding).expect("an upgrade") {
                client.take(&mut head[size..]);
                return client;
            }
        }
    }

    /// Returns the reply to `connect`.
    pub fn opening(&self) -> &Value {
        &self.opening
    }

    /// Returns the name of the session, from the reply to `connect`.
    pub fn session(&self) -> &str {
        self.opening["session"].as_str().unwrap_or_default()
    }

    /// Returns the position in the reply to `connect`.
    pub fn pos(&self) -> String {
        self.opening["pos"]
            .as_str()
            .expect("connect gives a position")
            .to_owned()
    }

    /// Sends a command and returns its id. Does not wait for the reply.
    pub fn post(&mut self, command: &str, request: &Value) -> u32 {
        self.next_id += 1;
        let id = self.next_id;
        self.post_raw(&[json!({"id": id, command: request})]);
        id
    }

    /// Sends whole commands, with the ids that they have, in one frame.
    pub fn post_raw(&mut self, commands: &[Value]) {
        let frame = self.framed(commands);
        self.write(&frame);
    }

    /// Sends a frame with any payload.
    pub fn write_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut frame = Vec::new();
        write_frame(&mut frame, opcode, payload, Some(MASK));
        self.write(&frame);
    }

    /// Sends bytes that need not be a frame.
    ///
    /// # Panics
    /// The gateway does not take them.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream
            .write_all(bytes)
            .expect("the gateway takes what is sent");
    }

    /// Returns the stream below the WebSocket: TCP or TLS.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Sends a command, waits for its reply and returns the reply, which may be an error.
    pub fn ask(&mut self, command: &str, request: &Value) -> Value {
        let id = self.post(command, request);
        self.reply(id)
    }

    /// Sends a command that must succeed, and returns the content of the reply.
    ///
    /// # Panics
    /// The reply is an error.
    pub fn done(&mut self, command: &str, request: &Value) -> Value {
        let mut reply = self.ask(command, request);
        assert!(reply[command].is_object(), "{command} {request}: {reply}");
        reply[command].take()
    }

    /// Sends a command that must fail, and returns the code of the error.
    ///
    /// # Panics
    /// The command succeeds.
    pub fn refused(&mut self, command: &str, request: &Value) -> u64 {
        let reply = self.ask(command, request);
        error_code(&reply)
    }

    /// Reads until `found` gives something. Pings of the gateway do not count as something: the
    /// whole is bounded, not each read.
    fn wait<T>(&mut self, awaited: &str, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            assert!(began.elapsed() < LIMIT, "waited {LIMIT:?} for {awaited}");
            self.listen(awaited);
        }
    }

    /// Waits for the reply with an id and returns it.
    ///
    /// # Panics
    /// The connection ends before the reply.
    pub fn reply(&mut self, id: u32) -> Value {
        self.wait("a reply", |client| client.replies.remove(&id))
    }

    /// Waits for an error without an id and returns it.
    pub fn stray(&mut self) -> Value {
        self.wait("an error without an id", |client| client.strays.pop_front())
    }

    /// Waits for an error, with or without an id, and returns it.
    pub fn error(&mut self) -> Value {
        self.wait("an error", |client| {
            let id = client
                .replies
                .iter()
                .find_map(|(id, reply)| reply["error"].is_object().then_some(*id));
            id.and_then(|id| client.replies.remove(&id))
                .or_else(|| client.strays.pop_front())
        })
    }

    /// Takes the replies that have come and that no call has returned yet.
    pub fn replies_now(&mut self) -> Vec<Value> {
        self.replies.drain().map(|(_, reply)| reply).collect()
    }

    /// Sends bytes up to `times` times. Returns whether the gateway stopped taking them.
    ///
    /// # Panics
    /// The gateway takes bytes for longer than [`LIMIT`].
    pub fn write_until_refused(&mut self, bytes: &[u8], times: usize) -> bool {
        let began = Instant::now();
        (0..times).any(|_| {
            assert!(began.elapsed() < LIMIT, "all of it is taken");
            self.stream.write_all(bytes).is_err()
        })
    }

    /// Sends a text to a user and returns the content of the reply.
    pub fn send(&mut self, user: &str, text: &str) -> Value {
        self.done("send", &json!({"user": user, "text": text}))
    }

    /// Sends many texts to a user, several per frame. Returns the replies in the order of the
    /// texts.
    ///
    /// # Panics
    /// The reply to one of the texts is an error.
    pub fn send_all(&mut self, user: &str, texts: impl IntoIterator<Item = String>) -> Vec<Value> {
        // Well below what a message may hold by default.
        const FRAME_BYTES: usize = 256 << 10;
        let mut texts = texts.into_iter().peekable();
        let mut replies = Vec::new();
        while texts.peek().is_some() {
            let (mut commands, mut bytes) = (Vec::new(), 0);
            let first = self.next_id + 1;
            while let Some(text) = texts.next_if(|_| bytes < FRAME_BYTES && commands.len() < 100) {
                self.next_id += 1;
                bytes += text.len();
                commands.push(json!({"id": self.next_id, "send": {"user": user, "text": text}}));
            }
            self.post_raw(&commands);
            for id in first..=self.next_id {
                let mut reply = self.reply(id);
                assert!(reply["send"].is_object(), "{reply}");
                replies.push(reply["send"].take());
            }
        }
        replies
    }

    /// Moves the user's own marks (`delivered`, `read`) in a conversation.
    pub fn ack(&mut self, conversation: &str, marks: &Value) {
        let mut request = marks.clone();
        request["conversation"] = conversation.into();
        self.done("ack", &request);
    }

    /// Sends `ping` and waits for the reply. Everything that was pushed before has then arrived.
    pub fn ping(&mut self) {
        self.done("ping", &json!({}));
    }

    /// Waits for the next push and returns it.
    pub fn push(&mut self) -> Value {
        self.wait("a push", |client| client.pushes.pop_front())
    }

    /// Waits for the next push, which must be an `event`, and returns its content.
    ///
    /// # Panics
    /// The push is another event.
    pub fn push_of(&mut self, event: &str) -> Value {
        let mut push = self.push();
        assert!(push[event].is_object(), "not a {event}: {push}");
        push[event].take()
    }

    /// Waits for `caught_up`. Returns the pushes before it, and its content.
    pub fn caught_up(&mut self) -> (Vec<Value>, Value) {
        let end = self.wait("a caught_up push", |client| client.caught_up.pop_front());
        (self.waiting(), end)
    }

    /// Takes the pushes that have come and that no call has returned yet.
    pub fn waiting(&mut self) -> Vec<Value> {
        self.pushes.drain(..).collect()
    }

    /// Waits for a pong of the gateway and returns its payload.
    pub fn pong(&mut self) -> Vec<u8> {
        self.wait("a pong", |client| client.pongs.pop_front())
    }

    /// Waits until the gateway has pinged `times` times.
    pub fn pinged(&mut self, times: usize) {
        self.wait("pings", |client| (client.pings >= times).then_some(()));
    }

    /// Waits for the end of the connection and returns it. Messages that come first are kept.
    ///
    /// # Panics
    /// The connection does not end.
    pub fn end(&mut self) -> End {
        self.wait("the end", |client| client.end.clone())
    }

    /// Waits for the end of the stream behind the gateway's Close frame.
    ///
    /// # Panics
    /// Anything comes first, or the stream does not end.
    pub fn ended(&mut self) {
        let mut rest = Vec::new();
        let read = self
            .stream
            .read_to_end(&mut rest)
            .map_err(|error| error.kind());
        // A reset is an end too: it says that we were still sending.
        assert!(
            matches!(read, Ok(_) | Err(ErrorKind::ConnectionReset)),
            "{read:?}"
        );
        assert_eq!(rest, b"", "frames behind the Close frame");
    }

    /// Sends a Close frame and waits for the gateway's own, as RFC 6455 asks.
    ///
    /// # Panics
    /// The gateway does not answer with the same code.
    pub fn close(mut self) {
        let mut frame = Vec::new();
        write_close(&mut frame, CloseCode::NORMAL, "", Some(MASK));
        self.write(&frame);
        assert_eq!(self.end(), End::Close(1000, String::new()));
    }

    /// Sends a command and returns its id; `None` if the connection has ended. Does not wait for
    /// the reply.
    pub fn try_post(&mut self, command: &str, request: &Value) -> Option<u32> {
        self.next_id += 1;
        let frame = self.framed(&[json!({"id": self.next_id, command: request})]);
        self.stream
            .write_all(&frame)
            .is_ok()
            .then_some(self.next_id)
    }

    /// Waits for the reply with an id, or for the end of the connection without one: `None`.
    pub fn try_reply(&mut self, id: u32) -> Option<Value> {
        self.wait("a reply or the end", |client| {
            let reply = client.replies.remove(&id);
            (reply.is_some() || client.end.is_some()).then_some(reply)
        })
    }

    /// Returns whether the client has not seen the end of the connection yet.
    pub fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// Waits for a push or for the end of the connection. Takes all pushes that have come.
    pub fn pushes(&mut self) -> Vec<Value> {
        self.wait("a push or the end", |client| {
            (!client.pushes.is_empty() || client.end.is_some()).then_some(())
        });
        self.waiting()
    }

    /// Waits for a reply or for the end of the connection. Takes all replies that have come, by id.
    pub fn replies(&mut self) -> HashMap<u32, Value> {
        self.wait("a reply or the end", |client| {
            (!client.replies.is_empty() || client.end.is_some()).then_some(())
        });
        std::mem::take(&mut self.replies)
    }
}

/// Returns the code of an error reply, after checking that the other fields fit the code.
///
/// # Panics
/// The reply is not an error, or a field does not fit the code.
pub fn error_code(reply: &Value) -> u64 {
    let error = &reply["error"];
    let code = error["code"]
        .as_u64()
        .unwrap_or_else(|| panic!("no error: {reply}"));
    let known = trunkline_proto::ErrorCode::ALL;
    let known = known
        .into_iter()
        .find(|known| u64::from(known.code()) == code);
    let (name, temporary) = match known {
        Some(known) => (known.name(), known.temporary()),
        None if (4_000..5_000).contains(&code) => ("back_end", false),
        None => panic!("an unknown code: {reply}"),
    };
    assert_eq!(error["name"], name, "{reply}");
    assert_eq!(error["temporary"], temporary, "{reply}");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{reply}"
    );
    code
}
