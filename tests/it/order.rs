//! All devices see events in the same order.

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::Gateway;

const MESSAGES: u64 = 1_000;

/// The client must be pushed numbers 1 to [`MESSAGES`] with consecutive sequences.
fn check(client: &mut Client) {
    for number in 1..=MESSAGES {
        let message = client.push_of("message");
        assert_eq!(message["seq"], number, "{message}");
        assert_eq!(message["text"], format!("number {number}"));
    }
    client.ping();
    assert_eq!(client.waiting(), Vec::<Value>::new());
}

#[test]
fn a_thousand_messages_in_flight() {
    let gateway = Gateway::start();
    let dial = gateway.dial();
    for (pair, proto) in [false, true].into_iter().enumerate() {
        let [alice, bob] = ["alice", "bob"].map(|name| format!("{name}{pair}"));
        let mut sender = if proto {
            dial.clone().proto()
        } else {
            dial.clone()
        }
        .connect(&alice, "phone");
        let mut others = [
            dial.clone().shard(0).connect(&bob, "phone"),
            dial.clone().shard(1).proto().connect(&bob, "tablet"),
            dial.clone()
                .shard(1)
                .with("batch", true)
                .connect(&bob, "laptop"),
            dial.clone()
                .shard(0)
                .proto()
                .with("batch", true)
                .connect(&bob, "watch"),
            dial.clone().connect(&alice, "tablet"),
        ];
        let ids: Vec<_> = (1..=MESSAGES)
            .map(|number| {
                sender.post(
                    "send",
                    &json!({"user": bob, "text": format!("number {number}")}),
                )
            })
            .collect();
        for (id, number) in ids.into_iter().zip(1..) {
            assert_eq!(sender.reply(id)["send"]["seq"], json!(number));
        }
        others.iter_mut().for_each(check);
        sender.ping();
        assert_eq!(sender.waiting(), Vec::<Value>::new());
    }
}

#[test]
fn many_senders_one_order() {
    const SENDERS: usize = 4;
    const EACH: usize = 200;
    let gateway = Gateway::start();
    let dial = gateway.dial();
    let mut bobs = [
        dial.clone().shard(0).connect("bob", "phone"),
        dial.clone().shard(1).proto().connect("bob", "tablet"),
    ];
    let begin = bobs[0].pos();
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let mut client = dial
                .clone()
                .shard(sender % 2)
                .connect(&format!("sender{sender}"), "d");
            scope.spawn(move || client.send_all("bob", (0..EACH).map(|i| i.to_string())));
        }
    });
    // Not only per conversation: the devices of a user see one order of everything.
    let [phone, tablet] = &mut bobs;
    let seen: Vec<_> = (0..SENDERS * EACH).map(|_| phone.push()).collect();
    for push in &seen {
        assert_eq!(&tablet.push(), push);
    }
    // And it is the order that the store gives out.
    let mut synced: Vec<Value> = Vec::new();
    let mut since = begin;
    while synced.len() < seen.len() {
        let page = tablet.done("sync", &json!({"since": since, "limit": 300}));
        let events = page["events"].as_array().expect("events");
        assert!(!events.is_empty(), "{page}");
        synced.extend(events.iter().cloned());
        since = page["pos"].as_str().expect("a position").to_owned();
    }
    assert_eq!(synced, seen);
}
