//! `caught_up` ends a recovery: it comes after everything that was missed and before live events.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait::until;

/// The number of missed messages: more than one page of a recovery holds.
const MISSED: usize = 1_203;

fn texts(pushes: &[Value]) -> Vec<&str> {
    let texts = pushes
        .iter()
        .filter_map(|push| push["message"]["text"].as_str());
    texts.collect()
}

#[test]
fn behind_all_that_was_missed() {
    let gateway = Gateway::start();
    let bob = gateway.dial().connect("bob", "phone");
    let since = bob.pos();
    let mut alice = gateway.dial().connect("alice", "phone");
    let sent = alice.send_all("bob", (0..MISSED).map(|n| n.to_string()));
    let last = &sent[MISSED - 1]["pos"];
    for (encoding, batch) in [(Json, false), (Proto, false), (Json, true)] {
        let dial = gateway.dial().encoding(encoding).with("batch", batch);
        let mut bob = dial.clone().since(&since).connect("bob", "tablet");
        let (missed, end) = bob.caught_up();
        assert_eq!(missed.len(), MISSED);
        assert_eq!(texts(&missed)[MISSED - 1], (MISSED - 1).to_string());
        assert_eq!(end, json!({"pos": last}));
        // Where nothing was missed it comes at once, and is the position to go on from.
        let end = end["pos"].as_str().expect("a position");
        let mut again = dial.since(end).connect("bob", "laptop");
        let (missed, end) = again.caught_up();
        assert_eq!((missed, end), (Vec::new(), json!({"pos": last})));
    }
}

/// Live events come after `caught_up`, even if many are sent during the recovery.
#[test]
fn before_what_is_live() {
    let gateway = Gateway::start();
    let since = gateway.dial().connect("bob", "phone").pos();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send_all("bob", (0..600).map(|n| format!("{n}")));
    let mut bob = gateway.dial().since(&since).connect("bob", "tablet");
    let (missed, end) = bob.caught_up();
    let live = alice.send("bob", "live");
    assert_ne!(end["pos"], live["pos"]);
    assert!(!texts(&missed).contains(&"live"));
    assert_eq!(bob.push_of("message")["text"], "live");
}

/// A device with `resume` gets `caught_up`; a session without `since` does not.
#[test]
fn with_resume_and_without_either() {
    let gateway = Setup::default().start();
    let dial = gateway.dial().with("resume", true);
    let mut first = dial.connect("bob", "phone");
    let (missed, _) = first.caught_up();
    assert_eq!(missed.len(), 0);
    first.close();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "one");
    until("the position to be kept", || {
        let mut back = dial.connect("bob", "phone");
        let (missed, end) = back.caught_up();
        let told = missed.len() == 1 && end["pos"] == missed[0]["pos"];
        told.then_some(())
    });
    let mut live = gateway.dial().connect("bob", "laptop");
    alice.send("bob", "two");
    assert_eq!(live.push_of("message")["text"], "two");
}
