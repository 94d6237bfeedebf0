//! A client that does not read gets one `gap`, and finds the rest in the store.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{self, Json, Proto};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::neighbours::Neighbours;
use trunkline_tests::wait;

/// More bytes than the sockets of both ends hold (net.ipv4.tcp_rmem and tcp_wmem, 6 and 4 MiB).
const MESSAGES: u64 = 400;
const BYTES: usize = 60_000;

/// Reads everything after `pos`, page by page.
fn sync(client: &mut Client, mut pos: String) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    loop {
        let page = client.done("sync", &json!({"since": pos}));
        events.extend(page["events"].as_array().expect("events").iter().cloned());
        pos = page["pos"].as_str().expect("a position").to_owned();
        if page["more"] == false {
            return events;
        }
        assert_ne!(
            page["events"],
            json!([]),
            "a page that promises more brings something"
        );
    }
}

fn check(gateway: &Gateway, encoding: Encoding, gaps: f64) {
    let (alice_name, bob_name) = (format!("alice-{encoding:?}"), format!("bob-{encoding:?}"));
    let mut neighbours = Neighbours::of(gateway, &format!("slow-{encoding:?}"));
    let mut slow = gateway
        .dial()
        .encoding(encoding)
        .shard(0)
        .connect(&bob_name, "slow");
    let mut quick = gateway.dial().shard(0).connect(&bob_name, "quick");
    let mut alice = gateway.dial().shard(1).connect(&alice_name, "phone");
    let padding = "x".repeat(BYTES);
    for seq in 1..=MESSAGES {
        let reply = alice.send(&bob_name, &format!("{seq} {padding}"));
        assert_eq!(reply["seq"], seq);
        assert_eq!(quick.push_of("message")["seq"], seq);
        if seq.is_multiple_of(50) {
            neighbours.chat();
        }
    }
    // What was on its way comes in order, then the gap, and no message between.
    let (mut seen, mut pos) = (0, slow.pos());
    let gap = loop {
        let push = slow.push();
        if push["gap"].is_object() {
            break push;
        }
        seen += 1;
        assert_eq!(push["message"]["seq"], seen);
        pos = push["pos"].as_str().expect("a position").to_owned();
    };
    assert!(seen < MESSAGES, "there was a gap after all");
    // Live again, behind the gap.
    alice.send(&bob_name, "live");
    assert_eq!(slow.push_of("message")["seq"], MESSAGES + 1);
    slow.ping();
    assert_eq!(slow.waiting(), Vec::<Value>::new(), "one gap");
    // The gap reaches up to the last message before that.
    let events = sync(&mut slow, pos);
    let seqs: Vec<_> = events
        .iter()
        .map(|push| push["message"]["seq"].as_u64())
        .collect();
    assert_eq!(
        seqs,
        (seen + 1..=MESSAGES + 1).map(Some).collect::<Vec<_>>()
    );
    assert_eq!(events[events.len() - 2]["pos"], gap["gap"]["pos"]);
    assert_eq!(gap["pos"], gap["gap"]["pos"]);
    for push in &events[..events.len() - 1] {
        assert_eq!(
            push["message"]["text"].as_str().map(str::len),
            Some(BYTES + push["message"]["seq"].to_string().len() + 1)
        );
    }
    assert_eq!(gateway.metric("trunkline_gaps_total"), gaps);
    neighbours.chat();
}

#[test]
fn one_gap_and_sync_brings_everything() {
    let gateway = Setup::default().flag("outbox-bytes", "64KiB").start();
    check(&gateway, Json, 1.0);
    check(&gateway, Proto, 2.0);
}

/// A recovery goes at the client's own pace, however much it missed.
#[test]
fn a_slow_reader_that_recovers() {
    let gateway = Setup::default().flag("outbox-bytes", "64KiB").start();
    let mut neighbours = Neighbours::of(&gateway, "recovers");
    let mut alice = gateway.dial().connect("alice", "phone");
    let begin = alice.pos();
    let padding = "x".repeat(BYTES);
    alice.send_all("bob", (0..MESSAGES).map(|_| padding.clone()));
    let mut bob = gateway.dial().since(&begin).connect("bob", "phone");
    // Live messages while it has read next to nothing: they come behind what was missed.
    for seq in MESSAGES + 1..=MESSAGES + 20 {
        assert_eq!(alice.send("bob", "live")["seq"], seq);
        neighbours.chat();
    }
    for seq in 1..=MESSAGES + 20 {
        assert_eq!(bob.push_of("message")["seq"], seq);
    }
    bob.ping();
    assert_eq!(bob.waiting(), Vec::<Value>::new());
}

/// Some of many receivers do not read. The others get every message at once and in order.
#[test]
fn who_does_not_read_delays_nobody() {
    const RECEIVERS: usize = 16;
    let gateway = Setup::default().flag("outbox-bytes", "64KiB").start();
    let mut receivers: Vec<_> = (0..RECEIVERS)
        .map(|i| {
            let dial = gateway.dial().shard(i % 2);
            dial.connect(&format!("user{i}"), "phone")
        })
        .collect();
    let mut alice = gateway.dial().connect("alice", "phone");
    let stuck = |i: usize| i.is_multiple_of(4) || i == 5;
    let padding = "x".repeat(BYTES);
    let mut seq = 0;
    // Until each of them is behind: more than the sockets of both ends hold.
    wait::until("gaps", || {
        seq += 1;
        for (i, receiver) in receivers.iter_mut().enumerate() {
            assert_eq!(alice.send(&format!("user{i}"), &padding)["seq"], seq);
            if !stuck(i) {
                assert_eq!(receiver.push_of("message")["seq"], seq);
            }
        }
        let behind = (0..RECEIVERS).filter(|i| stuck(*i)).count();
        (gateway.metric("trunkline_gaps_total") == behind as f64).then_some(())
    });
    for (i, receiver) in receivers.iter_mut().enumerate() {
        if !stuck(i) {
            receiver.ping();
            assert_eq!(receiver.waiting(), Vec::<Value>::new());
        }
    }
}
