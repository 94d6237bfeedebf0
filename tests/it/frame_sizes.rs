//! No frame is longer than the limit that clients are told. So clients with the usual limit of 1
//! MiB can read everything. The client of these tests checks each frame that it gets.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::{Client, error_code};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait::until;

/// The default limit of a text, in bytes.
const TEXT: usize = 64 << 10;

const DIRECT: &str = "u:alice:bob";

/// Texts that are much longer in JSON than here.
fn hard_texts() -> Vec<String> {
    let quotes = "\"".repeat(TEXT);
    let controls = "\u{1}".repeat(TEXT);
    let wide = "\u{1f600}".repeat(TEXT / 4);
    let mut texts = vec![quotes; 20];
    texts.extend(vec![controls; 5]);
    texts.push(wide);
    texts.push("the last".into());
    texts
}

/// Reads the lengths of all texts that a device gets by push or page by page.
struct Reader<'g>(&'g Gateway, trunkline_proto::Encoding, bool);

impl Reader<'_> {
    fn connect(&self, since: Option<&str>) -> Client {
        let dial = self.0.dial().encoding(self.1).with("batch", self.2);
        let dial = since.iter().fold(dial, |dial, since| dial.since(since));
        dial.connect("bob", "tablet")
    }

    fn recovered(&self, since: &str) -> Vec<usize> {
        let mut bob = self.connect(Some(since));
        let (missed, _) = bob.caught_up();
        missed.iter().map(|push| len(&push["message"])).collect()
    }

    fn synced(&self, since: &str) -> Vec<usize> {
        let mut bob = self.connect(None);
        let (mut found, mut since) = (Vec::new(), json!(since));
        loop {
            let page = bob.done("sync", &json!({"since": since}));
            let events = page["events"].as_array().expect("events");
            assert!(!events.is_empty());
            found.extend(events.iter().map(|event| len(&event["message"])));
            since = page["pos"].clone();
            if page["more"] == false {
                return found;
            }
        }
    }

    fn forwards(&self) -> Vec<usize> {
        let mut bob = self.connect(None);
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let page = bob.done(
                "history",
                &json!({"conversation": DIRECT, "after": after, "limit": 500}),
            );
            let messages = page["messages"].as_array().expect("messages");
            found.extend(messages.iter().map(len));
            after = messages[messages.len() - 1]["seq"]
                .as_u64()
                .expect("a number");
            assert_eq!(
                page["more"],
                after < page["last"].as_u64().expect("a number")
            );
            if page["more"] == false {
                return found;
            }
        }
    }

    fn backwards(&self) -> Vec<usize> {
        let mut bob = self.connect(None);
        let (mut found, mut before) = (Vec::new(), json!(null));
        loop {
            let request = json!({"conversation": DIRECT, "before": before, "limit": 500});
            let page = bob.done("history", &request);
            let messages = page["messages"].as_array().expect("messages");
            found.extend(messages.iter().rev().map(len));
            before = messages[0]["seq"].clone();
            assert_eq!(page["more"], before != 1);
            if page["more"] == false {
                found.reverse();
                return found;
            }
        }
    }
}

fn len(message: &Value) -> usize {
    let text = message["text"].as_str().map_or(0, str::len);
    text + message["media"]["data"].as_str().map_or(0, str::len)
}

/// Bytes of media, in base64.
fn media(user: &str, bytes: usize) -> Value {
    json!({"user": user, "key": "\"".repeat(60), "media": {"type": "a/b", "data": "A".repeat(bytes)}})
}

