//! Descriptors run out and come back.

use std::net::TcpStream;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::process::{Pid, Rlimit, prlimit};
use serde_json::json;
use trunkline_tests::client::{Client, error_code};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::{http, wait};

/// Returns a gateway with segments of 144 KiB.
fn small() -> Setup {
    let setup = Setup::default().flag("message-bytes", "16KiB");
    setup
        .flag("segment-bytes", "144KiB")
        .flag("store-reserve", "0B")
}

/// Sends texts until one is refused, but not more than `most`; how many were stored.
fn fill(alice: &mut Client, most: usize) -> (usize, Option<u64>) {
    let request = json!({"user": "bob", "text": "x".repeat(8_000)});
    for stored in 0..most {
        let reply = alice.ask("send", &request);
        if !reply["send"].is_object() {
            assert_eq!(reply["error"]["temporary"], true, "{reply}");
            return (stored, Some(error_code(&reply)));
        }
    }
    (most, None)
}

/// Sets the descriptor limit of the running gateway.
fn limit(gateway: &Gateway, limit: u64) {
    let pid = Pid::from_raw(gateway.process().id().cast_signed());
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let new = Rlimit {
        current: Some(limit),
        maximum: hard,
    };
    prlimit(pid, rustix::process::Resource::Nofile, new).expect("the process is there");
}

#[test]
fn a_store_without_descriptors_goes_on_when_there_are_some() {
    let mut gateway = small().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let (mut sent, refused) = fill(&mut alice, 50);
    assert_eq!(refused, None);
    let control = http::get(gateway.control(), "/readyz");
    assert_eq!(control.status, 200);
    // Every descriptor that is not open yet.
    limit(&gateway, 3);
    let (more, refused) = fill(&mut alice, 2_000);
    sent += more;
    assert_eq!(refused, Some(115));
    let line = gateway.logged("the store cannot write");
    assert!(line.contains("ulimit -n"), "{line}");
    assert_eq!(fill(&mut alice, 1).1, Some(115));
    limit(&gateway, 1_024);
    wait::until("the gateway to be ready", || {
        (http::get(gateway.control(), "/readyz").status == 200).then_some(())
    });
    // Runs that could not be made are tried again every second, and appends wait for them.
    wait::until("many to be taken in a row", || {
        let (more, refused) = fill(&mut alice, 100);
        sent += more;
        refused.is_none().then_some(())
    });
    gateway.kill();
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    let history = json!({"conversation": "u:alice:bob", "limit": 1});
    assert_eq!(alice.done("history", &history)["last"], sent);
    gateway.stop();
}

#[test]
fn idle_connections_to_the_control_port_take_no_descriptor_from_the_store() {
    const IDLE: usize = 700;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits can be read");
    if hard < 1_500 {
        println!("skipped: the hard descriptor limit here is {hard}, this test needs 1,500");
        return;
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit may be raised");
    let mut gateway = small().descriptors(600).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let idle: Vec<_> = (0..IDLE)
        .map(|_| TcpStream::connect(gateway.control()))
        .collect();
    fill(&mut alice, 200);
    // However many of them the port takes, the store recovers when they are gone.
    drop(idle);
    wait::until("messages to be taken", || {
        (fill(&mut alice, 1).1.is_none()).then_some(())
    });
    wait::until("many to be taken in a row", || {
        fill(&mut alice, 100).1.is_none().then_some(())
    });
    gateway.stop();
}

#[test]
fn a_limit_that_leaves_no_room_is_refused_with_the_fix() {
    for limit in [32, 100] {
        let data = tempfile::tempdir().expect("a folder can be made");
        let setup = Setup::default().descriptors(limit);
        let exit = setup.flag("data", data.path().display()).run("serve");
        assert_eq!(exit.status.code(), Some(1), "{exit:?}");
        for word in [
            format!("the descriptor limit is {limit}"),
            "ulimit -n".to_owned(),
            "LimitNOFILE".to_owned(),
        ] {
            assert!(exit.stderr.contains(&word), "{exit:?}");
        }
    }
    let mut gateway = Setup::default().descriptors(256).start();
    let mut clients: Vec<_> = (0..40)
        .map(|i| gateway.dial().connect(&format!("user{i}"), "d"))
        .collect();
    clients[0].send("user1", "there is room");
    drop(clients);
    let log = gateway.stop().stderr;
    assert!(
        log.contains("the descriptor limit allows fewer connections"),
        "{log}"
    );
}
