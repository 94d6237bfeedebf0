//! What client and server say to each other, whatever the encoding.
//!
//! Every type borrows from the frame it was decoded from. The field names are those of the JSON
//! form; times are milliseconds since 1970 UTC.

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
pub use crate::media::Media;
use crate::object;
use crate::text::Str;

/// A command of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Command<'a> {
    /// Chosen by the client, 1 to 2^32-1; 0: no reply wanted, errors excepted.
    pub id: u32,
    /// What it asks for.
    pub body: CommandBody<'a>,
}

/// The commands of this version.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each carries a documented request")]
pub enum CommandBody<'a> {
    Connect(Connect<'a>),
    Send(Send<'a>),
    Ack(Ack<'a>),
    Sync(Sync<'a>),
    History(History<'a>),
    Get(Get<'a>),
    Ping(Ping),
}

/// Opens the session; the first command of a connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connect<'a> {
    /// Who the client is, where the server asks for tokens.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub token: Option<Str<'a>>,
    /// Who the client is, in development mode.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub user: Option<Str<'a>>,
    /// The organisation, in development mode.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Str<'a>>,
    /// Which of the user's devices; the server's choice where it is missing.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub device: Option<Str<'a>>,
    /// The last position seen: what came after it is pushed before anything live.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub since: Option<Str<'a>>,
    /// Continue from the position that the server kept for this device.
    #[serde(skip_serializing_if = "is_false")]
    pub resume: bool,
    /// The client reads several server messages per frame.
    #[serde(skip_serializing_if = "is_false")]
    pub batch: bool,
}

/// Sends a message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Send<'a> {
    /// The recipient; exactly one of `user` and `group`.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub user: Option<Str<'a>>,
    /// The recipients' group.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub group: Option<Str<'a>>,
    /// Idempotency key: the same key of the same sender is stored once.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub key: Option<Str<'a>>,
    /// The text; one of `text` and `media` at least.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub text: Option<Str<'a>>,
    /// A picture, video or file.
    #[serde(
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "object::optional"
    )]
    pub media: Option<Media<'a>>,
}

/// Moves the caller's watermarks in a conversation; both are cumulative.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ack<'a> {
    /// The conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// Everything up to this sequence has arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<u64>,
    /// Everything up to this sequence has been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<u64>,
}

/// Asks for the events after a position.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sync<'a> {
    /// The position.
    #[serde(borrow)]
    pub since: Str<'a>,
    /// Most events in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Asks for messages of a conversation: those before or after a sequence, or the newest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History<'a> {
    /// The conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// Only smaller sequences, the nearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Only greater sequences, the nearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Most messages in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Asks for one message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Get<'a> {
    /// The conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The message's sequence.
    pub seq: u64,
}

/// Asks for an answer and nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Ping {}

