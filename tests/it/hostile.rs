//! Hostile clients: a limit stops each of them, a metric counts it, and other users do not notice.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_proto::frame::{Opcode, write_frame};
use trunkline_tests::client::{End, error_code};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::neighbours::Neighbours;
use trunkline_tests::random::Random;
use trunkline_tests::wait;

fn limited(gateway: &Gateway, limit: &str) -> f64 {
    gateway.metric(&format!("trunkline_limited_total{{limit=\"{limit}\"}}"))
}

/// Writes frames as one piece.
fn frames(opcode: Opcode, payload: &[u8], count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..count {
        write_frame(&mut bytes, opcode, payload, Some([9, 8, 7, 6]));
    }
    bytes
}

#[test]
fn a_flood_of_pings() {
    let gateway = Gateway::start();
    let mut neighbours = Neighbours::of(&gateway, "pings");
    for (round, opcode) in [Opcode::Ping, Opcode::Pong].into_iter().enumerate() {
        for (i, encoding) in [Json, Proto].into_iter().enumerate() {
            let mut client = gateway.dial().encoding(encoding).connect("mallory", "pc");
            // As many as may be.
            client.write(&frames(opcode, b"x", 200));
            client.ping();
            client.write(&frames(opcode, b"x", 300));
            let End::Close(code, _) = client.end() else {
                panic!("dropped without a word");
            };
            assert_eq!(code, 1_008);
            let closed = (2 * round + i + 1) as f64;
            assert_eq!(limited(&gateway, "control_frames"), closed);
            assert_eq!(
                gateway.metric("trunkline_closes_total{code=\"1008\"}"),
                closed
            );
            neighbours.chat();
        }
    }
    // A million of them, whether anybody still listens or not.
    let mut client = gateway.dial().connect("mallory", "pc");
    client.write_until_refused(&frames(Opcode::Ping, b"", 10_000), 100);
    neighbours.chat();
}

