//! How many may connect, and how many at a time: who is in stays in.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

use serde_json::json;
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::End;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http::{exchange, exchange_on};
use trunkline_tests::neighbours::Neighbours;
use trunkline_tests::wait;

const REQUEST: &[u8] = b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n";

fn limited(gateway: &Gateway, limit: &str) -> f64 {
    gateway.metric(&format!("trunkline_limited_total{{limit=\"{limit}\"}}"))
}

/// A connection from one of the loopback addresses.
fn connect_from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    let source = SocketAddrV4::new(Ipv4Addr::from(source), 0);
    bind(&socket, &source).expect("127/8 is this machine");
    connect(&socket, &to).expect("the gateway listens");
    socket.into()
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
    // Not an upgrade, and let in far enough to be told so.
    let elsewhere = connect_from([127, 0, 0, 2], gateway.ws());
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
