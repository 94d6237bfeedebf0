//! The protocol over TLS, and the certificate's life.

use std::io::{Read, Write};

use nix::sys::signal::Signal;
use serde_json::json;
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_proto::frame::Opcode;
use trunkline_tests::client::{Client, End};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::tls::{Authority, failure, first_of, shown};
use trunkline_tests::{http, wait};

const HANDSHAKES: &str = "trunkline_tls_handshakes_total{kind=\"full\"}";
const RESUMED: &str = "trunkline_tls_handshakes_total{kind=\"resumed\"}";

fn start(authority: &Authority) -> Gateway {
    let files = authority.issue("server");
    Setup::default().tls(&files, &authority.trust()).start()
}

#[test]
fn a_chat_in_every_version_and_encoding() {
    let authority = Authority::new();
    let gateway = start(&authority);
    let line = gateway.ready_line();
    assert!(
        line.contains("ws=wss://127.0.0.1:") && line.contains(" control=http://"),
        "{line}"
    );
    let mut handshakes = 0.0;
    for (version, label) in [
        (&rustls::version::TLS12, "old"),
        (&rustls::version::TLS13, "new"),
    ] {
        let trust = authority.trust_with(&[version]);
        for encoding in [Json, Proto] {
            let dial = gateway.dial().tls(&trust).encoding(encoding);
            let names = ["alice", "bob"].map(|name| format!("{name}-{label}-{encoding:?}"));
            let mut alice = dial.clone().shard(0).connect(&names[0], "phone");
            let mut bob = dial.shard(1).connect(&names[1], "phone");
            for text in ["short", &"long ".repeat(12_000), "short again"] {
                let sent = alice.send(&names[1], text);
                let push = bob.push_of("message");
                assert_eq!(push["seq"], sent["seq"]);
                assert!(push["text"] == *text);
            }
            bob.ping();
            alice.close();
            bob.close();
            let all = gateway.metric(HANDSHAKES) + gateway.metric(RESUMED);
            assert!(all >= handshakes + 2.0, "{all}");
            handshakes = all;
        }
    }
    // Each of 8 clients was read for its hello, upgrade, `connect`, at least one command, and Close.
    assert!(gateway.metric("trunkline_reads_total") >= 5.0 * 8.0);
    assert!(gateway.metric("trunkline_writes_total") >= 4.0 * 8.0);
    // The control port stays as it is.
    assert_eq!(http::get(gateway.control(), "/healthz").status, 200);
}

#[test]
fn long_messages_and_those_that_are_too_long() {
    let authority = Authority::new();
    let gateway = start(&authority);
    let mut echo = gateway.dial().path("/v1/echo").open();
    let message = |id: u32, size: usize| {
        let text = json!({"id": id, "text": ""}).to_string();
        json!({"id": id, "text": "x".repeat(size - text.len())})
    };
    for (id, size) in [(1, 64), (2, 16 << 10), (3, 1 << 20), (4, 64)] {
        let message = message(id, size);
        assert_eq!(message.to_string().len(), size);
        echo.write_frame(Opcode::Text, message.to_string().as_bytes());
        assert!(echo.reply(id) == message);
    }
    echo.write_frame(Opcode::Text, &vec![b'x'; (1 << 20) + 1]);
    assert!(matches!(echo.end(), End::Close(1009, _)));
    echo.ended();
}

#[test]
fn who_comes_back_resumes() {
    let authority = Authority::new();
    let gateway = start(&authority);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let trust = authority.trust_with(&[version]);
        let before = (gateway.metric(HANDSHAKES), gateway.metric(RESUMED));
        for _ in 0..3 {
            let mut client = gateway.dial().tls(&trust).connect("alice", "phone");
            client.ping();
            client.close();
        }
        let after = (gateway.metric(HANDSHAKES), gateway.metric(RESUMED));
        assert_eq!((after.0 - before.0, after.1 - before.1), (1.0, 2.0));
    }
}