#[test]
fn every_page_fits() {
    // The clients read nothing before all messages are sent.
    let gateway = Setup::default().flag("outbox-bytes", "64MiB").start();
    let mut live = [false, true].map(|batch| {
        let dial = gateway.dial().with("batch", batch);
        dial.connect("bob", "phone")
    });
    let mut proto = gateway
        .dial()
        .proto()
        .with("batch", true)
        .connect("bob", "laptop");
    let since = proto.pos();
    let mut alice = gateway.dial().connect("alice", "phone");
    let texts = hard_texts();
    for text in &texts {
        alice.send("bob", text);
    }
    let expected: Vec<_> = texts.iter().map(String::len).collect();
    for client in live.iter_mut().chain([&mut proto]) {
        for expected in &expected {
            assert_eq!(len(&client.push_of("message")), *expected);
        }
    }
    for (encoding, batch) in [(Json, false), (Json, true), (Proto, false), (Proto, true)] {
        let reader = Reader(&gateway, encoding, batch);
        assert_eq!(reader.recovered(&since), expected, "{encoding:?}");
        assert_eq!(reader.synced(&since), expected, "{encoding:?}");
        assert_eq!(reader.forwards(), expected, "{encoding:?}");
        assert_eq!(reader.backwards(), expected, "{encoding:?}");
    }
}

/// A list of many conversations whose last messages are long.
#[test]
fn pages_of_conversations() {
    const OTHERS: usize = 30;
    let gateway = Gateway::start();
    let mut expected = BTreeSet::new();
    for n in 0..OTHERS {
        let name = format!("other-{n}");
        let mut other = gateway.dial().connect(&name, "phone");
        other.send("bob", &"\u{2}".repeat(TEXT));
        expected.insert(format!("u:bob:{name}"));
    }
    for encoding in [Json, Proto] {
        let mut bob = gateway.dial().encoding(encoding).connect("bob", "tablet");
        let (mut found, mut request) = (Vec::new(), json!({}));
        loop {
            let page = bob.done("conversations", &request);
            let entries = page["conversations"].as_array().expect("conversations");
            for entry in entries {
                assert_eq!(len(&entry["last"]), TEXT);
                found.push(entry["conversation"].as_str().expect("a name").to_owned());
            }
            if page["more"] == false {
                break;
            }
            assert!(!entries.is_empty());
            request = json!({"after": page["cursor"]});
        }
        assert_eq!(found.len(), OTHERS, "none twice");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}

/// Returns by how many bytes something is too large.
fn over(reply: &Value) -> usize {
    assert_eq!(error_code(reply), 106, "{reply}");
    let message = reply["error"]["message"].as_str().expect("a text");
    assert!(message.contains("message_bytes is 1048576"), "{message}");
    let behind = message.split("make it ").nth(1).expect("how much shorter");
    let number = behind
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok());
    number.expect("a number")
}

#[test]
fn what_could_not_be_told_is_refused() {
    let gateway = Gateway::start();
    for encoding in [Json, Proto] {
        let dial = gateway.dial().encoding(encoding);
        let long = format!("{}{encoding:?}", "n".repeat(59));
        let mut alice = dial.connect(&long, &"d".repeat(64));
        let other = format!("{}{encoding:?}", "m".repeat(59));
        let mut listeners = [Json, Proto].map(|encoding| {
            let dial = gateway.dial().encoding(encoding);
            dial.connect(&other, "phone")
        });
        let since = listeners[0].pos();
        let mut bytes = 1_048_000;
        let too_large = alice.ask("send", &media(&other, bytes));
        bytes -= over(&too_large).next_multiple_of(4);
        // The largest there is: it fits, wherever it is read, also when people have reacted to it.
        let sent = alice.done("send", &media(&other, bytes));
        assert!(alice.ask("send", &media(&other, bytes + 4))["error"].is_object());
        let conversation = &sent["conversation"];
        for listener in &mut listeners {
            assert_eq!(len(&listener.push_of("message")), bytes);
        }
        for n in 0..40 {
            let reaction = format!("{n}{}", "\\".repeat(60));
            let react = json!({"conversation": conversation, "seq": 1, "reaction": reaction});
            let by = if n < 20 {
                &mut listeners[0]
            } else {
                &mut alice
            };
            by.done("react", &react);
        }
        for encoding in [Json, Proto] {
            let mut reader = gateway.dial().encoding(encoding).connect(&other, "tablet");
            let about = json!({"conversation": conversation, "seq": 1});
            assert_eq!(len(&reader.done("get", &about)["message"]), bytes);
            let history = reader.done("history", &json!({"conversation": conversation}));
            assert_eq!(len(&history["messages"][0]), bytes);
            let synced = reader.done("sync", &json!({"since": since}));
            assert_eq!(len(&synced["events"][0]["message"]), bytes);
            let listed = reader.done("conversations", &json!({}));
            assert_eq!(len(&listed["conversations"][0]["last"]), bytes);
            let dial = gateway.dial().encoding(encoding).since(&since);
            let (missed, _) = dial.connect(&other, "tv").caught_up();
            assert_eq!(len(&missed[0]["message"]), bytes);
        }
        // The same of what is not stored.
        let subscribe = json!({"topic": "t"});
        listeners
            .iter_mut()
            .for_each(|listener| drop(listener.done("subscribe", &subscribe)));
        let publish = |bytes: usize| json!({"topic": "t", "data": "x".repeat(bytes)});
        let signal = |bytes: usize| json!({"user": other, "data": "x".repeat(bytes)});
        let most = 1_048_400;
        let fits = most - over(&alice.ask("publish", &publish(most)));
        alice.done("publish", &publish(fits));
        let fits = most - over(&alice.ask("signal", &signal(most)));
        alice.done("signal", &signal(fits));
        for listener in &mut listeners {
            let mut heard = Vec::new();
            while heard.len() < 2 {
                let push = listener.push();
                let event = ["publication", "signal"]
                    .into_iter()
                    .find(|event| push[event].is_object());
                heard
                    .extend(event.map(|event| push[event]["data"].as_str().expect("a text").len()));
            }
            heard.sort_unstable();
            assert!(heard[0] + 400 > heard[1] && heard[1] <= most, "{heard:?}");
        }
    }
}

