//! All connections of a shard share a limit of memory: pushes are dropped first, then the
//! connections
//! that hold most are closed.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http;
use trunkline_tests::neighbours::Neighbours;
use trunkline_tests::wait;

/// The bytes of a message. Some hundreds of messages fill the sockets of both ends
/// (net.ipv4.tcp_rmem and tcp_wmem, 6 and 4 MiB).
const BYTES: usize = 60_000;

const MOST: f64 = (4 << 20) as f64;

fn limited(gateway: &Gateway, limit: &str) -> f64 {
    gateway.metric(&format!("trunkline_limited_total{{limit=\"{limit}\"}}"))
}

fn held(gateway: &Gateway) -> f64 {
    gateway.metric("trunkline_held_bytes")
}

/// Each slow reader may have 1 MiB waiting, and all together 2 MiB. Beyond that they get a gap, and
/// no connection is closed. Each of them gets messages of its own.
#[test]
fn pushes_to_slow_readers() {
    const STUCK: usize = 10;
    let gateway = Setup::default().flag("shard-buffer-bytes", "4MiB").start();
    let mut neighbours = Neighbours::of(&gateway, "together");
    let mut stuck: Vec<_> = (0..STUCK)
        .map(|i| gateway.dial().shard(0).connect(&format!("bob{i}"), "stuck"))
        .collect();
    let mut quick = gateway.dial().shard(0).connect("bob0", "quick");
    let mut alice = gateway.dial().shard(1).connect("alice", "phone");
    let text = "x".repeat(BYTES);
    let mut seq = 0;
    wait::until("a gap for each of them", || {
        let at = seq % STUCK;
        alice.send(&format!("bob{at}"), &text);
        if at == 0 {
            assert_eq!(quick.push_of("message")["seq"], seq / STUCK + 1);
        }
        seq += 1;
        // The gateway holds at most half of the limit, and the push with which it went beyond.
        let held = held(&gateway);
        assert!(held <= MOST / 2.0 + 2.0 * BYTES as f64, "{held}");
        (gateway.metric("trunkline_gaps_total") == STUCK as f64).then_some(())
    });
    // A push for one that has its gap already counts too.
    let dropped = limited(&gateway, "shard_pushes");
    assert!(
        dropped >= STUCK as f64 && dropped < 2.0 * STUCK as f64,
        "{dropped}"
    );
    assert_eq!(limited(&gateway, "shard_buffers"), 0.0);
    quick.ping();
    assert_eq!(quick.waiting(), Vec::<Value>::new());
    neighbours.chat();
    let mut first = stuck.remove(0);
    while !first.push()["gap"].is_object() {}
    first.ping();
    drop(stuck);
    wait::until("nothing to be held", || {
        (held(&gateway) == 0.0).then_some(())
    });
}

/// A message for many is in memory once: ten slow readers with 1 MiB each take little more than one.
#[test]
fn a_message_to_many_slow_readers_counts_once() {
    const STUCK: usize = 10;
    let gateway = Setup::default().flag("shard-buffer-bytes", "4MiB").start();
    let stuck: Vec<_> = (0..STUCK)
        .map(|i| gateway.dial().shard(0).connect("bob", &format!("d{i}")))
        .collect();
    let mut alice = gateway.dial().shard(1).connect("alice", "phone");
    let text = "x".repeat(BYTES);
    let mut most = 0.0_f64;
    wait::until("a gap for each of them", || {
        alice.send("bob", &text);
        most = most.max(held(&gateway));
        (gateway.metric("trunkline_gaps_total") == STUCK as f64).then_some(())
    });
    // Each had as much waiting as one may have, not less because of the others.
    assert_eq!(limited(&gateway, "shard_pushes"), 0.0);
    assert!(most > 1_000_000.0 && most < 2_000_000.0, "{most}");
    drop(stuck);
    wait::until("nothing to be held", || {
        (held(&gateway) == 0.0).then_some(())
    });
}

/// Replies are not dropped: connections that ask for much and do not read are closed.
#[test]
fn replies_to_those_who_do_not_read() {
    const CLIENTS: usize = 32;
    /// More than the kernel has room for.
    const PAGES: usize = 60;
    let gateway = Setup::default()
        .flag("shards", 1)
        .flag("shard-buffer-bytes", "4MiB")
        .flag("max-pages", PAGES)
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let text = "x".repeat(BYTES);
    let own = json!({"conversation": "u:alice:alice"});
    // A page of it has a quarter of a megabyte: each client gets one, though memory is scarce.
    alice.send_all("alice", std::iter::repeat_n(text, 20));
    let stuck: Vec<_> = (0..CLIENTS)
        .map(|i| gateway.dial().connect("alice", &format!("d{i}")))
        .map(|mut client| {
            for _ in 0..PAGES {
                client.post("history", &own);
            }
            client
        })
        .collect();
    wait::until("some of them to be dropped", || {
        (limited(&gateway, "shard_buffers") > 0.0).then_some(())
    });
    wait::until("what is left to fit", || {
        (held(&gateway) <= MOST).then_some(())
    });
    // Both counters are read at different times, and more clients may be closed meanwhile.
    wait::until("both counters to agree", || {
        let slow = gateway.metric("trunkline_closes_total{code=\"3008\"}");
        (slow == limited(&gateway, "shard_buffers")).then_some(())
    });
    assert!(alice.done("history", &own)["messages"].is_array());
    drop(stuck);
    wait::until("nothing to be held", || {
        (held(&gateway) == 0.0).then_some(())
    });
}

