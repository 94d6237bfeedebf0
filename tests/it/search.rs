//! Searching messages: what is found, by whom, and in which order.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trunkline_tests::api::Api;
use trunkline_tests::client::{Client, error_code};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait;

/// Returns the flags of a gateway that searches. Groups of three members are pulled.
pub(super) fn setup() -> Setup {
    Setup::default()
        .http()
        .flag("search", true)
        .flag("fanout-limit", 2)
        .flag("rate-messages", 0)
        .flag("user-rate-messages", 0)
        .flag("rate-commands", 0)
        .flag("user-rate-commands", 0)
}

/// Returns all messages that are found, page by page.
pub(super) fn search(client: &mut Client, asked: &Value) -> Vec<Value> {
    let (mut found, mut asked) = (Vec::new(), asked.clone());
    loop {
        let mut page = client.done("search", &asked);
        found.extend(page["messages"].as_array().expect("a list").iter().cloned());
        match page["next"].take() {
            Value::Null => return found,
            next => asked["after"] = next,
        }
    }
}

/// Returns the texts of the messages that are found.
pub(super) fn texts(client: &mut Client, words: &str) -> Vec<String> {
    let found = search(client, &json!({"text": words}));
    let text = |message: &Value| message["text"].as_str().expect("a text").to_owned();
    found.iter().map(text).collect()
}

/// Waits until everything that is stored is in the index. `client` sends a message to itself.
pub(super) fn indexed(client: &mut Client, user: &str, number: u32) {
    let word = format!("marker{number}");
    client.send(user, &word);
    wait::until("the index has all", || {
        let reply = client.ask("search", &json!({"text": word}));
        let messages = reply["search"]["messages"].as_array();
        messages.filter(|messages| !messages.is_empty()).map(drop)
    });
}

fn group(owner: &mut Client, name: &str, members: &[&str], history: &str) {
    let group = json!({"group": name, "members": members, "history": history});
    owner.done("group_create", &group);
}

fn say(client: &mut Client, group: &str, text: &str) -> u64 {
    let said = client.done("send", &json!({"group": group, "text": text}));
    said["seq"].as_u64().expect("a sequence")
}

#[test]
fn the_newest_comes_first_over_all_conversations_or_in_one() {
    let gateway = setup().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().proto().connect("bob", "phone");
    group(&mut alice, "eng", &["bob", "carol"], "all");
    alice.send("bob", "Lunch on Friday?");
    say(&mut bob, "eng", "lunch is at noon");
    bob.send("alice", "no LUNCH for me");
    let media =
        json!({"user": "bob", "media": {"type": "image/png", "url": "https://h/lunch.png"}});
    alice.done("send", &media);
    say(&mut alice, "eng", "on friday: déjeuner, not lunch");
    indexed(&mut alice, "alice", 1);
    let all = [
        "on friday: déjeuner, not lunch",
        "no LUNCH for me",
        "lunch is at noon",
        "Lunch on Friday?",
    ];
    assert_eq!(texts(&mut alice, "lunch"), all);
    assert_eq!(texts(&mut bob, "lunch"), all, "in protobuf");
    assert_eq!(texts(&mut bob, "FRIDAY lunch"), [all[0], all[3]]);
    assert_eq!(texts(&mut bob, "dejeuner"), [all[0]]);
    assert_eq!(texts(&mut bob, "lun"), [""; 0]);
    let only = json!({"text": "lunch", "conversation": "g:eng"});
    let found = search(&mut alice, &only);
    assert_eq!(found.len(), 2);
    let history = alice.done("history", &json!({"conversation": "g:eng"}));
    let shown = history["messages"].as_array().expect("a list");
    assert!(
        found.iter().all(|message| shown.contains(message)),
        "{found:?}"
    );
    // One at a time, over HTTP.
    let api = Api::of(&gateway).user("alice");
    let (mut paged, mut asked) = (Vec::new(), json!({"text": "lunch", "limit": 1}));
    loop {
        let page = api.post("search", &asked);
        let messages = page["messages"].as_array().expect("a list");
        assert!(messages.len() <= 1, "{page}");
        paged.extend(messages.iter().map(|message| message["text"].clone()));
        if page["next"].is_null() {
            break;
        }
        asked["after"] = page["next"].clone();
    }
    assert_eq!(paged, all);
    // An operator, for a user.
    let admin = Api::admin(&gateway);
    let asked = json!({"text": "noon"});
    let found = admin.done("POST", "/admin/v1/as/bob/search", Some(&asked));
    assert_eq!(found["messages"][0]["text"], all[2], "{found}");
}

