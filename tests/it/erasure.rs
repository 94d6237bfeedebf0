//! Erasing a user: nothing that the user sent stays in a file, and others lose nothing.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use trunkline_tests::api::{self, Api, problem};
use trunkline_tests::client::{Client, End};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::random::Random;
use trunkline_tests::service::Service;
use trunkline_tests::tokens::{Signer, now};
use trunkline_tests::wait::until;

/// What every text of the erased user has.
const MARK: &str = "xyzzy";

/// What every reaction and contact of the erased user has. They are in old values.
const VALUE: &str = "plugh";

/// A gateway whose log files are full after a few hundred messages.
pub(super) fn small() -> Setup {
    Setup::default()
        .http()
        .patient()
        .flag("message-bytes", "16KiB")
        .flag("segment-bytes", "144KiB")
        .flag("store-reserve", "0B")
}

pub(super) fn files_in(folder: &Path) -> Vec<PathBuf> {
    let inside = std::fs::read_dir(folder).expect("a folder");
    let paths = inside.map(|entry| entry.expect("an entry").path());
    let each = paths.map(|path| match path.is_dir() {
        true => files_in(&path),
        false => vec![path],
    });
    each.flatten().collect()
}

/// Returns the files of the data folder that have a mark.
pub(super) fn marked(gateway: &Gateway) -> Vec<PathBuf> {
    let mut files = files_in(gateway.data());
    files.retain(|file| {
        // A file can be gone by now.
        let bytes = std::fs::read(file).unwrap_or_default();
        let has = |mark: &str| { bytes.windows(mark.len()) }.any(|part| part == mark.as_bytes());
        has(MARK) || has(VALUE)
    });
    files
}

/// Begins an erasure, and returns the answer.
pub(super) fn begin(gateway: &Gateway, user: &str) -> Value {
    let path = format!("/admin/v1/users/{user}?namespace=");
    let answer = Api::admin(gateway).ask("DELETE", &path, None);
    assert_eq!(answer.status, 202, "{answer:?}");
    let erasure = api::json(&answer);
    assert_eq!(erasure["parts"], 5, "{erasure}");
    assert!(erasure["values"].is_u64(), "{erasure}");
    erasure
}

/// Waits until the erasure of a user is complete.
pub(super) fn completed(gateway: &Gateway, user: &str) {
    let admin = Api::admin(gateway);
    until("the erasure to end", || {
        let path = format!("/admin/v1/users/{user}");
        let shown = admin.done("GET", &path, None);
        (shown["erasure"]["state"] == "complete").then_some(())
    });
}

fn history(client: &mut Client, conversation: &str) -> Vec<Value> {
    let mut messages = Vec::new();
    let mut after = 0;
    loop {
        let asked = json!({"conversation": conversation, "after": after, "limit": 100});
        let mut page = client.done("history", &asked);
        let found = page["messages"].as_array_mut().expect("messages");
        after = match found.last() {
            Some(last) => last["seq"].as_u64().expect("a sequence"),
            None => return messages,
        };
        messages.append(found);
        if page["more"] != true {
            return messages;
        }
    }
}

