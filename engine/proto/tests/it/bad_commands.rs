//! Commands that cannot be read: the code, and the id where it can be read.

use prost::Message as _;
use trunkline_proto::ErrorCode::{self, BadRequest, UnknownCommand};
use trunkline_proto::message::{Command, CommandBody, Json, Ping};
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
            check_words(&first.message, &shown);
            assert_eq!(second, &NEXT, "{shown}");
            first.clone()
        }
        other => panic!("{shown}: {other:?}"),
    }
}

/// A message is in plain words: none of Rust's, serde's or prost's.
#[track_caller]
fn check_words(message: &str, shown: &str) {
    for word in [
        "u32",
        "u64",
        "i64",
        "expected",
        "invalid",
        "missing field",
        "unknown variant",
        "struct",
        "sequence",
        "line 1",
        "column",
        "EOF",
        "Protobuf",
        "wire type",
        "`",
    ] {
        assert!(!message.contains(word), "{shown}: {message} has {word}");
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
    (r#"{"id":7,"receipts":{"conversation":"g:eng","seq":1}}"#, 7),
    (r#"{"id":7,"receipts":{"seq":1,"state":"read"}}"#, 7),
    (
        r#"{"id":7,"receipts":{"conversation":"g:eng","state":"read"}}"#,
        7,
    ),
    (r#"{"id":7,"group_create":{"members":["bob"]}}"#, 7),
    (r#"{"id":7,"group_add":{"group":"eng"}}"#, 7),
    (r#"{"id":7,"group_remove":{"members":["bob"]}}"#, 7),
    (r#"{"id":7,"group_leave":{}}"#, 7),
    (r#"{"id":7,"group_rename":{"group":"eng"}}"#, 7),
    (r#"{"id":7,"group_rename":{"name":"Platform"}}"#, 7),
    (r#"{"id":7,"group_info":{"limit":5}}"#, 7),
    (r#"{"id":7,"recall":{"conversation":"g:eng"}}"#, 7),
    (r#"{"id":7,"delete":{"seq":1}}"#, 7),
    (r#"{"id":7,"react":{"conversation":"g:eng","seq":1}}"#, 7),
    (r#"{"id":7,"typing":{}}"#, 7),
    (r#"{"id":7,"signal":{"user":"bob"}}"#, 7),
    (r#"{"id":7,"signal":{"data":1}}"#, 7),
    (r#"{"id":7,"subscribe":{"since":"p"}}"#, 7),
    (r#"{"id":7,"unsubscribe":{}}"#, 7),
    (r#"{"id":7,"publish":{"topic":"live.42"}}"#, 7),
    (r#"{"id":7,"rpc":{"method":"orders.list"}}"#, 7),
    (r#"{"id":7,"rpc":{"data":1}}"#, 7),
    // Words that are none of the protocol's.
    (
        r#"{"id":7,"receipts":{"conversation":"g:eng","seq":1,"state":"seen"}}"#,
        7,
    ),
    (
        r#"{"id":7,"receipts":{"conversation":"g:eng","seq":1,"state":null}}"#,
        7,
    ),
    (
        r#"{"id":7,"group_create":{"group":"eng","history":"some"}}"#,
        7,
    ),
    // Wrong types.
    (r#"{"id":7,"contacts":{"add":"bob"}}"#, 7),
    (r#"{"id":7,"contacts":[["bob"],[],true]}"#, 7),
    (r#"{"id":7,"presence":{"watch":[1]}}"#, 7),
    (r#"{"id":7,"typing":["g:eng"]}"#, 7),
    (r#"{"id":7,"publish":{"topic":"live.42","data":}}"#, 7),
    (r#"{"id":7,"publish":{"topic":"live.42","data":nul}}"#, 7),
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
    (r#"{"id":7,"id":8,"ping":{}}"#, 0),
    (r#"{"id":7,"ping":{},"\u0069d":7}"#, 0),
    (
        r#"{"id":7,"send":{"user":"bob","text":"a","t\u0065xt":"b"}}"#,
        7,
    ),
    (r#"{"id":7,"ping":{},"x":{"a":1,"b":2,"a":3}}"#, 7),
    // What not every reader can read, wherever it stands.
    (r#"{"id":7,"ping":{},"x":"\udc00"}"#, 7),
    (r#"{"id":7,"ping":{"\ud800":1}}"#, 7),
    (r#"{"id":7,"ping":{"x":1e400}}"#, 7),
    (r#"{"id":7,"signal":{"user":"bob","data":"\ud800"}}"#, 7),
    (
        r#"{"id":7,"signal":{"user":"bob","data":["\ud800x\udc00"]}}"#,
        7,
    ),
    (r#"{"id":7,"publish":{"topic":"t","data":1e400}}"#, 7),
    (
        r#"{"id":7,"publish":{"topic":"t","data":{"a":1,"a":2}}}"#,
        7,
    ),
    (
        r#"{"id":7,"send":{"user":"bob","media":{"type":"\udfff","url":"x"}}}"#,
        7,
    ),
    (
        r#"{"id":7,"group_create":{"group":"eng","name":"\ud83d"}}"#,
        7,
    ),
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
    // The depth of `data` is limited, because the client that reads it may use recursion.
    for depth in [Json::MAX_DEPTH + 1, 100_000] {
        let deep = "[".repeat(depth) + &"]".repeat(depth);
        let signal = format!(r#"{{"id":7,"signal":{{"user":"bob","data":{deep}}}}}"#);
        check_json(&signal, 7, BadRequest);
    }
}

/// Errors say what is needed, what was found, and where, in the same words in both encodings.
#[test]
fn words_of_errors() {
    for (json, expected) in [
        (
            r#"{"id":7,"send":{"user":"bob","text":5}}"#,
            "send.text: a text is needed, found a number",
        ),
        (
            r#"{"id":7,"ack":{}}"#,
            "ack.conversation: a text is needed, found nothing",
        ),
        (
            r#"{"id":7,"receipts":{"conversation":"g:e","seq":1,"state":"seen"}}"#,
            r#"receipts.state: one of "read", "delivered", "unread" is needed, found another text"#,
        ),
        (
            r#"{"id":7,"group_create":{"group":"e","members":["a",{}]}}"#,
            "group_create.members[1]: a text is needed, found an object",
        ),
        (
            r#"{"id":7,"send":{"user":"bob","media":{"type":"x","data":"?"}}}"#,
            "send.media.data: base64 in a text is needed, found other characters in it",
        ),
        (
            r#"{"id":7,"get":{"conversation":"g:e","seq":-1}}"#,
            "get.seq: a whole number from 0 to 18446744073709551615 is needed, found -1",
        ),
        (
            r#"{"id":7,"connect":{"resume":null}}"#,
            "connect.resume: true or false is needed, found null",
        ),
        (
            r#"{"id":7,"ping":[]}"#,
            "ping: an object is needed, found a list",
        ),
        (
            r#"{"id":7,"publish":{"topic":"t","data":{"a":["\ud800"]}}}"#,
            r"publish.data.a[0]: half of a surrogate pair (\ud800) is no character",
        ),
        (
            r#"{"id":7,"ping":{},"typing":{}}"#,
            "a command names one thing to do, found ping and typing",
        ),
    ] {
        assert_eq!(check_json(json, 7, BadRequest).message, expected);
    }
    let id = check_json(r#"{"id":"7","ping":{}}"#, 0, BadRequest);
    assert_eq!(
        id.message,
        "id: a whole number from 0 to 4294967295 is needed, found a text"
    );
    let list = check_json("[7]", 0, BadRequest);
    assert_eq!(list.message, "a command is an object, found a list");
}

#[test]
fn words_of_errors_in_protobuf() {
    for (body, expected) in [
        (
            &[3 << 3 | 2, 2, 4 << 3, 5][..],
            "send.text: a text is needed, found a whole number",
        ),
        (
            &[3 << 3 | 2, 3, 4 << 3 | 2, 1, 0xff],
            "send.text: not UTF-8",
        ),
        (
            &[3 << 3 | 2, 2, 4 << 3 | 2, 9],
            "send.text: it runs past the end of the command",
        ),
        (
            &[4 << 3 | 2, 0],
            "ack.conversation: a text is needed, found nothing",
        ),
        (
            &[5 << 3 | 2, 5, 10, 1, b'p', 16 | 5, 0],
            "sync.limit: it runs past the end of the command",
        ),
    ] {
        let body = [&[1 << 3, 7][..], body].concat();
        let bad = check(Encoding::Proto, &delimited(&body), 7, BadRequest);
        assert_eq!(bad.message, expected);
    }
    let deep = wire::Command {
        id: 7,
        command: Some(Body::Publish(wire::Publish {
            topic: "t".into(),
            data: r#"{"a":["\ud800"]}"#.into(),
        })),
    };
    let bad = check(
        Encoding::Proto,
        &delimited(&deep.encode_to_vec()),
        7,
        BadRequest,
    );
    assert_eq!(
        bad.message,
        r"publish.data.a[0]: half of a surrogate pair (\ud800) is no character"
    );
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

/// An error text is short, however long the names and values are that a client sends.
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

/// Returns a length-delimited command of these bytes.
fn delimited(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(body.len() as u64, &mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

/// Returns commands that lack a field, or have a word that the protocol does not know.
fn bad_bodies() -> Vec<Body> {
    let data = |data: &str| wire::Publish {
        topic: "live.42".into(),
        data: data.into(),
    };
    let receipts = |conversation: &str, seq, state| wire::Receipts {
        conversation: conversation.into(),
        seq,
        state,
        ..wire::Receipts::default()
    };
    let members = |group: &str, member: &str| wire::GroupMembers {
        group: group.into(),
        members: (!member.is_empty())
            .then(|| member.into())
            .into_iter()
            .collect(),
    };
    let message = |conversation: &str, seq| wire::MessageRef {
        conversation: conversation.into(),
        seq,
    };
    let react = |seq, reaction: &str| wire::React {
        conversation: "g:eng".into(),
        seq,
        reaction: reaction.into(),
        remove: false,
    };
    let rename = |group: &str, name: &str| wire::GroupRename {
        group: group.into(),
        name: name.into(),
    };
    let history = wire::GroupCreate {
        group: "eng".into(),
        history: 2,
        ..wire::GroupCreate::default()
    };
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    vec![
        Body::Receipts(receipts("", 1, 1)),
        Body::Receipts(receipts("g:eng", 0, 1)),
        Body::Receipts(receipts("g:eng", 1, 0)),
        Body::Receipts(receipts("g:eng", 1, 4)),
        Body::Receipts(receipts("g:eng", 1, -1)),
        Body::GroupCreate(wire::GroupCreate::default()),
        Body::GroupCreate(history),
        Body::GroupAdd(members("eng", "")),
        Body::GroupRemove(members("", "bob")),
        Body::GroupLeave(wire::GroupLeave::default()),
        Body::GroupRename(rename("eng", "")),
        Body::GroupRename(rename("", "Platform")),
        Body::GroupInfo(wire::GroupInfo::default()),
        Body::Recall(message("g:eng", 0)),
        Body::Delete(message("", 1)),
        Body::React(react(0, "like")),
        Body::React(react(1, "")),
        Body::Typing(wire::Typing::default()),
        Body::Signal(wire::Signal {
            user: String::new(),
            data: "1".into(),
        }),
        Body::Subscribe(wire::Subscribe::default()),
        Body::Unsubscribe(wire::Unsubscribe::default()),
        Body::Publish(wire::Publish {
            topic: String::new(),
            ..data("1")
        }),
        Body::Publish(data("")),
        Body::Publish(data("nul")),
        Body::Publish(data("1 2")),
        Body::Publish(data(&deep)),
        Body::Publish(data(r#""\ud800""#)),
        Body::Publish(data("[-1e999]")),
        Body::Publish(data(r#"{"a":1,"\u0061":1}"#)),
        Body::Signal(wire::Signal {
            user: "bob".into(),
            data: r#"{"x":"\udc00"}"#.into(),
        }),
        Body::Rpc(wire::Rpc {
            method: String::new(),
            data: "1".into(),
        }),
        Body::Rpc(wire::Rpc {
            method: "orders.list".into(),
            data: "nul".into(),
        }),
    ]
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
    for body in bad_bodies() {
        check(&with(7, body), 7, BadRequest);
    }
    // No command, or one of a later version.
    check(&[], 0, UnknownCommand);
    check(&[1 << 3, 7], 7, UnknownCommand);
    check(&[1 << 3, 7, 0x82, 0x7d, 1, b'x'], 7, UnknownCommand);
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
