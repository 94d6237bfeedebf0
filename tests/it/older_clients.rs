//! A client of an earlier version beside clients that edit, answer, mention and let messages expire: it knows
//! none of that, ignores what it does not know, and misses nothing of what it knows.

mod form;

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};
use trunkline_proto::Encoding;
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait::until;

use crate::ephemeral::three_places;

/// A message as the client shows it: its text, and nothing if it has none.
type Shown = BTreeMap<(String, u64), Option<String>>;

/// What the client knows of the user's conversations.
struct Older {
    client: Client,
    encoding: Encoding,
    /// Pushes that it has not looked at yet.
    pushes: VecDeque<Value>,
    shown: Shown,
    /// What each user has read, by conversation and user.
    read: BTreeMap<(String, String), u64>,
    /// The position up to which the client has all events.
    pos: String,
    /// The number of events that it did not know.
    unknown: usize,
    members: Vec<String>,
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn place(about: &Value) -> (String, u64) {
    let seq = about["seq"].as_u64().expect("a sequence");
    (text(&about["conversation"]), seq)
}

impl Older {
    fn connect(gateway: &Gateway, encoding: Encoding) -> Self {
        let mut client = gateway.dial().encoding(encoding).connect("bob", "old");
        client.keeps_payloads = true;
        Self {
            pos: client.pos(),
            client,
            encoding,
            pushes: VecDeque::new(),
            shown: Shown::new(),
            read: BTreeMap::new(),
            unknown: 0,
            members: Vec::new(),
        }
    }

    /// Connects again. Pushes that the client has not looked at are lost.
    fn reconnect(&mut self, gateway: &Gateway) {
        let dial = gateway.dial().encoding(self.encoding);
        self.client = dial.connect("bob", "old");
        self.client.keeps_payloads = true;
        self.pushes.clear();
    }

    /// Reads what has come as this client reads it. Returns the replies.
    fn take_in(&mut self) -> Vec<Value> {
        let mut replies = Vec::new();
        for payload in std::mem::take(&mut self.client.payloads) {
            let (answered, pushed) = form::read(self.encoding, &payload);
            replies.extend(answered);
            self.pushes.extend(pushed);
        }
        replies
    }

    /// Asks, and returns the reply as this client reads it.
    fn ask(&mut self, command: &str, request: &Value) -> Value {
        self.take_in();
        let id = self.client.post(command, request);
        self.client.reply(id);
        let mut replies = self.take_in().into_iter();
        let reply = replies.find(|reply| reply["id"] == id);
        reply.expect("the reply")[command].take()
    }

    /// Takes an event, and ignores it if it is of no kind that the client knows.
    fn take(&mut self, event: &Value) {
        if let Some(pos) = event["pos"].as_str() {
            pos.clone_into(&mut self.pos);
        }
        let fields = event.as_object().expect("an object");
        let Some((name, about)) = fields.iter().find(|(_, value)| value.is_object()) else {
            self.unknown += 1;
            return;
        };
        match &**name {
            "message" => self.message(about),
            "recall" => {
                self.shown.insert(place(about), None);
            }
            "receipt" => {
                let of = (text(&about["conversation"]), text(&about["user"]));
                let read = about["read"].as_u64().expect("a mark");
                let before = self.read.insert(of, read).unwrap_or_default();
                assert!(before <= read, "a mark goes back: {about}");
            }
            "group" => {
                let named = about["members"].as_array().expect("members");
                let named: Vec<_> = named.iter().map(text).collect();
                match about["change"].as_str() {
                    Some("removed" | "left") => self.members.retain(|one| !named.contains(one)),
                    _ => self.members.extend(named),
                }
            }
            _ => assert!(about["conversation"].is_string(), "{about}"),
        }
    }