#[test]
fn clients_that_do_not_take_the_certificate() {
    let authority = Authority::new();
    let gateway = start(&authority);
    let other = Authority::new().trust();
    let wrong_name = authority.trust().name("other.test");
    for (i, trust) in [other, wrong_name].iter().enumerate() {
        let refused = trust.shake(gateway.ws()).expect_err("no trust");
        let why = failure(&refused);
        assert!(
            matches!(why, rustls::Error::InvalidCertificate(_)),
            "{why:?}"
        );
        wait::until("the alert to be counted", || {
            let name = "trunkline_tls_failures_total{reason=\"certificate\"}";
            (gateway.metric(name) == (i + 1) as f64).then_some(())
        });
    }
    // No protocol in common, above TLS.
    let refused = authority
        .trust()
        .protocols(&["h2"])
        .shake(gateway.ws())
        .expect_err("not spoken here");
    let alert = rustls::AlertDescription::NoApplicationProtocol;
    assert_eq!(failure(&refused), rustls::Error::AlertReceived(alert));
    let name = "trunkline_tls_failures_total{reason=\"incompatible\"}";
    assert_eq!(gateway.metric(name), 1.0);
}

/// Returns whether the gateway still holds this session.
fn lives(client: &mut Client) {
    client.ping();
    assert!(client.is_open());
}