/// Lets bob do everything that leaves text of his somewhere.
pub(super) fn busy_bob(
    gateway: &Gateway,
    alice: &mut Client,
    bob: &mut Client,
    carol: &mut Client,
) {
    let mark = |what: &str| format!("{MARK} {what}");
    let eng = json!({"group": "eng", "members": ["bob", "carol"]});
    alice.done("group_create", &eng);
    let own = json!({"group": "bobs", "members": ["carol"]});
    bob.done("group_create", &own);
    bob.done("group_create", &json!({"group": "alone", "members": []}));
    let padding = "p".repeat(900);
    for n in 0..400 {
        bob.send("alice", &mark(&format!("{n} {padding}")));
        if n % 100 == 0 {
            alice.send("bob", &format!("alice {n}"));
            bob.done("send", &json!({"group": "eng", "text": mark("group")}));
        }
    }
    let keyed = json!({"user": "alice", "text": mark("keyed"), "key": mark("key")});
    bob.done("send", &keyed);
    let data = STANDARD.encode(mark("inline"));
    let media = json!({"type": "image/png", "data": data});
    bob.done("send", &json!({"user": "carol", "media": media}));
    bob.send("bob", &mark("to himself"));
    // The first edit is replaced by the second one, and one of them by a recall.
    for (seq, text) in [(5, "one"), (5, "two"), (6, "three"), (7, "four")] {
        let text = mark(&format!("edited {text}"));
        let edit = json!({"conversation": "u:alice:bob", "seq": seq, "text": text});
        bob.done("edit", &edit);
    }
    bob.done("recall", &json!({"conversation": "u:alice:bob", "seq": 6}));
    let more = json!({"user": "alice", "text": mark("reply"), "reply_to": 2, "kind": "xyzzy.kind", "meta": {"a": mark("meta")}});
    bob.done("send", &more);
    let ab = "u:alice:bob";
    bob.done("recall", &json!({"conversation": ab, "seq": 401}));
    let react = |reaction: &str| json!({"conversation": ab, "seq": 2, "reaction": reaction});
    bob.done("react", &react(VALUE));
    // The values of her reaction have his.
    alice.done("react", &react("hers"));
    let other = format!("{VALUE} taken back");
    bob.done("react", &react(&other));
    let back = json!({"conversation": ab, "seq": 2, "reaction": other, "remove": true});
    bob.done("react", &back);
    bob.done(
        "contacts",
        &json!({"add": [format!("{VALUE}-friend"), "carol"]}),
    );
    bob.done("delete", &json!({"conversation": ab, "seq": 2}));
    bob.ack(ab, &json!({"read": 2}));
    carol.done("send", &json!({"group": "eng", "text": "carol stays"}));
    let text = mark("uploaded");
    let post = Api::of(gateway)
        .user("bob")
        .header("Content-Type", "text/plain");
    let answer = post.ask("POST", "/api/v1/media", Some(text.as_str()));
    assert_eq!(answer.status, 201, "{answer:?}");
    let url = api::json(&answer)["url"].clone();
    let named = json!({"user": "alice", "media": {"type": "text/plain", "url": url}});
    bob.done("send", &named);
}

/// What alice and carol see of the messages that bob did not send.
pub(super) fn of_others(alice: &mut Client, carol: &mut Client) -> Vec<Value> {
    let mut all = history(alice, "u:alice:bob");
    all.extend(history(alice, "g:eng"));
    all.extend(history(carol, "g:eng"));
    all.retain(|message| message["from"] != "bob");
    all.iter_mut().for_each(without_marked);
    all
}

/// Removes reactions of the erased user from a message.
fn without_marked(message: &mut Value) {
    let reactions = message.get_mut("reactions").and_then(Value::as_array_mut);
    let kept = reactions.map(|reactions| {
        reactions.retain(|one| !one["reaction"].to_string().contains(VALUE));
        reactions.len()
    });
    if kept == Some(0) {
        let message = message.as_object_mut().expect("a message");
        message.remove("reactions");
    }
}

pub(super) fn three(gateway: &Gateway) -> [Client; 3] {
    ["alice", "bob", "carol"].map(|name| gateway.dial().connect(name, "phone"))
}