    /// Shows a message. Each follows the one before it.
    fn message(&mut self, message: &Value) {
        assert!(message["from"].is_string(), "{message}");
        assert!(message["time"].is_u64(), "{message}");
        let place = place(message);
        let of = self.shown.keys().filter(|(of, _)| *of == place.0);
        let last = of.map(|(_, seq)| *seq).max().unwrap_or_default();
        assert!(place.1 <= last + 1, "{message} comes after {last}");
        let text = message["text"].as_str().map(str::to_owned);
        self.shown.insert(place, text);
    }

    /// Takes all pushes until this text is there.
    fn take_until(&mut self, text: &str) {
        until(text, || {
            self.client.ping();
            self.take_in();
            while let Some(push) = self.pushes.pop_front() {
                self.take(&push);
            }
            let mut shown = self.shown.values().flatten();
            shown.any(|shown| shown == text).then_some(())
        });
    }

    /// Takes what the client has missed, in small pages.
    fn sync(&mut self) {
        loop {
            let page = self.ask("sync", &json!({"since": self.pos, "limit": 2}));
            for event in page["events"].as_array().expect("events") {
                self.take(event);
            }
            self.pos = text(&page["pos"]);
            if page["more"] != true {
                return;
            }
        }
    }

    /// Returns the texts of a conversation's history, page by page.
    fn history(&mut self, conversation: &str) -> Vec<Option<String>> {
        let (mut texts, mut after) = (Vec::new(), 0);
        loop {
            let asked = json!({"conversation": conversation, "after": after, "limit": 3});
            let page = self.ask("history", &asked);
            for message in page["messages"].as_array().expect("messages") {
                after += 1;
                assert_eq!(message["seq"], after, "{message}");
                texts.push(message["text"].as_str().map(str::to_owned));
            }
            if page["more"] != true {
                return texts;
            }
        }
    }