/// What the server says.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerMessage<'a> {
    /// The answer to a command.
    Reply(Reply<'a>),
    /// An event.
    Push(Push<'a>),
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply<'a> {
    /// The command's id; 0 on an error of a command whose id is not known.
    pub id: u32,
    /// The answer.
    pub body: ReplyBody<'a>,
}

/// The answers, one per command, or an error.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each carries a documented reply")]
pub enum ReplyBody<'a> {
    Error(ErrorReply<'a>),
    Connect(ConnectReply<'a>),
    Send(SendReply<'a>),
    Ack(AckReply),
    Sync(SyncReply<'a>),
    History(HistoryReply<'a>),
    Get(GetReply<'a>),
    Ping(Ping),
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorReply<'a> {
    /// See [`ErrorCode`].
    pub code: u16,
    /// The code's name.
    #[serde(borrow)]
    pub name: Str<'a>,
    /// What is wrong and how to mend it, for people.
    #[serde(borrow)]
    pub message: Str<'a>,
    /// Trying again later may succeed.
    pub temporary: bool,
}

impl<'a> ErrorReply<'a> {
    /// The error `code` with a text for people.
    pub fn new(code: ErrorCode, message: impl Into<Str<'a>>) -> Self {
        Self {
            code: code.code(),
            name: code.name().into(),
            message: message.into(),
            temporary: code.temporary(),
        }
    }
}

/// The session is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectReply<'a> {
    /// Names this session in logs and admin calls.
    #[serde(borrow)]
    pub session: Str<'a>,
    /// Who the server takes the client for.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// Which device.
    #[serde(borrow)]
    pub device: Str<'a>,
    /// The position that the pushes of this session follow.
    #[serde(borrow)]
    pub pos: Str<'a>,
    /// `since` was honoured: the missed events follow as pushes.
    pub recovered: bool,
    /// The server's clock.
    pub time: u64,
    /// The server's WebSocket pings come at least this often.
    pub ping_ms: u32,
    /// What this session may do.
    pub limits: ConnectLimits,
}

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectLimits {
    /// Bytes of one WebSocket message, all fragments together.
    pub message_bytes: u64,
    /// Bytes of `text`.
    pub text_bytes: u64,
    /// Bytes of an idempotency key.
    pub key_bytes: u64,
    /// Entries of a `sync` or `history` page.
    pub page: u32,
}

/// The message is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendReply<'a> {
    /// Where it is.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// Its sequence there.
    pub seq: u64,
    /// Its position in the sender's own event order.
    #[serde(borrow)]
    pub pos: Str<'a>,
    /// When it was stored.
    pub time: u64,
    /// The idempotency key was known: this is the first message's answer.
    pub duplicate: bool,
}

/// The watermarks are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct AckReply {}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncReply<'a> {
    /// The events, oldest first.
    #[serde(borrow)]
    pub events: Vec<Push<'a>>,
    /// The position to go on from.
    #[serde(borrow)]
    pub pos: Str<'a>,
    /// There are more behind it.
    pub more: bool,
}

/// A page of messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryReply<'a> {
    /// In ascending order of sequence.
    #[serde(borrow)]
    pub messages: Vec<Message<'a>>,
    /// The lowest sequence of the conversation that can be read.
    pub first: u64,
    /// The highest.
    pub last: u64,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GetReply<'a> {
    /// The message.
    #[serde(borrow)]
    pub message: Message<'a>,
}

/// An event with its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Push<'a> {
    /// The position in the user's event order; ephemeral events have none.
    pub pos: Option<Str<'a>>,
    /// The event.
    pub event: Event<'a>,
}

/// The events of this version.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each carries a documented event")]
pub enum Event<'a> {
    Message(Message<'a>),
    Receipt(Receipt<'a>),
    Gap(Gap<'a>),
    Disconnect(Disconnect<'a>),
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message<'a> {
    /// Where it is.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// Its sequence there.
    pub seq: u64,
    /// Who sent it.
    #[serde(borrow)]
    pub from: Str<'a>,
    /// With which device.
    #[serde(borrow)]
    pub device: Str<'a>,
    /// When it was stored.
    pub time: u64,
    /// The sender's idempotency key.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Str<'a>>,
    /// The text.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Str<'a>>,
    /// The picture, video or file.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Media<'a>>,
}

/// Somebody's watermarks moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt<'a> {
    /// Where.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// Whose.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// Everything up to here has arrived.
    pub delivered: u64,
    /// Everything up to here has been read.
    pub read: u64,
    /// When.
    pub time: u64,
}

/// Live pushes were dropped up to `pos`: this reader was too slow and should `sync`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gap<'a> {
    /// The position up to which pushes may be missing.
    #[serde(borrow)]
    pub pos: Str<'a>,
}

/// The server is about to close the connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disconnect<'a> {
    /// The close code that follows.
    pub code: u16,
    /// Why.
    #[serde(borrow)]
    pub reason: Str<'a>,
    /// Whether to connect again.
    pub reconnect: bool,
    /// Wait a random time between these before connecting again, in milliseconds.
    pub delay_ms: [u64; 2],
}

fn is_false(flag: &bool) -> bool {
    !flag
}