/// Names of users as long as they may be, in order.
fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|n| format!("{n:03}{}", "x".repeat(61)))
        .collect()
}

/// Reads all pages of a list.
fn paged(client: &mut Client, command: &str, mut request: Value, list: &str) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let page = client.done(command, &request);
        let entries = page[list].as_array().expect("a list");
        assert!(!entries.is_empty());
        found.extend(
            entries
                .iter()
                .map(|entry| entry["user"].as_str().expect("a user").to_owned()),
        );
        if page["more"] == false {
            return found;
        }
        request["after"] = json!(found[found.len() - 1]);
    }
}

#[test]
fn lists_in_small_messages() {
    const MEMBERS: usize = 300;
    let gateway = Setup::default().flag("message-bytes", "16KiB").start();
    let names = names(MEMBERS);
    for encoding in [Json, Proto] {
        let group = format!("{encoding:?}");
        let mut alice = gateway.dial().encoding(encoding).connect("alice", "phone");
        let group = json!(group);
        alice.done("group_create", &json!({"group": group}));
        for names in names.chunks(150) {
            alice.done("group_add", &json!({"group": group, "members": names}));
            alice.done("contacts", &json!({"add": names}));
        }
        // More names than fit into one push.
        let many = alice.ask(
            "group_add",
            &json!({"group": group, "members": &names[..235]}),
        );
        assert_eq!(error_code(&many), 106, "{many}");
        let conversation = format!("g:{encoding:?}");
        alice.done("send", &json!({"group": group, "text": "hello"}));
        let members = paged(
            &mut alice,
            "group_info",
            json!({"group": group, "limit": 500}),
            "members",
        );
        assert_eq!(members.len(), MEMBERS + 1);
        assert_eq!(members[..MEMBERS], names);
        let request =
            json!({"conversation": conversation, "seq": 1, "state": "unread", "limit": 500});
        assert_eq!(paged(&mut alice, "receipts", request, "users"), names);
        assert_eq!(paged(&mut alice, "contacts", json!({}), "contacts"), names);
        let page = alice.done("contacts", &json!({"limit": 7, "after": names[9]}));
        assert_eq!(page["contacts"][0]["user"], names[10]);
        assert_eq!(
            (
                page["contacts"].as_array().expect("a list").len(),
                &page["more"]
            ),
            (7, &json!(true))
        );
        let asked = alice.done("presence", &json!({"query": &names[..220]}));
        let users = asked["users"].as_array().expect("users");
        assert!(
            !users.is_empty() && (users.len() < 220) == (asked["more"] == true),
            "{}",
            users.len()
        );
    }
}