#[test]
fn nobody_finds_what_is_of_others() {
    let gateway = setup().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let mut eve = gateway.dial().connect("eve", "phone");
    let mut other = gateway
        .dial()
        .with("namespace", "acme")
        .connect("bob", "phone");
    alice.send("bob", "secret of two");
    group(&mut alice, "eng", &["bob"], "all");
    say(&mut alice, "eng", "secret of a group");
    indexed(&mut eve, "eve", 1);
    indexed(&mut other, "bob", 1);
    assert_eq!(texts(&mut bob, "secret").len(), 2);
    for stranger in [&mut eve, &mut other] {
        assert_eq!(texts(stranger, "secret"), [""; 0]);
    }
    let of = |conversation| json!({"text": "secret", "conversation": conversation});
    let history = |conversation| json!({"conversation": conversation});
    for conversation in ["u:alice:bob", "g:eng", "g:none", "u:eve:zoe", "nonsense"] {
        let as_history = eve.refused("history", &history(conversation));
        assert_eq!(
            eve.refused("search", &of(conversation)),
            as_history,
            "{conversation}"
        );
    }
}

#[test]
fn members_find_what_they_see() {
    let gateway = setup().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let mut carol = gateway.dial().connect("carol", "phone");
    for (name, history) in [("open", "all"), ("closed", "joined")] {
        group(&mut alice, name, &["bob"], history);
        say(&mut alice, name, &format!("{name} before"));
        alice.done("group_add", &json!({"group": name, "members": ["carol"]}));
        say(&mut alice, name, &format!("{name} after"));
    }
    indexed(&mut alice, "alice", 1);
    assert_eq!(texts(&mut carol, "before"), ["open before"]);
    assert_eq!(texts(&mut carol, "after"), ["closed after", "open after"]);
    assert_eq!(texts(&mut bob, "before").len(), 2);
    // At once, although the index knows nothing of it.
    alice.done(
        "group_remove",
        &json!({"group": "open", "members": ["carol"]}),
    );
    carol.done("group_leave", &json!({"group": "closed"}));
    assert_eq!(texts(&mut carol, "before"), [""; 0]);
    assert_eq!(texts(&mut carol, "after"), [""; 0]);
    let left = json!({"text": "after", "conversation": "g:open"});
    assert_eq!(carol.refused("search", &left), 103);
    // A blocked user's messages stay where they are.
    carol.send("alice", "carol was here");
    indexed(&mut alice, "alice", 2);
    alice.done("block", &json!({"user": "carol"}));
    assert_eq!(texts(&mut alice, "carol"), ["carol was here"]);
}

#[test]
fn what_is_gone_is_not_found_from_that_moment() {
    let gateway = setup().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    for text in ["apple one", "apple two", "apple three", "apple four"] {
        alice.send("bob", text);
    }
    let short = json!({"user": "bob", "text": "apple five", "ttl": "3s"});
    alice.done("send", &short);
    indexed(&mut alice, "alice", 1);
    assert!(texts(&mut bob, "apple").len() >= 4);
    let about = |seq| json!({"conversation": "u:alice:bob", "seq": seq});
    alice.done("recall", &about(1));
    let mut pear = about(2);
    pear["text"] = "pear two".into();
    alice.done("edit", &pear);
    bob.done("delete", &about(3));
    wait::until("the message expires", || {
        let found = bob.done("get", &about(5));
        (found["message"]["expired"] == true).then_some(())
    });
    assert_eq!(texts(&mut bob, "apple"), ["apple four"]);
    assert_eq!(texts(&mut alice, "apple"), ["apple four", "apple three"]);
    // The new text, once it is indexed; in its old place.
    alice.send("bob", "pear three");
    indexed(&mut alice, "alice", 2);
    assert_eq!(texts(&mut bob, "pear"), ["pear three", "pear two"]);
    assert_eq!(texts(&mut bob, "apple two"), [""; 0]);
    let edited = search(&mut bob, &json!({"text": "pear two"}));
    assert!(edited[0]["edited"].is_u64(), "{edited:?}");
}

