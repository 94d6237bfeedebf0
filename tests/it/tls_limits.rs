//! Limits of what clients can do before, during and after a TLS hand-shake.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::json;
use trunkline_proto::frame::{Opcode, write_frame};
use trunkline_tests::client::End;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::tls::{Authority, failure};
use trunkline_tests::wait::LIMIT;
use trunkline_tests::{http, wait};

fn setup(authority: &Authority) -> Setup {
    let files = authority.issue("server");
    Setup::default().tls(&files, &authority.trust())
}

fn failures(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(&format!(
        "trunkline_tls_failures_total{{reason={reason:?}}}"
    ))
}

fn failed(gateway: &Gateway, reason: &str, times: f64) {
    wait::until(reason, || {
        (failures(gateway, reason) == times).then_some(())
    });
}

/// Sends bytes and reads to the end of the connection.
fn told(gateway: &Gateway, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(gateway.ws()).expect("the gateway listens");
    stream.set_read_timeout(Some(LIMIT)).expect("not zero");
    stream.write_all(bytes).expect("it is read");
    let mut answer = Vec::new();
    let read = stream
        .read_to_end(&mut answer)
        .map_err(|error| error.kind());
    assert!(
        matches!(read, Ok(_) | Err(ErrorKind::ConnectionReset)),
        "{read:?}"
    );
    answer
}

/// Two users chat over TLS, one on each shard.
fn works(gateway: &Gateway) {
    let mut alice = gateway.dial().shard(0).connect("alice", "phone");
    let mut bob = gateway.dial().shard(1).connect("bob", "phone");
    alice.send("bob", "hello");
    assert_eq!(bob.push_of("message")["text"], "hello");
}

/// One read of a socket may find hundreds of records of one byte: each of them has its price.
#[test]
fn records_are_paid_for_by_their_number() {
    const SPACES: usize = 200;
    let authority = Authority::new();
    let gateway = setup(&authority).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let spent = || gateway.metric("trunkline_cost_seconds_total{work=\"parse\"}");
    let command = format!("{{\"id\":9,\"ping\":{{}}{}}}", " ".repeat(SPACES));
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, command.as_bytes(), Some([1; 4]));
    let before = spent();
    gateway.process().pause();
    for byte in &frame {
        alice.write(&[*byte]);
    }
    gateway.process().resume();
    alice.reply(9);
    // 400 ns each.
    let (cost, price) = (spent() - before, frame.len() as f64 * 400e-9);
    assert!(cost > price, "{cost} s for records that cost {price}");
}

#[test]
fn http_without_tls() {
    let authority = Authority::new();
    let gateway = setup(&authority).start();
    let answer = http::get(gateway.ws(), "/v1/ws");
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("connect with wss://"), "{answer:?}");
    assert_eq!(failures(&gateway, "http"), 1.0);
    works(&gateway);
}

#[test]
fn garbage() {
    let authority = Authority::new();
    let gateway = setup(&authority).start();
    let mut hello = vec![22, 3, 1, 0, 104, 1, 0, 0, 100];
    hello.extend_from_slice(&[0xff; 100]);
    let mut times = 0.0;
    for bytes in [&[0; 600][..], &[0x80; 9], b"\x16\x03\x01\x00\x00", &hello] {
        let answer = told(&gateway, bytes);
        // A fatal alert.
        assert!(
            answer.starts_with(&[21, 3]) && answer[5] == 2,
            "{answer:?} to {:?}",
            &bytes[..5]
        );
        times += 1.0;
        failed(&gateway, "not_tls", times);
    }
    // The first piece of a record that is longer than any may be.
    let answer = told(&gateway, &[22, 3, 1, 0xff, 0xff]);
    assert!(answer.starts_with(&[21, 3]), "{answer:?}");
    failed(&gateway, "too_long", 1.0);
    // A hand-shake message that announces 16 MiB.
    told(&gateway, &[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]);
    failed(&gateway, "too_long", 2.0);
    works(&gateway);
}

