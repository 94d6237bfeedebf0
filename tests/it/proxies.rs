//! Trusted proxies: whose word about a client counts, in headers and in the PROXY protocol.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;
use trunkline_tests::api::{Api, problem};
use trunkline_tests::back_end::{BackEnd, Says};
use trunkline_tests::client::Client;
use trunkline_tests::dial::{Dial, connect_from};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http::{exchange, exchange_on};
use trunkline_tests::tls::Authority;
use trunkline_tests::wait::{self, LIMIT};

/// An address of this machine that is no trusted proxy.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn setup() -> Setup {
    let setup = Setup::default().http().flag("shards", 1);
    setup.flag("trusted-proxies", "127.0.0.1, 10.0.0.0/8")
}

fn request(lines: &str) -> String {
    format!(
        "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\n{lines}Upgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

fn limited(gateway: &Gateway, limit: &str) -> f64 {
    gateway.metric(&format!("trunkline_limited_total{{limit=\"{limit}\"}}"))
}

fn connections(gateway: &Gateway, expected: f64) {
    wait::until("connections", || {
        (gateway.metric("trunkline_connections") == expected).then_some(())
    });
}

/// Opens sessions until the limit of the address is reached. Returns them.
fn fill(dial: &Dial, user: &str, most: usize) -> Vec<Client> {
    let one = |i| dial.connect(&format!("{user}{i}"), "d");
    (0..most).map(one).collect()
}

#[test]
fn clients_behind_a_proxy_count_by_their_own_addresses() {
    let gateway = setup().flag("connections-per-address", 2).start();
    let behind = |list: &str| gateway.dial().header("X-Forwarded-For", list);
    let refused = |lines: &str| {
        let before = limited(&gateway, "address_connections");
        let answer = exchange(gateway.ws(), request(lines).as_bytes());
        assert_eq!(answer.status, 429, "{answer:?}");
        assert_eq!(limited(&gateway, "address_connections"), before + 1.0);
    };
    let mut here = fill(&behind("198.51.100.1, 192.0.2.7, 10.0.0.3"), "here", 2);
    let mut there = fill(&behind("192.0.2.7, 198.51.100.1"), "there", 2);
    refused("X-Forwarded-For: 192.0.2.7\r\n");
    refused("X-Forwarded-For: 198.51.100.1\r\n");
    // Another network of a client's, and one of the same.
    let mut six = fill(
        &gateway.dial().header("Forwarded", "for=\"[2001:db8::1]\""),
        "six",
        2,
    );
    refused("Forwarded: for=\"[2001:db8::2]:80\"\r\n");
    // The proxy itself asks. Its clients do not count for it.
    let own = fill(&gateway.dial(), "own", 2);
    refused("");
    here[0].send("there1", "hello");
    assert_eq!(there[1].push_of("message")["text"], "hello");
    six[0].ping();
    // A place that is given up is free.
    there.remove(0).close();
    connections(&gateway, 7.0);
    behind("198.51.100.1").connect("there2", "d").ping();
    drop((here, own));
}

#[test]
fn what_others_say_about_their_address_is_ignored() {
    let gateway = setup().flag("connections-per-address", 2).start();
    let stranger = gateway.dial().from(STRANGER);
    let forged = |i: u32| {
        stranger
            .clone()
            .header("X-Forwarded-For", &format!("192.0.2.{i}"))
    };
    let _two = [forged(1), forged(2)].map(|dial| dial.connect("mallory", "d"));
    let stream = connect_from(STRANGER, gateway.ws()).expect("the gateway listens");
    let third = exchange_on(stream, request("X-Forwarded-For: 192.0.2.3\r\n").as_bytes());
    assert_eq!(third.status, 429);
    // The addresses that were claimed are free.
    let behind = gateway.dial().header("X-Forwarded-For", "192.0.2.1");
    fill(&behind, "honest", 2)[0].ping();
    // Without the setting nobody is believed.
    let plain = Setup::default().flag("connections-per-address", 2).start();
    let _two = fill(
        &plain.dial().header("X-Forwarded-For", "192.0.2.1"),
        "user",
        2,
    );
    let third = exchange(
        plain.ws(),
        request("X-Forwarded-For: 192.0.2.3\r\n").as_bytes(),
    );
    assert_eq!(third.status, 429);
}

#[test]
fn headers_that_name_no_single_client_are_refused() {
    let gateway = setup().start();
    for lines in [
        "X-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.8\r\n",
        "Forwarded: for=\"x, for=192.0.2.7\r\n",
    ] {
        let answer = exchange(gateway.ws(), request(lines).as_bytes());
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains("--proxy-header"), "{answer:?}");
    }
    assert_eq!(limited(&gateway, "proxies"), 2.0);
    let alice = Api::of(&gateway)
        .user("alice")
        .header("X-Forwarded-For", "192.0.2.7");
    let answer = alice.clone().header("Forwarded", "for=a");
    let answer = answer.ask("POST", "/api/v1/conversations", None);
    assert_eq!(problem(&answer), (400, 107));
    let counted = gateway.metric("trunkline_http_refused_total{reason=\"proxy\"}");
    assert_eq!(counted, 1.0);
    // One header is chosen.
    let gateway = setup().flag("proxy-header", "x-forwarded-for").start();
    let dial = gateway.dial().header("X-Forwarded-For", "192.0.2.7");
    dial.header("Forwarded", "for=\"x")
        .connect("alice", "d")
        .ping();
    let alice = Api::of(&gateway)
        .user("alice")
        .header("X-Forwarded-For", "192.0.2.7");
    alice
        .header("Forwarded", "for=a")
        .post("conversations", &json!({}));
}

/// Each request that has no answer yet counts for the client whom the proxy names.
#[test]
fn requests_through_a_proxy_count_by_their_clients() {
    let gateway = setup().flag("connections-per-address", 2).start();
    let behind =
        |user: &str, list: &str| Api::of(&gateway).user(user).header("X-Forwarded-For", list);
    let poll = "/api/v1/rtm.receive?wait=60s";
    let (here, there) = (behind("alice", "192.0.2.7"), behind("bob", "192.0.2.8"));
    let mut stream = here.begin("GET", "/api/v1/events");
    stream.head();
    let mut waiting = here.begin("GET", poll);
    wait::until("a request to wait", || {
        (gateway.metric("trunkline_http_waiting") == 1.0).then_some(())
    });
    let answer = here.ask("GET", poll, None);
    assert_eq!(problem(&answer), (429, 111));
    // Other clients of the proxy, and its own requests, have room.
    there.post("send", &json!({"user": "alice", "text": "hello"}));
    assert_eq!(waiting.answer()["messages"][0]["message"]["text"], "hello");
    assert_eq!(stream.event().1["message"]["text"], "hello");
    // The answered request does not count any more. The same connection serves another client.
    let from_now = "/api/v1/rtm.receive?targetID=carol&lastPos=0&wait=60s";
    waiting.send(&there, "GET", from_now);
    wait::until("a request to wait", || {
        (gateway.metric("trunkline_http_waiting") == 1.0).then_some(())
    });
    here.post("conversations", &json!({}));
    // Sessions on sockets and requests count together.
    let dial = gateway.dial().header("X-Forwarded-For", "192.0.2.7");
    let _session = dial.connect("alice", "d");
    let answer = here.ask("GET", poll, None);
    assert_eq!(problem(&answer), (429, 111));
}

/// The preamble of a client, in the first version.
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n";

/// Returns the same of another client in the second version, with a further value.
fn binary() -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10".to_vec();
    bytes.extend([192, 0, 2, 8, 10, 0, 0, 1, 0x12, 0x67, 1, 0xbb, 4, 0, 1, 9]);
    bytes
}

