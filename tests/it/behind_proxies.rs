//! Behind a real nginx and a real HAProxy, with the configurations of docs/security.md: WebSockets,
//! streams and requests that wait.

use std::net::Ipv4Addr;

use serde_json::json;
use trunkline_tests::api::Api;
use trunkline_tests::dial::{Dial, connect_from};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http::upgrade_on;
use trunkline_tests::reverse_proxy::ReverseProxy;
use trunkline_tests::tls::Authority;
use trunkline_tests::wait;

use super::http_hostile::{HIDDEN, TWO_MEANINGS, others, said_by};

/// Two clients of the proxy.
const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A client that comes directly.
const DIRECT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);

fn setup() -> Setup {
    let setup = Setup::default().http().flag("connections-per-address", 3);
    setup.flag("trusted-proxies", "127.0.0.1")
}

/// Three connections of each client, one of each kind, and no fourth one.
fn three_each(gateway: &Gateway, proxy: &ReverseProxy) {
    let mut open = Vec::new();
    for (from, user) in [(HERE, "alice"), (THERE, "bob")] {
        let api = Api::at(proxy.http).from(from).user(user);
        let mut socket = Dial::new(proxy.ws).from(from).connect(user, "phone");
        let mut stream = api.begin("GET", "/api/v1/events");
        let head = stream.head();
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        let waiting = gateway.metric("trunkline_http_waiting");
        let poll = api.begin(
            "GET",
            "/api/v1/rtm.receive?lastPos=0&targetID=carol&wait=60s",
        );
        wait::until("a request to wait", || {
            (gateway.metric("trunkline_http_waiting") > waiting).then_some(())
        });
        socket.ping();
        open.push((socket, stream, poll));
    }
    let path = "/api/v1/rtm.receive?wait=60s";
    for (from, user) in [(HERE, "alice"), (THERE, "bob")] {
        let forged = Api::at(proxy.http).from(from).user(user);
        // A client cannot claim to come from elsewhere.
        let forged = forged
            .header("X-Forwarded-For", "192.0.2.7")
            .header("Forwarded", "for=192.0.2.7");
        assert_eq!(forged.ask("GET", path, None).status, 429);
        let stream = connect_from(from, proxy.ws).expect("the proxy listens");
        let request = b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nX-Forwarded-For: 192.0.2.7\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let head = upgrade_on(stream, request);
        assert!(head.starts_with("HTTP/1.1 429"), "{head} {}", proxy.said());
    }
    // What was said meanwhile arrives on all of them.
    let carol = Api::of(gateway).from(DIRECT).user("carol");
    for (user, (socket, stream, poll)) in ["alice", "bob"].into_iter().zip(&mut open) {
        carol.post("send", &json!({"user": user, "text": "hello"}));
        assert_eq!(
            socket.push_of("message")["text"],
            "hello",
            "{}",
            proxy.said()
        );
        assert_eq!(stream.event().1["message"]["text"], "hello");
        assert_eq!(poll.answer()["messages"][0]["message"]["text"], "hello");
    }
    // Only now: while one waits for room, nobody answers the pings to the sockets.
    let left: Vec<_> = { open.into_iter() }
        .map(|(socket, stream, _)| (socket, stream))
        .collect();
    for (from, user) in [(HERE, "alice"), (THERE, "bob")] {
        // An answered request makes room, or its connection if the proxy passes it on.
        let api = Api::at(proxy.http).from(from).user(user);
        wait::until("room for a request", || {
            let answer = api.ask("POST", "/api/v1/conversations", Some("{}"));
            (answer.status == 200).then_some(())
        });
    }
    drop(left);
}

#[test]
fn nginx() {
    let gateway = setup().start();
    match ReverseProxy::nginx(&gateway) {
        Some(proxy) => three_each(&gateway, &proxy),
        None => println!("skipped: no nginx (apt-get install nginx)"),
    }
}

