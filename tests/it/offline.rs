//! A user who was away gets all missed events, exactly once.

use std::ops::RangeInclusive;
use std::sync::mpsc::{TryRecvError, channel};

use serde_json::{Value, json};
use trunkline_proto::Encoding;
use trunkline_tests::client::{Client, End, error_code};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::random::Random;

/// The empty range of sequences.
const NONE: RangeInclusive<u64> = RangeInclusive::new(1, 0);

fn texts(count: usize) -> impl Iterator<Item = String> {
    (1..=count).map(|number| format!("number {number}"))
}

/// Reads one page of `sync`, whose events must be the messages with these sequences. Returns the
/// position of the page.
fn page(client: &mut Client, request: &Value, seqs: RangeInclusive<u64>, more: bool) -> String {
    let page = client.done("sync", request);
    let events = page["events"].as_array().expect("events");
    let found: Vec<_> = events
        .iter()
        .map(|push| push["message"]["seq"].as_u64())
        .collect();
    assert_eq!(found, seqs.map(Some).collect::<Vec<_>>(), "{request}");
    assert_eq!(page["more"], more, "{request}");
    let pos = page["pos"].as_str().expect("a position").to_owned();
    if let (true, Some(last)) = (more, events.last()) {
        assert_eq!(last["pos"], pos, "a page ends with its last event");
    }
    pos
}

#[test]
fn sync_in_pages() {
    let gateway = Gateway::start();
    let bob = gateway.dial().connect("bob", "phone");
    let begin = bob.pos();
    bob.close();
    let mut alice = gateway.dial().connect("alice", "phone");
    let replies = alice.send_all("bob", texts(1_250));
    for encoding in [Encoding::Json, Encoding::Proto] {
        let mut bob = gateway.dial().encoding(encoding).connect("bob", "phone");
        let from = |pos: &str| json!({"since": pos});
        let first = page(&mut bob, &from(&begin), 1..=500, true);
        let second = page(&mut bob, &from(&first), 501..=1_000, true);
        let third = page(&mut bob, &from(&second), 1_001..=1_250, false);
        page(&mut bob, &from(&third), NONE, false);
        page(&mut bob, &json!({"since": begin, "limit": 7}), 1..=7, true);
        page(&mut bob, &json!({"since": begin, "limit": 1}), 1..=1, true);
        page(
            &mut bob,
            &json!({"since": second, "limit": 250}),
            1_001..=1_250,
            false,
        );
        // A larger limit is lowered, not refused.
        page(
            &mut bob,
            &json!({"since": begin, "limit": 10_000}),
            1..=500,
            true,
        );
        assert_eq!(
            bob.refused("sync", &json!({"since": begin, "limit": 0})),
            107
        );
        // The sender's own timeline has the messages too, including those of this device.
        page(
            &mut alice,
            &json!({"since": begin, "limit": 3}),
            1..=3,
            true,
        );
        let own = replies[1_239]["pos"].as_str().expect("a position");
        page(&mut alice, &from(own), 1_241..=1_250, false);
    }
    // What was sent before a connection opened comes before its position, the rest after it.
    let mut bob = gateway.dial().connect("bob", "tablet");
    let pos = bob.pos();
    alice.send("bob", "number 1251");
    bob.push_of("message");
    page(&mut bob, &json!({"since": pos}), 1_251..=1_251, false);
}

#[test]
fn positions_outlive_the_process() {
    let mut gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let begin = alice.pos();
    let replies = alice.send_all("bob", texts(20));
    let middle = replies[9]["pos"].as_str().expect("a position");
    for kill in [true, false] {
        if kill {
            gateway.kill();
        } else {
            gateway.stop();
        }
        gateway.start_again();
        let mut bob = gateway.dial().connect("bob", "phone");
        page(&mut bob, &json!({"since": begin}), 1..=20, false);
        page(&mut bob, &json!({"since": middle}), 11..=20, false);
        let mut recovered = gateway.dial().since(middle).connect("bob", "tablet");
        for seq in 11..=20 {
            assert_eq!(recovered.push_of("message")["seq"], seq);
        }
    }
}

#[test]
fn connect_with_since_pushes_what_was_missed_then_goes_on() {
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let begin = alice.pos();
    // More than one page of recovery.
    alice.send_all("bob", texts(1_250));
    for (round, encoding) in [Encoding::Json, Encoding::Proto].into_iter().enumerate() {
        let dial = gateway.dial().encoding(encoding).since(&begin);
        let mut bob = dial.connect("bob", "phone");
        assert_eq!(
            (&bob.opening()["recovered"], bob.pos()),
            (&json!(true), begin.clone())
        );
        let last = 1_250 + round as u64;
        alice.send("bob", "live");
        for seq in 1..=last + 1 {
            assert_eq!(bob.push_of("message")["seq"], seq);
        }
        bob.ping();
        assert_eq!(bob.waiting(), Vec::<Value>::new());
    }
    let fresh = gateway.dial().connect("bob", "phone");
    assert_eq!(fresh.opening()["recovered"], false);
}

