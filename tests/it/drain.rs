//! SIGTERM: everybody is told, nothing acknowledged is lost.

use nix::sys::signal::Signal;
use serde_json::json;
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::{Client, End};
use trunkline_tests::gateway::{Gateway, Setup};

use crate::load;

/// The client must be told to come back later, and then be closed.
fn check(client: &mut Client, delay: u64) {
    let push = client.push();
    let expected =
        json!({"code": 3_001, "reason": "shutdown", "reconnect": true, "delay_ms": [0, delay]});
    assert_eq!(push["disconnect"], expected);
    assert!(
        push.get("pos").is_none(),
        "a goodbye is no event of the user: {push}"
    );
    assert_eq!(client.end(), End::Close(3_001, "shutdown".into()));
    client.ended();
}

#[test]
fn everybody_is_told() {
    for (signal, flag) in [(Signal::SIGTERM, None), (Signal::SIGINT, Some(7_000))] {
        let mut setup = Setup::default();
        if let Some(delay) = flag {
            setup = setup.flag("reconnect-delay", format!("{delay}ms"));
        }
        let mut gateway = setup.start();
        let mut clients = Vec::new();
        for encoding in [Json, Proto] {
            for shard in [0, 1] {
                let dial = gateway.dial().encoding(encoding).shard(shard);
                clients.push(dial.connect("alice", "phone"));
                clients.push(dial.with("batch", true).connect("bob", "phone"));
            }
            // Without connect, too.
            clients.push(gateway.dial().encoding(encoding).open());
        }
        let half = std::net::TcpStream::connect(gateway.ws()).expect("the gateway listens");
        gateway.process().signal(signal);
        for client in &mut clients {
            check(client, flag.unwrap_or(30_000));
        }
        let exit = gateway.ended();
        assert_eq!(exit.status.code(), Some(0), "{exit:?}");
        drop(half);
    }
}

/// Who says nothing and reads nothing does not hold up the end for ever.
#[test]
fn a_client_that_does_not_answer() {
    let mut gateway = Gateway::start();
    let client = gateway.dial().connect("alice", "phone");
    gateway.stop();
    drop(client);
}

#[test]
fn under_load_nothing_acknowledged_is_lost() {
    let mut gateway = Gateway::start();
    let mut all_sent = Vec::new();
    for round in 0..3 {
        let sent = load::until_the_end(&mut gateway, round, 500, |gateway| drop(gateway.stop()));
        for sent in &sent {
            assert_eq!(sent.end, Some(End::Close(3_001, "shutdown".into())));
        }
        all_sent.push(sent);
        gateway.start_again();
        let unanswered = load::check(&gateway, &all_sent);
        assert_eq!(unanswered, 0, "stored, and not told before the end");
    }
}

/// Clients in the order in which they are told: that of their connecting, on one shard.
fn crowd(gateway: &Gateway, size: usize) -> Vec<Client> {
    (0..size)
        .map(|i| gateway.dial().connect(&format!("user{i}"), "phone"))
        .collect()
}

/// Not all come back at once: those whose turn has not come are served meanwhile.
#[test]
fn goodbyes_are_spread() {
    let setup = Setup::default().flag("shards", 1);
    let setup = setup
        .flag("drain-window", "10s")
        .flag("drain-timeout", "60s");
    let mut gateway = setup.start();
    let mut clients = crowd(&gateway, 300);
    gateway.ask_to_stop();
    check(&mut clients[0], 30_000);
    // Three seconds behind the first.
    let mut last = clients.pop().expect("the last");
    last.send("user5", "not yet");
    last.ping();
    assert_eq!(last.waiting(), Vec::<serde_json::Value>::new());
    check(&mut last, 30_000);
    for client in &mut clients[1..] {
        assert_eq!(client.end(), End::Close(3_001, "shutdown".into()));
    }
    assert!(gateway.ended().status.success());
}

#[test]
fn whoever_does_not_go_is_dropped_in_time() {
    let setup = Setup::default().flag("drain-window", "500ms");
    let mut gateway = setup.flag("drain-timeout", "1s").start();
    let silent = gateway.dial().connect("alice", "phone");
    let exit = gateway.stop();
    let dropped = "connections did not end in time";
    assert!(exit.stderr.contains(dropped), "{}", exit.stderr);
    drop(silent);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let setup = Setup::default().flag("shards", 1);
        let setup = setup
            .flag("drain-window", "30s")
            .flag("drain-timeout", "60s");
        let mut gateway = setup.start();
        let mut clients = crowd(&gateway, 300);
        gateway.ask_to_stop();
        check(&mut clients[0], 30_000);
        gateway.process().signal(signal);
        let exit = gateway.ended();
        assert_eq!(exit.status.code(), Some(128 + signal as i32), "{exit:?}");
        // The last one was not told: it just ends.
        assert_eq!(clients.pop().expect("the last").end(), End::Dropped);
        // What was stored is there, and the folder is nobody's.
        gateway.start_again();
        gateway.dial().connect("user1", "phone").ping();
    }
}
