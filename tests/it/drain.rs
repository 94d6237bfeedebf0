//! SIGTERM: every client is told to reconnect, and nothing that was acknowledged is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use serde_json::json;
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::api::Api;
use trunkline_tests::back_end::{BackEnd, Says};
use trunkline_tests::client::{Client, End};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait;

use crate::load;
use crate::media_s3::variables;

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
    // A hundred milliseconds at least, and `reconnect-delay` at most.
    for (signal, flag, delay) in [
        (Signal::SIGTERM, None, 100),
        (Signal::SIGINT, Some(("reconnect-delay", "60ms")), 60),
        (Signal::SIGTERM, Some(("reconnect-rate", "1")), 11_000),
    ] {
        let mut setup = Setup::default();
        if let Some((name, value)) = flag {
            setup = setup.flag(name, value);
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
        wait::until("all to be counted", || {
            (gateway.metric("trunkline_connections") == 11.0).then_some(())
        });
        gateway.process().signal(signal);
        for client in &mut clients {
            check(client, delay);
        }
        let exit = gateway.ended();
        assert_eq!(exit.status.code(), Some(0), "{exit:?}");
        drop(half);
    }
}

/// A silent client that reads nothing does not delay the end beyond `drain_timeout`.
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

/// Opens clients on one shard. The gateway tells them in the order of connecting.
fn crowd(gateway: &Gateway, size: usize) -> Vec<Client> {
    (0..size)
        .map(|i| gateway.dial().connect(&format!("user{i}"), "phone"))
        .collect()
}

/// Clients are told one after another; the gateway serves the others until their turn.
#[test]
fn goodbyes_are_spread() {
    let setup = Setup::default().flag("shards", 1);
    let setup = setup
        .flag("drain-window", "10s")
        .flag("drain-timeout", "60s");
    let mut gateway = setup.start();
    let mut clients = crowd(&gateway, 300);
    gateway.ask_to_stop();
    check(&mut clients[0], 100);
    // Three seconds behind the first.
    let mut last = clients.pop().expect("the last");
    last.send("user5", "not yet");
    last.ping();
    assert_eq!(last.waiting(), Vec::<serde_json::Value>::new());
    check(&mut last, 100);
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
        check(&mut clients[0], 100);
        gateway.process().signal(signal);
        let exit = gateway.ended();
        assert_eq!(exit.status.code(), Some(128 + signal as i32), "{exit:?}");
        // The last client gets no notice: its connection ends.
        assert_eq!(clients.pop().expect("the last").end(), End::Dropped);
        // Stored messages are still there, and the lock of the folder is free.
        gateway.start_again();
        gateway.dial().connect("user1", "phone").ping();
    }
}

/// Sessions come back as fast as the gateway takes them in: the range of delays is that long, and
/// a client that comes before the gateway is back tries again.
#[test]
fn a_planned_restart_of_many_sessions() {
    const SESSIONS: usize = 500;
    // Each client is two descriptors here and one there.
    let setup = Setup::default().flag("reconnect-rate", 1_000);
    let setup = setup.flag("drain-window", "200ms");
    let mut gateway = setup.start();
    let mut clients = crowd(&gateway, SESSIONS);
    clients[0].send("user1", "before");
    let positions: Vec<_> = clients.iter().map(Client::pos).collect();
    gateway.ask_to_stop();
    for (i, client) in clients.iter_mut().enumerate() {
        let mut push = client.push();
        if i == 1 && push["message"].is_object() {
            push = client.push();
        }
        // 500 sessions at 1,000 a second.
        assert_eq!(push["disconnect"]["delay_ms"], json!([0, 500]), "{push}");
        assert_eq!(client.end(), End::Close(3_001, "shutdown".into()));
    }
    drop(clients);
    assert!(gateway.ended().status.success());
    gateway.start_again();
    for (i, since) in positions.iter().enumerate() {
        let dial = gateway.dial().since(since);
        drop(dial.connect(&format!("user{i}"), "phone"));
    }
    assert_eq!(gateway.metric("trunkline_closes_total{code=\"3013\"}"), 0.0);
}

/// Readers that have more to do than stopping may take, by far: nobody waits for what closed connections
/// have asked, nor long for what is asked by those that are told to go.
#[test]
fn busy_readers_do_not_hold_up_the_end() {
    const ASKERS: usize = 100;
    const EACH: u32 = 40;
    let setup = Setup::default().flag("shards", 1).flag("max-pages", EACH);
    // All of the look-ups would take some minutes, and the process ends by itself after 20 s.
    let mut gateway = setup.flag("drain-timeout", "10s").start();
    let mut alice = gateway.dial().connect("alice", "phone");
    // The reader looks up the marks of every member: much work for a short answer.
    alice.done("group_create", &json!({"group": "all"}));
    for part in 0..10 {
        let members: Vec<_> = (0..1_000).map(|i| format!("member{part}.{i}")).collect();
        alice.done("group_add", &json!({"group": "all", "members": members}));
    }
    alice.done("send", &json!({"group": "all", "text": "hello"}));
    let ask = json!({"conversation": "g:all", "seq": 1, "state": "unread", "limit": 1});
    let questions: Vec<_> = (1..=EACH)
        .map(|i| json!({"id": 10_000 + i, "receipts": ask}))
        .collect();
    let mut askers: Vec<_> = (0..ASKERS)
        .map(|i| gateway.dial().connect("alice", &format!("d{i}")))
        .collect();
    for asker in &mut askers {
        asker.post_raw(&questions);
        // All of them are with the readers.
        asker.ping();
    }
    // Half of them are gone before the end begins.
    askers.truncate(ASKERS / 2);
    gateway.ask_to_stop();
    for asker in &mut askers {
        assert_eq!(asker.end(), End::Close(3_001, "shutdown".into()));
    }
    drop(askers);
    drop(alice);
    let exit = gateway.ended();
    assert!(exit.status.success(), "{exit:?}");
    for late in ["did not end in time", "did not stop in time"] {
        assert!(!exit.stderr.contains(late), "{}", exit.stderr);
    }
}

/// The removal of media waits for a bucket that never answers. Clients are told all the same, and in time.
#[test]
fn a_bucket_that_hangs_does_not_hold_up_the_end() {
    let is_asked = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_asked);
    let bucket = BackEnd::start(move |_| {
        asked.store(true, Ordering::SeqCst);
        Says::Hang
    });
    let (_folder, file) = variables(&bucket.url(""));
    let setup = Setup::default().patient().flag("media", "s3://chat");
    let setup = setup.flag("media-s3-file", file.display());
    // Without the API nobody else asks the bucket.
    let setup = setup.flag("drain-window", "200ms");
    let mut gateway = setup.flag("drain-timeout", "1s").start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let path = "/admin/v1/users/bob?namespace=";
    let answer = Api::admin(&gateway).ask("DELETE", path, None);
    assert_eq!(answer.status, 202, "{answer:?}");
    wait::until("the bucket to be asked", || {
        is_asked.load(Ordering::SeqCst).then_some(())
    });
    gateway.ask_to_stop();
    check(&mut alice, 100);
    let exit = gateway.ended();
    assert!(exit.status.success(), "{exit:?}");
    assert!(!exit.stderr.contains("did not stop in time"), "{exit:?}");
    // The next process goes on with it.
    is_asked.store(false, Ordering::SeqCst);
    gateway.start_again();
    wait::until("the bucket to be asked again", || {
        is_asked.load(Ordering::SeqCst).then_some(())
    });
}