#[test]
fn an_erased_user_leaves_no_text_in_any_file_and_others_lose_nothing() {
    for kills in [false, true] {
        let mut gateway = small().start();
        let [mut alice, mut bob, mut carol] = three(&gateway);
        busy_bob(&gateway, &mut alice, &mut bob, &mut carol);
        assert!(!marked(&gateway).is_empty());
        let before = of_others(&mut alice, &mut carol);
        let seqs = |messages: &[Value]| -> Vec<u64> {
            let seqs = messages.iter().map(|message| message["seq"].as_u64());
            seqs.map(|seq| seq.expect("a sequence")).collect()
        };
        let sequences = seqs(&history(&mut alice, "u:alice:bob"));
        begin(&gateway, "bob");
        for _ in 0..if kills { 6 } else { 0 } {
            gateway.kill();
            gateway.start_again();
        }
        completed(&gateway, "bob");
        assert_eq!(marked(&gateway), [] as [PathBuf; 0], "{kills}");
        let [mut alice, mut bob, mut carol] = three(&gateway);
        assert_eq!(of_others(&mut alice, &mut carol), before, "{kills}");
        let ab = history(&mut alice, "u:alice:bob");
        assert_eq!(seqs(&ab), sequences);
        for message in ab.iter().filter(|message| message["from"] == "bob") {
            assert_eq!(message["recalled"], true, "{message}");
            assert!(
                message["text"].is_null() && message["media"].is_null() && message["key"].is_null()
            );
        }
        check_of_alice(&mut alice, &mut carol);
        check_new_bob(&gateway, &mut alice, &mut bob);
        // It stays so after a restart, and an erasure of somebody who left nothing is quick.
        gateway.stop();
        gateway.start_again();
        begin(&gateway, "nobody");
        completed(&gateway, "nobody");
        assert_eq!(marked(&gateway), [] as [PathBuf; 0]);
        assert_eq!(gateway.metric("trunkline_admin_erasures_running"), 0.0);
    }
}

fn check_of_alice(alice: &mut Client, carol: &mut Client) {
    let info = alice.done("group_info", &json!({"group": "eng"}));
    assert_eq!(info["count"], 2, "{info}");
    let info = carol.done("group_info", &json!({"group": "bobs"}));
    assert_eq!(info["members"][0]["role"], "owner", "{info}");
    let receipts = json!({"conversation": "u:alice:bob", "seq": 2, "state": "read"});
    let receipts = alice.done("receipts", &receipts);
    assert_eq!(receipts["users"], json!([]), "{receipts}");
    let presence = alice.done("presence", &json!({"query": ["zoe"]}));
    assert_eq!(presence["users"][0]["online"], false);
}

/// A new user of the name has nothing of the old one, and talks like any other.
fn check_new_bob(gateway: &Gateway, alice: &mut Client, bob: &mut Client) {
    let listed = bob.done("conversations", &json!({}));
    assert_eq!(listed["conversations"], json!([]), "{listed}");
    let synced = bob.done("sync", &json!({"since": "0"}));
    assert_eq!(synced["events"], json!([]), "{synced}");
    let contacts = bob.done("contacts", &json!({}));
    assert_eq!(contacts["contacts"], json!([]), "{contacts}");
    for conversation in ["u:alice:bob", "u:bob:bob"] {
        let asked = json!({"conversation": conversation});
        assert_eq!(bob.refused("history", &asked), 102, "{conversation}");
    }
    assert_eq!(
        bob.refused("history", &json!({"conversation": "g:eng"})),
        103
    );
    let old = json!({"conversation": "u:alice:bob", "seq": 2});
    assert_eq!(bob.refused("get", &old), 102);
    assert_eq!(bob.refused("delete", &old), 102);
    let mut stream = Api::of(gateway).user("bob").begin("GET", "/api/v1/events");
    stream.head();
    // What Alice does to what she said to the old one is no event of the new one.
    for (command, field, value) in [
        ("react", "reaction", "late"),
        ("edit", "text", "edited late"),
        ("recall", "seq", ""),
    ] {
        let mut asked = old.clone();
        if !value.is_empty() {
            asked[field] = value.into();
        }
        alice.done(command, &asked);
    }
    bob.ping();
    assert_eq!(bob.waiting(), [] as [Value; 0]);
    let synced = bob.done("sync", &json!({"since": "0"}));
    assert_eq!(synced["events"], json!([]), "{synced}");
    let sent = alice.send("bob", "welcome");
    let (_, event) = stream.event();
    assert_eq!(event["message"]["text"], "welcome", "{event}");
    bob.send("alice", "thanks");
    let found = history(bob, "u:alice:bob");
    let texts: Vec<_> = found.iter().map(|message| &message["text"]).collect();
    assert_eq!(texts, ["welcome", "thanks"]);
    assert_eq!(found[0]["seq"], sent["seq"]);
    let listed = bob.done("conversations", &json!({}));
    let first = &listed["conversations"][0];
    assert_eq!(
        (&first["conversation"], &first["unread"]),
        (&json!("u:alice:bob"), &json!(1))
    );
    let synced = bob.done("sync", &json!({"since": "0"}));
    assert_eq!(
        synced["events"].as_array().map(Vec::len),
        Some(2),
        "{synced}"
    );
    bob.ack("u:alice:bob", &json!({"read": sent["seq"]}));
    let receipts = json!({"conversation": "u:alice:bob", "seq": sent["seq"], "state": "read"});
    let receipts = alice.done("receipts", &receipts);
    assert_eq!(receipts["users"][0]["user"], "bob", "{receipts}");
}

