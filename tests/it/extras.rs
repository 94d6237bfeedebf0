//! The fields that few messages have: replies, kinds and values of the sender's own.

use serde_json::{Value, json};
use trunkline_tests::api::Api;
use trunkline_tests::client::Client;
use trunkline_tests::dial::Dial;
use trunkline_tests::gateway::{Gateway, Setup};

const DIRECT: &str = "u:alice:bob";
const ENG: &str = "g:eng";

fn gateway() -> Gateway {
    // Groups of three members are pulled.
    let setup = Setup::default().http().flag("fanout-limit", 2);
    setup.flag("shards", 3).start()
}

/// A conversation, and the field of `send` that names it.
struct Place {
    conversation: &'static str,
    to: Value,
}

/// Returns a 1:1 conversation, a group that is pushed, and one that is pulled.
fn places(alice: &mut Client) -> [Place; 3] {
    for (group, members) in [("eng", &["bob"][..]), ("all", &["bob", "carol"])] {
        let create = json!({"group": group, "members": members});
        alice.done("group_create", &create);
    }
    let place = |conversation, to| Place { conversation, to };
    [
        place(DIRECT, json!({"user": "bob"})),
        place(ENG, json!({"group": "eng"})),
        place("g:all", json!({"group": "all"})),
    ]
}

/// Returns a send to a place, with more fields.
fn to(place: &Place, more: &Value) -> Value {
    let mut ask = place.to.clone();
    for (name, value) in more.as_object().expect("fields") {
        ask[name] = value.clone();
    }
    ask
}

