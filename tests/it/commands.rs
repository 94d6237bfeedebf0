//! Commands that cannot be carried out. The answer has the reason, and all connections stay open.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{self, Json, Proto};
use trunkline_proto::frame::Opcode;
use trunkline_tests::client::{Client, End, error_code};
use trunkline_tests::gateway::Gateway;
use trunkline_tests::neighbours::Neighbours;

/// The default limit of a text, in bytes.
const TEXT: usize = 64 << 10;

/// A session, and neighbours who must not notice.
struct Scene {
    client: Client,
    neighbours: Neighbours,
}

impl Scene {
    fn open(gateway: &Gateway, encoding: Encoding, neighbours: Neighbours) -> Self {
        let client = gateway
            .dial()
            .encoding(encoding)
            .shard(0)
            .connect("mallory", "phone");
        Self { client, neighbours }
    }

    /// A command must fail with `code` under its id, and nothing else must happen.
    fn check(&mut self, command: &str, request: &Value, code: u64) {
        let reply = self.client.ask(command, request);
        assert_eq!(error_code(&reply), code, "{command} {request}: {reply}");
        self.undisturbed();
    }

    /// A frame must be answered by one error with `code`, under this id or without one.
    fn check_frame(&mut self, opcode: Opcode, payload: &[u8], id: Option<u32>, code: u64) {
        self.client.write_frame(opcode, payload);
        let reply = match id {
            Some(id) => self.client.reply(id),
            None => self.client.stray(),
        };
        assert_eq!(
            error_code(&reply),
            code,
            "{}: {reply}",
            String::from_utf8_lossy(payload)
        );
        self.undisturbed();
    }

    fn undisturbed(&mut self) {
        self.client.ping();
        assert_eq!(self.client.waiting(), Vec::<Value>::new());
        self.neighbours.chat();
    }
}

/// Requests in the right form that cannot be carried out, with the code of each error.
fn bad_requests() -> Vec<(&'static str, Value, u64)> {
    let url = |bytes| "u".repeat(bytes);
    vec![
        ("send", json!({"text": "x"}), 107),
        (
            "send",
            json!({"user": "bob", "group": "eng", "text": "x"}),
            107,
        ),
        ("send", json!({"user": "bob"}), 107),
        ("send", json!({"user": "b b", "text": "x"}), 107),
        ("send", json!({"user": "", "text": "x"}), 107),
        ("send", json!({"user": "b".repeat(65), "text": "x"}), 107),
        ("send", json!({"user": "b\u{e4}b", "text": "x"}), 107),
        ("send", json!({"group": "eng", "text": "x"}), 103),
        ("send", json!({"group": "e:g", "text": "x"}), 107),
        (
            "send",
            json!({"user": "bob", "text": "x".repeat(TEXT + 1)}),
            106,
        ),
        (
            "send",
            json!({"user": "bob", "text": "\u{1f600}".repeat(TEXT / 4 + 1)}),
            106,
        ),
        ("send", json!({"user": "bob", "text": "x", "key": ""}), 107),
        (
            "send",
            json!({"user": "bob", "text": "x", "key": "k".repeat(129)}),
            106,
        ),
        (
            "send",
            json!({"user": "bob", "media": {"type": "a/b"}}),
            107,
        ),
        (
            "send",
            json!({"user": "bob", "media": {"type": "a/b", "data": "AAAA", "url": "u"}}),
            107,
        ),
        (
            "send",
            json!({"user": "bob", "media": {"type": "", "data": "AAAA"}}),
            107,
        ),
        (
            "send",
            json!({"user": "bob", "media": {"type": "t".repeat(256), "data": "AAAA"}}),
            107,
        ),
        (
            "send",
            json!({"user": "bob", "media": {"type": "a/b", "url": url(2_049)}}),
            106,
        ),
        ("ack", json!({"conversation": "u:bob:mallory"}), 107),
        (
            "ack",
            json!({"conversation": "u:mallory:bob", "read": 1}),
            107,
        ),
        (
            "ack",
            json!({"conversation": "u:mallory:nobody", "read": 1}),
            102,
        ),
        ("sync", json!({"since": "x"}), 107),
        ("sync", json!({"since": "99999999999"}), 112),
        (
            "connect",
            json!({"user": "somebody.else", "device": "phone"}),
            103,
        ),
    ]
}

