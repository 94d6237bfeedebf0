//! The examples of docs/protocol.md, played on a gateway. Its answers and pushes must have the form
//! of the examples.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trunkline_proto::Encoding;
use trunkline_tests::back_end::{BackEnd, Says};
use trunkline_tests::client::Client;
use trunkline_tests::dial::Dial;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::process::workspace;
use trunkline_tests::wait;

/// The content of a section: commands in their order, and answers by their ids.
#[derive(Debug, Default)]
struct Section {
    commands: Vec<Value>,
    answers: BTreeMap<u64, Value>,
    pushes: Vec<Value>,
}

/// Returns the sections of the page by their headings.
fn sections() -> BTreeMap<String, Section> {
    let page = std::fs::read_to_string(workspace().join("docs/protocol.md"));
    let page = page.expect("a page");
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    let mut heading = String::new();
    for line in page.lines() {
        if let Some(text) = line.strip_prefix('#') {
            text.trim_start_matches('#').trim().clone_into(&mut heading);
        }
        let section = sections.entry(heading.clone()).or_default();
        let json = |text| serde_json::from_str::<Value>(text).expect("JSON");
        if let Some(command) = line.strip_prefix("→ ") {
            section.commands.push(json(command));
        }
        if let Some(answer) = line.strip_prefix("← ") {
            let mut answer = json(answer);
            match answer["id"].as_u64() {
                Some(id) => drop(section.answers.insert(id, answer)),
                None => section.pushes.push(answer["push"].take()),
            }
        }
    }
    sections
}

/// Returns whether a value has the fields of an example, no more and no fewer; of lists, whether
/// there is one for each of the example's.
fn has_form(value: &Value, example: &Value) -> bool {
    match (value, example) {
        (Value::Object(value), Value::Object(example)) => {
            value.len() == example.len()
                && example.iter().all(|(name, example)| {
                    let Some(field) = value.get(name) else {
                        return false;
                    };
                    // Words of the protocol, not of the example.
                    let is_word = ["change", "code"].contains(&&**name);
                    (!is_word || field == example) && has_form(field, example)
                })
        }
        (Value::Array(values), Value::Array(examples)) => examples
            .iter()
            .all(|example| values.iter().any(|value| has_form(value, example))),
        _ => std::mem::discriminant(value) == std::mem::discriminant(example),
    }
}

struct Play {
    /// The encoding of all clients.
    encoding: Encoding,
    gateway: Gateway,
    sections: BTreeMap<String, Section>,
    alice: Client,
    /// Values of the examples, such as positions, and those of this gateway in their place.
    stand_ins: Vec<(&'static str, String)>,
    played: Vec<String>,
}

impl Play {
    /// Plays the commands of a section, as alice.
    fn section(&mut self, heading: &str) {
        let section = self.sections.remove(heading);
        let section = section.unwrap_or_else(|| panic!("no section {heading}"));
        for command in section.commands {
            let mut text = command.to_string();
            for (stand_in, real) in &self.stand_ins {
                text = text.replace(stand_in, real);
            }
            let mut command: Value = serde_json::from_str(&text).expect("JSON");
            let Some(id) = command["id"].as_u64() else {
                self.alice.post_raw(&[command]);
                continue;
            };
            // Ids beyond those that the client chooses itself.
            let sent = 50_000 + id + 100 * self.played.len() as u64;
            command["id"] = sent.into();
            self.alice.post_raw(&[command.clone()]);
            let mut answer = self.alice.reply(u32::try_from(sent).expect("small"));
            answer["id"] = id.into();
            match section.answers.get(&id) {
                // A command without an answer on the page is another form of a command with one.
                None => assert_eq!(answer["error"], Value::Null, "{command}"),
                Some(example) => {
                    assert!(
                        has_form(&answer, example),
                        "{command}: {answer}, not {example}"
                    );
                }
            }
            self.remember(&answer);
        }
        self.played.push(heading.to_owned());
    }

    /// Remembers values of a reply that later examples refer to.
    fn remember(&mut self, answer: &Value) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if let Some(cursor) = text(&answer["conversations"]["cursor"]) {
            self.stand_ins.push(("m4296-2c624232-5396", cursor));
        }
        if let Some(next) = text(&answer["search"]["next"]) {
            self.stand_ins.push(("s4296-2c624232-5396", next));
        }
        if let Some(pos) = text(&answer["publish"]["pos"]) {
            self.stand_ins.push(("65f0c1d2-9", pos));
        }
    }

    fn connect(&self, user: &str, device: &str) -> Client {
        dial(&self.gateway, self.encoding).connect(user, device)
    }
}

fn dial(gateway: &Gateway, encoding: Encoding) -> Dial {
    match encoding {
        Encoding::Json => gateway.dial(),
        Encoding::Proto => gateway.dial().proto(),
    }
}

