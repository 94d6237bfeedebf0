//! Limits of connections and of connecting at a time. An open session stays open.

use std::net::{Ipv4Addr, TcpStream};

use serde_json::json;
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::{Client, End};
use trunkline_tests::dial::connect_from;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http::{Answer, exchange, exchange_on};
use trunkline_tests::neighbours::Neighbours;
use trunkline_tests::wait;

const REQUEST: &[u8] = b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n";

fn limited(gateway: &Gateway, limit: &str) -> f64 {
    gateway.metric(&format!("trunkline_limited_total{{limit=\"{limit}\"}}"))
}

#[test]
fn in_total() {
    let gateway = Setup::default().flag("max-connections", 3).start();
    let mut clients: Vec<_> = (0..3)
        .map(|i| gateway.dial().connect(&format!("user{i}"), "d"))
        .collect();
    for refused in 1..=3 {
        let answer = exchange(gateway.ws(), REQUEST);
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.head.contains("\r\nRetry-After: "), "{answer:?}");
        assert_eq!(limited(&gateway, "connections"), f64::from(refused));
    }
    clients.remove(0).close();
    wait::until("room for one", || {
        (gateway.metric("trunkline_connections") == 2.0).then_some(())
    });
    gateway.dial().connect("user3", "d").ping();
}

#[test]
fn of_one_address() {
    let gateway = Setup::default().flag("connections-per-address", 3).start();
    let dial = gateway.dial();
    let mut clients: Vec<_> = (0..3)
        .map(|i| dial.connect(&format!("user{i}"), "d"))
        .collect();
    for refused in 1..=3 {
        let answer = exchange(gateway.ws(), REQUEST);
        assert_eq!(answer.status, 429, "{answer:?}");
        assert_eq!(limited(&gateway, "address_connections"), f64::from(refused));
    }
    // The request is no upgrade. The gateway accepts the connection far enough to say so.
    let elsewhere =
        connect_from(Ipv4Addr::new(127, 0, 0, 2), gateway.ws()).expect("the gateway listens");
    assert_eq!(exchange_on(elsewhere, REQUEST).status, 426);
    clients[0].send("user1", "still here");
    assert_eq!(clients[1].push_of("message")["text"], "still here");
    // A place that is given up is free.
    clients.remove(0).close();
    wait::until("room for one", || {
        (gateway.metric("trunkline_connections") == 2.0).then_some(())
    });
    dial.connect("user3", "d").ping();
}

#[test]
fn of_one_user() {
    let gateway = Setup::default().flag("connections-per-user", 2).start();
    let mut neighbours = Neighbours::of(&gateway, "user");
    for encoding in [Json, Proto] {
        let name = format!("alice-{encoding:?}");
        let dial = gateway.dial().encoding(encoding);
        let mut first = dial.clone().shard(0).connect(&name, "phone");
        let mut second = dial.clone().shard(1).connect(&name, "tablet");
        // A second `connect` is no second session.
        second.done("connect", &json!({"user": name, "device": "tablet"}));
        let mut third = dial.open();
        assert_eq!(third.refused("connect", &json!({"user": name})), 106);
        let told = third.push_of("disconnect");
        assert_eq!(
            json!([told["code"], told["reconnect"], told["delay_ms"]]),
            json!([3_504, false, [0, 0]])
        );
        let reason = told["reason"].as_str().expect("a reason").to_owned();
        assert_eq!(third.end(), End::Close(3_504, reason));
        neighbours.chat();
        first.ping();
        let sessions = gateway.metric("trunkline_sessions");
        first.close();
        wait::until("a session to end", || {
            (gateway.metric("trunkline_sessions") == sessions - 1.0).then_some(())
        });
        dial.connect(&name, "phone").ping();
    }
    assert_eq!(limited(&gateway, "user_connections"), 2.0);
    let closes = gateway.metric("trunkline_closes_total{code=\"3504\"}");
    assert_eq!(closes, 2.0);
}