#[test]
fn requests_that_cannot_work() {
    let gateway = Gateway::start();
    let mut neighbours = Neighbours::of(&gateway, "requests");
    let cases = bad_requests();
    for encoding in [Json, Proto] {
        let mut scene = Scene::open(&gateway, encoding, neighbours);
        for (command, request, code) in &cases {
            scene.check(command, request, *code);
        }
        // At the limits everything still works.
        for request in [
            json!({"user": "bob", "text": "x".repeat(TEXT), "key": format!("{encoding:?}{}", "k".repeat(123))}),
            json!({"user": "b".repeat(64), "text": ""}),
            json!({"user": "bob", "media": {"type": "t".repeat(255), "url": "u".repeat(2_048)}}),
        ] {
            scene.client.done("send", &request);
        }
        neighbours = scene.neighbours;
    }
    let too_long = cases.iter().filter(|(_, _, code)| *code == 106).count();
    let counted = gateway.metric("trunkline_errors_total{error=\"limit_exceeded\"}");
    assert_eq!(counted, 2.0 * too_long as f64);
    // Nothing that was refused is stored.
    let mut bob = gateway.dial().connect("bob", "phone");
    let page = bob.done("history", &json!({"conversation": "u:bob:mallory"}));
    assert_eq!(page["last"], 4);
}