#[test]
fn a_new_certificate_while_connections_live() {
    let authority = Authority::new();
    let gateway = start(&authority);
    let reloads =
        |result: &str| gateway.metric(&format!("trunkline_tls_reloads_total{{result={result:?}}}"));
    let reload = |result: &str| {
        let before = reloads(result);
        gateway.process().signal(Signal::SIGHUP);
        wait::until("the files to be read", || {
            (reloads(result) == before + 1.0).then_some(())
        });
    };
    let files = authority.issue("server");
    let first = {
        let stream = authority.trust().shake(gateway.ws()).expect("a hand-shake");
        shown(&stream)
    };
    assert_ne!(first, first_of(&files.cert), "nothing was read again yet");
    let mut old = gateway.dial().connect("old", "phone");
    reload("ok");
    let second = first_of(&files.cert);
    let stream = authority.trust().shake(gateway.ws()).expect("a hand-shake");
    assert_eq!(shown(&stream), second);
    lives(&mut old);
    // A client that came with the old certificate does not resume past the new one.
    let resumed = gateway.metric(RESUMED);
    let mut new = gateway.dial().connect("new", "phone");
    assert_eq!(gateway.metric(RESUMED), resumed);
    // Files that cannot be used change nothing: a certificate of another key, and a file that is no
    // certificate.
    let third = authority.issue("third");
    std::fs::copy(third.cert, &files.cert).expect("a file can be written");
    reload("failed");
    std::fs::write(&files.cert, "-----BEGIN CERTIFICATE-----\nAAAA").expect("it can be written");
    reload("failed");
    let stream = authority.trust().shake(gateway.ws()).expect("a hand-shake");
    assert_eq!(shown(&stream), second);
    lives(&mut old);
    lives(&mut new);
    let said = gateway.process().stderr();
    for part in [
        "keeping the certificate and key that were read before",
        "not the key of the first certificate in",
        "the PEM is not valid",
        &files.cert.display().to_string(),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(reloads("ok"), 1.0);
}

#[test]
fn stopping_tells_everybody() {
    let authority = Authority::new();
    let mut gateway = start(&authority);
    let mut sessions: Vec<_> = [(0, Json), (1, Proto)]
        .map(|(shard, encoding)| {
            let dial = gateway.dial().shard(shard).encoding(encoding);
            dial.connect(&format!("user{shard}"), "phone")
        })
        .into();
    // Another still shakes hands, and one has no session.
    let mut silent = authority.trust().connect(gateway.ws());
    let mut idle = gateway.dial().open();
    wait::until("all connections", || {
        (gateway.metric("trunkline_connections") == 4.0).then_some(())
    });
    gateway.ask_to_stop();
    for client in sessions.iter_mut() {
        assert_eq!(client.push_of("disconnect")["code"], 3001);
        assert!(matches!(client.end(), End::Close(3001, _)));
        // Behind the Close frame `close_notify`, without which this is an error.
        let mut rest = Vec::new();
        let read = client.stream().read_to_end(&mut rest);
        assert_eq!(read.map_err(|error| error.to_string()), Ok(0));
    }
    assert!(matches!(idle.end(), End::Close(3001, _)));
    assert!(silent.sock.read(&mut [0]).is_ok_and(|read| read == 0));
    let exit = gateway.ended();
    assert!(exit.status.success(), "{exit:?}");
}

#[test]
fn both_ways_to_leave() {
    let authority = Authority::new();
    let gateway = start(&authority);
    let connections = |count: f64| {
        wait::until("connections", || {
            (gateway.metric("trunkline_connections") == count).then_some(())
        });
    };
    let left = gateway.metric("trunkline_tls_failures_total{reason=\"left\"}");
    // `close_notify` alone, with a command before it: the answer comes, then theirs.
    let mut client = gateway.dial().connect("alice", "phone");
    client.post("ping", &json!({}));
    client.stream().close_notify();
    assert!(
        client
            .replies()
            .values()
            .all(|reply| reply["ping"].is_object())
    );
    let mut rest = Vec::new();
    let read = client.stream().read_to_end(&mut rest);
    assert_eq!(read.map_err(|error| error.to_string()), Ok(0));
    connections(0.0);
    // The end of TCP alone, which anybody on the way could make.
    let mut client = gateway.dial().connect("alice", "phone");
    let shut = client.stream().tcp().shutdown(std::net::Shutdown::Write);
    shut.expect("a socket");
    assert_eq!(client.end(), End::Dropped);
    connections(0.0);
    // A record cut off.
    let mut client = gateway.dial().connect("alice", "phone");
    let cut = [23, 3, 3, 0x10, 0, 1, 2, 3];
    client.stream().tcp().write_all(&cut).expect("it is read");
    let shut = client.stream().tcp().shutdown(std::net::Shutdown::Write);
    shut.expect("a socket");
    assert_eq!(client.end(), End::Dropped);
    connections(0.0);
    assert_eq!(
        gateway.metric("trunkline_tls_failures_total{reason=\"left\"}"),
        left,
        "none of them was shaking hands"
    );
}

#[test]
fn a_slow_reader_gets_a_gap() {
    // More than the sockets of both ends hold.
    const MESSAGES: u64 = 400;
    let authority = Authority::new();
    let files = authority.issue("server");
    let gateway = Setup::default()
        .tls(&files, &authority.trust())
        .flag("outbox-bytes", "64KiB")
        .start();
    let mut slow = gateway.dial().shard(0).connect("bob", "slow");
    let mut quick = gateway.dial().shard(0).connect("bob", "quick");
    let mut alice = gateway.dial().shard(1).connect("alice", "phone");
    let padding = "x".repeat(60_000);
    for seq in 1..=MESSAGES {
        assert_eq!(alice.send("bob", &padding)["seq"], seq);
        assert_eq!(quick.push_of("message")["seq"], seq);
    }
    let mut seen = 0;
    let gap = loop {
        let push = slow.push();
        if push["gap"].is_object() {
            break push;
        }
        seen += 1;
        assert_eq!(push["message"]["seq"], seen);
    };
    assert!(seen < MESSAGES && gap["pos"] == gap["gap"]["pos"]);
    alice.send("bob", "live");
    assert_eq!(slow.push_of("message")["seq"], MESSAGES + 1);
    slow.ping();
    assert!(slow.waiting().is_empty());
    assert_eq!(gateway.metric("trunkline_gaps_total"), 1.0);
    wait::until("nothing to be held", || {
        (gateway.metric("trunkline_held_bytes") == 0.0).then_some(())
    });
}