/// Who reads what was said before an erasure tells nobody of it, and a new user of the name cannot say to have
/// read it.
#[test]
fn receipts_of_before_an_erasure_reach_no_new_user() {
    let gateway = small().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut old = gateway.dial().connect("bob", "phone");
    let (direct, receipt) = ("u:alice:bob", "receipt");
    alice.send("bob", "one");
    for text in ["two", "three", "four"] {
        old.send("alice", text);
    }
    begin(&gateway, "bob");
    completed(&gateway, "bob");
    drop(old);
    let mut bob = gateway.dial().connect("bob", "phone");
    alice.ack(direct, &json!({"delivered": 3, "read": 2}));
    alice.ack(direct, &json!({"read": 3}));
    let refused = json!({"conversation": direct, "read": 1});
    assert_eq!(bob.refused("ack", &refused), 102);
    bob.ping();
    assert_eq!(bob.waiting(), [] as [Value; 0]);
    let synced = bob.done("sync", &json!({"since": "0"}));
    assert_eq!(synced["events"], json!([]), "{synced}");
    // From the first message on they tell each other, as ever. No mark of before comes with another one.
    let mut tablet = gateway.dial().connect("alice", "tablet");
    let sent = bob.send("alice", "five");
    alice.ack(direct, &json!({"delivered": sent["seq"]}));
    let push = bob.push();
    assert_eq!(push[receipt]["delivered"], sent["seq"], "{push}");
    assert_eq!(push[receipt]["read"], 0, "{push}");
    // The reader's own devices get all marks, once.
    tablet.push_of("message");
    let push = tablet.push();
    assert_eq!(push[receipt]["read"], 3, "{push}");
    alice.ack(direct, &json!({"read": sent["seq"]}));
    let push = bob.push();
    assert_eq!(push[receipt]["read"], sent["seq"], "{push}");
    let push = tablet.push();
    assert_eq!(push[receipt]["read"], sent["seq"], "{push}");
    tablet.ping();
    assert_eq!(tablet.waiting(), [] as [Value; 0]);
    let synced = bob.done("sync", &json!({"since": "0"}));
    let events = synced["events"].as_array().expect("events").iter();
    let told = events.map(|event| &event[receipt]);
    let told: Vec<_> = told.filter(|receipt| receipt.is_object()).collect();
    assert_eq!(told.len(), 2, "{synced}");
    assert_eq!(told[0]["read"], 0, "{synced}");
    alice.ping();
    alice.waiting();
    // What lies before the first message is nothing to read.
    bob.ack(direct, &json!({"read": 1}));
    let sent = alice.send("bob", "six");
    bob.ack(direct, &json!({"read": sent["seq"]}));
    let push = alice.push();
    assert_eq!(push[receipt]["read"], sent["seq"], "{push}");
}

#[test]
fn a_key_of_the_erased_user_is_free_again() {
    let gateway = small().start();
    let keyed = json!({"user": "alice", "text": "one", "key": "k"});
    let bob = Api::of(&gateway).user("bob");
    bob.post("send", &keyed);
    begin(&gateway, "bob");
    completed(&gateway, "bob");
    let again = bob.post("send", &json!({"user": "alice", "text": "two", "key": "k"}));
    assert_eq!(
        (&again["seq"], &again["duplicate"]),
        (&json!(2), &json!(false))
    );
    let again = bob.post("send", &json!({"user": "alice", "text": "two", "key": "k"}));
    assert_eq!(
        (&again["seq"], &again["duplicate"]),
        (&json!(2), &json!(true))
    );
}