#[test]
fn the_proxy_protocol_in_both_versions() {
    let gateway = setup()
        .flag("proxy-header", "proxy-protocol")
        .flag("connections-per-address", 2)
        .start();
    let dial = |preamble: &[u8]| gateway.dial().preamble(preamble);
    let mut here = fill(&dial(LINE), "here", 2);
    let mut there = fill(&dial(&binary()), "there", 2);
    here[0].send("there0", "hello");
    assert_eq!(there[0].push_of("message")["text"], "hello");
    for preamble in [LINE, &binary()] {
        let mut stream = TcpStream::connect(gateway.ws()).expect("the gateway listens");
        stream.write_all(preamble).expect("the gateway reads");
        // What the client itself says about its address does not count.
        let answer = exchange_on(stream, request("X-Forwarded-For: 192.0.2.9\r\n").as_bytes());
        assert_eq!(answer.status, 429, "{answer:?}");
    }
    assert_eq!(limited(&gateway, "address_connections"), 2.0);
    // The proxy looks whether the gateway is alive, and does not know a client.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
    dial(local).connect("own0", "d").ping();
    dial(b"PROXY UNKNOWN\r\n").connect("own1", "d").ping();
    // Connections that come directly have no preamble.
    gateway.dial().from(STRANGER).connect("direct", "d").ping();
    let mut stream = connect_from(STRANGER, gateway.ws()).expect("the gateway listens");
    stream.write_all(LINE).expect("the gateway reads");
    assert_eq!(exchange_on(stream, request("").as_bytes()).status, 400);
    // The client API.
    let api = |preamble: &[u8]| Api::of(&gateway).preamble(preamble).user("there0");
    let answer = api(LINE).ask("GET", "/api/v1/rtm.receive", None);
    assert_eq!(answer.status, 429, "{answer:?}");
    drop(here);
    connections(&gateway, 2.0);
    let received = api(LINE).get("rtm.receive");
    assert_eq!(received["messages"][0]["message"]["text"], "hello");
    Api::of(&gateway)
        .from(STRANGER)
        .user("alice")
        .get("rtm.receive");
}

