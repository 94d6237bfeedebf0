//! Receipts that share a record: the stored records, and equal receipts for every device.

use std::collections::HashSet;

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait;

const CONVERSATION: &str = "u:alice:bob";

/// Connects two users, each with one message that the other has not acknowledged.
fn pair(gateway: &Gateway) -> (Client, Client) {
    let mut alice = gateway.dial().shard(0).connect("alice", "phone");
    let mut bob = gateway.dial().shard(1).connect("bob", "phone");
    alice.send("bob", "1");
    bob.push_of("message");
    (alice, bob)
}

#[test]
fn what_was_delivered_and_read_soon_after_is_one_receipt() {
    let gateway = Setup::default()
        .flag("receipt-delay", "50ms")
        .flag("delivered-delay", "10s")
        .start();
    let (mut alice, mut bob) = pair(&gateway);
    let marks = |mark: &str| json!({"conversation": CONVERSATION, mark: 1});
    let delivered = bob.post("ack", &marks("delivered"));
    bob.ping();
    let held = "trunkline_receipt_acks_held";
    wait::until("it waits", || (gateway.metric(held) == 1.0).then_some(()));
    assert_eq!(bob.replies_now(), Vec::<Value>::new(), "nothing is stored");
    assert_eq!(gateway.metric("trunkline_receipts_total"), 0.0);
    let read = bob.post("ack", &marks("read"));
    for id in [delivered, read] {
        assert!(bob.reply(id)["ack"].is_object());
    }
    let receipt = alice.push_of("receipt");
    assert_eq!(
        (&receipt["delivered"], &receipt["read"]),
        (&json!(1), &json!(1))
    );
    for (metric, count) in [
        ("receipts", 1.0),
        ("receipt_marks", 1.0),
        ("receipt_acks", 2.0),
    ] {
        assert_eq!(gateway.metric(&format!("trunkline_{metric}_total")), count);
    }
    // The answers may be there a little before the gauge.
    wait::until("nothing waits", || {
        (gateway.metric(held) == 0.0).then_some(())
    });
    bob.send("alice", "marker");
    assert_eq!(alice.push()["message"]["text"], "marker", "and no more");
}

#[test]
fn whoever_goes_right_after_an_acknowledgement_has_said_it() {
    let gateway = Setup::default()
        .flag("receipt-delay", "200ms")
        .flag("delivered-delay", "300ms")
        .start();
    let (mut alice, mut bob) = pair(&gateway);
    bob.post(
        "ack",
        &json!({"conversation": CONVERSATION, "delivered": 1}),
    );
    bob.close();
    assert_eq!(alice.push_of("receipt")["delivered"], 1);
    let mut bob = gateway.dial().connect("bob", "phone");
    bob.post("ack", &json!({"conversation": CONVERSATION, "read": 1}));
    drop(bob);
    assert_eq!(alice.push_of("receipt")["read"], 1);
}

#[test]
fn stopping_answers_what_waits() {
    let mut gateway = Setup::default()
        .flag("receipt-delay", "10s")
        .flag("delivered-delay", "10s")
        .flag("drain-timeout", "5s")
        .start();
    let (alice, mut bob) = pair(&gateway);
    let id = bob.post(
        "ack",
        &json!({"conversation": CONVERSATION, "delivered": 1}),
    );
    bob.ping();
    gateway.ask_to_stop();
    assert!(bob.reply(id)["ack"].is_object(), "before it is over");
    drop((alice, bob));
    assert!(gateway.ended().status.success());
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    let request = json!({"conversation": CONVERSATION, "seq": 1, "state": "delivered"});
    assert_eq!(alice.done("receipts", &request)["users"][0]["user"], "bob");
}

const NAMES: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];

/// Returns the receipts among events, each with its position.
fn receipts_of(events: &[Value]) -> Vec<(String, Value)> {
    let events = events.iter().filter(|event| event["receipt"].is_object());
    let pos = |event: &Value| event["pos"].as_str().expect("a position").to_owned();
    events
        .map(|event| (pos(event), event["receipt"].clone()))
        .collect()
}

/// Returns all events of a device's user after a position, in pages of this size.
fn synced(client: &mut Client, mut since: String, limit: usize) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let page = client.done("sync", &json!({"since": since, "limit": limit}));
        let events = page["events"].as_array().expect("events");
        assert!(events.len() <= limit);
        all.extend(events.iter().cloned());
        page["pos"].as_str().expect("pos").clone_into(&mut since);
        if page["more"] == false {
            return all;
        }
    }
}