#[test]
fn without_a_session() {
    let gateway = Setup::default()
        .flag("max-opening", 2)
        .flag("shards", 1)
        .flag("reconnect-delay", "5s")
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let silent = TcpStream::connect(gateway.ws()).expect("the gateway listens");
    let upgraded = gateway.dial().open();
    let mut delays = Vec::new();
    for _ in 0..6 {
        let Answer { status, head, .. } = exchange(gateway.ws(), REQUEST);
        assert_eq!(status, 503, "{head}");
        let after = head
            .lines()
            .find_map(|line| line.strip_prefix("Retry-After: "));
        let seconds: u64 = after.and_then(|s| s.parse().ok()).expect("seconds");
        assert!((1..=6).contains(&seconds), "{head}");
        delays.push(seconds);
    }
    delays.sort_unstable();
    assert_eq!(delays, [1, 2, 3, 4, 5, 6], "spread evenly");
    assert_eq!(limited(&gateway, "opening"), 6.0);
    assert_eq!(gateway.metric("trunkline_opening"), 2.0);
    alice.ping();
    drop(silent);
    upgraded.close();
    wait::until("room for others", || {
        (gateway.metric("trunkline_opening") == 0.0).then_some(())
    });
    gateway.dial().connect("bob", "phone").ping();
}

/// Sends `connect` on each of these connections while the gateway is paused.
fn at_once(gateway: &Gateway, clients: &mut [Client], command: &serde_json::Value) {
    gateway.process().pause();
    for client in clients {
        client.post("connect", command);
    }
    gateway.process().resume();
}

/// A turn accepts a bounded number of the connections in the kernel's queue.
#[test]
fn accepted_a_few_at_a_time() {
    const STORM: usize = 100;
    let gateway = Setup::default()
        .flag("shards", 1)
        .flag("newcomers-per-turn", 10)
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    // On a busy machine, a turn can be out of time before it has accepted Alice.
    let before = limited(&gateway, "accepts");
    gateway.process().pause();
    let storm: Vec<_> = (0..STORM)
        .map(|_| TcpStream::connect(gateway.ws()).expect("the kernel queues it"))
        .collect();
    gateway.process().resume();
    alice.ping();
    wait::until("all of them", || {
        (gateway.metric("trunkline_opening") == STORM as f64).then_some(())
    });
    // Ten turns accepted ten connections each, or more turns fewer.
    let turns = limited(&gateway, "accepts") - before;
    assert!(turns >= 10.0, "{turns}");
    drop(storm);
}

/// A turn serves a bounded number of hand-shakes; open sessions do not wait behind them.
#[test]
fn a_storm_waits_its_turn() {
    let gateway = Setup::default().flag("shards", 1).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut storm: Vec<_> = (0..300).map(|_| gateway.dial().open()).collect();
    let before = limited(&gateway, "newcomers");
    at_once(&gateway, &mut storm, &json!({"user": "bob"}));
    alice.ping();
    for client in &mut storm {
        assert!(client.reply(1)["connect"].is_object());
    }
    // 64 of 300 in the first turn, and so on.
    let deferred = limited(&gateway, "newcomers") - before;
    assert!(deferred >= 200.0, "{deferred}");
    assert_eq!(gateway.metric("trunkline_sessions"), 301.0);
}

#[test]
fn who_recovers_at_a_time() {
    const STORM: usize = 30;
    let gateway = Setup::default()
        .flag("shards", 1)
        .flag("max-recovering", 4)
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let since = alice.pos();
    for text in ["one", "two"] {
        alice.send("bob", text);
    }
    let mut storm: Vec<_> = (0..STORM).map(|_| gateway.dial().open()).collect();
    let request = json!({"user": "bob", "since": since});
    at_once(&gateway, &mut storm, &request);
    let (mut recovered, mut refused) = (0, 0);
    for client in &mut storm {
        if !client.replies().is_empty() {
            assert_eq!(client.push_of("message")["text"], "one");
            assert_eq!(client.push_of("message")["text"], "two");
            recovered += 1;
            continue;
        }
        let told = client.push_of("disconnect");
        assert_eq!(
            json!([told["code"], told["reconnect"], told["delay_ms"]]),
            json!([3_013, true, [0, 100]])
        );
        assert!(matches!(client.end(), End::Close(3_013, _)));
        refused += 1;
    }
    assert!(recovered >= 4 && refused > 0, "{recovered} and {refused}");
    assert_eq!(limited(&gateway, "recovering"), f64::from(refused));
    // The count is back at zero, so later recoveries work as always.
    for _ in 0..8 {
        let mut bob = gateway.dial().since(&since).connect("bob", "phone");
        assert_eq!(bob.push_of("message")["text"], "one");
        bob.close();
    }
}