#[test]
fn a_preamble_in_pieces_and_preambles_that_are_none() {
    let gateway = setup().flag("proxy-header", "proxy-protocol").start();
    for address in [gateway.ws(), gateway.http()] {
        let before = limited(&gateway, "proxies")
            + gateway.metric("trunkline_http_refused_total{reason=\"proxy\"}");
        let wrong = [
            b"GET /v1/ws HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7\r\n".to_vec(),
            b"PROXY TCP4 ".repeat(20),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x12\x00\x0c".to_vec(),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
            vec![22, 3, 1, 0, 5],
        ];
        for bytes in &wrong {
            let mut stream = TcpStream::connect(address).expect("the gateway listens");
            stream.set_read_timeout(Some(LIMIT)).expect("not zero");
            stream.write_all(bytes).expect("the gateway reads");
            let mut answer = Vec::new();
            // Dropped, without an answer: nobody knows whom it would reach.
            let _ = stream.read_to_end(&mut answer);
            assert_eq!(answer, b"", "{bytes:?}");
        }
        let after = limited(&gateway, "proxies")
            + gateway.metric("trunkline_http_refused_total{reason=\"proxy\"}");
        assert_eq!(after - before, wrong.len() as f64);
        // A proxy that goes in the middle.
        let mut stream = TcpStream::connect(address).expect("the gateway listens");
        stream.write_all(&LINE[..20]).expect("the gateway reads");
        drop(stream);
    }
    connections(&gateway, 0.0);
    // Byte by byte, each in a packet of its own, and read before the next.
    let mut stream = TcpStream::connect(gateway.ws()).expect("the gateway listens");
    stream.set_nodelay(true).expect("a TCP option");
    let reads = || gateway.metric("trunkline_reads_total");
    for byte in binary() {
        let before = reads();
        stream.write_all(&[byte]).expect("the gateway reads");
        wait::until("the byte to be seen", || (reads() > before).then_some(()));
    }
    let answer = exchange_on(stream, b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(answer.status, 426);
}

#[test]
fn a_preamble_without_end_ends_with_the_hand_shakes_time() {
    let gateway = setup()
        .flag("proxy-header", "proxy-protocol")
        .flag("handshake-timeout", "300ms")
        .flag("http-timeout", "300ms")
        .start();
    for address in [gateway.ws(), gateway.http()] {
        let mut stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_read_timeout(Some(LIMIT)).expect("not zero");
        stream.write_all(&LINE[..20]).expect("the gateway reads");
        let mut answer = Vec::new();
        // What was sent and not read makes the end a reset.
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }
    assert_eq!(limited(&gateway, "handshake_time"), 1.0);
    let late = gateway.metric("trunkline_http_refused_total{reason=\"time\"}");
    assert_eq!(late, 1.0);
}

/// The preamble comes before TLS, also in one packet with it.
#[test]
fn the_proxy_protocol_before_tls() {
    let authority = Authority::new();
    let gateway = setup()
        .flag("proxy-header", "proxy-protocol")
        .flag("connections-per-address", 2)
        .tls(&authority.issue("gateway"), &authority.trust())
        .start();
    let mut clients = fill(&gateway.dial().preamble(LINE), "here", 2);
    clients[0].send("here1", "hello");
    assert_eq!(clients[1].push_of("message")["text"], "hello");
    let mut stream = TcpStream::connect(gateway.ws()).expect("the gateway listens");
    stream.set_read_timeout(Some(LIMIT)).expect("not zero");
    stream.write_all(LINE).expect("the gateway reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an alert");
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 49], "access_denied");
    gateway
        .dial()
        .preamble(&binary())
        .connect("there", "d")
        .ping();
}