#[test]
fn tokens_and_sessions_of_an_erased_user_end() {
    let service = Service::new(Signer::hmac(), Setup::patient);
    let mut bob = service.connect("bob", json!({"iat": now() - 10}));
    begin(&service.gateway, "bob");
    let end = bob.end();
    assert!(matches!(end, End::Close(3500, _)), "{end:?}");
    completed(&service.gateway, "bob");
    let shown = Api::admin(&service.gateway).done("GET", "/admin/v1/users/bob", None);
    assert!(
        shown["revoked_before"].is_u64() && shown["erasure"]["ended"].is_u64(),
        "{shown}"
    );
    let mut new = service.connect("bob", json!({"iat": now() + 1}));
    new.send("alice", "new");
    let bad = Api::admin(&service.gateway).ask("DELETE", "/admin/v1/users/b%20b", None);
    assert_eq!(problem(&bad), (400, 107));
}

/// One random act of somebody.
fn act(random: &mut Random, clients: &mut [Client], names: &[&str]) {
    let who = random.within(0, names.len() as u64 - 1) as usize;
    let other = random.within(0, names.len() as u64 - 1) as usize;
    let mut pair = [names[who], names[other]];
    pair.sort_unstable();
    let direct = format!("u:{}:{}", pair[0], pair[1]);
    let mark = if names[who] == "bob" { MARK } else { "others" };
    let text = format!(
        "{mark} {} {}",
        random.number(),
        "x".repeat(random.within(0, 900) as usize)
    );
    let client = &mut clients[who];
    let seq = random.within(1, 8);
    // Some of it is refused: a member who left, a message that is not there.
    match random.within(0, 11) {
        0..=4 => drop(client.ask("send", &json!({"user": names[other], "text": text}))),
        5 | 6 => drop(client.ask("send", &json!({"group": "eng", "text": text}))),
        7 => drop(client.ask("recall", &json!({"conversation": direct, "seq": seq}))),
        8 => {
            let mark = if names[who] == "bob" { VALUE } else { "others" };
            let reaction = format!("{mark}{}", seq % 3);
            let asked = json!({"conversation": "g:eng", "seq": seq, "reaction": reaction});
            client.ask("react", &asked);
        }
        9 => drop(client.ask("ack", &json!({"conversation": direct, "read": seq}))),
        10 => {
            let group = json!({"group": "eng", "members": [names[other]]});
            let command = if seq < 5 { "group_add" } else { "group_remove" };
            client.ask(command, &group);
        }
        _ => drop(client.ask("delete", &json!({"conversation": direct, "seq": seq}))),
    }
}

/// Returns everything that is left of the messages of others, as all see it.
fn seen(clients: &mut [Client], names: &[&str]) -> Vec<Vec<Value>> {
    let mut all = Vec::new();
    for (client, own) in clients
        .iter_mut()
        .zip(names)
        .filter(|(_, own)| **own != "bob")
    {
        let others = names.iter().map(|other| {
            let mut pair = [*own, *other];
            pair.sort_unstable();
            format!("u:{}:{}", pair[0], pair[1])
        });
        for conversation in others.chain(["g:eng".to_owned()]) {
            let asked = json!({"conversation": conversation, "limit": 1});
            let is_there = client.ask("history", &asked)["history"].is_object();
            let mut found = if is_there {
                history(client, &conversation)
            } else {
                Vec::new()
            };
            found.retain(|message| message["from"] != "bob");
            found.iter_mut().for_each(without_marked);
            all.push(found);
        }
    }
    all
}