/// One client keeps sending while the other loses its connection again and again.
#[test]
fn reconnecting_under_load_misses_nothing_and_repeats_nothing() {
    const MESSAGES: u64 = 3_000;
    let (mut random, seed) = Random::announced();
    println!("{seed}");
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let (mut pos, mut last, mut connections) = (alice.pos(), 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(move || alice.send_all("bob", texts(MESSAGES as usize)));
        while last < MESSAGES {
            let mut dial = gateway
                .dial()
                .since(&pos)
                .shard((random.number() % 2) as usize);
            if random.number().is_multiple_of(2) {
                dial = dial.proto();
            }
            if random.number().is_multiple_of(2) {
                dial = dial.with("batch", true);
            }
            let mut bob = dial.connect("bob", "phone");
            connections += 1;
            assert_eq!(
                (&bob.opening()["recovered"], bob.pos()),
                (&json!(true), pos.clone())
            );
            for _ in 0..random.within(1, 150).min(MESSAGES - last) {
                let push = bob.push();
                last += 1;
                assert_eq!(push["message"]["seq"], last, "connection {connections}");
                pos = push["pos"].as_str().expect("a position").to_owned();
            }
            // Dropped without a word, with pushes under way.
        }
    });
    assert!(connections >= 20, "{connections}");
}

/// Live pushes begin right after the position in the reply to `connect`, even under load.
fn connect_under_load(residents: &mut [Client], gateway: &Gateway) {
    const CONNECTIONS: usize = 200;
    let mut alice = gateway.dial().shard(0).connect("alice", "phone");
    let (running, watched) = channel::<()>();
    std::thread::scope(|scope| {
        // Goes when this does, also when it fails.
        let _running = running;
        scope.spawn(move || {
            // Bounded: far more than is sent while the other connects.
            for round in 0..20_000 {
                if watched.try_recv() == Err(TryRecvError::Disconnected) {
                    return;
                }
                alice.send_all("bob", (0..50).map(|i| format!("round {round} number {i}")));
            }
        });
        for connection in 0..CONNECTIONS {
            let mut bob = gateway.dial().connect("bob", "phone");
            let first = bob.push();
            let page = bob.done("sync", &json!({"since": bob.pos(), "limit": 1}));
            assert_eq!(page["events"], json!([first]), "connection {connection}");
            for resident in &mut *residents {
                resident.ping();
                resident.waiting();
            }
        }
    });
}

/// Bob has a device on each shard already. Events for him are under way to the shard while his next
/// device connects there.
#[test]
fn a_further_device_begins_at_its_position() {
    let gateway = Gateway::start();
    let mut residents = [0, 1].map(|shard| gateway.dial().shard(shard).connect("bob", "tv"));
    connect_under_load(&mut residents, &gateway);
}

/// Without a device on the shard, the sequencer learns of Bob while he connects.
#[test]
fn the_only_device_begins_at_its_position() {
    connect_under_load(&mut [], &Gateway::start());
}

/// A `since` that cannot be used fails with `code`, and the connection can connect without it.
fn check_since(gateway: &Gateway, encoding: Encoding, since: &str, code: u64) {
    let mut client = gateway.dial().encoding(encoding).open();
    let refused = client.refused(
        "connect",
        &json!({"user": "bob", "device": "phone", "since": since}),
    );
    assert_eq!(refused, code, "{since:?}");
    assert_eq!(
        client.refused("ping", &json!({})),
        101,
        "there is no session"
    );
    client.done("connect", &json!({"user": "bob", "device": "phone"}));
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", since);
    assert_eq!(client.push_of("message")["text"], since);
    assert_eq!(
        client.refused("sync", &json!({"since": since})),
        code,
        "{since:?}"
    );
    client.close();
}

#[test]
fn a_bad_since_is_no_dead_end() {
    let gateway = Gateway::start();
    for encoding in [Encoding::Json, Encoding::Proto] {
        for garbage in [
            "",
            "x",
            "-1",
            "+1",
            "0x10",
            "1.5",
            "99999999999999999999999",
        ] {
            check_since(&gateway, encoding, garbage, 107);
        }
        for future in ["99999999999", "18446744073709551615"] {
            check_since(&gateway, encoding, future, 112);
        }
        let mut client = gateway.dial().encoding(encoding).open();
        let resume = json!({"user": "bob", "resume": true});
        assert_eq!(client.refused("connect", &resume), 107);
    }
}

/// After a failed recovery the time for `connect` runs again.
#[test]
fn a_failed_recovery_does_not_keep_a_connection_for_ever() {
    let gateway = Setup::default().flag("connect-timeout", "200ms").start();
    let mut client = gateway.dial().open();
    let reply = client.ask("connect", &json!({"user": "bob", "since": "99999999999"}));
    assert_eq!(error_code(&reply), 112);
    assert!(matches!(client.end(), End::Close(3502, _)));
}