/// An address in debt makes its own clients wait, not the others behind the proxy.
#[test]
fn work_is_paid_by_the_address_behind_the_proxy() {
    let gateway = setup()
        .flag("address-cost", "1ms")
        .flag("cost-burst", "1s")
        .flag("log", "trunkline=trace,info")
        .start();
    let behind = |list: &str| gateway.dial().header("X-Forwarded-For", list);
    let mut honest = behind("192.0.2.8").connect("bob", "d");
    let mut dear = behind("192.0.2.7").connect("alice", "d");
    let throttled = || gateway.metric("trunkline_throttled_total{reason=\"address_cost\"}");
    wait::until("a debt", || {
        honest.ping();
        for _ in 0..50 {
            dear.post("history", &json!({"conversation": "u:alice:bob"}));
        }
        (throttled() > 0.0).then_some(())
    });
    honest.ping();
    // The log names the client, not the proxy.
    drop(honest);
    gateway.logged(r#"address="192.0.2.8" user="bob""#);
}

/// A back end learns the address of the client, on sockets, over HTTP, and behind the PROXY protocol.
#[test]
fn back_ends_are_told_the_address_behind_the_proxy() {
    for header in ["x-forwarded-for", "proxy-protocol"] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let back = BackEnd::start(move |asked| {
            let told = (asked.body["user"].clone(), asked.body["address"].clone());
            kept.lock().expect("nobody panicked").push(told);
            Says::Json(json!({}))
        });
        let gateway = back
            .asked_by(setup().flag("proxy-header", header), &["connect"])
            .start();
        let (named, first): (_, &[u8]) = match header {
            "proxy-protocol" => ("X-None", b"PROXY TCP4 192.0.2.7 192.0.2.1 5 6\r\n"),
            _ => ("X-Forwarded-For", b""),
        };
        let dial = gateway.dial().preamble(first).header(named, "192.0.2.7");
        dial.connect("alice", "d").ping();
        let api = Api::of(&gateway).preamble(first).user("bob");
        api.header(named, "192.0.2.7").get("rtm.receive");
        // Without a word of the proxy, it is the proxy's own.
        if first.is_empty() {
            gateway.dial().connect("carol", "d").ping();
        }
        let seen = seen.lock().expect("nobody panicked");
        for user in ["alice", "bob"] {
            let told = (json!(user), json!("192.0.2.7"));
            assert!(seen.contains(&told), "{header}: {seen:?}");
        }
        let own = (json!("carol"), json!("127.0.0.1"));
        assert_eq!(seen.contains(&own), first.is_empty(), "{seen:?}");
    }
}