#[test]
fn random_histories_survive_an_erasure_that_is_killed() {
    let (mut random, note) = Random::announced();
    println!("{note}");
    for _ in 0..3 {
        let mut gateway = small().start();
        let names = ["alice", "bob", "carol", "dave"];
        let connect = |gateway: &Gateway| names.map(|name| gateway.dial().connect(name, "phone"));
        let mut clients = connect(&gateway);
        clients[0].done(
            "group_create",
            &json!({"group": "eng", "members": ["bob", "carol"]}),
        );
        for _ in 0..random.within(100, 500) {
            act(&mut random, &mut clients, &names);
        }
        let before = seen(&mut clients, &names);
        begin(&gateway, "bob");
        for _ in 0..random.within(0, 5) {
            std::thread::sleep(std::time::Duration::from_millis(random.within(0, 300)));
            gateway.kill();
            gateway.start_again();
        }
        completed(&gateway, "bob");
        assert_eq!(marked(&gateway), [] as [PathBuf; 0], "{note}");
        let mut clients = connect(&gateway);
        assert_eq!(seen(&mut clients, &names), before, "{note}");
        gateway.stop();
    }
}

#[test]
fn the_description_names_every_path() {
    let gateway = small().start();
    let answer = Api::admin(&gateway).ask("GET", "/admin/v1/openapi.json", None);
    assert_eq!(answer.status, 200);
    let described = api::json(&answer);
    assert!(
        described["openapi"]
            .as_str()
            .expect("a version")
            .starts_with("3.")
    );
    let paths = described["paths"].as_object().expect("paths");
    let page = trunkline_tests::process::workspace().join("docs/admin.md");
    let page = std::fs::read_to_string(page).expect("the page");
    for (path, methods) in paths {
        let shown = path.replace('{', "<").replace('}', ">");
        let methods = methods.as_object().expect("methods");
        for method in methods.keys() {
            let line = format!("`{} {shown}`", method.to_uppercase());
            assert!(page.contains(&line), "{line}");
        }
        // A path that exists knows another method, and says which it knows.
        let here = path.replace(['{', '}'], "");
        let refused = Api::admin(&gateway).ask("PATCH", &here, None);
        assert_eq!(refused.status, 405, "{path}");
        let head = refused.head.to_ascii_lowercase();
        let allow = head.lines().find_map(|line| line.strip_prefix("allow: "));
        let mut allowed: Vec<_> = allow.expect("a header").split(',').map(str::trim).collect();
        allowed.retain(|method| *method != "head");
        allowed.sort_unstable();
        let mut named: Vec<_> = methods.keys().map(String::as_str).collect();
        named.sort_unstable();
        assert_eq!(allowed, named, "{path}");
    }
    // The routes of the page are those of the description.
    let is_route = |line: &&str| line.starts_with("| `GET ") || line.starts_with("| `POST ");
    let routes = page.lines().filter(is_route);
    let routes = routes.flat_map(|line| line.split('`').skip(1).step_by(2));
    let routes = routes.filter(|part| part.contains(" /admin/"));
    let described = paths.values().filter_map(Value::as_object);
    let described: usize = described.map(serde_json::Map::len).sum();
    assert_eq!(routes.count(), described);
}

#[test]
fn media_that_only_recalled_messages_name_are_removed() {
    let gateway = small().flag("media-unnamed-life", "5s").start();
    let post = Api::of(&gateway)
        .user("bob")
        .header("Content-Type", "text/plain");
    let answer = post.ask("POST", "/api/v1/media", Some(MARK));
    let url = api::json(&answer)["url"].clone();
    let bob = Api::of(&gateway).user("bob");
    let named = json!({"user": "alice", "media": {"type": "text/plain", "url": url}});
    for _ in 0..2 {
        bob.post("send", &named);
    }
    let path = url.as_str().expect("a path");
    let alice = Api::of(&gateway).user("alice");
    bob.post("recall", &json!({"conversation": "u:alice:bob", "seq": 1}));
    assert_eq!(
        alice.ask("GET", path, None).status,
        200,
        "a message names it"
    );
    bob.post("recall", &json!({"conversation": "u:alice:bob", "seq": 2}));
    assert_eq!(alice.ask("GET", path, None).status, 403);
    until("the file to go", || {
        (bob.ask("GET", path, None).status == 404).then_some(())
    });
    // It is forgotten first, and then removed.
    until("its bytes to go", || {
        marked(&gateway).is_empty().then_some(())
    });
}