/// Six users with two devices each, and the pushes that the devices got.
struct Crowd {
    gateway: Gateway,
    clients: Vec<[Client; 2]>,
    begin: String,
    heard: Vec<[Vec<Value>; 2]>,
}

impl Crowd {
    /// Lets the users write in turns and acknowledge in every way at the same time. In the end all
    /// have read everything.
    fn talks(rounds: u64) -> Self {
        let gateway = Setup::default()
            .flag("receipt-delay", "30ms")
            .flag("delivered-delay", "120ms")
            .start();
        let mut clients: Vec<[Client; 2]> = NAMES.map(|name| gateway.dial().devices(name)).into();
        let group = json!({"group": "eng", "members": NAMES[1..]});
        clients[0][0].done("group_create", &group);
        let begin = clients[0][0].pos();
        for round in 1..=rounds {
            let author = round as usize % NAMES.len();
            clients[author][0].done("send", &json!({"group": "eng", "text": "hello"}));
            let mut asked = Vec::new();
            for (reader, devices) in clients.iter_mut().enumerate() {
                let mark = ["delivered", "read"][(reader + round as usize) % 2];
                let device = reader % 2;
                let ask = json!({"conversation": "g:eng", mark: round});
                asked.push((reader, device, devices[device].post("ack", &ask)));
            }
            if round % 3 == 0 {
                for (reader, device, id) in asked {
                    assert!(clients[reader][device].reply(id)["ack"].is_object());
                }
            }
        }
        for devices in &mut clients {
            devices[0].done("ack", &json!({"conversation": "g:eng", "read": rounds}));
        }
        let mut heard = Vec::new();
        for devices in &mut clients {
            heard.push(devices.each_mut().map(|client| {
                client.ping();
                client.waiting()
            }));
        }
        Self {
            gateway,
            clients,
            begin,
            heard,
        }
    }
}

#[test]
fn a_crowd_is_told_live_what_it_catches_up_on_and_each_once() {
    let mut crowd = Crowd::talks(12);
    // A device that got pushes all the time and a device that reads pages have the same events.
    for (user, devices) in crowd.clients.iter_mut().enumerate() {
        let name = NAMES[user];
        let everything = receipts_of(&synced(&mut devices[0], crowd.begin.clone(), 500));
        for limit in [1, 3, 7] {
            let pages = synced(&mut devices[1], crowd.begin.clone(), limit);
            assert_eq!(receipts_of(&pages), everything, "{name} by {limit}");
        }
        let places: HashSet<&str> = everything.iter().map(|(pos, _)| &**pos).collect();
        assert_eq!(places.len(), everything.len(), "{everything:?}");
        for (device, events) in crowd.heard[user].iter().enumerate() {
            let live = receipts_of(events);
            let others = |list: &[(String, Value)]| -> Vec<_> {
                let of_others = |one: &&(String, Value)| one.1["user"] != name;
                list.iter().filter(of_others).cloned().collect()
            };
            assert_eq!(others(&live), others(&everything), "{name} {device}");
            // Of the own marks, a device gets those that another device acknowledged.
            assert!(live.iter().all(|one| everything.contains(one)));
        }
    }
    let receipts = crowd.gateway.metric("trunkline_receipts_total");
    let marks = crowd.gateway.metric("trunkline_receipt_marks_total");
    assert!(receipts < marks, "{receipts} records of {marks} marks");
}

#[test]
fn a_crowd_goes_on_after_any_event_also_behind_a_restart() {
    let Crowd {
        mut gateway,
        clients,
        begin,
        heard,
    } = Crowd::talks(6);
    drop(clients);
    gateway.stop();
    gateway.start_again();
    for (user, name) in NAMES.iter().enumerate() {
        let mut laptop = gateway.dial().connect(name, "laptop");
        let all = receipts_of(&synced(&mut laptop, begin.clone(), 500));
        let live = receipts_of(&heard[user][0]);
        for (since, _) in &live {
            let mut back = gateway.dial().proto().since(since).connect(name, "laptop");
            let at = all.iter().position(|(pos, _)| pos == since);
            let at = at.expect("what was heard live is in the store");
            for expected in &all[at + 1..] {
                let push = loop {
                    let push = back.push();
                    if push["receipt"].is_object() {
                        break push;
                    }
                };
                let push = receipts_of(&[push]);
                assert_eq!(push, std::slice::from_ref(expected), "{name} since {since}");
            }
            back.ping();
            assert_eq!(back.waiting(), Vec::<Value>::new());
        }
    }
}
