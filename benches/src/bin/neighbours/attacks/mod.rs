//! The catalogue of attacks.

mod connections;
mod ephemeral;
mod frames;
mod groups;
mod messages;
mod reading;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::attack::{Attack, Listed};
use crate::stage::member;

/// The most bytes of text of a message.
const LARGEST_TEXT: usize = 64 << 10;

/// The members of a group up to which an event enters every member's timeline.
const GROUP_SIZE: usize = 200;

const fn listed(name: &'static str, about: &'static str, make: fn() -> Box<dyn Attack>) -> Listed {
    Listed { name, about, make }
}

/// No attack: connections that do nothing. What is measured beside it is what two controls differ by.
pub(crate) const NOTHING: &Listed =
    &listed("nothing", "nothing, to measure the bench itself", || {
        Box::new(connections::Nothing)
    });

/// All attacks, in the order in which they are measured.
pub(crate) const ALL: &[Listed] = &[
    listed("contacts", "add and remove 1,000 contacts", || {
        Box::<groups::Contacts>::default()
    }),
    listed(
        "large-to-group",
        "64 KiB to 200 own members, who read",
        || Box::new(messages::LargeToGroup { is_read: true }),
    ),
    listed(
        "large-unread",
        "64 KiB to 200 own members, who never read",
        || Box::new(messages::LargeToGroup { is_read: false }),
    ),
    listed(
        "subscribe",
        "thousands of topics, and the end of each",
        || Box::new(ephemeral::Subscribes),
    ),
    listed("reactions", "distinct reactions", || {
        Box::new(messages::Reactions)
    }),
    listed("forbidden", "asking for what it may not see", || {
        Box::new(reading::Forbidden)
    }),
    listed(
        "fragments",
        "the largest message in 65,000 fragments",
        || Box::<frames::Fragments>::default(),
    ),
    listed("history", "history of 64 KiB messages", || {
        Box::new(reading::History { is_read: true })
    }),
    listed("sync", "sync from 0 over 64 KiB messages", || {
        Box::new(reading::SyncFromZero)
    }),
    listed("presence", "presence of 1,000 users", || {
        Box::<ephemeral::Presence>::default()
    }),
    listed("watches", "watch and unwatch 1,000 users", || {
        Box::<ephemeral::Watches>::default()
    }),
    listed("conversations", "list of 500 conversations", || {
        Box::new(reading::Conversations)
    }),
    listed("group-info", "members of a group of 10,000", || {
        Box::new(groups::GroupInfo)
    }),
    listed("receipts", "receipts of a group of 10,000", || {
        Box::new(groups::Receipts)
    }),
    listed("json", "JSON as awkward as allowed", || {
        Box::<frames::Json>::default()
    }),
    listed("longest-ids", "the longest names and keys", || {
        Box::new(frames::LongestIds)
    }),
    listed(
        "group-create",
        "groups of 201 members, one connection",
        || Box::<groups::GroupCreate>::default(),
    ),
    listed("group-churn", "remove and add 41 of 201 members", || {
        Box::<groups::GroupChurn>::default()
    }),
    listed(
        "never-reading",
        "history of 64 KiB messages, never read",
        || Box::new(reading::History { is_read: false }),
    ),
    listed("publications", "64 KiB to 1,000 own subscribers", || {
        Box::new(ephemeral::Publications)
    }),
    listed("slow-bytes", "200 commands, byte by byte", || {
        Box::<connections::SlowBytes>::default()
    }),
    listed("half-open", "500 upgrades without an end", || {
        Box::new(connections::HalfOpen)
    }),
    listed("pings", "a flood of pings", || Box::new(connections::Pings)),
    listed("connect-storm", "sessions that end at once", || {
        Box::new(connections::ConnectStorm)
    }),
    listed("bad-tokens", "tokens without a valid signature", || {
        Box::new(connections::BadTokens)
    }),
    listed(
        "receipt-storm",
        "an acknowledgement of each message",
        || Box::new(messages::ReceiptStorm),
    ),
    listed("recalls", "messages that are taken back", || {
        Box::new(messages::Recalls)
    }),
    listed("deletes", "deletions in the own view", || {
        Box::new(messages::Deletes)
    }),
    listed("reaction-toggles", "one reaction, on and off", || {
        Box::new(messages::ReactionToggles)
    }),
    listed("idle-keys", "messages with keys of 128 bytes", || {
        Box::new(messages::IdleKeys)
    }),
    listed("typing", "typing in a group of 500", || {
        Box::new(ephemeral::Typing)
    }),
    listed("signals", "signals of 16 KiB to own devices", || {
        Box::new(ephemeral::Signals)
    }),
    listed(
        "unsubscribes",
        "the end of subscriptions it has not",
        || Box::new(ephemeral::Unsubscribes),
    ),
    listed("renewals", "connect on sessions that are open", || {
        Box::<connections::Renewals>::default()
    }),
    listed("resume-storm", "devices that catch up and vanish", || {
        Box::new(connections::ResumeStorm)
    }),
    listed("catch-up", "sync from different positions", || {
        Box::<reading::CatchUp>::default()
    }),
    listed(
        "many-histories",
        "history of 500 conversations in turn",
        || Box::new(reading::ManyHistories),
    ),
    listed(
        "unknown-fields",
        "50,000 unknown fields in protobuf",
        || Box::<frames::UnknownFields>::default(),
    ),
    listed("zero-mask", "512 KiB of letters, masked with zeros", || {
        Box::<frames::ZeroMask>::default()
    }),
    listed("compressed", "frames that claim to be compressed", || {
        Box::new(frames::Compressed)
    }),
    listed("full-frames", "1,024 messages in a frame", || {
        Box::<frames::FullFrames>::default()
    }),
    listed("group-rename", "new names for a group of 200", || {
        Box::new(groups::GroupRename)
    }),
];

/// Returns the name of an attacker's group.
fn group(me: &str) -> String {
    format!("{me}-g")
}

/// Returns the conversation of two users.
fn conversation(one: &str, other: &str) -> String {
    let (first, second) = if one <= other {
        (one, other)
    } else {
        (other, one)
    };
    format!("u:{first}:{second}")
}

/// Returns a text of this many bytes.
fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// Returns users that an attacker makes up, as a JSON list.
fn list(me: &str, numbers: Range<usize>) -> String {
    let users: Vec<_> = numbers.map(|n| format!("\"{}\"", member(me, n))).collect();
    format!("[{}]", users.join(","))
}