/// A hand-shake message over many records.
#[test]
fn a_hello_without_end() {
    let authority = Authority::new();
    let gateway = setup(&authority).start();
    let mut hello = vec![1, 0, 0xff, 0xff];
    hello.resize(4 + 0xffff, 7);
    let mut records = Vec::new();
    for part in hello.chunks(1_000) {
        records.extend_from_slice(&[22, 3, 1, 3, 0xe8]);
        records.extend_from_slice(part);
    }
    let mut stream = TcpStream::connect(gateway.ws()).expect("the gateway listens");
    stream.set_read_timeout(Some(LIMIT)).expect("not zero");
    stream.write_all(&records[..9_000]).expect("it is read");
    // It is counted among what is not complete, and then it is too much.
    wait::until("bytes to be held", || {
        (gateway.metric("trunkline_held_bytes") >= 9_000.0).then_some(())
    });
    let _ = stream.write_all(&records[9_000..]);
    failed(&gateway, "too_long", 1.0);
    wait::until("nothing to be held", || {
        (gateway.metric("trunkline_held_bytes") == 0.0).then_some(())
    });
    works(&gateway);
}

#[test]
fn hand_shakes_without_end() {
    let authority = Authority::new();
    let gateway = setup(&authority).flag("handshake-timeout", "500ms").start();
    // One says nothing, one a byte now and then, one has shaken hands and asks for nothing.
    let mut silent = TcpStream::connect(gateway.ws()).expect("the gateway listens");
    silent.set_read_timeout(Some(LIMIT)).expect("not zero");
    let mut shaken = authority.trust().shake(gateway.ws()).expect("a hand-shake");
    assert_eq!(silent.read(&mut [0]).map_err(|error| error.kind()), Ok(0));
    let mut slow = TcpStream::connect(gateway.ws()).expect("the gateway listens");
    let mut record = [0; 5 + 0x1000];
    record[..5].copy_from_slice(&[22, 3, 1, 0x10, 0]);
    let mut bytes = record.chunks(1);
    wait::until("the slow one to be dropped", || {
        let byte = bytes.next().expect("it is dropped before all is said");
        (slow.write_all(byte).is_err()).then_some(())
    });
    let read = shaken.read(&mut [0]).map_err(|error| error.kind());
    assert!(
        matches!(
            read,
            Err(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
        ),
        "{read:?}"
    );
    failed(&gateway, "time", 2.0);
    let limited = "trunkline_limited_total{limit=\"handshake_time\"}";
    assert_eq!(gateway.metric(limited), 3.0);
}

/// A turn makes a bounded number of signatures, which take long; further hand-shakes wait.
#[test]
fn hand_shakes_take_turns() {
    const CLIENTS: usize = 8;
    let authority = Authority::new();
    let gateway = setup(&authority)
        .flag("shards", 1)
        .flag("newcomers-per-turn", CLIENTS)
        .start();
    let waited = "trunkline_limited_total{limit=\"newcomers\"}";
    // All of them say hello before the gateway looks.
    gateway.process().pause();
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = authority.trust().connect(gateway.ws());
            client.conn.write_tls(&mut client.sock).expect("a hello");
            client
        })
        .collect();
    gateway.process().resume();
    for client in &mut clients {
        while client.conn.is_handshaking() {
            let done = client.conn.complete_io(&mut client.sock);
            done.expect("a hand-shake");
        }
    }
    assert!(gateway.metric(waited) > 0.0);
}

#[test]
fn who_leaves_in_the_middle() {
    let authority = Authority::new();
    let gateway = setup(&authority).start();
    // A client that only connects and leaves does not count as a failure of TLS.
    drop(TcpStream::connect(gateway.ws()));
    let mut stream = TcpStream::connect(gateway.ws()).expect("the gateway listens");
    stream.write_all(&[22, 3, 1]).expect("it is read");
    drop(stream);
    failed(&gateway, "left", 1.0);
    wait::until("all to be gone", || {
        (gateway.metric("trunkline_connections") == 0.0).then_some(())
    });
    assert_eq!(failures(&gateway, "left"), 1.0);
}

