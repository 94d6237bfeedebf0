//! Commands that cannot be read: the code, and the id where it can be read.

use prost::Message as _;
use trunkline_proto::ErrorCode::{self, BadRequest, UnknownCommand};
use trunkline_proto::message::{Command, CommandBody, Ping};
use trunkline_proto::protobuf::wire::{self, command::Command as Body};
use trunkline_proto::{BadCommand, Encoding};

use crate::encodings::decode;

/// A good command behind the bad one, to see that the frame is read on.
const NEXT: Command<'static> = Command {
    id: 99,
    body: CommandBody::Ping(Ping {}),
};

#[track_caller]
fn check(encoding: Encoding, bad: &[u8], id: u32, code: ErrorCode) -> BadCommand {
    let mut payload = [bad, encoding.separator()].concat();
    encoding.encode_command(&NEXT, &mut payload);
    let shown = String::from_utf8_lossy(bad);
    match &decode(encoding, &payload)[..] {
        [Err(first), Ok(second)] => {
            assert_eq!((first.id, first.code), (id, code), "{shown}: {first:?}");
            assert!(!first.message.is_empty(), "{shown}");
            assert_eq!(second, &NEXT, "{shown}");
            first.clone()
        }
        other => panic!("{shown}: {other:?}"),
    }
}

