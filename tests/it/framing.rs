//! Broken frames: the connection closes with the code that RFC 6455 names, nobody else notices.

use trunkline_proto::Encoding::{self, Json, Proto};
use trunkline_proto::frame::{Opcode, write_frame};
use trunkline_tests::client::{Client, End};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::neighbours::Neighbours;

const MASK: [u8; 4] = [1, 2, 3, 4];

/// Returns a frame with any first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, Opcode::Text, payload, Some(MASK));
    bytes[0] = first;
    bytes
}

fn text(payload: &[u8]) -> Vec<u8> {
    frame(0x81, payload)
}

/// After these bytes the gateway must close with `code`, then end the stream.
fn check(
    gateway: &Gateway,
    neighbours: &mut Neighbours,
    encoding: Encoding,
    bytes: &[u8],
    code: u16,
) {
    for connected in [true, false] {
        let dial = gateway.dial().encoding(encoding).shard(0);
        let mut client = if connected {
            dial.connect("mallory", "phone")
        } else {
            dial.open()
        };
        client.write(bytes);
        neighbours.chat();
        let head = &bytes[..bytes.len().min(16)];
        let end = client.end();
        assert!(
            matches!(&end, End::Close(found, _) if *found == code),
            "{head:02x?}: {end:?}, not {code}"
        );
        assert_eq!(
            client.waiting(),
            Vec::<serde_json::Value>::new(),
            "no push is owed"
        );
        client.ended();
    }
}

#[test]
fn what_rfc_6455_forbids() {
    let gateway = Gateway::start();
    let mut neighbours = Neighbours::of(&gateway, "rfc");
    let ping = br#"{"id":1,"ping":{}}"#;
    let mut unmasked = Vec::new();
    write_frame(&mut unmasked, Opcode::Text, ping, None);
    let mut good_then_bad = text(ping);
    good_then_bad.extend(frame(0xc1, ping));
    let cases = [
        ("unmasked", unmasked, 1002),
        ("a reserved bit", frame(0xc1, ping), 1002),
        ("a reserved opcode", frame(0x83, ping), 1002),
        ("a reserved control opcode", frame(0x8b, b""), 1002),
        ("a fragmented ping", frame(0x09, b""), 1002),
        ("a long ping", frame(0x89, &[b'x'; 126]), 1002),
        ("nothing to continue", frame(0x80, ping), 1002),
        (
            "a message inside a message",
            [frame(0x01, b"{"), text(ping)].concat(),
            1002,
        ),
        (
            "a length in too many bytes",
            b"\x81\xfe\x00\x05\x01\x02\x03\x04xxxxx".to_vec(),
            1002,
        ),
        (
            "a length of 2^63",
            b"\x81\xff\x80\0\0\0\0\0\0\0\x01\x02\x03\x04".to_vec(),
            1002,
        ),
        ("half a close code", frame(0x88, b"\x03"), 1002),
        (
            "a close code nobody may send",
            frame(0x88, b"\x03\xed"),
            1002,
        ),
        (
            "a close reason that is no text",
            frame(0x88, b"\x03\xe8\xff"),
            1007,
        ),
        (
            "text that is no UTF-8",
            text(b"{\"id\":1,\"ping\":\"\xff\"}"),
            1007,
        ),
        ("an overlong encoding", text(b"\xc0\xaf"), 1007),
        ("half a character", text(b"\xe2\x82"), 1007),
        (
            "a bad second fragment",
            [frame(0x01, b"\xe2"), frame(0x80, b"\x28\xa1")].concat(),
            1007,
        ),
        ("the wrong kind for JSON", frame(0x82, ping), 1003),
        ("good, then bad", good_then_bad, 1002),
    ];
    for (name, bytes, code) in &cases {
        println!("{name}");
        check(&gateway, &mut neighbours, Json, bytes, *code);
    }
    check(&gateway, &mut neighbours, Proto, &text(ping), 1003);
}

