//! The model of messaging in a few hundred lines: it decides every command in one place, in order.

mod conversation;
mod erasure;
mod extras;
mod own;
mod reads;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use extras::Extras;
use serde_json::{Value, json};

/// A log of events, and the conversations that follow from it.
#[derive(Default)]
pub(super) struct World {
    pub(super) log: Vec<Entry>,
    conversations: BTreeMap<String, Conversation>,
    /// The conversations of each user, in the order they began for them.
    inboxes: BTreeMap<String, Vec<String>>,
    /// The conversation and sequence of each send with a key, by user and key.
    keys: BTreeMap<(String, String), (String, usize)>,
    /// The most members of a group whose receipts go to all members.
    receipt_fanout: usize,
    /// Whether each edit comes after its window.
    late_edits: bool,
    /// Who blocks whom.
    blocks: BTreeSet<(String, String)>,
    /// The users' own settings of conversations, by user and conversation.
    settings: BTreeMap<(String, String), Settings>,
}

/// A user's own settings of a conversation.
#[derive(Default, Clone, Copy, PartialEq)]
struct Settings {
    muted_until: u64,
    pinned: bool,
    archived: bool,
}

/// An event, and the users whom it concerns.
pub(super) struct Entry {
    content: Content,
    to: BTreeSet<String>,
    /// The user and the device that caused the event. The device gets the reply instead of a push.
    pub(super) by: (String, String),
    /// The push of the event at the time when it happened; `None` if it is not pushed.
    pub(super) live: Option<Value>,
}

enum Content {
    Message(String, usize),
    /// An edit of a message, and its number.
    Edit(String, usize, usize),
    Other(Value),
}

#[derive(Default)]
struct Conversation {
    messages: Vec<Message>,
    members: Vec<Member>,
    group: Option<Group>,
    last_entry: usize,
    /// The watermarks of former members: delivered and read.
    former: BTreeMap<String, (usize, usize)>,
}

struct Group {
    name: Option<String>,
    all_history: bool,
    /// The sequence of the first message since the last creation of the group.
    first: usize,
    picture: String,
    /// Who may send: `all` or `admins`.
    send: String,
    /// How users join: `invite` or `open`.
    join: String,
    /// The sequences of the pinned messages.
    pins: Vec<usize>,
}

struct Member {
    user: String,
    /// `member`, `admin` or `owner`.
    role: String,
    first: usize,
    /// The sequence of the last message when the member joined.
    joined: usize,
    delivered: usize,
    read: usize,
}

struct Message {
    from: String,
    device: String,
    key: Option<String>,
    /// The text; null if there is none.
    text: Value,
    /// The media; null if there are none.
    media: Value,
    /// The fields that few messages have, as they were sent.
    extras: Extras,
    /// The number of edits.
    revision: usize,
    recalled: bool,
    /// Whether it has expired. No expired message was recalled before.
    expired: bool,
    hidden: BTreeSet<String>,
    reactions: Vec<(String, String)>,
}

/// The reply without positions and times, or the code of the error.
pub(super) type Answer = Result<Value, u64>;

impl World {
    pub(super) fn new(receipt_fanout: usize, late_edits: bool) -> Self {
        Self {
            receipt_fanout,
            late_edits,
            ..Self::default()
        }
    }

