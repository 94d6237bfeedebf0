//! What the server tells without being asked.

use serde::{Deserialize, Serialize};

use super::{ChangeKind, Json, Media, is_false};
use crate::text::Str;

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
    Recall(Recalled<'a>),
    Delete(Deleted<'a>),
    Reaction(Reacted<'a>),
    Group(GroupChanged<'a>),
    Presence(UserPresence<'a>),
    Typing(TypingUser<'a>),
    Signal(Signalled<'a>),
    Publication(Publication<'a>),
    Gap(Gap<'a>),
    CaughtUp(CaughtUp<'a>),
    Disconnect(Disconnect<'a>),
}

/// A stored message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// The sender took it back: there is neither text nor media.
    #[serde(default, skip_serializing_if = "is_false")]
    pub recalled: bool,
    /// The reader deleted it in their own view: there is neither text nor media.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deleted: bool,
    /// How people reacted to it; never on a live push.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<MessageReaction<'a>>,
    /// There are reactions that `reactions` does not list.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more_reactions: bool,
    /// Text and media do not fit into a message of this gateway any more, and are left out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub too_large: bool,
}

/// A reaction to a message and who has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MessageReaction<'a> {
    /// Which.
    #[serde(borrow)]
    pub reaction: Str<'a>,
    /// Some of those who have it.
    #[serde(borrow)]
    pub users: Vec<Str<'a>>,
    /// How many have it.
    #[serde(default)]
    pub count: u64,
    /// There are others than `users`.
    #[serde(default)]
    pub more: bool,
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

/// A message was taken back by its sender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recalled<'a> {
    /// Where.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// Which message.
    pub seq: u64,
    /// By whom.
    #[serde(borrow)]
    pub by: Str<'a>,
    /// When.
    pub time: u64,
}

/// The user deleted a message in their own view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deleted<'a> {
    /// Where.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// Which message.
    pub seq: u64,
    /// When.
    pub time: u64,
}

/// Somebody reacted to a message, or took that back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reacted<'a> {
    /// Where.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// To which message.
    pub seq: u64,
    /// Who.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// Which reaction.
    #[serde(borrow)]
    pub reaction: Str<'a>,
    /// It was taken back.
    pub removed: bool,
    /// When.
    pub time: u64,
}

/// A group has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupChanged<'a> {
    /// The group's conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// What happened.
    pub change: ChangeKind,
    /// By whom.
    #[serde(borrow)]
    pub by: Str<'a>,
    /// To whom; empty where it concerns the group as a whole.
    #[serde(borrow)]
    pub members: Vec<Str<'a>>,
    /// The group's name for people, where it was created with one or renamed.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Str<'a>>,
    /// When.
    pub time: u64,
}

/// Whether a user is online.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserPresence<'a> {
    /// Who.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// Whether they have a device connected.
    pub online: bool,
    /// How many.
    pub devices: u32,
    /// When they last had, if that is known: now, while they are online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
}

/// Somebody is writing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypingUser<'a> {
    /// Where.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// Who.
    #[serde(borrow)]
    pub user: Str<'a>,
}

/// Somebody hands something over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signalled<'a> {
    /// Who.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// What.
    #[serde(borrow)]
    pub data: Json<'a>,
}

/// Something was published to a topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Publication<'a> {
    /// The topic.
    #[serde(borrow)]
    pub topic: Str<'a>,
    /// What.
    #[serde(borrow)]
    pub data: Json<'a>,
    /// By whom.
    #[serde(borrow)]
    pub from: Str<'a>,
    /// Its position in the topic: what `since` in `subscribe` takes. No position of the user's.
    #[serde(borrow)]
    pub pos: Str<'a>,
}

/// Live pushes were dropped up to `pos`: this reader was too slow and should `sync`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gap<'a> {
    /// The position up to which pushes may be missing.
    #[serde(borrow)]
    pub pos: Str<'a>,
}

/// Everything missed has been pushed: what comes now is live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaughtUp<'a> {
    /// The position up to which the missed events reach.
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
