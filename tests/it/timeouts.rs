//! Connections that take too long are closed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_proto::frame::Opcode;
use trunkline_tests::client::{Client, End};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::neighbours::Neighbours;
use trunkline_tests::wait;

/// The next push must be `disconnect` with this end, and the end must follow.
fn check(client: &mut Client, code: u16, reconnect: bool) {
    let push = client.push();
    let told = &push["disconnect"];
    let delay = if reconnect { [0, 30_000] } else { [0, 0] };
    let expected = json!([code, reconnect, delay]);
    assert_eq!(
        json!([told["code"], told["reconnect"], told["delay_ms"]]),
        expected,
        "{push}"
    );
    assert!(
        push.get("pos").is_none(),
        "a goodbye is no event of the user: {push}"
    );
    let reason = told["reason"].as_str().expect("a reason").to_owned();
    assert_eq!(client.end(), End::Close(code, reason));
    client.ended();
}

fn closes(gateway: &Gateway, code: u16) -> f64 {
    gateway.metric(&format!("trunkline_closes_total{{code=\"{code}\"}}"))
}

#[test]
fn no_connect_in_time() {
    let gateway = Setup::default().flag("connect-timeout", "300ms").start();
    let mut neighbours = Neighbours::of(&gateway, "connect");
    for (round, encoding) in [Json, Proto].into_iter().enumerate() {
        let mut silent = gateway.dial().encoding(encoding).open();
        // Saying something else does not help.
        let mut chatty = gateway.dial().encoding(encoding).open();
        assert_eq!(chatty.refused("ping", &json!({})), 101);
        check(&mut silent, 3_502, false);
        check(&mut chatty, 3_502, false);
        assert_eq!(closes(&gateway, 3_502), 2.0 * (round + 1) as f64);
        neighbours.chat();
    }
}

#[test]
fn no_upgrade_in_time() {
    let gateway = Setup::default().flag("handshake-timeout", "300ms").start();
    let mut neighbours = Neighbours::of(&gateway, "upgrade");
    for said in [&b""[..], b"G", b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = TcpStream::connect(gateway.ws()).expect("the gateway listens");
        stream
            .set_read_timeout(Some(wait::LIMIT))
            .expect("not zero");
        stream.write_all(said).expect("the gateway takes it");
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        assert_eq!(
            (read.ok(), &answer[..]),
            (Some(0), &b""[..]),
            "dropped without a word"
        );
        neighbours.chat();
    }
}

#[test]
fn no_pong() {
    let gateway = Setup::default()
        .flag("ping-interval", "200ms")
        .flag("pong-timeout", "500ms")
        .start();
    for encoding in [Json, Proto] {
        let dial = gateway.dial().encoding(encoding);
        let mut answering = dial.connect("alice", "phone");
        let mut silent = dial.connect("bob", "phone");
        assert_eq!(silent.opening()["ping_ms"], 200);
        silent.answers_pings = false;
        // Both are read by turns: neither may wait for the other's pings.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                check(&mut silent, 3_012, true);
                assert_eq!(silent.pings, 1);
            });
            scope.spawn(|| answering.pinged(5));
        });
        answering.ping();
        answering.close();
    }
    assert_eq!(closes(&gateway, 3_012), 2.0);
}

#[test]
fn pings_are_spread_over_the_interval() {
    const SESSIONS: usize = 300;
    let gateway = Setup::default()
        .flag("ping-interval", "150s")
        .flag("pong-timeout", "1s")
        .start();
    let dial = gateway.dial();
    let _silent: Vec<_> = (0..SESSIONS)
        .map(|n| dial.connect(&format!("user{n}"), "phone"))
        .collect();
    // Two connections are closed per second. If all of them waited for the end of the interval,
    // none would be closed in time. A silent client does not get a second interval.
    wait::until("somebody to be found dead", || {
        (closes(&gateway, 3_012) >= 2.0).then_some(())
    });
    let pings = gateway.metric("trunkline_pings_total");
    assert!((2.0..SESSIONS as f64 / 2.0).contains(&pings), "{pings}");
}

#[test]
fn who_answered_while_the_gateway_had_no_turn_is_alive() {
    let gateway = Setup::default()
        .flag("ping-interval", "300ms")
        .flag("pong-timeout", "3s")
        .start();
    let mut client = gateway.dial().connect("alice", "phone");
    client.answers_pings = false;
    client.pinged(1);
    gateway.process().signal(Signal::SIGSTOP);
    client.write_frame(Opcode::Pong, b"");
    let stopped = Instant::now();
    wait::until("the pong timeout", || {
        (stopped.elapsed() > Duration::from_secs(4)).then_some(())
    });
    client.answers_pings = true;
    gateway.process().signal(Signal::SIGCONT);
    client.pinged(3);
    client.ping();
    assert_eq!(closes(&gateway, 3_012), 0.0);
}

#[test]
fn who_speaks_is_not_pinged() {
    let gateway = Setup::default().flag("ping-interval", "2s").start();
    let mut silent = gateway.dial().connect("alice", "phone");
    let mut chatty = gateway.dial().connect("bob", "phone");
    std::thread::scope(|scope| {
        let others = scope.spawn(|| silent.pinged(4));
        while !others.is_finished() {
            chatty.ping();
            // The client sends now and then, as people do. A client with a waiting reply gets no
            // ping anyway.
            let spoke = Instant::now();
            wait::until("something to say", || {
                (spoke.elapsed() > Duration::from_millis(400)).then_some(())
            });
        }
    });
    // The first may come at any time of the first interval.
    assert!(chatty.pings < 3, "{}", chatty.pings);
}

#[test]
fn a_client_that_never_reads() {
    let gateway = Setup::default()
        .flag("write-timeout", "500ms")
        .flag("outbox-bytes", "64KiB")
        .start();
    let mut neighbours = Neighbours::of(&gateway, "write");
    let stuck = gateway.dial().shard(0).connect("bob", "phone");
    let mut alice = gateway.dial().shard(0).connect("alice", "phone");
    let text = "x".repeat(60_000);
    // As much as it takes to fill the buffers of both kernels' ends.
    wait::until("the gateway to give up", || {
        alice.send("bob", &text);
        (closes(&gateway, 3_008) == 1.0).then_some(())
    });
    wait::until("the session to be gone", || {
        (gateway.metric("trunkline_sessions") == 3.0).then_some(())
    });
    neighbours.chat();
    drop(stuck);
}
