//! Positions of another history are refused: of a restored backup, of a store that lost something.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use trunkline_proto::Encoding;
use trunkline_tests::client::Client;
use trunkline_tests::dial::Dial;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::process::{Process, program};

/// Messages behind the restored head: the log grows over every address that was given out.
const AFTER: usize = 600;

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("the folder can be read");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a file can be copied");
    }
}

/// Puts a copy in the place of the data folder.
fn restore(gateway: &Gateway, backup: &Path) {
    fs::remove_dir_all(gateway.data()).expect("the folder can be removed");
    copy(backup, gateway.data());
}

fn pos(event: &Value) -> String {
    event["pos"].as_str().expect("a position").to_owned()
}

/// Sends `count` messages to Bob and returns the positions.
fn send(gateway: &Gateway, texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send_all("bob", texts).iter().map(pos).collect()
}

fn texts(prefix: &str, count: usize) -> impl Iterator<Item = String> + use<> {
    let prefix = prefix.to_owned();
    (0..count).map(move |i| format!("{prefix} {i}"))
}

fn both(gateway: &Gateway) -> [Dial; 2] {
    [Encoding::Json, Encoding::Proto].map(|encoding| gateway.dial().encoding(encoding))
}

/// A position must be refused in every command that takes one.
fn refused(gateway: &Gateway, since: &str, code: u64) {
    for dial in both(gateway) {
        let mut bob = dial.open();
        let request = json!({"user": "bob", "device": "old", "since": since});
        assert_eq!(bob.refused("connect", &request), code, "connect {since}");
        // The connection goes on without it.
        bob.done("connect", &json!({"user": "bob", "device": "old"}));
        assert_eq!(
            bob.refused("sync", &json!({"since": since})),
            code,
            "sync {since}"
        );
        bob.close();
    }
}

/// Returns the texts after a position, which `sync` and `connect` must agree on.
fn read_on(gateway: &Gateway, since: &str, count: usize) -> Vec<Value> {
    let text = |event: &Value| event["message"]["text"].clone();
    let mut all: Vec<Vec<Value>> = Vec::new();
    for dial in both(gateway) {
        let mut bob = dial.since(since).connect("bob", "old");
        assert_eq!(bob.opening()["recovered"], true, "{since}");
        assert_eq!(bob.pos(), since);
        let pushes = (0..count).map(|_| bob.push_of("message")["text"].clone());
        all.push(pushes.collect());
        let (mut events, mut from) = (Vec::new(), since.to_owned());
        loop {
            let page = bob.done("sync", &json!({"since": from, "limit": 100}));
            let found = page["events"].as_array().expect("events").clone();
            events.extend(found.iter().map(text));
            from = pos(&page);
            if page["more"] == false {
                break;
            }
        }
        all.push(events);
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{since}");
    all.swap_remove(0)
}

fn cursors(client: &mut Client) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let request = json!({"after": after, "limit": 1});
        let page = client.done("conversations", &request);
        page["cursor"]
            .as_str()
            .expect("a cursor")
            .clone_into(&mut after);
        if after.is_empty() || page["more"] == false {
            return all;
        }
        all.push(after.clone());
    }
}

#[test]
fn a_restored_backup_refuses_what_came_after_it() {
    let mut gateway = Gateway::start();
    let backup = gateway.data().with_extension("backup");
    let first = pos(&gateway.dial().connect("bob", "new").opening().clone());
    assert_eq!(first, "0", "an empty store");
    let before = send(&gateway, texts("before", 40));
    let mut dan = gateway.dial().connect("dan", "new");
    for group in ["one", "two"] {
        dan.done("group_create", &json!({"group": group, "members": []}));
    }
    dan.send("erin", "hello");
    dan.send("fay", "hello");
    let old_cursors = cursors(&mut dan);
    assert_eq!(old_cursors.len(), 3, "{old_cursors:?}");
    drop(dan);
    gateway.stop();
    copy(gateway.data(), &backup);

    gateway.start_again();
    let beyond = send(&gateway, texts("beyond", 30));
    let mut dan = gateway.dial().connect("dan", "new");
    let new_cursors = cursors(&mut dan);
    assert!(old_cursors.iter().all(|old| !new_cursors.contains(old)));
    drop(dan);
    gateway.stop();
    restore(&gateway, &backup);

    gateway.start_again();
    for since in &beyond {
        refused(&gateway, since, 112);
    }
    let after = send(&gateway, texts("after", AFTER));
    for since in [&beyond[0], &beyond[17], &beyond[29]] {
        refused(&gateway, since, 112);
    }
    // Nothing is missing behind what the backup has.
    let expected: Vec<String> = texts("before", 40).chain(texts("after", AFTER)).collect();
    for (since, from) in [
        ("0", 0),
        (&*before[0], 1),
        (&*before[39], 40),
        (&*after[0], 41),
    ] {
        assert_eq!(
            read_on(&gateway, since, expected.len() - from),
            expected[from..],
            "{since}"
        );
    }
    for dial in both(&gateway) {
        let mut dan = dial.connect("dan", "new");
        for cursor in &new_cursors {
            let request = json!({"after": cursor});
            assert_eq!(dan.refused("conversations", &request), 112, "{cursor}");
        }
        for (at, cursor) in old_cursors.iter().enumerate() {
            let rest = dan.done("conversations", &json!({"after": cursor}));
            let rest = rest["conversations"].as_array().expect("a list").len();
            assert_eq!(rest, 3 - at, "{cursor}");
        }
        assert_eq!(dan.refused("conversations", &json!({"after": "x"})), 107);
    }
    // A restart alone loses no position.
    gateway.stop();
    gateway.start_again();
    assert_eq!(read_on(&gateway, &before[39], AFTER), expected[40..]);
    assert_eq!(read_on(&gateway, &after[AFTER - 1], 0), Vec::<Value>::new());
    refused(&gateway, &beyond[0], 112);
}