#[test]
fn hits_that_are_not_visible_end_a_page() {
    let gateway = setup().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let texts: Vec<String> = (0..600).map(|number| format!("needle {number}")).collect();
    alice.send_all("bob", texts);
    indexed(&mut alice, "alice", 1);
    let mut bob = gateway.dial().connect("bob", "phone");
    for seq in 2..=600 {
        bob.post(
            "delete",
            &json!({"conversation": "u:alice:bob", "seq": seq}),
        );
    }
    bob.ping();
    wait::until("all are deleted", || {
        let about = json!({"conversation": "u:alice:bob", "seq": 600});
        (bob.done("get", &about)["message"]["deleted"] == true).then_some(())
    });
    let asked = json!({"text": "needle"});
    let first = bob.done("search", &asked);
    assert_eq!(first["messages"], json!([]));
    assert!(first["next"].is_string(), "{first}");
    let found = search(&mut bob, &asked);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["seq"], 1);
    // All of them, each once, for who sees them.
    let found = search(&mut alice, &json!({"text": "needle", "limit": 500}));
    let seqs: BTreeSet<u64> = found
        .iter()
        .filter_map(|message| message["seq"].as_u64())
        .collect();
    assert_eq!((found.len(), seqs.len()), (600, 600));
    assert_eq!(seqs.last(), Some(&600));
}

#[test]
fn queries_that_cannot_work() {
    let gateway = setup().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    indexed(&mut alice, "alice", 1);
    let many: Vec<String> = (0..33).map(|number| number.to_string()).collect();
    for (asked, code) in [
        (json!({}), 107),
        (json!({"text": ""}), 107),
        (json!({"text": " *?!\" "}), 107),
        (json!({"text": "x".repeat(257)}), 106),
        (json!({"text": many.join(" ")}), 106),
        (json!({"text": "x", "limit": 0}), 107),
        (json!({"text": "x", "after": "x"}), 107),
        (json!({"text": "x", "after": "s5-00000000-9"}), 112),
        (json!({"text": "x", "conversation": "x"}), 107),
    ] {
        assert_eq!(alice.refused("search", &asked), code, "{asked}");
    }
    let words: Vec<String> = many[..32].to_vec();
    for harmless in [
        "a* OR b~9 NOT (c",
        "^title:\"x\" [a TO z]",
        &words.join("-"),
    ] {
        assert_eq!(texts(&mut alice, harmless), [""; 0], "{harmless}");
    }
    let null = json!({"text": "marker1", "conversation": null, "after": null, "limit": null});
    assert_eq!(search(&mut alice, &null).len(), 1);
}

#[test]
fn a_gateway_without_an_index_says_how_to_get_one() {
    let gateway = Setup::default().http().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let reply = alice.ask("search", &json!({"text": "x"}));
    assert_eq!(error_code(&reply), 104);
    let text = reply["error"]["message"].as_str().expect("a text");
    assert!(text.contains("--search"), "{text}");
    let api = Api::of(&gateway).user("alice");
    let (_, code) = api.refused("search", &json!({"text": "x"}));
    assert_eq!(code, 104);
    assert!(!gateway.data().join("search").exists());
    assert!(!has_thread(&gateway, "search"));
}

/// Returns whether the gateway has a thread of this name.
pub(super) fn has_thread(gateway: &Gateway, name: &str) -> bool {
    let tasks = format!("/proc/{}/task", gateway.process().id());
    let tasks = std::fs::read_dir(tasks).expect("the threads of a process");
    let mut names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.any(|own| own.trim() == name)
}