#[test]
fn a_message_without_end() {
    let gateway = Setup::default().flag("message-timeout", "500ms").start();
    let mut neighbours = Neighbours::of(&gateway, "endless");
    let whole = frames(Opcode::Text, br#"{"id":1001,"ping":{}}"#, 1);
    let first = [&[0x01][..], &whole[1..]].concat();
    let empty = b"\x00\x80\x01\x02\x03\x04";
    // A fragment, half a frame, half a header; each alone, then with something behind it that
    // does not end it either.
    let beginnings: [&[u8]; 3] = [&first, &whole[..20], &whole[..1]];
    for (i, beginning) in beginnings.iter().enumerate() {
        let mut client = gateway.dial().connect("mallory", "pc");
        client.write(beginning);
        let reason = "a message was not complete in time";
        assert_eq!(client.end(), End::Close(1_008, reason.into()));
        assert_eq!(limited(&gateway, "message_time"), (i + 1) as f64);
        neighbours.chat();
    }
    // Fragments of nothing, for as long as it is listened to.
    let mut client = gateway.dial().connect("mallory", "pc");
    client.write(&first);
    assert!(client.write_until_refused(&empty.repeat(1_000), usize::MAX));
    wait::until("the end", || {
        (limited(&gateway, "message_time") == 4.0).then_some(())
    });
    neighbours.chat();
    // Always half a message on the way, and never the same: no reason to be closed.
    let mut client = gateway.dial().connect("carol", "pc");
    let began = std::time::Instant::now();
    client.write(&whole[..9]);
    while began.elapsed().as_millis() < 1_500 {
        client.write(&[&whole[9..], &whole[..9]].concat());
        client.reply(1_001);
    }
    assert_eq!(limited(&gateway, "message_time"), 4.0);
}

#[test]
fn deep_json() {
    let gateway = Gateway::start();
    let mut neighbours = Neighbours::of(&gateway, "deep");
    let deep = "[".repeat(400_000);
    let closed = deep.clone() + &"]".repeat(400_000);
    let objects = "{\"a\":".repeat(150_000);
    for (text, code) in [
        (format!("{{\"id\":1001,\"ping\":{deep}"), 107),
        (deep.clone(), 107),
        (closed.clone(), 107),
        (objects.clone(), 107),
        (
            format!("{{\"id\":1001,\"send\":{{\"user\":{closed}}}}}"),
            107,
        ),
        (format!("{{\"id\":1001,\"ping\":{{\"later\":{objects}"), 107),
    ] {
        let mut client = gateway.dial().connect("mallory", "pc");
        client.write_frame(Opcode::Text, text.as_bytes());
        let error = client.error();
        assert_eq!(error_code(&error), code, "{error}");
        client.ping();
        neighbours.chat();
    }
    // What is not looked at may be as deep as it likes, or is refused: never the end.
    let mut client = gateway.dial().connect("mallory", "pc");
    let ignored = format!("{{\"id\":1001,\"later\":{closed},\"ping\":{{}}}}");
    client.write_frame(Opcode::Text, ignored.as_bytes());
    client.reply(1_001);
    client.ping();
    neighbours.chat();
    let errors = gateway.metric("trunkline_errors_total{error=\"bad_request\"}");
    assert_eq!(errors, 6.0);
}

#[test]
fn huge_ids_and_names() {
    let gateway = Gateway::start();
    let mut client = gateway.dial().connect("mallory", "pc");
    let long = "x".repeat(500_000);
    for text in [
        format!("{{\"id\":{}}}", "9".repeat(500_000)),
        "{\"id\":4294967296,\"ping\":{}}".to_owned(),
        "{\"id\":-1,\"ping\":{}}".to_owned(),
        "{\"id\":1e400,\"ping\":{}}".to_owned(),
        format!("{{\"id\":1001,\"send\":{{\"user\":\"{long}\",\"text\":\"x\"}}}}"),
        format!("{{\"id\":1001,\"ack\":{{\"conversation\":\"u:{long}:{long}\",\"read\":1}}}}"),
        format!("{{\"id\":1001,\"history\":{{\"conversation\":\"g:{long}\"}}}}"),
        format!(
            "{{\"id\":1001,\"sync\":{{\"since\":\"{}\"}}}}",
            "9".repeat(500_000)
        ),
    ] {
        client.write_frame(Opcode::Text, text.as_bytes());
        let error = client.error();
        assert_eq!(error_code(&error), 107, "{error}");
        assert!(error.to_string().len() < 1_000, "it is not sent back");
    }
    client.write_frame(
        Opcode::Text,
        format!("{{\"id\":1001,\"{long}\":{{}}}}").as_bytes(),
    );
    let error = client.error();
    assert_eq!(error_code(&error), 104);
    assert!(error.to_string().len() < 1_000, "it is not sent back");
    let errors = gateway.metric("trunkline_errors_total{error=\"bad_request\"}");
    assert_eq!(errors, 8.0);
}

#[test]
fn too_many_commands_in_a_frame() {
    const MOST: u32 = 50;
    let gateway = Setup::default().flag("frame-commands", MOST).start();
    let mut neighbours = Neighbours::of(&gateway, "commands");
    for (round, encoding) in [Json, Proto].into_iter().enumerate() {
        let mut client = gateway.dial().encoding(encoding).connect("mallory", "pc");
        let pings: Vec<_> = (1..=MOST + 6)
            .map(|i| json!({"id": 10_000 + i, "ping": {}}))
            .collect();
        client.post_raw(&pings);
        for i in 1..=MOST {
            assert!(client.reply(10_000 + i)["ping"].is_object());
        }
        assert_eq!(error_code(&client.stray()), 106);
        client.ping();
        assert_eq!(client.replies_now(), Vec::<Value>::new());
        assert_eq!(limited(&gateway, "frame_commands"), (round + 1) as f64);
        neighbours.chat();
    }
}

#[test]
fn too_many_pages_at_a_time() {
    const MOST: u32 = 12;
    let gateway = Setup::default()
        .flag("shards", 1)
        .flag("max-pages", MOST)
        .start();
    let mut client = gateway.dial().connect("mallory", "pc");
    client.send("bob", "hello");
    let pos = client.pos();
    // One frame is read in one turn, and answers come in a later one.
    let pages: Vec<_> = (1..=MOST + 8)
        .map(|i| json!({"id": 10_000 + i, "sync": {"since": pos}}))
        .collect();
    for round in 1..=2 {
        client.post_raw(&pages);
        let mut refused = 0;
        for i in 1..=MOST + 8 {
            let reply = client.reply(10_000 + i);
            if reply["sync"].is_null() {
                assert_eq!(error_code(&reply), 111);
                assert!(i > MOST, "the first ones are answered");
                refused += 1;
            }
        }
        assert_eq!(refused, 8);
        assert_eq!(limited(&gateway, "pages"), f64::from(8 * round));
    }
}

/// Bytes that are neither HTTP nor WebSocket.
#[test]
fn garbage() {
    let gateway = Gateway::start();
    let mut neighbours = Neighbours::of(&gateway, "garbage");
    let (mut random, note) = Random::announced();
    println!("{note}");
    for _ in 0..40 {
        let size = random.within(1, 2_000);
        let bytes: Vec<u8> = (0..size).map(|_| random.number() as u8).collect();
        let mut stream = TcpStream::connect(gateway.ws()).expect("the gateway listens");
        stream.write_all(&bytes).expect("the gateway reads");
        drop(stream);
        let mut client = gateway.dial().connect("mallory", "pc");
        // It may be closed in the middle.
        client.write_until_refused(&bytes, 3);
        drop(client);
    }
    wait::until("the connections to end", || {
        (gateway.metric("trunkline_connections") == 2.0).then_some(())
    });
    // Some of it may look like the beginning of something, hardly all.
    assert!(gateway.metric("trunkline_rejected_handshakes_total") > 20.0);
    assert!(gateway.metric("trunkline_closes_total{code=\"1002\"}") > 20.0);
    neighbours.chat();
}

/// Sends until the gateway closes the connection, and returns everything that came back.
fn until_closed(gateway: &Gateway, first: &[u8], then: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(gateway.ws()).expect("the gateway listens");
    stream
        .set_read_timeout(Some(wait::LIMIT))
        .expect("not zero");
    stream.write_all(first).expect("the gateway reads");
    for _ in 0..100_000 {
        if stream.write_all(then).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn headers_without_end() {
    let gateway = Gateway::start();
    let mut neighbours = Neighbours::of(&gateway, "headers");
    let line = b"GET /v1/ws HTTP/1.1\r\n";
    let cases: [(&[u8], Vec<u8>); 4] = [
        (line, b"X: y\r\n".to_vec()),
        (line, vec![b'x'; 100]),
        (b"", vec![b'x'; 100]),
        (b"GET /", vec![b'/'; 100]),
    ];
    for (i, (first, then)) in cases.iter().enumerate() {
        let answer = until_closed(&gateway, first, then);
        // The answer may have been overtaken by the reset that what is still sent causes.
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
        wait::until("the refusal", || {
            let rejected = gateway.metric("trunkline_rejected_handshakes_total");
            (rejected == (i + 1) as f64).then_some(())
        });
        neighbours.chat();
    }
    // So many that fit into the bytes, and are too many all the same.
    let many = (0..130).map(|i| format!("X{i}: y\r\n")).collect::<String>();
    let request = [line, many.as_bytes(), b"\r\n"].concat();
    assert!(request.len() < 8_192);
    let before = limited(&gateway, "header_bytes");
    let answer = trunkline_tests::http::exchange(gateway.ws(), &request);
    assert_eq!(answer.status, 431, "{answer:?}");
    assert_eq!(limited(&gateway, "header_bytes"), before + 1.0);
}

#[test]
fn headers_as_long_as_configured() {
    let gateway = Setup::default().flag("header-bytes", "2KiB").start();
    for (bytes, status) in [(1_900, 426), (2_100, 431)] {
        let long = "x".repeat(bytes);
        let request = format!("GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {long}\r\n\r\n");
        let answer = trunkline_tests::http::exchange(gateway.ws(), request.as_bytes());
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(limited(&gateway, "header_bytes"), 1.0);
}

#[test]
fn a_slow_handshake_is_counted() {
    let gateway = Setup::default().flag("handshake-timeout", "300ms").start();
    let mut stream = TcpStream::connect(gateway.ws()).expect("the gateway listens");
    stream
        .set_read_timeout(Some(wait::LIMIT))
        .expect("not zero");
    // A client that sends a header now and then does not keep its connection.
    let mut answer = Vec::new();
    stream
        .write_all(b"GET /v1/ws HTTP/1.1\r\n")
        .expect("it reads");
    wait::until("the end", || {
        let _ = stream.write_all(b"X: y\r\n");
        (limited(&gateway, "handshake_time") == 1.0).then_some(())
    });
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
}