#[test]
fn two_gateways_on_copies_of_a_store_do_not_take_each_others_positions() {
    let mut gateway = Gateway::start();
    let common = send(&gateway, texts("common", 10));
    gateway.stop();
    let twin = gateway.data().with_extension("twin");
    copy(gateway.data(), &twin);
    gateway.start_again();
    let twin = Setup::default().start_on(&twin);
    let (here, there) = (
        send(&gateway, texts("next", 20)),
        send(&twin, texts("next", 20)),
    );
    for (here, there) in here.iter().zip(&there).step_by(7) {
        refused(&gateway, there, 112);
        refused(&twin, here, 112);
    }
    for gateway in [&gateway, &twin] {
        let expected: Vec<String> = texts("next", 20).collect();
        assert_eq!(read_on(gateway, &common[9], 20), expected);
    }
}

#[test]
fn a_position_that_was_never_given_out_is_refused() {
    let gateway = Gateway::start();
    let given = send(&gateway, texts("text", 20));
    let (tag, last) = given[19].split_once('-').expect("a tag");
    let (last, address) = (last.parse::<u64>().expect("an address"), |text: &String| {
        text.split_once('-').expect("a tag").1.to_owned()
    });
    let given: Vec<String> = given.iter().map(address).collect();
    for at in [1, 8, last - 8, last - 1, last + 8, last + 64, u64::MAX] {
        refused(&gateway, &format!("{tag}-{at}"), 112);
    }
    // Those of events, but not as they were given out.
    for at in [&given[0], &given[10], &given[19]] {
        refused(&gateway, at, 112);
        refused(&gateway, &format!("00000000-{at}"), 112);
    }
    for form in [
        format!("{tag}-"),
        format!("{tag}-x"),
        format!("{tag}-0{last}"),
        format!("{}-{last}", tag.to_uppercase() + "A"),
        format!("-{last}"),
        "0-0".to_owned(),
    ] {
        refused(&gateway, &form, 107);
    }
    // A topic's are of another kind.
    let mut alice = gateway.dial().connect("alice", "phone");
    let topic = pos(&alice.done("subscribe", &json!({"topic": "live"})));
    refused(&gateway, &topic, 107);
}

#[test]
fn a_device_resumes_in_its_own_history() {
    let mut gateway = Gateway::start();
    let backup = gateway.data().with_extension("backup");
    let resuming = |gateway: &Gateway| gateway.dial().with("resume", true);
    let phone = resuming(&gateway).connect("bob", "phone");
    assert_eq!(phone.opening()["recovered"], false);
    phone.close();
    send(&gateway, texts("before", 5));
    let mut phone = resuming(&gateway).connect("bob", "phone");
    for text in texts("before", 5) {
        assert_eq!(phone.push_of("message")["text"], text);
    }
    phone.close();
    gateway.stop();
    copy(gateway.data(), &backup);
    gateway.start_again();
    send(&gateway, texts("beyond", 5));
    let mut phone = resuming(&gateway).connect("bob", "phone");
    for text in texts("beyond", 5) {
        assert_eq!(phone.push_of("message")["text"], text);
    }
    phone.close();
    gateway.stop();
    // What the backup keeps for the device is of the backup.
    restore(&gateway, &backup);
    gateway.start_again();
    send(&gateway, texts("after", 7));
    let mut phone = resuming(&gateway).connect("bob", "phone");
    assert_eq!(phone.opening()["recovered"], true);
    for text in texts("after", 7) {
        assert_eq!(phone.push_of("message")["text"], text);
    }
}

/// Runs `store repair` and returns its output.
fn repair(data: &Path) -> String {
    let mut command = std::process::Command::new(program());
    command.args(["store", "repair", "--data"]).arg(data);
    let exit = Process::start(command.env_remove("TRUNKLINE_DATA")).ended();
    assert!(exit.status.success(), "{exit:?}");
    exit.stdout
}

/// Inverts one byte of the first segment of the log.
fn flip(data: &Path, at: usize) {
    let path = data.join("log-0000000000000000.seg");
    let mut bytes = fs::read(&path).expect("a segment");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("a segment");
}