#[test]
fn text_that_is_no_command() {
    let gateway = Gateway::start();
    let mut scene = Scene::open(&gateway, Json, Neighbours::of(&gateway, "text"));
    let deep = format!(
        "{{\"id\":9003,\"ping\":{}1{}}}",
        "[".repeat(1_000),
        "]".repeat(1_000)
    );
    let unanswerable = [
        "",
        " ",
        "\n\n",
        "hello",
        "{",
        "[]",
        "[1,2]",
        "null",
        "true",
        "7",
        "\"send\"",
        "{}",
        "{]",
        r#"{"ping":{}"#,
        r#"{"send":{}}"#,
        r#"{"id":0,"send":{"user":"bob"}}"#,
        r#"{"id":-1,"ping":{}}"#,
        r#"{"id":4294967296,"ping":{}}"#,
        r#"{"id":1.5,"ping":{}}"#,
        r#"{"id":"7","ping":{}}"#,
        "\u{0}",
    ];
    for text in unanswerable {
        scene.check_frame(Opcode::Text, text.as_bytes(), None, 107);
    }
    let mut id = 5_000;
    let mut check = |rest: &str, code: u64| {
        for id_first in [true, false] {
            id += 1;
            let text = if id_first {
                format!("{{\"id\":{id},{rest}}}")
            } else {
                format!("{{{rest},\"id\":{id}}}")
            };
            scene.check_frame(Opcode::Text, text.as_bytes(), Some(id), code);
        }
    };
    for unknown in [
        "\"receipt\":{}",
        "\"frobnicate\":[1,{\"a\":2}]",
        "\"group_destroy\":{\"group\":\"eng\"}",
        "\"\":1",
    ] {
        check(unknown, 104);
    }
    for bad in [
        r#""send":{"user":"bob","text":7}"#,
        r#""send":{"user":["bob"],"text":"x"}"#,
        r#""send":"bob""#,
        r#""send":null"#,
        r#""send":{"user":"bob","media":{"data":"AAAA"}}"#,
        r#""send":{"user":"bob","media":{"type":"a/b","data":"not base64"}}"#,
        r#""ack":{}"#,
        r#""ack":{"conversation":"u:bob:mallory","read":-1}"#,
        r#""ack":{"conversation":"u:bob:mallory","read":1.5}"#,
        r#""sync":{}"#,
        r#""sync":{"since":7}"#,
        r#""history":{}"#,
        r#""get":{"conversation":"u:bob:mallory"}"#,
        r#""get":{"seq":1}"#,
        r#""ping":{},"send":{"user":"bob","text":"x"}"#,
    ] {
        check(bad, 107);
    }
    scene.check_frame(Opcode::Text, br#"{"id":9001}"#, Some(9_001), 107);
    scene.check_frame(
        Opcode::Text,
        br#"{"id":9002,"ping":{}} and more"#,
        Some(9_002),
        107,
    );
    scene.check_frame(Opcode::Text, deep.as_bytes(), Some(9_003), 107);
}

#[test]
fn bytes_that_are_no_command() {
    let gateway = Gateway::start();
    let mut scene = Scene::open(&gateway, Proto, Neighbours::of(&gateway, "bytes"));
    for bytes in [
        &b""[..],
        b"{\"id\":1,\"ping\":{}}\n",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        // A length that is longer than the frame.
        b"\x20\x08\x05",
        // An id of the wrong wire type.
        b"\x03\x0a\x01\x05",
    ] {
        scene.check_frame(Opcode::Binary, bytes, None, 107);
    }
    // Field 1 is the id; field 2000 names a command of a later version.
    scene.check_frame(Opcode::Binary, b"\x03\x08\xc1\x01", Some(193), 104);
    scene.check_frame(
        Opcode::Binary,
        b"\x06\x08\xc2\x01\x82\x7d\x00",
        Some(194),
        104,
    );
    for (command, request) in [
        ("ack", json!({"conversation": "", "read": 1})),
        ("sync", json!({"since": ""})),
        ("history", json!({"conversation": ""})),
        ("get", json!({"conversation": "u:bob:mallory", "seq": 0})),
    ] {
        scene.check(command, &request, 107);
    }
}

#[test]
fn before_connect() {
    let gateway = Gateway::start();
    let mut neighbours = Neighbours::of(&gateway, "before");
    for encoding in [Json, Proto] {
        let mut client = gateway.dial().encoding(encoding).open();
        for (command, request) in [
            ("send", json!({"user": "bob", "text": "x"})),
            ("ack", json!({"conversation": "u:a:b", "read": 1})),
            ("sync", json!({"since": "0"})),
            ("history", json!({"conversation": "u:a:b"})),
            ("get", json!({"conversation": "u:a:b", "seq": 1})),
            ("ping", json!({})),
        ] {
            assert_eq!(client.refused(command, &request), 101, "{command}");
        }
        for request in [
            json!({}),
            json!({"device": "phone"}),
            json!({"user": ""}),
            json!({"user": "a b"}),
            json!({"user": "a".repeat(65)}),
            json!({"user": "alice", "device": "my phone"}),
            json!({"user": "alice", "device": ""}),
            json!({"user": "alice", "namespace": "a:b"}),
        ] {
            assert_eq!(client.refused("connect", &request), 107, "{request}");
        }
        neighbours.chat();
        // After all of that the connection can still be used, and its device named for it.
        let opening = client.done("connect", &json!({"user": "alice"}));
        assert_eq!(opening["user"], "alice");
        assert!(
            opening["device"]
                .as_str()
                .is_some_and(|device| !device.is_empty())
        );
        client.ping();
        client.close();
    }
}

#[test]
fn a_token_where_none_is_taken() {
    let gateway = Gateway::start();
    let mut neighbours = Neighbours::of(&gateway, "token");
    for encoding in [Json, Proto] {
        let mut client = gateway.dial().encoding(encoding).open();
        assert_eq!(
            client.refused("connect", &json!({"token": "eyJhbGciOi"})),
            101
        );
        let told = client.push_of("disconnect");
        assert_eq!(
            (&told["code"], &told["reconnect"]),
            (&json!(3_500), &json!(false))
        );
        assert!(matches!(client.end(), End::Close(3_500, _)));
        neighbours.chat();
    }
}

#[test]
fn connecting_twice_changes_nothing() {
    let gateway = Gateway::start();
    for encoding in [Json, Proto] {
        let mut client = gateway.dial().encoding(encoding).connect("alice", "phone");
        let again = client.done("connect", &json!({"user": "alice", "device": "phone"}));
        assert_eq!(again["session"], client.session());
        let mut bob = gateway.dial().connect("bob", "phone");
        bob.send("alice", "once");
        assert_eq!(client.push_of("message")["text"], "once");
        client.ping();
        assert_eq!(client.waiting(), Vec::<Value>::new());
    }
    assert_eq!(gateway.metric("trunkline_accepted_total"), 4.0);
}