/// Lines that are answered with 107, and the id that can be read from them.
const BAD_JSON: &[(&str, u32)] = &[
    // Not JSON.
    ("hello", 0),
    ("{", 0),
    (r#"{"id":7,"ping":{}"#, 7),
    (r#"{"id":7,"ping":{}}}"#, 7),
    (r#"{"id":7,"ping":{}} x"#, 7),
    (r#"{"id":7,"ping":{},}"#, 7),
    (
        "{\"id\":7,\"send\":{\"user\":\"bob\",\"text\":\"a\tb\"}}",
        7,
    ),
    (r#"{"id":7,"send":{"user":"bob","text":"\ud800"}}"#, 7),
    (r#"{"id":7,"send":{"user":"bob","text":"hi"}}}"#, 7),
    (r#"{"id":7,"send":{"user":"bob","text":"hi"}} x"#, 7),
    (
        r#"{"id":7,"send":{"user":"bob","text":"hi"}}{"ping":{}}"#,
        7,
    ),
    (r#"{"id":7,"send":{"user":"bob","text":"hi"}"#, 7),
    (r#"{"id":7,"send":{"user":"bob","text":"hi"#, 7),
    (r#"{"id":7,"ack":{"conversation":"g:eng","read":40}}}"#, 7),
    (r#"{"id":7,"ack":{"conversation":"g:eng","read":}}"#, 7),
    // Not an object.
    ("7", 0),
    ("null", 0),
    (r#""ping""#, 0),
    ("[]", 0),
    ("[7]", 0),
    (r#"[7,{"ping":{}}]"#, 0),
    // No command.
    ("{}", 0),
    (r#"{"id":7}"#, 7),
    // Missing fields.
    (r#"{"id":7,"ack":{}}"#, 7),
    (r#"{"id":7,"ack":{"delivered":1}}"#, 7),
    (r#"{"id":7,"sync":{"limit":5}}"#, 7),
    (r#"{"id":7,"history":{}}"#, 7),
    (r#"{"id":7,"get":{"conversation":"g:eng"}}"#, 7),
    (r#"{"id":7,"get":{"seq":1}}"#, 7),
    (r#"{"id":7,"send":{"user":"bob","media":{"url":"x"}}}"#, 7),
    // Wrong types.
    (r#"{"id":7,"ping":null}"#, 7),
    (r#"{"id":7,"ping":1}"#, 7),
    (r#"{"id":7,"ping":[]}"#, 7),
    (r#"{"id":7,"send":["bob",null,null,"hi",null]}"#, 7),
    (r#"{"id":7,"send":{"user":"bob","media":["image/png"]}}"#, 7),
    (r#"{"id":7,"send":{"user":5,"text":"hi"}}"#, 7),
    (
        r#"{"id":7,"send":{"user":"bob","media":{"type":"x","data":"?"}}}"#,
        7,
    ),
    (r#"{"id":7,"connect":{"resume":"yes"}}"#, 7),
    (r#"{"id":7,"ack":{"conversation":"g:eng","read":-1}}"#, 7),
    (r#"{"id":7,"ack":{"conversation":"g:eng","read":1.5}}"#, 7),
    (
        r#"{"id":7,"ack":{"conversation":"g:eng","read":18446744073709551616}}"#,
        7,
    ),
    (r#"{"id":7,"sync":{"since":"p","limit":4294967296}}"#, 7),
    // A field or a command twice.
    (
        r#"{"id":7,"send":{"user":"bob","user":"carol","text":"hi"}}"#,
        7,
    ),
    (r#"{"id":7,"ping":{},"ping":{}}"#, 7),
    (r#"{"id":7,"ping":{},"sync":{"since":"p"}}"#, 7),
    // The id behind what is wrong.
    (r#"{"send":{"user":5},"id":7}"#, 7),
    (r#"{"ping":[],"x":1,"id":7}"#, 7),
    (r#"{"ping":{},"sync":{"since":"p"},"id":7}"#, 7),
    // Ids out of range.
    (r#"{"id":-1,"ping":{}}"#, 0),
    (r#"{"id":4294967296,"ping":{}}"#, 0),
    (r#"{"id":"7","ping":{}}"#, 0),
    (r#"{"id":1.0,"ping":{}}"#, 0),
    (r#"{"id":07,"ping":{}}"#, 0),
    (r#"{"id":4294967296,"send":{"user":"bob","text":"hi"}}"#, 0),
    (r#"{"id":07,"send":{"user":"bob","text":"hi"}}"#, 0),
];

fn check_json(json: &str, id: u32, code: ErrorCode) -> BadCommand {
    check(Encoding::Json, json.as_bytes(), id, code)
}

#[test]
fn bad_json() {
    for (json, id) in BAD_JSON {
        check_json(json, *id, BadRequest);
    }
    // Deep nesting is refused or skipped, not recursed into.
    let deep = format!(r#"{{"id":7,"x":{}"#, "[".repeat(100_000));
    check_json(&deep, 7, BadRequest);
}

#[test]
fn unknown_json_commands() {
    for (json, id) in [
        (r#"{"id":7,"fly":{}}"#, 7),
        (r#"{"fly":{"to":["x"]},"id":7}"#, 7),
        (r#"{"fly":1}"#, 0),
        (r#"{"id":7,"PING":{}}"#, 7),
    ] {
        let bad = check_json(json, id, UnknownCommand);
        let name = json
            .split('"')
            .find(|s| s.eq_ignore_ascii_case("ping") || *s == "fly");
        assert!(bad.message.contains(name.unwrap()), "{}", bad.message);
    }
}

/// Whatever a client sends, the answer does not send it back.
#[test]
fn answers_are_short() {
    let long = "ü".repeat(10_000);
    for (json, code) in [
        (format!(r#"{{"id":7,"{long}":{{}}}}"#), UnknownCommand),
        (format!(r#"{{"id":7,"ping":"{long}"}}"#), BadRequest),
        (format!(r#"{{"ping":"{long}","id":7}}"#), BadRequest),
    ] {
        let bad = check_json(&json, 7, code);
        assert!(bad.message.len() < 300, "{}", bad.message);
    }
}

#[test]
fn json_frames_without_a_command() {
    for frame in ["", "\n", " \r\n\t\n"] {
        match &decode(Encoding::Json, frame.as_bytes())[..] {
            [Err(bad)] => assert_eq!((bad.id, bad.code), (0, BadRequest)),
            other => panic!("{frame:?}: {other:?}"),
        }
    }
}

#[test]
fn json_that_is_not_utf8() {
    for bad in [
        &b"{\"id\":7,\"send\":{\"user\":\"bob\",\"text\":\"\xff\"}}"[..],
        b"{\"id\":7,\"send\":{\"user\":\"bob\",\"text\":\"\\n\xff\"}}",
    ] {
        check(Encoding::Json, bad, 7, BadRequest);
    }
}

/// A length-delimited command of these bytes.
fn delimited(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(body.len() as u64, &mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn protobuf() {
    let check = |body: &[u8], id, code| check(Encoding::Proto, &delimited(body), id, code);
    let with = |id, body| {
        wire::Command {
            id,
            command: Some(body),
        }
        .encode_to_vec()
    };
    // Missing fields.
    check(&with(7, Body::Ack(wire::Ack::default())), 7, BadRequest);
    check(&with(7, Body::Sync(wire::Sync::default())), 7, BadRequest);
    check(
        &with(7, Body::History(wire::History::default())),
        7,
        BadRequest,
    );
    check(&with(7, Body::Get(wire::Get::default())), 7, BadRequest);
    let get = wire::Get {
        conversation: "g:eng".into(),
        seq: 0,
    };
    check(&with(7, Body::Get(get)), 7, BadRequest);
    let send = wire::Send {
        user: Some("bob".into()),
        media: Some(wire::Media::default()),
        ..wire::Send::default()
    };
    check(&with(7, Body::Send(send)), 7, BadRequest);
    // No command, or one of a later version.
    check(&[], 0, UnknownCommand);
    check(&[1 << 3, 7], 7, UnknownCommand);
    check(&[1 << 3, 7, 15 << 3 | 2, 1, b'x'], 7, UnknownCommand);
    // Broken, with the id before the damage: cut fields, wrong wire types, text not UTF-8.
    check(&[1 << 3, 7, 3 << 3 | 2, 9], 7, BadRequest);
    check(&[1 << 3, 7, 3 << 3, 9], 7, BadRequest);
    check(
        &[1 << 3, 7, 3 << 3 | 2, 3, 4 << 3 | 2, 1, 0xff],
        7,
        BadRequest,
    );
    check(&[3 << 3 | 2, 2, 4 << 3 | 2, 9, 1 << 3, 7], 7, BadRequest);
    check(&[1 << 3, 7, 0xff], 7, BadRequest);
    check(&[0xff], 0, BadRequest);
}

#[test]
fn protobuf_lengths_that_run_past_the_frame() {
    for payload in [&[][..], &[5, 1 << 3, 7], &[0x80], &[0xff; 12]] {
        match &decode(Encoding::Proto, payload)[..] {
            [Err(bad)] => assert_eq!((bad.id, bad.code), (0, BadRequest)),
            other => panic!("{payload:?}: {other:?}"),
        }
    }
}

#[test]
fn server_messages_that_are_none() {
    let check = |encoding: Encoding, payload: &[u8]| {
        let decoded = encoding.decode_server(payload, |_| ());
        assert!(decoded.is_err(), "{}", String::from_utf8_lossy(payload));
    };
    for json in [
        "x",
        "{}",
        r#"{"id":7}"#,
        r#"{"id":7,"fly":{}}"#,
        r#"{"push":{"pos":"p"}}"#,
        r#"{"push":{"pos":"p","flight":{}}}"#,
        r#"{"id":7,"send":{"conversation":"g:eng"}}"#,
        r#"{"push":{"gap":{"pos":5}}}"#,
        "{\"id\":7,\"ping\":{}}\n{",
    ] {
        check(Encoding::Json, json.as_bytes());
    }
    for payload in [&[0][..], &[5, 1], &[2, 1 << 3 | 2, 0], &[2, 2 << 3 | 2, 0]] {
        check(Encoding::Proto, payload);
    }
}
