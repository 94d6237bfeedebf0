//! A machine whose clock leaps. libfaketime moves the clock of the gateway's process, and only
//! that; without the library these tests are skipped.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use trunkline_tests::api::{self, Api};
use trunkline_tests::client::Client;
use trunkline_tests::clock::{Clock, library};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait::until;

use crate::webhooks::{settled, sick, told, tries, what};

const MESSAGES: u64 = 300;
const CONVERSATION: &str = "u:alice:bob";
/// The most real time that a test may take, and that the gateway's time may be off.
const NEAR: u64 = 15 * 60 * 1_000;

fn setup(clock: &Clock, library: &Path) -> Setup {
    let setup = clock.of(Setup::default(), library);
    { setup.flag("message-bytes", "16KiB") }
        .flag("segment-bytes", "144KiB")
        .flag("store-reserve", "0B")
        .flag("message-life", "90d")
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_millis() as u64
}

fn send(client: &mut Client, number: u64) -> bool {
    let text = format!("{number} {}", "x".repeat(3_000));
    let send = json!({"user": "bob", "key": number.to_string(), "text": text});
    client.done("send", &send)["duplicate"] == true
}

/// The message that expires in hours has its text.
fn ephemeral_is_there(alice: &mut Client) {
    let about = json!({"conversation": "u:alice:carol", "seq": 1});
    let found = alice.done("get", &about);
    assert_eq!(found["message"]["text"], "until tonight", "{found}");
}

/// All messages, keys and positions exist, and times are close to the right time.
fn all_is_there(gateway: &Gateway, messages: u64) {
    let mut alice = gateway.dial().connect("alice", "phone");
    for number in [1, messages / 2, messages] {
        assert!(send(&mut alice, number), "the key {number} is known");
    }
    ephemeral_is_there(&mut alice);
    let mut bob = gateway.dial().since("0").connect("bob", "phone");
    let first = bob.push_of("message");
    assert_eq!(first["seq"], 1);
    let page = bob.done(
        "history",
        &json!({"conversation": CONVERSATION, "limit": 1}),
    );
    assert_eq!(page["first"], 1);
    assert_eq!(page["last"], messages);
    let last = page["messages"][0]["time"].as_u64().expect("a time");
    assert!(last.abs_diff(now()) < NEAR, "{last} at {}", now());
    let opened = bob.opening()["time"].as_u64().expect("a time");
    assert!(opened.abs_diff(now()) < NEAR, "{opened} at {}", now());
}

#[test]
fn a_clock_that_leaps_deletes_nothing() {
    let Some(library) = library() else {
        println!("skipped: libfaketime is missing (apt-get install libfaketime)");
        return;
    };
    let clock = Clock::default();
    let mut gateway = setup(&clock, &library).start();
    let mut alice = gateway.dial().connect("alice", "tablet");
    for number in 1..=MESSAGES {
        assert!(!send(&mut alice, number));
    }
    // It expires long before the times to which the clock leaps.
    let soon = json!({"user": "carol", "text": "until tonight", "ttl": "10h"});
    alice.done("send", &soon);
    let mut sent = MESSAGES;
    for offset in ["+25h", "+40d", "+100d", "-100d"] {
        clock.leap(&gateway, offset);
        sent += 1;
        assert!(!send(&mut alice, sent), "it is new");
        all_is_there(&gateway, sent);
        clock.leap(&gateway, "+0");
        all_is_there(&gateway, sent);
    }
    let recall = json!({"conversation": CONVERSATION, "seq": 1});
    clock.leap(&gateway, "+100d");
    alice.done("recall", &recall);
    clock.leap(&gateway, "+0");
    // Started with a wrong clock, and again with the right one.
    for end in [Gateway::kill, |gateway: &mut Gateway| drop(gateway.stop())] {
        clock.set("+100d");
        end(&mut gateway);
        gateway.start_again();
        let mut alice = gateway.dial().connect("alice", "tablet");
        for number in [1, MESSAGES] {
            assert!(send(&mut alice, number), "the key {number} is known");
        }
        ephemeral_is_there(&mut alice);
        let mut bob = gateway.dial().since("0").connect("bob", "phone");
        assert_eq!(bob.push_of("message")["seq"], 1);
        clock.set("+0");
        end(&mut gateway);
        gateway.start_again();
        all_is_there(&gateway, sent);
    }
}

/// A back end that is away gets what it missed, also if the gateway is started with a clock beyond the
/// time after which it gives up.
#[test]
fn a_clock_that_is_ahead_gives_up_no_webhook() {
    let Some(library) = library() else {
        println!("skipped: libfaketime is missing (apt-get install libfaketime)");
        return;
    };
    let (back, seen, healed) = sick();
    let clock = Clock::default();
    let setup = back.asked_by(setup(&clock, &library), &["offline"]);
    let mut gateway = setup.flag("presence-grace", "0ms").start();
    let failed = |gateway: &Gateway, least: f64| {
        until("a try", || {
            (tries(gateway, "status") >= least).then_some(())
        });
    };
    let mut alice = gateway.dial().connect("alice", "phone");
    let messages = [("bob", "one"), ("bob", "two"), ("carol", "three")];
    for (user, text) in messages {
        alice.send(user, text);
    }
    failed(&gateway, 1.0);
    drop(alice);
    gateway.stop();
    clock.set("+4d");
    gateway.start_again();
    failed(&gateway, 2.0);
    healed.store(true, Ordering::SeqCst);
    settled(&gateway, 3.0);
    let seen = told(&seen, 3);
    for (user, text) in messages {
        let one = (user.to_owned(), text.to_owned());
        assert!(seen.iter().any(|asked| what(asked) == one), "{one:?}");
    }
    let given_up = "trunkline_webhooks_given_up_total{webhook=\"offline\"}";
    assert_eq!(gateway.metric(given_up), 0.0);
}

/// Media that no message names stay for their time. Only the rest of an upload that did not end has no other
/// time than that of its file.
#[test]
fn a_clock_that_leaps_removes_no_media() {
    const FILES: usize = 20;
    let Some(library) = library() else {
        println!("skipped: libfaketime is missing (apt-get install libfaketime)");
        return;
    };
    let clock = Clock::default();
    let setup = setup(&clock, &library).http();
    // All files are looked at each 7.5 s.
    let gateway = setup.flag("media-unnamed-life", "3m").start();
    let alice = Api::of(&gateway).user("alice");
    let upload = |number: usize| {
        let answer = alice.ask("POST", "/api/v1/media", Some(&format!("file {number}")));
        assert_eq!(answer.status, 201, "{answer:?}");
        let url = &api::json(&answer)["url"];
        url.as_str().expect("a path").to_owned()
    };
    let files: Vec<_> = (0..FILES).map(upload).collect();
    let rest = gateway.data().join("media/AA");
    std::fs::create_dir_all(&rest).expect("a folder");
    let rest = rest.join("AAAAAAAAAAAAAAAAAAAAAA");
    std::fs::write(&rest, "not whole").expect("a file");
    clock.leap(&gateway, "+1h");
    until("the rest to be removed", || (!rest.exists()).then_some(()));
    clock.leap(&gateway, "+0");
    for path in files {
        assert_eq!(alice.ask("GET", &path, None).status, 200, "{path}");
    }
}