#[test]
fn what_is_too_long() {
    let gateway = Setup::default()
        .flag("message-bytes", "64KiB")
        .flag("text-bytes", "1KiB")
        .start();
    let mut neighbours = Neighbours::of(&gateway, "long");
    let max = 64 << 10;
    // Refused by what the header announces: nothing behind it need arrive.
    let announced = b"\x81\xff\0\0\0\0\0\x01\0\x01\x01\x02\x03\x04".to_vec();
    let huge = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04".to_vec();
    let half = vec![b' '; max / 2 + 1];
    let pieces = [frame(0x01, &half), frame(0x00, &half)].concat();
    for (bytes, encoding) in [(announced, Json), (huge, Proto), (pieces, Json)] {
        check(&gateway, &mut neighbours, encoding, &bytes, 1009);
    }
    let closes = gateway.metric("trunkline_closes_total{code=\"1009\"}");
    assert_eq!(closes, 6.0);
    // The longest that is allowed is read: spaces around a command.
    let mut client = gateway.dial().connect("mallory", "phone");
    let mut longest = br#"{"id":1001,"ping":{}}"#.to_vec();
    longest.resize(max, b' ');
    client.write(&text(&longest));
    assert!(client.reply(1_001)["ping"].is_object());
    let (first, second) = longest.split_at(max / 3);
    client.write(&[frame(0x01, first), frame(0x80, second)].concat());
    assert!(client.reply(1_001)["ping"].is_object());
}

/// How the same bytes are cut into writes.
fn arrive(client: &mut Client, bytes: &[u8], piece: usize) {
    for part in bytes.chunks(piece) {
        client.write(part);
    }
}

#[test]
fn however_it_is_cut() {
    let gateway = Gateway::start();
    let mut neighbours = Neighbours::of(&gateway, "cut");
    let mut client = gateway.dial().connect("mallory", "phone");
    for piece in [1, 2, 3, 7, 1_000] {
        let message =
            "{\"id\":1001,\"send\":{\"user\":\"mallory\",\"text\":\"\u{20ac}\u{1f600}\"}}"
                .as_bytes();
        let mut bytes = Vec::new();
        // Fragments that cut characters, with a ping between them.
        for (i, part) in message.chunks(5).enumerate() {
            bytes.extend(frame(if i == 0 { 0x01 } else { 0x00 }, part));
            bytes.extend(frame(0x89, &[i as u8]));
        }
        bytes.extend(frame(0x80, b""));
        arrive(&mut client, &bytes, piece);
        assert!(
            client.reply(1_001)["send"].is_object(),
            "in pieces of {piece}"
        );
        for i in 0..message.chunks(5).count() {
            assert_eq!(client.pong(), [i as u8]);
        }
        neighbours.chat();
    }
}

/// A command that is stored when the connection is closed already: no reply, and none is counted.
#[test]
fn nothing_comes_behind_a_close_frame() {
    let gateway = Setup::default().flag("shards", 1).start();
    let mut client = gateway.dial().connect("mallory", "phone");
    let send = text(br#"{"id":1,"send":{"user":"bob","text":"stored"}}"#);
    client.write(&[send, frame(0xc1, b"")].concat());
    assert!(matches!(client.end(), End::Close(1002, _)));
    // Its outcome is behind the other's.
    gateway.dial().connect("alice", "phone").send("bob", "x");
    assert_eq!(gateway.metric("trunkline_messages_total"), 2.0);
    assert_eq!(gateway.metric("trunkline_acks_total"), 1.0);
}

#[test]
fn closing_handshake() {
    let gateway = Gateway::start();
    let mut neighbours = Neighbours::of(&gateway, "closing");
    let cases: [(&[u8], u16); 4] = [
        (b"", 1000),
        (b"\x03\xe8", 1000),
        (b"\x03\xe9going away", 1001),
        (b"\x0f\xa0own", 4000),
    ];
    for (payload, code) in cases {
        for encoding in [Json, Proto] {
            let mut client = gateway
                .dial()
                .encoding(encoding)
                .connect("mallory", "phone");
            client.write(&frame(0x88, payload));
            assert_eq!(client.end(), End::Close(code, String::new()));
            client.ended();
            neighbours.chat();
        }
    }
}
