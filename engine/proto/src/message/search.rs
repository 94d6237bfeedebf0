//! Searching the messages that the caller can see.

use serde::{Deserialize, Serialize};

use super::Message;
use crate::text::Str;

/// Asks for messages with words, in one conversation of the caller or in all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Search<'a> {
    /// The words. A message is found if it has all of them.
    #[serde(borrow)]
    pub text: Str<'a>,
    /// The id of the only conversation to search.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Str<'a>>,
    /// The `next` of the page before.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Str<'a>>,
    /// The most messages in the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A page of found messages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchReply<'a> {
    /// The messages. The newest comes first.
    #[serde(borrow)]
    pub messages: Vec<Message<'a>>,
    /// Asks for the next page; absent behind the last one. A page may have it and no message.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Str<'a>>,
}