    /// Returns the user's own mark in a conversation, and the number of unread messages.
    fn marks(&mut self, conversation: &str) -> (u64, u64) {
        let list = self.ask("conversations", &json!({}));
        let entries = list["conversations"].as_array().expect("a list");
        let entry = entries
            .iter()
            .find(|one| one["conversation"] == conversation);
        let number = |name: &str| {
            entry.expect("in the list")[name]
                .as_u64()
                .expect("a number")
        };
        (number("read"), number("unread"))
    }
}

fn gateway() -> Gateway {
    // Groups of three members are pulled.
    let setup = Setup::default().flag("fanout-limit", 2);
    setup.flag("shards", 3).start()
}

fn with(to: &Value, more: Value) -> Value {
    let mut ask = to.clone();
    for (name, value) in more.as_object().expect("fields") {
        ask[name] = value.clone();
    }
    ask
}

/// Lets Alice use what is new in a conversation, in five messages. The last one is `end`.
fn speak(alice: &mut Client, (conversation, to): &(&str, Value), end: &str) {
    let mut say = |more: Value| {
        let seq = alice.done("send", &with(to, more))["seq"]
            .as_u64()
            .expect("a number");
        (seq, json!({"conversation": conversation, "seq": seq}))
    };
    let (first, about) = say(json!({"text": "plain"}));
    say(json!({
        "text": "answer", "reply_to": first, "kind": "text.markdown", "meta": {"a": [1, {}]},
        "mentions": ["bob"],
    }));
    say(json!({"text": "passing", "ttl": "2s"}));
    let (_, gone) = say(json!({"text": "gone"}));
    for text in ["edited", "edited again"] {
        alice.done("edit", &with(&about, json!({"text": text})));
    }
    alice.done("recall", &gone);
    if conversation.starts_with("g:") {
        alice.done("pin", &about);
        let group = &to["group"];
        let role = json!({"group": group, "user": "bob", "role": "admin"});
        alice.done("group_role", &role);
        alice.done("group_set", &json!({"group": group, "join": "open"}));
    }
    let settings = json!({"conversation": conversation, "pinned": true});
    alice.done("settings", &settings);
    alice.done("send", &with(to, json!({"text": end})));
}

/// What the client does itself works as before, beside what it does not know.
fn use_as_before(older: &mut Older, alice: &mut Client, (conversation, to): &(&str, Value)) {
    let mut to = to.clone();
    if to["user"].is_string() {
        to["user"] = json!("alice");
    }
    let bob = &mut older.client;
    let seq = bob.done("send", &with(&to, json!({"text": "from the old one"})))["seq"].clone();
    assert_eq!(seq, 6);
    let about = json!({"conversation": conversation, "seq": 1, "reaction": "like"});
    bob.done("react", &about);
    bob.ack(conversation, &json!({"delivered": seq, "read": seq}));
    bob.done("recall", &json!({"conversation": conversation, "seq": seq}));
    alice.ack(conversation, &json!({"read": seq}));
    older.shown.insert(((*conversation).to_owned(), 6), None);
    assert_eq!(older.marks(conversation), (6, 0), "{conversation}");
}

/// Compares what the client shows of a conversation of eleven messages, which it has seen live up to the sixth.
fn check(older: &mut Older, conversation: &str) {
    let of = |(of, _): &&(String, u64)| of == conversation;
    let seqs = older.shown.keys().filter(of).map(|(_, seq)| *seq);
    assert!(seqs.eq(1..=11), "{conversation}: {:?}", older.shown);
    let has = |seq: u64, text: Option<&str>| {
        let shown = &older.shown[&(conversation.to_owned(), seq)];
        assert_eq!(shown.as_deref(), text, "{conversation} {seq}");
    };
    // What it has seen stays as it was seen, and what it catches up with is the newest.
    has(1, Some("plain"));
    has(2, Some("answer"));
    has(4, None);
    has(6, None);
    has(7, Some("edited again"));
    has(8, Some("answer"));
    has(10, None);
    let of_alice = (conversation.to_owned(), "alice".to_owned());
    assert_eq!(older.read.get(&of_alice), Some(&6), "{conversation}");
    let some = |text: &str| Some(text.to_owned());
    let (edited, answer) = (some("edited again"), some("answer"));
    let live = some(&format!("live in {conversation}"));
    let late = some(&format!("late in {conversation}"));
    let [one, two] = [live, late].map(|end| [edited.clone(), answer.clone(), None, None, end]);
    let expected = [&one[..], &[None], &two].concat();
    until("messages expire", || {
        let texts = older.history(conversation);
        let are_gone = texts[2].is_none() && texts[8].is_none();
        are_gone.then(|| assert_eq!(texts, expected, "{conversation}"))
    });
    until("the count of unread messages", || {
        let (read, unread) = older.marks(conversation);
        assert_eq!(read, 6, "{conversation}");
        assert!([3, 4].contains(&unread), "{conversation}: {unread}");
        // What has expired counts until it is cleared.
        (unread == 3).then_some(())
    });
}

#[test]
fn a_client_that_knows_nothing_of_edits_goes_on() {
    for encoding in [Encoding::Json, Encoding::Proto] {
        let gateway = gateway();
        let mut alice = gateway.dial().connect("alice", "phone");
        let mut older = Older::connect(&gateway, encoding);
        let places = three_places(&mut alice);
        for at in &places {
            let end = format!("live in {}", at.0);
            speak(&mut alice, at, &end);
            older.take_until(&end);
        }
        assert!(older.unknown > 0, "edits at least");
        assert!(older.members.contains(&"carol".to_owned()));
        for at in &places {
            use_as_before(&mut older, &mut alice, at);
        }
        // The connection is lost, with what is pushed on it: the client catches up from the position that it has.
        for at in &places {
            speak(&mut alice, at, &format!("late in {}", at.0));
        }
        older.reconnect(&gateway);
        let known = older.unknown;
        older.sync();
        assert!(older.unknown > known, "edits at least");
        for (conversation, _) in &places {
            check(&mut older, conversation);
        }
    }
}