#[test]
fn a_repair_that_gave_something_up_begins_a_new_history() {
    let mut gateway = Setup::default().flag("segment-bytes", "2MiB").start();
    let resuming = |gateway: &Gateway| gateway.dial().with("resume", true);
    let phone = resuming(&gateway).connect("bob", "phone");
    phone.close();
    let given = send(&gateway, texts("text", 20));
    let mut dan = gateway.dial().connect("dan", "tablet");
    for friend in ["erin", "fay"] {
        dan.send(friend, "hello");
    }
    let cursor = cursors(&mut dan).swap_remove(0);
    drop(dan);
    gateway.stop();
    // Without a loss all stays as it is.
    flip(gateway.data(), 40);
    let said = repair(gateway.data());
    assert!(!said.contains("112") && !said.contains("skip"), "{said}");
    gateway.start_again();
    let expected: Vec<String> = texts("text", 20).collect();
    assert_eq!(read_on(&gateway, &given[4], 15), expected[5..]);
    gateway.stop();

    let address: usize = given[10]
        .split_once('-')
        .expect("a tag")
        .1
        .parse()
        .expect("a number");
    flip(gateway.data(), address + 30);
    let said = repair(gateway.data());
    for word in ["(error 112)", "skip", "key"] {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    gateway.start_again();
    for since in [&given[0], &given[10], &given[19]] {
        refused(&gateway, since, 112);
    }
    let mut phone = resuming(&gateway).connect("bob", "phone");
    assert_eq!(phone.opening()["recovered"], false);
    assert_eq!(
        phone.refused("conversations", &json!({"after": cursor})),
        112
    );
    let new = send(&gateway, texts("new", 3));
    for text in texts("new", 3) {
        assert_eq!(phone.push_of("message")["text"], text);
    }
    phone.close();
    let phone = resuming(&gateway).connect("bob", "phone");
    assert_eq!(phone.opening()["recovered"], true);
    drop(phone);
    gateway.stop();
    gateway.start_again();
    let expected: Vec<String> = texts("new", 3).collect();
    assert_eq!(read_on(&gateway, &new[0], 2), expected[1..]);
}

/// Returns how many messages of a conversation can be read.
fn there(client: &mut Client, conversation: &str) -> usize {
    let (mut count, mut after) = (0, 0);
    loop {
        let request = json!({"conversation": conversation, "after": after, "limit": 10});
        let page = client.done("history", &request);
        let messages = page["messages"].as_array().expect("a list");
        let Some(last) = messages.last() else {
            return count;
        };
        count += messages.len();
        after = last["seq"].as_u64().expect("a sequence");
    }
}

#[test]
fn sequences_are_not_given_again_after_a_repair() {
    let mut gateway = Setup::default().flag("segment-bytes", "2MiB").start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let names: Vec<String> = (0..7).map(|i| format!("friend-{i}")).collect();
    // The first of them is spoken with early only, the last one late only.
    let big = "x".repeat(50_000);
    let mut used = vec![0; names.len()];
    for round in 0..30 {
        for (number, name) in names.iter().enumerate() {
            let is_silent = match number {
                0 => round > 10,
                6 => round < 20,
                _ => false,
            };
            if !is_silent {
                let sent = alice.send(name, &big);
                used[number] = sent["seq"].as_u64().expect("a sequence");
            }
        }
    }
    drop(alice);
    gateway.stop();
    let mut segments: Vec<_> = fs::read_dir(gateway.data())
        .expect("the folder")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "seg"))
        .collect();
    segments.sort();
    // The newest segment that has records. The one after it is prepared and empty.
    let written = segments.iter().rev().find(|path| {
        let bytes = fs::read(path).expect("a segment");
        bytes[4096..].iter().any(|&byte| byte != 0)
    });
    fs::remove_file(written.expect("a segment with records")).expect("it can be removed");
    let said = repair(gateway.data());
    assert!(said.contains("skip"), "{said}");
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    for (name, used) in names.iter().zip(&used) {
        let first = alice.send(name, "first")["seq"]
            .as_u64()
            .expect("a sequence");
        assert!(first > *used, "{name}: {first} after {used}");
        let next = alice.send(name, "next")["seq"].as_u64();
        assert_eq!(next, Some(first + 1), "{name} skips once");
        let mut other = gateway.dial().connect(name, "phone");
        let conversation = format!("u:alice:{name}");
        let request = json!({"conversation": conversation, "limit": 2});
        let history = other.done("history", &request);
        assert_eq!(history["messages"][1]["text"], "next", "{name}");
        let list = other.done("conversations", &json!({}));
        assert_eq!(list["conversations"][0]["last"]["text"], "next", "{name}");
        // What was lost is not counted, nor what is skipped.
        assert_eq!(list["unread"], there(&mut other, &conversation), "{name}");
        other.ack(&conversation, &json!({"read": first + 1}));
        other.ping();
        let list = other.done("conversations", &json!({}));
        assert_eq!(list["unread"], 0, "{name}");
    }
}