/// nginx and the gateway agree where each request ends: the gateway sees no request that nginx did not, and no client
/// gets the answer of another one on the connections that nginx keeps.
#[test]
fn no_request_is_hidden_from_nginx() {
    let gateway = Setup::default()
        .http()
        .flag("trusted-proxies", "127.0.0.1")
        .flag("user-rate-commands", 0)
        .start();
    let Some(proxy) = ReverseProxy::nginx(&gateway) else {
        return println!("skipped: no nginx (apt-get install nginx)");
    };
    let head =
        "POST /api/v1/conversations HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Trunkline-User: mallory\r\n";
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let length = HIDDEN.len().to_string();
    let both = [
        (
            "a length and chunks",
            "HEADContent-Length: LENGTH\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunks and a length",
            "HEADTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\nLENGTH\r\n",
        ),
        (
            "two codings",
            "HEADTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunks twice",
            "HEADTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        ),
        (
            "a header of the hop",
            "HEADConnection: Content-Length\r\nContent-Length: LENGTH\r\n\r\n",
        ),
        (
            "an upgrade",
            "HEADConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "a body of GET",
            "GET /api/v1/rtm.receive?sourceID=mallory HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: LENGTH\r\n\r\n",
        ),
    ];
    let victim = Api::at(proxy.http).user("alice");
    victim.post("send", &json!({"user": "bob", "text": "mine"}));
    let mut answers = 0;
    for (what, text) in TWO_MEANINGS.into_iter().chain(both) {
        let text = text
            .replace("CHUNKED", &chunked)
            .replace("HEAD", head)
            .replace("LENGTH", &length);
        let all = said_by(proxy.http, format!("{text}{HIDDEN}").as_bytes());
        // What nginx takes for a request of its own gets an answer of its own.
        answers += all.matches("HTTP/1.1 404 ").count();
        assert_eq!(others(&gateway), answers as f64, "{what}: {all}");
        for _ in 0..2 {
            let page = victim.post("history", &json!({"conversation": "u:alice:bob"}));
            assert_eq!(page["messages"][0]["text"], "mine", "{what}");
        }
    }
    // The bytes do come through where they are a request.
    let plain = format!("{head}Content-Length: 0\r\n\r\n{HIDDEN}");
    let all = said_by(proxy.http, plain.as_bytes());
    assert_eq!(all.matches("HTTP/1.1 ").count(), 2, "{all}");
    assert_eq!(others(&gateway), answers as f64 + 1.0);
}

#[test]
fn haproxy() {
    let gateway = setup().flag("proxy-header", "proxy-protocol").start();
    match ReverseProxy::haproxy(&gateway) {
        Some(proxy) => three_each(&gateway, &proxy),
        None => println!("skipped: no haproxy (apt-get install haproxy)"),
    }
}

/// HAProxy passes TLS through, behind the PROXY protocol.
#[test]
fn haproxy_before_tls() {
    let authority = Authority::new();
    let gateway = setup()
        .flag("proxy-header", "proxy-protocol")
        .tls(&authority.issue("gateway"), &authority.trust())
        .start();
    let Some(proxy) = ReverseProxy::haproxy(&gateway) else {
        return println!("skipped: no haproxy (apt-get install haproxy)");
    };
    let dial = |from| Dial::new(proxy.ws).tls(&authority.trust()).from(from);
    let mut here = [1, 2, 3].map(|i| dial(HERE).connect(&format!("alice{i}"), "phone"));
    let mut there = dial(THERE).connect("bob", "phone");
    here[0].send("bob", "hello");
    assert_eq!(there.push_of("message")["text"], "hello");
    let refused = || gateway.metric("trunkline_limited_total{limit=\"address_connections\"}");
    assert_eq!(refused(), 0.0);
    drop(connect_from(HERE, proxy.ws).expect("the proxy listens"));
    wait::until("the fourth to be refused", || {
        (refused() == 1.0).then_some(())
    });
}
