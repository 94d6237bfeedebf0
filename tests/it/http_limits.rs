//! Limits of the client API, and hostile HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use trunkline_tests::api::{Api, problem};
use trunkline_tests::back_end::{BackEnd, Says};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http;
use trunkline_tests::wait::{LIMIT, SetAtTheEnd, until};

#[test]
fn rates_count_requests_and_sessions_together() {
    let gateway = Setup::default()
        .http()
        .flag("user-rate-messages", 2)
        .flag("rate-burst", "1s")
        .start();
    let alice = Api::of(&gateway).user("alice");
    let mut socket = gateway.dial().connect("alice", "phone");
    let body = json!({"user": "bob", "text": "x"});
    let refusal = until("a refusal", || {
        socket.ask("send", &body);
        let answer = alice.ask("POST", "/api/v1/send", Some(&body.to_string()));
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(problem(&refusal), (429, 111));
    let head = refusal.head.to_ascii_lowercase();
    assert!(head.contains("retry-after: 1"), "{head}");
    let body = trunkline_tests::api::json(&refusal);
    assert_eq!(body["limit"], "user_rate_messages");
    assert!(body["retry_ms"].is_u64());
}

#[test]
fn the_work_for_requests_costs_their_user() {
    let gateway = Setup::default()
        .http()
        .flag("user-cost", "1ms")
        .flag("cost-burst", "1s")
        .start();
    // Budgets bind while somebody else is served who spends little.
    let mut honest = gateway.dial().connect("honest", "phone");
    let alice = Api::of(&gateway).user("alice");
    let refusal = until("a refusal", || {
        honest.ping();
        let answer = alice.ask("POST", "/api/v1/conversations", None);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(problem(&refusal), (429, 111));
    let body = trunkline_tests::api::json(&refusal);
    assert_eq!(body["limit"], "user_cost");
    honest.send("bob", "still served");
}

#[test]
fn a_user_has_some_requests_at_a_time() {
    let gateway = Setup::default()
        .http()
        .flag("http-requests-per-user", 2)
        .start();
    let bob = Api::of(&gateway).user("bob");
    let wait = "/api/v1/rtm.receive?wait=60s";
    let _first = bob.begin("GET", wait);
    let second = bob.begin("GET", wait);
    until("two to wait", || {
        (gateway.metric("trunkline_http_waiting") == 2.0).then_some(())
    });
    let answer = bob.ask("GET", wait, None);
    assert_eq!(problem(&answer), (429, 111));
    Api::of(&gateway).user("alice").get("rtm.receive");
    drop(second);
    until("room for another", || {
        let answer = bob.ask("GET", "/api/v1/rtm.receive", None);
        (answer.status == 200).then_some(())
    });
}

#[test]
fn bodies_of_all_requests_have_a_limit() {
    let gateway = Setup::default()
        .http()
        .flag("http-body-bytes", "1MiB")
        .start();
    let alice = Api::of(&gateway).user("alice");
    let large = 1_000_000;
    let mut held = TcpStream::connect(gateway.http()).expect("the port is open");
    let head = format!(
        "POST /api/v1/send HTTP/1.1\r\nHost: {}\r\nX-Trunkline-User: bob\r\nContent-Length: {large}\r\n\r\n",
        gateway.http()
    );
    held.write_all(head.as_bytes()).expect("it reads");
    held.write_all(&vec![b' '; large - 1]).expect("it reads");
    let body = " ".repeat(60_000) + "{}";
    until("the body to be read", || {
        (gateway.metric("trunkline_http_body_bytes") == 999_999.0).then_some(())
    });
    let refusal = alice.ask("POST", "/api/v1/conversations", Some(&body));
    assert_eq!(problem(&refusal), (503, 115));
    drop(held);
    until("room", || {
        let answer = alice.ask("POST", "/api/v1/conversations", Some(&body));
        (answer.status == 200).then_some(())
    });
}

#[test]
fn slow_and_idle_connections_go() {
    let gateway = Setup::default()
        .http()
        .flag("http-timeout", "300ms")
        .flag("http-connections", 2)
        .start();
    let api = Api::of(&gateway).user("bob");
    let mut slow = TcpStream::connect(gateway.http()).expect("the port is open");
    slow.write_all(b"POST /api/v1/send HTTP/1.1\r\nHost: x")
        .expect("it reads");
    slow.set_read_timeout(Some(LIMIT)).expect("not zero");
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).expect("it ends");
    assert!(rest.is_empty());
    let late = "trunkline_http_refused_total{reason=\"time\"}";
    assert_eq!(gateway.metric(late), 1.0);
    // A request that waits is not slow, and not dropped for others.
    let mut waits = api.begin("GET", "/api/v1/rtm.receive?wait=2s");
    until("it to wait", || {
        (gateway.metric("trunkline_http_waiting") == 1.0).then_some(())
    });
    let _idle: Vec<_> = (0..3)
        .map(|_| TcpStream::connect(gateway.http()).expect("the port is open"))
        .collect();
    assert_eq!(waits.answer()["messages"], json!([]));
    let crowded = "trunkline_http_refused_total{reason=\"connections\"}";
    assert!(gateway.metric(crowded) >= 1.0);
}

/// A request that waits for a back end is older than all that come meanwhile, and is not the one to go.
#[test]
fn a_request_that_is_being_answered_makes_room_for_no_silent_one() {
    const PLACES: usize = 4;
    let is_asked = Arc::new(AtomicBool::new(false));
    let may_answer = Arc::new(AtomicBool::new(false));
    let (asked, answers) = (Arc::clone(&is_asked), Arc::clone(&may_answer));
    let back = BackEnd::start(move |_| {
        asked.store(true, Ordering::SeqCst);
        until("leave to answer", || {
            answers.load(Ordering::SeqCst).then_some(())
        });
        Says::Json(json!({}))
    });
    let _ends = SetAtTheEnd(&may_answer);
    let gateway = back
        .asked_by(Setup::default().http(), &["send"])
        .flag("http-connections", PLACES)
        .flag("callbacks-timeout", "10s")
        .start();
    let body = json!({"user": "bob", "text": "x"}).to_string();
    let head = |length: usize| {
        format!(
            "POST /api/v1/send HTTP/1.1\r\nHost: {}\r\nX-Trunkline-User: alice\r\nContent-Length: {length}\r\n\r\n",
            gateway.http()
        )
    };
    let say = |words: &str| {
        let mut stream = TcpStream::connect(gateway.http()).expect("the port is open");
        stream.write_all(words.as_bytes()).expect("it reads");
        stream.set_read_timeout(Some(LIMIT)).expect("not zero");
        stream
    };
    let mut waits = say(&(head(body.len()) + &body));
    until("the back end to be asked", || {
        is_asked.load(Ordering::SeqCst).then_some(())
    });
    let half = head(body.len());
    // Silent ones, and some whose body does not come: more than there is room for.
    let mut others: Vec<_> = (0..3 * PLACES)
        .map(|number| say(if number % 2 == 0 { "" } else { &half }))
        .collect();
    let mut rest = Vec::new();
    others[0].read_to_end(&mut rest).expect("it is closed");
    others[1].read_to_end(&mut rest).expect("it is closed");
    may_answer.store(true, Ordering::SeqCst);
    let mut answer = [0; 12];
    waits.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn connections_of_an_address_count_with_those_of_the_shards() {
    let gateway = Setup::default()
        .http()
        .flag("connections-per-address", 2)
        .start();
    let _client = gateway.dial().connect("alice", "phone");
    let mut first = Api::of(&gateway)
        .user("bob")
        .begin("GET", "/api/v1/rtm.receive?wait=1s");
    let answer = Api::of(&gateway)
        .user("bob")
        .ask("GET", "/openapi.json", None);
    assert_eq!(answer.status, 429);
    assert_eq!(first.answer()["messages"], json!([]));
}

#[test]
fn hostile_requests_are_refused_and_smuggle_nothing() {
    let gateway = Setup::default().http().start();
    let address = gateway.http();
    let send = |text: &str| {
        let text = text.replace("HOST", &address.to_string());
        http::exchange(address, text.as_bytes())
    };
    let long = format!(
        "GET /openapi.json HTTP/1.1\r\nHost: HOST\r\nX: {}\r\n\r\n",
        "x".repeat(9_000)
    );
    let many = format!(
        "GET /openapi.json HTTP/1.1\r\nHost: HOST\r\n{}\r\n",
        "X: y\r\n".repeat(100)
    );
    for (text, expected) in [
        (&*long, 431),
        (&*many, 431),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : HOST\r\n\r\n", 400),
        (
            "POST /api/v1/send HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            400,
        ),
        (
            "POST /api/v1/send HTTP/1.1\r\nHost: HOST\r\nContent-Length: x\r\n\r\n",
            400,
        ),
        (
            "POST /api/v1/send HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: gzip\r\n\r\n",
            400,
        ),
    ] {
        assert_eq!(send(text).status, expected, "{text}");
    }
    // Two lengths: the second is believed or nothing is, and no second request appears.
    let both = "POST /api/v1/conversations HTTP/1.1\r\nHost: HOST\r\nX-Trunkline-User: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n";
    let answer = send(both);
    let cost = gateway.metric("trunkline_cost_seconds_total{work=\"http\"}");
    assert!(cost > 0.0, "the work of requests is counted");
    let requests = gateway.metric("trunkline_http_requests_total{route=\"command\"}");
    assert!(requests <= 1.0, "{answer:?}");
    // Pipelined requests are answered in order.
    let two = "GET /openapi.json HTTP/1.1\r\nHost: HOST\r\n\r\nGET /none HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n";
    let answer = send(two);
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("HTTP/1.1 404"), "{}", answer.body);
    // The gateway still serves.
    Api::of(&gateway)
        .user("alice")
        .post("conversations", &json!({}));
}

/// Sends bytes on a new connection, more once a request waits, and returns everything that comes until
/// the gateway ends the connection.
fn said_in_two(gateway: &Gateway, first: &str, then: &str) -> String {
    let mut stream = TcpStream::connect(gateway.http()).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("not zero");
    stream.write_all(first.as_bytes()).expect("it is taken");
    until("a request that waits", || {
        (gateway.metric("trunkline_http_waiting") == 1.0).then_some(())
    });
    stream.write_all(then.as_bytes()).expect("it is taken");
    let mut said = Vec::new();
    // An end with unread bytes is a reset.
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

/// What comes as the body of a request that waits is not the next request.
#[test]
fn the_body_of_a_waiting_request_is_no_request() {
    let gateway = Setup::default().http().start();
    let smuggled = "GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let bodies = [
        (
            format!("Content-Length: {}", smuggled.len()),
            smuggled.to_owned(),
        ),
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("0\r\n\r\n{smuggled}"),
        ),
    ];
    for (header, body) in bodies {
        let head = format!(
            "GET /api/v1/rtm.receive?sourceID=alice&lastPos=0&targetID=bob&wait=1s HTTP/1.1\r\n\
             Host: 127.0.0.1\r\n{header}\r\n\r\n"
        );
        let said = said_in_two(&gateway, &head, &body);
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{header}: {said}");
        assert!(said.contains("\"messages\":[]"), "{header}: {said}");
        assert!(!said.contains("openapi"), "{header}: {said}");
    }
}

/// An answer to HEAD has no body, so these requests do not wait.
#[test]
fn head_never_waits() {
    let gateway = Setup::default().http().start();
    for path in [
        "/api/v1/rtm.receive?sourceID=alice&lastPos=0&targetID=bob&wait=20s",
        "/api/v1/events?sourceID=alice",
    ] {
        let request = format!(
            "HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n\
             GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        );
        let mut stream = TcpStream::connect(gateway.http()).expect("a connection");
        stream.set_read_timeout(Some(LIMIT)).expect("not zero");
        stream.write_all(request.as_bytes()).expect("it is taken");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("an end");
        let (head, rest) = said.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {said}");
        assert!(rest.starts_with("HTTP/1.1 404 "), "{path}: {said}");
    }
}

/// Requests whose head does not end hold what has come of it, and little more.
#[test]
fn half_requests_take_little_memory_and_the_next_ones_use_it_again() {
    const COUNT: usize = 1_000;
    /// The head that may come, the buffer that it is read into, and the connection.
    const EACH: f64 = 32.0 * 1024.0;
    let gateway = Setup::default()
        .http()
        .flag("http-connections", COUNT)
        .start();
    let resident = || gateway.metric("process_resident_memory_bytes");
    let half = format!(
        "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nX-Half: {}",
        "x".repeat(7_000)
    );
    // Each time twice as many as there may be.
    let storm = |number: usize| {
        let streams: Vec<_> = (0..2 * COUNT)
            .map(|_| {
                let mut stream = TcpStream::connect(gateway.http()).expect("the port is open");
                // It may be closed again.
                let _ = stream.write_all(half.as_bytes());
                stream
            })
            .collect();
        let crowded = "trunkline_http_refused_total{reason=\"connections\"}";
        until("half of them to be closed", || {
            (gateway.metric(crowded) >= (number * COUNT) as f64).then_some(())
        });
        let held = resident();
        drop(streams);
        until("all of them to be closed", || {
            (gateway.metric("trunkline_http_connections") == 0.0).then_some(())
        });
        held
    };
    let before = resident();
    let first = storm(1);
    assert!(first - before < COUNT as f64 * EACH, "{before} {first}");
    let second = storm(2);
    assert!(
        second - first < COUNT as f64 * EACH / 4.0,
        "{first} {second}"
    );
}
