//! Sequences that messages may have used which are gone: no other message gets them.

use std::os::unix::fs::FileExt;

use serde_json::json;
use trunkline_tests::client::Client;
use trunkline_tests::gateway::Setup;
use trunkline_tests::process::Exit;

use crate::store_command::{check, inspect, log, small_segments, store};

/// A repair that loses messages which conversations may have used sequences in says so, and so do later looks.
#[test]
fn a_repair_says_that_sequences_are_skipped() {
    let mut gateway = small_segments();
    let mut alice = gateway.dial().connect("alice", "phone");
    for _ in 0..120 {
        alice.send("bob", &"x".repeat(4_000));
    }
    drop(alice);
    gateway.stop();
    let data = gateway.data();
    let says_nothing = |exit: &Exit| !exit.stdout.contains("skip") && !exit.stderr.contains("skip");
    assert!(says_nothing(&store("inspect", data, &[])));
    let mut segments: Vec<_> = std::fs::read_dir(data)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .collect();
    segments.sort_unstable();
    assert!(segments.len() > 2, "{segments:?}");
    std::fs::remove_file(&segments[segments.len() - 2]).expect("it can be removed");
    let words = [
        "conversations whose last message lies before position",
        "skip",
        "sequences",
    ];
    check(&store("repair", data, &[]), 0, &words);
    check(&store("inspect", data, &[]), 0, &["losses", "skip"]);
    let told = inspect(data);
    let skip = told["losses"]["skip"].as_u64().expect("a number");
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    // Another conversation than those that the log still has.
    let first = alice.send("carol", "hello")["seq"].as_u64();
    assert_eq!(first, Some(skip + 1), "{told}");
}

/// With `os` and `interval`, nothing tells whether what stands behind a damaged byte was acknowledged.
/// Nothing says that it was not, and its sequences are not given again.
#[test]
fn whole_messages_behind_a_damaged_one_may_have_been_acknowledged() {
    let setup = Setup::default().flag("last-seen-rate", 0);
    let mut gateway = setup.flag("durability", "os").start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let send = |client: &mut Client, n: u64| {
        let text = format!("message {n} {}", "z".repeat(900));
        client.done("send", &json!({"user": "bob", "text": text}))["seq"].as_u64()
    };
    let last = (0..40).map(|n| send(&mut alice, n)).last().flatten();
    drop(alice);
    gateway.kill();
    let (path, log) = log(gateway.data());
    let mut bytes = std::fs::read(path).expect("the log");
    let text = b"message 20 zzz";
    let at = bytes.windows(text.len()).position(|found| found == text);
    let at = at.expect("the message is there");
    bytes[at] ^= 1;
    log.write_all_at(&bytes[at..=at], at as u64).expect("room");

    let said = "20 records from there on may have been acknowledged";
    let words = ["torn end", said, "skip", "ok: nothing is damaged"];
    check(&store("verify", gateway.data(), &[]), 0, &words);
    check(&store("repair", gateway.data(), &[]), 0, &words);
    let words = ["with 20 records that may have"];
    check(&store("inspect", gateway.data(), &[]), 0, &words);
    gateway.start_again();
    gateway.logged("its records may have been acknowledged");
    let mut alice = gateway.dial().connect("alice", "phone");
    let next = send(&mut alice, 40);
    assert!(
        next > last,
        "{next:?} was given to another message, up to {last:?}"
    );
    let history = alice.done(
        "history",
        &json!({"conversation": "u:alice:bob", "limit": 100}),
    );
    let messages = history["messages"].as_array().expect("messages");
    assert_eq!(
        messages.len(),
        21,
        "the messages before the damage, and the new one"
    );
    drop(alice);
    gateway.stop();
    check(
        &store("verify", gateway.data(), &[]),
        0,
        &["ok: nothing is damaged"],
    );
    let words = ["a start cut it off", "skip"];
    check(&store("inspect", gateway.data(), &[]), 0, &words);
}