#[test]
fn reactions_come_in_counts() {
    const MEMBERS: usize = 60;
    let gateway = Gateway::start();
    let names = names(MEMBERS);
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.done("group_create", &json!({"group": "eng", "members": names}));
    alice.done("send", &json!({"group": "eng", "text": "hello"}));
    let own = |n: usize| format!("{n}-{}", "\"".repeat(40));
    for (n, name) in names.iter().enumerate() {
        let mut member = gateway.dial().connect(name, "phone");
        for reaction in ["like", &own(n % 30)] {
            let react = json!({"conversation": "g:eng", "seq": 1, "reaction": reaction});
            member.done("react", &react);
        }
    }
    for encoding in [Json, Proto] {
        let mut alice = gateway.dial().encoding(encoding).connect("alice", "tablet");
        let about = json!({"conversation": "g:eng", "seq": 1});
        let message = alice.done("get", &about)["message"].take();
        let like = &message["reactions"][0];
        assert_eq!(
            (&like["reaction"], &like["count"], &like["more"]),
            (&json!("like"), &json!(MEMBERS), &json!(true))
        );
        assert!(like["users"].as_array().expect("users").len() <= 10);
        assert!(message["reactions"].to_string().len() <= 4 << 10);
        // All of them, in pages.
        let (mut users, mut request) = (Vec::new(), about.clone());
        request["reaction"] = "like".into();
        request["limit"] = 7.into();
        loop {
            let page = alice.done("reactions", &request);
            let one = &page["reactions"][0];
            assert_eq!(one["count"], MEMBERS);
            users.extend(one["users"].as_array().expect("users").iter().cloned());
            if one["more"] == false {
                break;
            }
            request["after"] = users[users.len() - 1].clone();
        }
        assert_eq!(json!(users), json!(names));
        let (mut counts, mut request) = (Vec::new(), about.clone());
        request["limit"] = 4.into();
        loop {
            let page = alice.done("reactions", &request);
            for one in page["reactions"].as_array().expect("reactions") {
                counts.push((one["reaction"].clone(), one["count"].clone()));
            }
            if page["more"] == false {
                break;
            }
            request["after"] = counts[counts.len() - 1].0.clone();
        }
        assert_eq!(counts.len(), 31);
        assert!(counts.contains(&(json!(own(7)), json!(2))));
        let mut nobodys = about;
        nobodys["reaction"] = "none".into();
        assert_eq!(
            alice.done("reactions", &nobodys),
            json!({"reactions": [], "more": false})
        );
    }
}

/// A client that asks for much and does not read gets no more answers than its buffer takes.
#[test]
fn answers_that_nobody_takes_are_not_made() {
    // Pages of 256 KiB, many more than the buffers of the kernel take.
    const ASKED: u32 = 128;
    let gateway = Setup::default()
        .flag("shards", 1)
        .flag("max-pages", ASKED)
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send_all("bob", (0..20).map(|_| "\"".repeat(TEXT)));
    for encoding in [Json, Proto] {
        let limited = || gateway.metric("trunkline_limited_total{limit=\"answers\"}");
        let before = limited();
        let mut bob = gateway.dial().encoding(encoding).connect("bob", "phone");
        let ask: Vec<_> = (1..=ASKED)
            .map(|id| json!({"id": 5_000 + id, "history": {"conversation": DIRECT, "after": 0}}))
            .collect();
        bob.post_raw(&ask);
        until("an answer that waits", || {
            (limited() > before).then_some(())
        });
        // One answer on top of what may wait when it is asked for.
        let held = gateway.metric("trunkline_held_bytes");
        assert!(held <= f64::from(2_u32 << 20) + 4_096.0, "{held}");
        let mut other = gateway.dial().connect("carol", "phone");
        other.ping();
        for id in 1..=ASKED {
            let reply = bob.reply(5_000 + id);
            let messages = reply["history"]["messages"].as_array().expect("messages");
            assert!(!messages.is_empty() && len(&messages[0]) == TEXT);
        }
        // The questions of a connection that is gone go with it.
        bob.post_raw(&ask);
        bob.close();
    }
    until("nothing to be held", || {
        (gateway.metric("trunkline_held_bytes") == 0.0).then_some(())
    });
}