#[test]
fn no_room() {
    let authority = Authority::new();
    let check = |flag: &str, alert: rustls::AlertDescription, limit: &str| {
        let gateway = setup(&authority).flag(flag, 1).start();
        let mut client = gateway.dial().connect("alice", "phone");
        let refused = authority.trust().shake(gateway.ws()).expect_err("no room");
        assert_eq!(failure(&refused), rustls::Error::AlertReceived(alert));
        let name = format!("trunkline_limited_total{{limit={limit:?}}}");
        assert_eq!(gateway.metric(&name), 1.0);
        client.ping();
        client.close();
        wait::until("room", || {
            (gateway.metric("trunkline_connections") == 0.0).then_some(())
        });
        gateway.dial().connect("alice", "phone").ping();
    };
    use rustls::AlertDescription as Alert;
    check(
        "connections-per-address",
        Alert::AccessDenied,
        "address_connections",
    );
    check("max-connections", Alert::InternalError, "connections");
}

#[test]
fn a_broken_record() {
    let authority = Authority::new();
    let gateway = setup(&authority).start();
    let mut client = gateway.dial().connect("alice", "phone");
    client.post("ping", &json!({}));
    let mut record = vec![23, 3, 3, 0, 40];
    record.extend_from_slice(&[7; 40]);
    client
        .stream()
        .tcp()
        .write_all(&record)
        .expect("it is read");
    // What was asked before may be answered; then comes the alert.
    let mut rest = Vec::new();
    let refused = client
        .stream()
        .read_to_end(&mut rest)
        .expect_err("an alert");
    let alert = rustls::AlertDescription::BadRecordMac;
    assert_eq!(failure(&refused), rustls::Error::AlertReceived(alert));
    failed(&gateway, "broken", 1.0);
    wait::until("the session to be over", || {
        (gateway.metric("trunkline_sessions") == 0.0).then_some(())
    });
    works(&gateway);
}

/// A client that sends a TLS record byte by byte is not silent, and runs into `message_timeout`.
#[test]
fn a_record_without_end() {
    let authority = Authority::new();
    let gateway = setup(&authority).flag("message-timeout", "500ms").start();
    let mut client = gateway.dial().connect("alice", "phone");
    let mut record = [0; 5 + 0x4000];
    record[..5].copy_from_slice(&[23, 3, 3, 0x40, 0]);
    let mut bytes = record.chunks(1);
    wait::until("the connection to be closed", || {
        let byte = bytes.next().expect("it is closed before all is said");
        let written = client.stream().tcp().write_all(byte);
        let limited = "trunkline_limited_total{limit=\"message_time\"}";
        (written.is_err() || gateway.metric(limited) == 1.0).then_some(())
    });
    assert!(matches!(client.end(), End::Close(1008, _)));
}

/// A client that does not read holds no more memory with TLS than without.
#[test]
fn a_client_that_never_reads() {
    let authority = Authority::new();
    let gateway = setup(&authority)
        .flag("write-timeout", "500ms")
        .flag("outbox-bytes", "64KiB")
        .start();
    let _stuck = gateway.dial().shard(0).connect("bob", "phone");
    let mut alice = gateway.dial().shard(1).connect("alice", "phone");
    let padding = "x".repeat(60_000);
    let closed = "trunkline_closes_total{code=\"3008\"}";
    wait::until("the connection to be closed", || {
        alice.send("bob", &padding);
        (gateway.metric(closed) == 1.0).then_some(())
    });
    assert!(gateway.metric("trunkline_gaps_total") == 1.0);
    alice.ping();
}