/// Returns the fields of a message that the sender chose.
fn chosen(message: &Value) -> Value {
    let fields = message.as_object().expect("a message");
    let names = ["text", "reply_to", "kind", "meta"];
    let chosen = fields.iter().filter(|(name, _)| names.contains(&&***name));
    chosen
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Returns the message in every form in which a client can read it.
fn everywhere(dial: &Dial, conversation: &str, seq: u64) -> Vec<Value> {
    let mut client = dial.connect("bob", "late");
    let about = json!({"conversation": conversation, "seq": seq});
    let mut found = vec![client.done("get", &about)["message"].clone()];
    let history = client.done("history", &json!({"conversation": conversation}));
    let synced = client.done("sync", &json!({"since": "0"}));
    let list = client.done("conversations", &json!({}));
    let entries = |value: &Value| value.as_array().expect("a list").clone();
    found.extend(entries(&history["messages"]));
    found.extend(
        entries(&synced["events"])
            .into_iter()
            .map(|event| event["message"].clone()),
    );
    found.extend(
        entries(&list["conversations"])
            .into_iter()
            .map(|entry| entry["last"].clone()),
    );
    found.retain(|message| message["conversation"] == conversation && message["seq"] == seq);
    found
}

#[test]
fn a_message_has_the_same_fields_wherever_it_is_read() {
    let mut gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    let places = places(&mut alice);
    let mut bobs = [
        gateway.dial().connect("bob", "phone"),
        gateway.dial().proto().connect("bob", "tablet"),
    ];
    let sent = json!({
        "text": "*now*", "reply_to": 1, "kind": "text.markdown",
        "meta": {"n": [1, 2.50, null], "b": true, "text": "\u{e4}\n"},
    });
    for place in &places {
        alice.done("send", &to(place, &json!({"text": "first"})));
        alice.done("send", &to(place, &sent));
        for bob in &mut bobs {
            assert_eq!(chosen(&bob.push_of("message")), json!({"text": "first"}));
            assert_eq!(chosen(&bob.push_of("message")), sent);
        }
    }
    for restarted in [false, true] {
        if restarted {
            gateway.kill();
            gateway.start_again();
        }
        for place in &places {
            for dial in [gateway.dial(), gateway.dial().proto()] {
                let found = everywhere(&dial, place.conversation, 2);
                assert_eq!(found.len(), 4, "{found:?}");
                for message in found {
                    assert_eq!(chosen(&message), sent);
                }
            }
        }
    }
    // Over HTTP it is the same, and a value that is null is none.
    let api = Api::of(&gateway).user("alice");
    api.post("send", &to(&places[0], &sent));
    api.post(
        "send",
        &to(
            &places[0],
            &json!({"text": "x", "kind": null, "meta": null}),
        ),
    );
    let page = api.post("history", &json!({"conversation": DIRECT}));
    assert_eq!(chosen(&page["messages"][2]), sent);
    assert_eq!(chosen(&page["messages"][3]), json!({"text": "x"}));
}

#[test]
fn a_reply_names_a_message_that_its_sender_sees() {
    let gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    let reply = |to: Value, seq: u64| {
        let mut ask = to;
        ask["text"] = json!("re");
        ask["reply_to"] = json!(seq);
        ask
    };
    // There is no conversation yet.
    assert_eq!(
        alice.refused("send", &reply(json!({"user": "bob"}), 1)),
        107
    );
    alice.send("bob", "one");
    for seq in [0, 2, u64::MAX] {
        let ask = reply(json!({"user": "bob"}), seq);
        assert_eq!(alice.refused("send", &ask), 107, "{seq}");
    }
    // A message of the same frame counts.
    let (one, two) = (
        json!({"user": "bob", "text": "two"}),
        reply(json!({"user": "bob"}), 2),
    );
    let ids = [alice.post("send", &one), alice.post("send", &two)];
    let seqs = ids.map(|id| alice.reply(id)["send"]["seq"].clone());
    assert_eq!(seqs, [2, 3]);
    // Who joined later does not see what was before, in groups of both modes.
    for (group, others) in [("small", &[][..]), ("large", &["dave", "erin"])] {
        let create = json!({"group": group, "members": others, "history": "joined"});
        alice.done("group_create", &create);
        let to = json!({"group": group});
        let said = |text: &str| json!({"group": group, "text": text});
        alice.done("send", &said("before"));
        let add = json!({"group": group, "members": ["carol"]});
        alice.done("group_add", &add);
        alice.done("send", &said("after"));
        let mut carol = gateway.dial().connect("carol", "phone");
        assert_eq!(carol.refused("send", &reply(to.clone(), 1)), 107);
        carol.done("send", &reply(to.clone(), 2));
        alice.done("send", &reply(to.clone(), 1));
        // A stranger learns nothing of the group.
        let mut mallory = gateway.dial().connect("mallory", "phone");
        for seq in [1, 99] {
            assert_eq!(mallory.refused("send", &reply(to.clone(), seq)), 103);
        }
    }
}

#[test]
fn a_recalled_message_keeps_its_reply_and_loses_the_rest() {
    let mut gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    for place in places(&mut alice) {
        let secret = json!({
            "text": "secret", "reply_to": 1, "kind": "secret.kind", "meta": {"secret": 1},
        });
        alice.done("send", &to(&place, &json!({"text": "first"})));
        alice.done("send", &to(&place, &secret));
        alice.done("send", &to(&place, &json!({"text": "re", "reply_to": 2})));
        let about = json!({"conversation": place.conversation, "seq": 2});
        // In the own view alone.
        let mut bob = gateway.dial().connect("bob", "phone");
        bob.done("delete", &about);
        let mine = bob.done("get", &about)["message"].clone();
        assert_eq!(chosen(&mine), json!({"reply_to": 1}));
        assert_eq!(chosen(&alice.done("get", &about)["message"]), secret);
        alice.done("recall", &about);
        for message in everywhere(&gateway.dial(), place.conversation, 2) {
            assert_eq!(chosen(&message), json!({"reply_to": 1}));
        }
        // What replies to it stays.
        let reply = everywhere(&gateway.dial(), place.conversation, 3);
        assert_eq!(chosen(&reply[0]), json!({"text": "re", "reply_to": 2}));
    }
    gateway.kill();
    gateway.start_again();
    let found = everywhere(&gateway.dial(), DIRECT, 2);
    assert!(!format!("{found:?}").contains("secret"), "{found:?}");
}

#[test]
fn fields_have_limits_and_belong_to_the_message_of_a_key() {
    let gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    let send = |more: Value| {
        let mut ask = json!({"user": "bob", "text": "x"});
        for (name, value) in more.as_object().expect("fields") {
            ask[name] = value.clone();
        }
        ask
    };
    // Quotes and brackets take their part of the 4,096 bytes.
    let meta = |bytes: usize| json!({"meta": ["m".repeat(bytes - 4)]});
    for (more, code) in [
        (json!({"kind": ""}), 107),
        (json!({"kind": "k".repeat(33)}), 107),
        (json!({"kind": "a\u{7}"}), 107),
        (json!({"kind": 7}), 107),
        (json!({"reply_to": -1}), 107),
        (json!({"reply_to": "1"}), 107),
        (meta(4_097), 106),
    ] {
        assert_eq!(alice.refused("send", &send(more.clone())), code, "{more}");
    }
    alice.done("send", &send(meta(4_096)));
    alice.done("send", &send(json!({"kind": "k".repeat(32)})));
    let keyed = |more: Value| {
        let mut ask = send(more);
        ask["key"] = json!("k");
        ask
    };
    let first = json!({"reply_to": 1, "kind": "a", "meta": [1]});
    let sent = alice.done("send", &keyed(first.clone()));
    let again = alice.done("send", &keyed(first));
    assert_eq!(
        (&again["seq"], &again["duplicate"]),
        (&sent["seq"], &json!(true))
    );
    for other in [
        json!({}),
        json!({"reply_to": 2, "kind": "a", "meta": [1]}),
        json!({"reply_to": 1, "kind": "b", "meta": [1]}),
        json!({"reply_to": 1, "kind": "a", "meta": [2]}),
    ] {
        assert_eq!(alice.refused("send", &keyed(other.clone())), 117, "{other}");
    }
}

/// Messages without these fields pay for none of them.
#[test]
fn a_plain_message_takes_as_many_bytes_of_log_as_ever() {
    // The header of a frame; the fields of a record; two timelines of a fan-out; and tag, length and value of the
    // conversation, the sender, the device and the text. Frames begin at multiples of eight.
    // A group that is pulled names its channel alone.
    let frame = |conversation: &str, timelines: u64| {
        let body = (2 + conversation.len() as u64) + (2 + 5) + (2 + 5) + (2 + 120);
        (24 + 36 + timelines * 16 + body).next_multiple_of(8)
    };
    assert_eq!(frame(DIRECT, 2), 248);
    let gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    let places = places(&mut alice);
    for (place, timelines) in places.iter().zip([2, 2, 1]) {
        let frame = frame(place.conversation, timelines);
        let mut positions = Vec::new();
        for _ in 0..20 {
            let text = json!({"text": "x".repeat(120)});
            let sent = alice.done("send", &to(place, &text));
            let pos = sent["pos"].as_str().expect("a position");
            let (_, address) = pos.rsplit_once('-').expect("an address in the log");
            positions.push(address.parse::<u64>().expect("a number"));
        }
        // The first one begins the conversation, and the gateway may store the time once in between.
        let taken = positions[1..].windows(2).map(|two| two[1] - two[0]);
        let others = taken.filter(|bytes| *bytes != frame).count();
        assert!(others <= 2, "{}: {positions:?}", place.conversation);
    }
}
