//! What a client of an earlier version reads of a frame, in both encodings.
//!
//! In JSON it ignores fields and events that it does not know. In protobuf it has the fields of its own schema, with their
//! numbers, and skips the rest.

use prost::Message as _;
use serde_json::{Value, json};
use trunkline_proto::Encoding;

/// The events that the client knows, and the fields of each.
const EVENTS: [(&str, &[&str]); 6] = [
    ("message", &MESSAGE),
    (
        "receipt",
        &["conversation", "user", "delivered", "read", "time"],
    ),
    ("recall", &["conversation", "seq", "by", "time"]),
    ("delete", &["conversation", "seq", "time"]),
    (
        "reaction",
        &["conversation", "seq", "user", "reaction", "removed", "time"],
    ),
    (
        "group",
        &["conversation", "change", "by", "members", "name", "time"],
    ),
];

const MESSAGE: [&str; 8] = [
    "conversation",
    "seq",
    "from",
    "device",
    "time",
    "text",
    "recalled",
    "deleted",
];

/// The changes of groups that the client knows, in the order of their numbers.
const CHANGES: [&str; 5] = ["created", "added", "removed", "left", "renamed"];

#[derive(Clone, PartialEq, prost::Message)]
struct ServerMessage {
    #[prost(message, optional, tag = "1")]
    reply: Option<Reply>,
    #[prost(message, optional, tag = "2")]
    push: Option<Push>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reply {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(message, optional, tag = "6")]
    sync: Option<SyncPage>,
    #[prost(message, optional, tag = "7")]
    history: Option<HistoryPage>,
    #[prost(message, optional, tag = "11")]
    conversations: Option<List>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SyncPage {
    #[prost(message, repeated, tag = "1")]
    events: Vec<Push>,
    #[prost(string, tag = "2")]
    pos: String,
    #[prost(bool, tag = "3")]
    more: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HistoryPage {
    #[prost(message, repeated, tag = "1")]
    messages: Vec<Shown>,
    #[prost(bool, tag = "4")]
    more: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    conversations: Vec<Entry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(string, tag = "1")]
    conversation: String,
    #[prost(uint64, tag = "3")]
    read: u64,
    #[prost(uint64, tag = "4")]
    unread: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Push {
    #[prost(string, optional, tag = "1")]
    pos: Option<String>,
    #[prost(message, optional, tag = "2")]
    message: Option<Shown>,
    #[prost(message, optional, tag = "3")]
    receipt: Option<Receipt>,
    #[prost(message, optional, tag = "6")]
    recall: Option<About>,
    #[prost(message, optional, tag = "7")]
    delete: Option<About>,
    #[prost(message, optional, tag = "8")]
    reaction: Option<About>,
    #[prost(message, optional, tag = "9")]
    group: Option<GroupChanged>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Shown {
    #[prost(string, tag = "1")]
    conversation: String,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(string, tag = "3")]
    from: String,
    #[prost(uint64, tag = "5")]
    time: u64,
    #[prost(string, optional, tag = "7")]
    text: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Receipt {
    #[prost(string, tag = "1")]
    conversation: String,
    #[prost(string, tag = "2")]
    user: String,
    #[prost(uint64, tag = "4")]
    read: u64,
}

/// What a recall, a deletion and a reaction have in common.
#[derive(Clone, PartialEq, prost::Message)]
struct About {
    #[prost(string, tag = "1")]
    conversation: String,
    #[prost(uint64, tag = "2")]
    seq: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GroupChanged {
    #[prost(string, tag = "1")]
    conversation: String,
    /// A number that the client does not know is no error in its schema.
    #[prost(int32, tag = "2")]
    change: i32,
    #[prost(string, repeated, tag = "4")]
    members: Vec<String>,
}

impl Shown {
    fn value(&self) -> Value {
        json!({
            "conversation": self.conversation, "seq": self.seq, "from": self.from,
            "time": self.time, "text": self.text,
        })
    }
}

impl Push {
    /// Returns the event; one that the client does not know has a position only.
    fn value(&self) -> Value {
        let mut event = json!({});
        if let Some(pos) = &self.pos {
            event["pos"] = json!(pos);
        }
        if let Some(message) = &self.message {
            event["message"] = message.value();
        }
        if let Some(one) = &self.receipt {
            event["receipt"] =
                json!({"conversation": one.conversation, "user": one.user, "read": one.read});
        }
        for (name, about) in [
            ("recall", &self.recall),
            ("delete", &self.delete),
            ("reaction", &self.reaction),
        ] {
            if let Some(about) = about {
                event[name] = json!({"conversation": about.conversation, "seq": about.seq});
            }
        }
        if let Some(one) = &self.group {
            let number = usize::try_from(one.change).ok();
            let name = number.and_then(|number| CHANGES.get(number.checked_sub(1)?));
            if let Some(change) = name {
                event["group"] = json!({
                    "conversation": one.conversation, "change": change, "members": one.members,
                });
            }
        }
        event
    }
}

impl Reply {
    fn value(&self) -> Value {
        let mut reply = json!({"id": self.id});
        if let Some(page) = &self.sync {
            let events: Vec<_> = page.events.iter().map(Push::value).collect();
            reply["sync"] = json!({"events": events, "pos": page.pos, "more": page.more});
        }
        if let Some(page) = &self.history {
            let messages: Vec<_> = page.messages.iter().map(Shown::value).collect();
            reply["history"] = json!({"messages": messages, "more": page.more});
        }
        if let Some(list) = &self.conversations {
            let entry = |one: &Entry| json!({"conversation": one.conversation, "read": one.read, "unread": one.unread});
            let entries: Vec<_> = list.conversations.iter().map(entry).collect();
            reply["conversations"] = json!({"conversations": entries});
        }
        reply
    }
}

/// Returns the fields of a value that the client reads.
fn known(value: &Value, fields: &[&str]) -> Value {
    let all = value.as_object().expect("an object").iter();
    let known = all.filter(|(name, _)| fields.contains(&&***name));
    known
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Returns what the client reads of an event in JSON.
fn known_event(event: &Value) -> Value {
    let mut read = known(event, &["pos"]);
    for (name, fields) in EVENTS {
        if event[name].is_object() {
            read[name] = known(&event[name], fields);
        }
    }
    let change = read["group"]["change"].as_str();
    if change.is_some_and(|change| !CHANGES.contains(&change)) {
        return known(event, &["pos"]);
    }
    read
}

fn list(values: &Value, read: impl Fn(&Value) -> Value) -> Value {
    let values = values.as_array().expect("a list").iter();
    values.map(read).collect()
}

/// Returns what the client reads of a reply in JSON.
fn known_reply(reply: &Value) -> Value {
    let mut read = known(reply, &["id"]);
    if reply["sync"].is_object() {
        read["sync"] = known(&reply["sync"], &["pos", "more"]);
        read["sync"]["events"] = list(&reply["sync"]["events"], known_event);
    }
    if reply["history"].is_object() {
        read["history"] = known(&reply["history"], &["more"]);
        let messages = &reply["history"]["messages"];
        read["history"]["messages"] = list(messages, |message| known(message, &MESSAGE));
    }
    if reply["conversations"].is_object() {
        let fields = ["conversation", "read", "unread"];
        let entries = &reply["conversations"]["conversations"];
        read["conversations"]["conversations"] = list(entries, |entry| known(entry, &fields));
    }
    read
}

/// Returns the replies and the pushes of a frame, as the client reads them.
pub(super) fn read(encoding: Encoding, mut payload: &[u8]) -> (Vec<Value>, Vec<Value>) {
    let (mut replies, mut pushes) = (Vec::new(), Vec::new());
    match encoding {
        Encoding::Json => {
            for line in payload.split(|byte| *byte == b'\n') {
                let message: Value = serde_json::from_slice(line).expect("JSON");
                match message["push"].is_object() {
                    true => pushes.push(known_event(&message["push"])),
                    false => replies.push(known_reply(&message)),
                }
            }
        }
        Encoding::Proto => {
            while !payload.is_empty() {
                let message = ServerMessage::decode_length_delimited(&mut payload);
                let message = message.expect("a message of the older schema");
                replies.extend(message.reply.iter().map(Reply::value));
                pushes.extend(message.push.iter().map(Push::value));
            }
        }
    }
    (replies, pushes)
}