fn open(encoding: Encoding) -> Play {
    let back = BackEnd::start(|asked| {
        Says::Json(match asked.body["method"].as_str() {
            Some("orders.list") => json!({"data": {"orders": [17]}}),
            _ => json!({"error": {"code": 4_001, "message": "no such order"}}),
        })
    });
    let gateway = back
        .asked_by(Setup::default(), &["rpc"])
        .flag("shards", 3)
        .flag("presence-grace", "0s")
        .flag("search", true)
        .start();
    let mut sections = sections();
    // Two of these are for other gateways: with tokens, and with positions of devices.
    let connect = sections.remove("connect").expect("a section");
    let mut alice = dial(&gateway, encoding).open();
    alice.post_raw(&connect.commands[..1]);
    let opening = alice.reply(1);
    assert!(has_form(&opening, &connect.answers[&1]), "{opening}");
    let pos = opening["connect"]["pos"].as_str().expect("a position");
    Play {
        stand_ins: vec![("5e884898-4096", pos.to_owned())],
        encoding,
        gateway,
        sections,
        alice,
        played: Vec::new(),
    }
}

/// Sends messages until one has this sequence.
fn fill(alice: &mut Client, to: &Value, last: u64) {
    loop {
        let mut request = to.clone();
        request["text"] = "more".into();
        let sent = alice.done("send", &request);
        if sent["seq"].as_u64().expect("a number") >= last {
            return;
        }
    }
}

/// Waits until the index for searches has all: it follows a little later.
fn indexed(alice: &mut Client) {
    let last = json!({"text": "see you"});
    wait::until("the last message is found", || {
        let found = alice.ask("search", &last);
        let count = found["search"]["messages"].as_array().map(Vec::len);
        (count == Some(1)).then_some(())
    });
}

#[test]
fn every_example_is_played() {
    play_all(Encoding::Json);
}

#[test]
fn every_example_is_played_in_protobuf() {
    play_all(Encoding::Proto);
}

fn play_all(encoding: Encoding) {
    let mut play = open(encoding);
    let mut tablet = play.connect("alice", "tablet");
    let mut bob = play.connect("bob", "laptop");
    play.section("presence");
    play.alice.done("contacts", &json!({"add": ["carol"]}));
    play.section("contacts");
    let mut phone = play.connect("bob", "phone");
    play.section("group_create, group_add, group_remove, group_leave, group_rename, group_info");
    // Bob is the owner now, of a group in which more is to be said.
    let members = json!({"group": "eng", "members": ["alice"]});
    bob.done("group_add", &members);
    let owner = json!({"group": "eng", "user": "alice", "role": "owner"});
    bob.done("group_role", &owner);
    bob.done("group_create", &json!({"group": "lobby"}));
    bob.done("group_set", &json!({"group": "lobby", "join": "open"}));
    play.section("group_role, group_set, group_join");
    play.section("send");
    let hi = bob.send("alice", "hi");
    // An event that her shard does not know yet is not in the sync, and comes as a push after it.
    let mut told = Vec::new();
    while told
        .last()
        .is_none_or(|push: &Value| push["pos"] != hi["pos"])
    {
        told.push(play.alice.push());
    }
    play.section("sync");
    // The second message was of alice.
    let second = json!({"conversation": "u:alice:bob", "seq": 2});
    play.alice.done("recall", &second);
    let like = json!({"conversation": "u:alice:bob", "seq": 1, "reaction": "like"});
    bob.done("react", &like);
    let look = json!({"group": "eng", "text": "look", "mentions": ["alice"]});
    bob.done("send", &look);
    fill(&mut play.alice, &json!({"user": "bob"}), 42);
    fill(&mut play.alice, &json!({"group": "eng"}), 42);
    let mut carol = play.connect("carol", "phone");
    carol.ack("g:eng", &json!({"read": 42}));
    bob.ack("u:alice:bob", &json!({"delivered": 42}));
    carol.send("bob", "private");
    carol.send("alice", "see you");
    let liked = json!({"conversation": "u:alice:bob", "seq": 42, "reaction": "like"});
    play.alice.done("react", &liked);
    indexed(&mut play.alice);
    for heading in [
        "ack",
        "receipts",
        "history and get",
        "search",
        "edit",
        "conversations",
        "settings",
        "pin and unpin",
        "block, unblock, blocked",
        "reactions",
        "recall and delete",
        "react",
        "typing",
        "signal",
        "subscribe, unsubscribe, publish",
        "rpc",
        "ping",
        "Errors",
    ] {
        play.section(heading);
    }
    let examples = play.sections.remove("Pushes").expect("a section").pushes;
    let left = play
        .sections
        .iter()
        .find(|(_, section)| !section.commands.is_empty());
    assert!(left.is_none(), "not played: {left:?}");

    for client in [
        &mut play.alice,
        &mut tablet,
        &mut bob,
        &mut phone,
        &mut carol,
    ] {
        client.ping();
        told.extend(client.waiting());
    }
    play.gateway.ask_to_stop();
    told.push(json!({"disconnect": bob.push_of("disconnect")}));
    for example in examples {
        // Pushes to slow readers and recoveries are tested in `slow_reader` and `caught_up`.
        let found = told.iter().any(|push| has_form(push, &example));
        let elsewhere = example["gap"].is_object() || example["caught_up"].is_object();
        assert!(found || elsewhere, "{example}");
    }
}