    /// Decides a command of a device.
    pub(super) fn decide(&mut self, by: (&str, &str), command: &str, ask: &Value) -> Answer {
        let (user, device) = by;
        let text = |name: &str| ask[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| ask[name].as_u64().unwrap_or_default() as usize;
        let names = || -> Vec<String> {
            let list = ask["members"].as_array();
            let names = list.into_iter().flatten().filter_map(Value::as_str);
            names.map(str::to_owned).collect()
        };
        let conversation = text("conversation");
        let group = format!("g:{}", text("group"));
        match command {
            "send" => self.send(user, device, ask),
            "ack" => self.ack(by, &conversation, (number("delivered"), number("read"))),
            "edit" => self.edit(by, &conversation, number("seq"), ask),
            "recall" => self.recall(by, &conversation, number("seq")),
            "delete" => self.delete(by, &conversation, number("seq")),
            "react" => self.react(by, &conversation, ask),
            "group_create" => self.create(by, &group, ask, &names()),
            "group_add" => self.add(by, &group, &names()),
            "group_remove" => self.remove(by, &group, &names()),
            "group_leave" => self.leave(by, &group),
            "group_rename" => self.rename(by, &group, text("name")),
            "group_role" => self.give_role(by, &group, &text("user"), &text("role")),
            "group_set" => self.set_rules(by, &group, ask),
            "group_join" => self.enter_group(by, &group),
            "pin" | "unpin" => self.pin(by, &conversation, number("seq"), command == "unpin"),
            "block" | "unblock" => self.block(user, &text("user"), command == "block"),
            "blocked" => Ok(self.blocked(user)),
            "settings" => self.set_own(by, &conversation, ask),
            "history" => self.history(user, &conversation, ask["thread"].as_u64()),
            "get" => self.get(user, &conversation, number("seq")),
            "reactions" => self.reactions(user, &conversation, number("seq"), &text("reaction")),
            "receipts" => self.receipts(user, &conversation, number("seq"), &text("state")),
            "conversations" => Ok(self.list(user)),
            "group_info" => self.info(user, &group),
            _ => panic!("the model has no {command}"),
        }
    }

    fn enter(&mut self, by: (&str, &str), to: impl IntoIterator<Item = String>, content: Content) {
        self.log.push(Entry {
            content,
            to: to.into_iter().collect(),
            by: (by.0.to_owned(), by.1.to_owned()),
            live: None,
        });
        // No member has deleted anything yet, so all see the same.
        let number = self.log.len() - 1;
        let any = self.log[number].to.first().cloned().unwrap_or_default();
        self.log[number].live = match &self.log[number].content {
            // A push says the same to those who deleted the message in their view.
            Content::Edit(id, seq, _) => {
                Some(json!({"edit": self.conversations[id].render(id, *seq, "", false)}))
            }
            _ => self.event(number, &any),
        };
    }

    fn join(&mut self, user: &str, conversation: &str) {
        let inbox = self.inboxes.entry(user.to_owned()).or_default();
        if !inbox.iter().any(|one| one == conversation) {
            inbox.push(conversation.to_owned());
        }
    }

    /// Returns the conversation where the user is a member of it. Other users do not learn whether
    /// it exists.
    fn of(&mut self, user: &str, id: &str) -> Result<&mut Conversation, u64> {
        let named = id.strip_prefix("u:").and_then(|both| both.split_once(':'));
        let own = named.is_some_and(|(one, other)| user == one || user == other);
        let none = if own { 102_u64 } else { 103 };
        let conversation = self.conversations.get_mut(id).ok_or(none)?;
        if conversation
            .members
            .iter()
            .any(|member| member.user == user)
        {
            Ok(conversation)
        } else {
            Err(103)
        }
    }

    /// Returns a conversation of the user, if the user sees its message `seq`.
    fn message(&mut self, user: &str, id: &str, seq: usize) -> Result<&mut Conversation, u64> {
        let conversation = self.of(user, id)?;
        let first = conversation.member(user).first;
        if seq < first.max(1) || seq > conversation.messages.len() {
            return Err(102);
        }
        Ok(conversation)
    }

    fn send(&mut self, user: &str, device: &str, ask: &Value) -> Answer {
        let key = ask["key"].as_str().map(str::to_owned);
        let id = target(user, ask);
        if let Some(key) = &key
            && let Some((of, seq)) = self.keys.get(&(user.to_owned(), key.clone()))
        {
            let message = &self.conversations[of].messages[seq - 1];
            let is_same = ask["text"] == message.text
                && ask["media"] == message.media
                && Extras::of(ask) == message.extras;
            if *of != id || !message.is_gone() && message.revision == 0 && !is_same {
                return Err(117);
            }
            return Ok(json!({"conversation": id, "seq": seq, "duplicate": true}));
        }
        let blocked = ask["user"].as_str();
        let blocked = blocked.is_some_and(|other| self.is_blocked(user, other));
        if blocked || ask["user"].is_null() && !self.of(user, &id)?.may_send(user) {
            return Err(103);
        }
        self.check_extras(user, &id, ask)?;
        if let Some(other) = ask["user"].as_str() {
            let (one, two) = (user, other);
            if !self.conversations.contains_key(&id) {
                let mut conversation = Conversation::default();
                for name in BTreeSet::from([one, two]) {
                    conversation.members.push(Member::new(name, 1, 0, (0, 0)));
                    self.join(name, &id);
                }
                self.conversations.insert(id.clone(), conversation);
            }
        }
        let entry = self.log.len();
        let conversation = self.of(user, &id)?;
        conversation.messages.push(Message {
            from: user.to_owned(),
            device: device.to_owned(),
            key: key.clone(),
            text: ask["text"].clone(),
            media: ask["media"].clone(),
            extras: Extras::of(ask),
            revision: 0,
            recalled: false,
            expired: false,
            hidden: BTreeSet::new(),
            reactions: Vec::new(),
        });
        conversation.last_entry = entry;
        let (seq, to) = (conversation.messages.len(), conversation.names());
        if let Some(key) = key {
            self.keys.insert((user.to_owned(), key), (id.clone(), seq));
        }
        self.enter((user, device), to, Content::Message(id.clone(), seq));
        Ok(json!({"conversation": id, "seq": seq, "duplicate": false}))
    }

    fn ack(&mut self, by: (&str, &str), id: &str, (delivered, read): (usize, usize)) -> Answer {
        let most = self.receipt_fanout;
        let conversation = self.of(by.0, id)?;
        let last = conversation.messages.len();
        let large = conversation.group.is_some() && conversation.members.len() > most;
        let direct = conversation.group.is_none();
        let firsts: BTreeMap<_, _> = conversation.firsts();
        let names = conversation.names();
        let member = conversation.member(by.0);
        let before = (member.delivered, member.read);
        // Acknowledgements of messages before the member joined have no effect.
        let first = member.first;
        let visible = |mark: usize| if mark.min(last) < first { 0 } else { mark };
        let (delivered, read) = (visible(delivered), visible(read));
        let read = read.min(last).max(member.read);
        let delivered = delivered.min(last).max(member.delivered).max(read);
        if (delivered, read) != before {
            (member.delivered, member.read) = (delivered, read);
            // The authors of the newly covered messages, as far as they are still members.
            let from = |before: usize| before.max(first - 1);
            let newly = (from(before.0)..delivered).chain(from(before.1)..read);
            let messages = &conversation.messages;
            let authors: Vec<_> = newly.map(|message| &messages[message].from).collect();
            let is_told = |name: &String| {
                let concerned = authors.contains(&name) && firsts[name] <= delivered;
                name == by.0 || direct || !large && concerned
            };
            let to: Vec<_> = names.into_iter().filter(is_told).collect();
            let event = json!({"receipt": {
                "conversation": id, "user": by.0, "delivered": delivered, "read": read,
            }});
            self.enter(by, to, Content::Other(event));
        }
        Ok(json!({}))
    }

    fn recall(&mut self, by: (&str, &str), id: &str, seq: usize) -> Answer {
        let conversation = self.message(by.0, id, seq)?;
        let names = conversation.who_see(seq);
        let message = &mut conversation.messages[seq - 1];
        if message.from != by.0 {
            return Err(103);
        }
        if message.expired {
            return Ok(json!({}));
        }
        message.reactions.clear();
        if let Some(group) = &mut conversation.group {
            group.pins.retain(|pin| *pin != seq);
        }
        let message = &mut conversation.messages[seq - 1];
        if !std::mem::replace(&mut message.recalled, true) {
            let event = json!({"recall": {"conversation": id, "seq": seq, "by": by.0}});
            self.enter(by, names, Content::Other(event));
        }
        Ok(json!({}))
    }

    fn delete(&mut self, by: (&str, &str), id: &str, seq: usize) -> Answer {
        let conversation = self.message(by.0, id, seq)?;
        if conversation.messages[seq - 1]
            .hidden
            .insert(by.0.to_owned())
        {
            let event = json!({"delete": {"conversation": id, "seq": seq}});
            self.enter(by, [by.0.to_owned()], Content::Other(event));
        }
        Ok(json!({}))
    }

    fn react(&mut self, by: (&str, &str), id: &str, ask: &Value) -> Answer {
        let seq = ask["seq"].as_u64().unwrap_or_default() as usize;
        let reaction = ask["reaction"].as_str().unwrap_or_default();
        let remove = ask["remove"] == true;
        let other = id.strip_prefix("u:").and_then(|both| both.split_once(':'));
        let other = other.map(|(one, other)| if one == by.0 { other } else { one });
        let blocked = other.is_some_and(|other| self.is_blocked(by.0, other));
        let conversation = self.message(by.0, id, seq)?;
        let names = conversation.who_see(seq);
        if conversation.messages[seq - 1].is_gone() {
            return Err(102);
        }
        if blocked && !remove {
            return Err(103);
        }
        let list = &mut conversation.messages[seq - 1].reactions;
        let one = (by.0.to_owned(), reaction.to_owned());
        if list.contains(&one) != remove {
            return Ok(json!({}));
        }
        if remove {
            list.retain(|other| *other != one);
        } else {
            list.push(one);
        }
        let event = json!({"reaction": {
            "conversation": id, "seq": seq, "user": by.0, "reaction": reaction, "removed": remove,
        }});
        self.enter(by, names, Content::Other(event));
        Ok(json!({}))
    }

    fn create(&mut self, by: (&str, &str), id: &str, ask: &Value, names: &[String]) -> Answer {
        let blocks = &self.blocks;
        let conversation = self.conversations.entry(id.to_owned()).or_default();
        if names
            .iter()
            .any(|name| blocks.contains(&(name.clone(), by.0.to_owned())))
        {
            return Err(103);
        }
        if !conversation.members.is_empty() {
            return Err(118);
        }
        let name = ask["name"].as_str().map(str::to_owned);
        conversation.group = Some(Group {
            name: name.clone(),
            all_history: ask["history"] != "joined",
            first: conversation.messages.len() + 1,
            picture: String::new(),
            send: "all".into(),
            join: "invite".into(),
            pins: Vec::new(),
        });
        let mut all = vec![by.0.to_owned()];
        all.extend(names.iter().cloned());
        let members = self.admit(by, id, &all, "created", name);
        if let Some(conversation) = self.conversations.get_mut(id) {
            conversation.members[0].role = "owner".into();
        }
        Ok(json!({"conversation": id, "members": members}))
    }

    /// Adds users who are not members yet. Returns the number of members.
    fn admit(
        &mut self,
        by: (&str, &str),
        id: &str,
        names: &[String],
        change: &str,
        name: Option<String>,
    ) -> usize {
        let conversation = self.conversations.get_mut(id).expect("it exists");
        let last = conversation.messages.len();
        let group = conversation.group.as_ref().expect("a group");
        let first = if group.all_history {
            group.first
        } else {
            last + 1
        };
        let mut added = Vec::new();
        for user in names {
            if !conversation
                .members
                .iter()
                .any(|member| member.user == *user)
            {
                let marks = conversation.former.get(user).copied().unwrap_or_default();
                let member = Member::new(user, first, last, marks);
                conversation.members.push(member);
                added.push(user.clone());
            }
        }
        let (members, to) = (conversation.members.len(), conversation.names());
        for user in &added {
            self.join(user, id);
        }
        if !added.is_empty() {
            self.change(by, id, change, (&added, name), to);
        }
        members
    }

    fn change(
        &mut self,
        by: (&str, &str),
        id: &str,
        change: &str,
        (members, name): (&[String], Option<String>),
        to: Vec<String>,
    ) {
        let mut event = json!({
            "conversation": id, "change": change, "by": by.0, "members": members,
        });
        if let Some(name) = name {
            event["name"] = json!(name);
        }
        self.enter(by, to, Content::Other(json!({"group": event})));
    }

    fn owned(&mut self, user: &str, id: &str) -> Result<&mut Conversation, u64> {
        let conversation = self.of(user, id)?;
        if conversation.member(user).role == "owner" {
            Ok(conversation)
        } else {
            Err(103)
        }
    }

    fn managed(&mut self, user: &str, id: &str) -> Result<&mut Conversation, u64> {
        let conversation = self.of(user, id)?;
        if conversation.member(user).role == "member" {
            Err(103)
        } else {
            Ok(conversation)
        }
    }

    fn add(&mut self, by: (&str, &str), id: &str, names: &[String]) -> Answer {
        let members = self.managed(by.0, id)?.names();
        let new = names.iter().filter(|name| !members.contains(name));
        if { new }.any(|name| self.is_blocked(by.0, name)) {
            return Err(103);
        }
        Ok(json!({"members": self.admit(by, id, names, "added", None)}))
    }

    fn remove(&mut self, by: (&str, &str), id: &str, names: &[String]) -> Answer {
        let conversation = self.managed(by.0, id)?;
        let is_owner = conversation.member(by.0).role == "owner";
        if names.iter().any(|name| name == by.0) {
            return Err(107);
        }
        for name in names {
            let named = conversation.members.iter().find(|one| one.user == *name);
            if !is_owner && named.is_some_and(|named| named.role != "member") {
                return Err(103);
            }
        }
        let mut gone = Vec::new();
        for name in names {
            let before = conversation.members.len();
            conversation.part_with(name);
            if conversation.members.len() < before {
                gone.push(name.clone());
            }
        }
        let (members, mut to) = (conversation.members.len(), conversation.names());
        if !gone.is_empty() {
            to.extend(gone.iter().cloned());
            self.change(by, id, "removed", (&gone, None), to);
        }
        Ok(json!({"members": members}))
    }

    fn leave(&mut self, by: (&str, &str), id: &str) -> Answer {
        let conversation = self.of(by.0, id)?;
        let to = conversation.names();
        conversation.part_with(by.0);
        conversation.crown();
        self.change(by, id, "left", (&[by.0.to_owned()], None), to);
        Ok(json!({}))
    }

    fn rename(&mut self, by: (&str, &str), id: &str, name: String) -> Answer {
        let conversation = self.owned(by.0, id)?;
        let to = conversation.names();
        if let Some(group) = &mut conversation.group {
            group.name = Some(name.clone());
        }
        self.change(by, id, "renamed", (&[], Some(name)), to);
        Ok(json!({}))
    }

    /// Returns an event as a user reads it now; `None` if it does not concern the user.
    pub(super) fn event(&self, number: usize, user: &str) -> Option<Value> {
        let entry = &self.log[number];
        if !entry.to.contains(user) {
            return None;
        }
        Some(match &entry.content {
            Content::Message(id, seq) => {
                json!({"message": self.conversations[id].render_event(id, *seq, user)})
            }
            Content::Edit(id, seq, revision) => {
                let message = &self.conversations[id].messages[seq - 1];
                // Devices that catch up get the last edit only.
                let is_closed = self.conversations[id].is_closed(*seq, user);
                if message.is_gone() || message.revision != *revision || is_closed {
                    return None;
                }
                json!({"edit": self.conversations[id].render(id, *seq, user, false)})
            }
            Content::Other(event) => event.clone(),
        })
    }
}

impl Message {
    /// Returns whether nobody sees the content any more.
    fn is_gone(&self) -> bool {
        self.recalled || self.expired
    }
}

/// Returns the conversation that a send goes to.
fn target(user: &str, ask: &Value) -> String {
    match ask["user"].as_str() {
        Some(other) if user < other => format!("u:{user}:{other}"),
        Some(other) => format!("u:{other}:{user}"),
        None => format!("g:{}", ask["group"].as_str().unwrap_or_default()),
    }
}

impl Entry {
    pub(super) fn concerns(&self, user: &str) -> bool {
        self.to.contains(user)
    }
}

impl Member {
    fn new(user: &str, first: usize, joined: usize, marks: (usize, usize)) -> Self {
        Self {
            user: user.to_owned(),
            role: "member".into(),
            first,
            joined,
            delivered: marks.0,
            read: marks.1,
        }
    }
}