/// Unfinished messages are not dropped: connections that hold most of them are closed.
#[test]
fn unfinished_messages() {
    const CLIENTS: usize = 8;
    let gateway = Setup::default()
        .flag("shards", 1)
        .flag("shard-buffer-bytes", "4MiB")
        .start();
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|i| gateway.dial().connect(&format!("user{i}"), "phone"))
        .collect();
    let mut head = vec![b' '; 900 << 10];
    head[0] = b'{';
    for client in &mut clients {
        client.write(&unfinished(&head));
    }
    wait::until("some to be closed", || {
        (limited(&gateway, "shard_buffers") > 0.0).then_some(())
    });
    wait::until("what is left to fit", || {
        (held(&gateway) <= MOST).then_some(())
    });
    let mut closed = 0;
    for client in &mut clients {
        // The rest of a command.
        client.write(&masked(0x80, br#""id":1001,"ping":{}}"#));
        if client.replies().contains_key(&1_001) {
            continue;
        }
        assert_eq!(client.push_of("disconnect")["code"], 3_013);
        closed += 1;
    }
    assert!((1..CLIENTS).contains(&closed), "{closed}");
    assert_eq!(limited(&gateway, "shard_buffers"), closed as f64);
}

/// What the gateway counts is what it has in memory, and it gives that back.
#[test]
fn counted_bytes_are_resident_and_come_back() {
    const CLIENTS: usize = 60;
    let gateway = Setup::default().flag("shards", 1).start();
    let resident = || gateway.metric("process_resident_memory_bytes");
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|i| gateway.dial().connect(&format!("user{i}"), "phone"))
        .collect();
    let before = resident();
    let mut head = vec![b' '; 900 << 10];
    head[0] = b'{';
    for client in &mut clients {
        client.write(&unfinished(&head));
    }
    let all = (CLIENTS * head.len()) as f64;
    // The room of a message is counted before its bytes have arrived.
    wait::until("all of it to arrive", || {
        (held(&gateway) >= all && resident() - before > 0.75 * held(&gateway)).then_some(())
    });
    let (held, grown) = (held(&gateway), resident() - before);
    assert!(grown < 1.25 * held, "{grown} of {held}");
    drop(clients);
    wait::until("the memory to come back", || {
        (resident() < 1.2 * before).then_some(())
    });
}

/// Returns the first fragment of a text message.
fn unfinished(payload: &[u8]) -> Vec<u8> {
    masked(0x01, payload)
}

/// Returns a frame whose first byte is given, masked with zero, so that it reads as it is.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0xff);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Unfinished upgrades are not dropped: connections that hold most of them are closed.
#[test]
fn unfinished_requests() {
    const CLIENTS: usize = 12;
    let gateway = Setup::default()
        .flag("shards", 1)
        .flag("message-bytes", "64KiB")
        .flag("outbox-bytes", "64KiB")
        .flag("header-bytes", "64KiB")
        .flag("shard-buffer-bytes", "256KiB")
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let head = [
        b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
        &[b'x'; 40 << 10][..],
    ]
    .concat();
    let mut requests: Vec<_> = (0..CLIENTS)
        .map(|_| TcpStream::connect(gateway.ws()).expect("the gateway listens"))
        .collect();
    for request in &mut requests {
        request.write_all(&head).expect("the gateway reads");
    }
    wait::until("some to be turned away", || {
        (limited(&gateway, "shard_buffers") > 0.0).then_some(())
    });
    wait::until("what is left to fit", || {
        (held(&gateway) <= f64::from(256 << 10)).then_some(())
    });
    alice.ping();
    let mut away = 0;
    for request in requests {
        match http::exchange_on(request, b"\r\n\r\n").status {
            503 => away += 1,
            status => assert_eq!(status, 426, "no upgrade, but read to its end"),
        }
    }
    assert!((1..CLIENTS).contains(&away), "{away}");
    assert_eq!(limited(&gateway, "shard_buffers"), away as f64);
}
