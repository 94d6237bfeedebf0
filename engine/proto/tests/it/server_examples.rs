//! The forms of replies and pushes that docs/protocol.md shows.

use trunkline_proto::message::{
    AckReply, ConnectLimits, ConnectReply, Disconnect, ErrorReply, Event, Gap, GetReply,
    HistoryReply, Message, Ping, Push, Receipt, Reply, ReplyBody, SendReply, ServerMessage,
    SyncReply,
};
use trunkline_proto::{Encoding, ErrorCode, Str};

const MESSAGE: &str = r#"{"conversation":"u:alice:bob","seq":42,"from":"alice","device":"phone","time":1760000000000,"key":"c-1","text":"hello"}"#;

fn message() -> Message<'static> {
    Message {
        conversation: "u:alice:bob".into(),
        seq: 42,
        from: "alice".into(),
        device: "phone".into(),
        time: 1_760_000_000_000,
        key: Some("c-1".into()),
        text: Some("hello".into()),
        ..Message::default()
    }
}

/// The client reads `json` as this message; the server writes this message as `json`.
#[track_caller]
fn check(json: &str, message: ServerMessage<'_>) {
    let mut all = Vec::new();
    let decoded = Encoding::Json.decode_server(json.as_bytes(), |m| all.push(m));
    assert!(decoded.is_ok(), "{decoded:?} of {json}");
    assert_eq!(all, std::slice::from_ref(&message), "{json}");
    let mut out = Vec::new();
    Encoding::Json.encode_server(&message, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), json);
}

fn reply(id: u32, body: ReplyBody<'_>) -> ServerMessage<'_> {
    ServerMessage::Reply(Reply { id, body })
}

fn push<'a>(pos: Option<Str<'a>>, event: Event<'a>) -> ServerMessage<'a> {
    ServerMessage::Push(Push { pos, event })
}

#[test]
fn replies() {
    let limits = ConnectLimits {
        message_bytes: 1,
        text_bytes: 2,
        key_bytes: 3,
        page: 4,
    };
    check(
        r#"{"id":2,"connect":{"session":"s","user":"alice","device":"phone","pos":"p","recovered":false,"time":5,"ping_ms":6,"limits":{"message_bytes":1,"text_bytes":2,"key_bytes":3,"page":4},"expires":7,"unsubscribed":["live.42"]}}"#,
        reply(
            2,
            ReplyBody::Connect(ConnectReply {
                session: "s".into(),
                user: "alice".into(),
                device: "phone".into(),
                pos: "p".into(),
                recovered: false,
                time: 5,
                ping_ms: 6,
                limits,
                expires: Some(7),
                unsubscribed: vec!["live.42".into()],
            }),
        ),
    );
    check(
        r#"{"id":1,"connect":{"session":"s","user":"alice","device":"phone","pos":"p","recovered":true,"time":5,"ping_ms":25000,"limits":{"message_bytes":65536,"text_bytes":16384,"key_bytes":64,"page":500}}}"#,
        reply(
            1,
            ReplyBody::Connect(ConnectReply {
                session: "s".into(),
                user: "alice".into(),
                device: "phone".into(),
                pos: "p".into(),
                recovered: true,
                time: 5,
                ping_ms: 25_000,
                limits: ConnectLimits {
                    message_bytes: 65_536,
                    text_bytes: 16_384,
                    key_bytes: 64,
                    page: 500,
                },
                expires: None,
                unsubscribed: Vec::new(),
            }),
        ),
    );
    check(
        r#"{"id":7,"send":{"conversation":"u:alice:bob","seq":42,"pos":"p","time":5,"duplicate":false}}"#,
        reply(
            7,
            ReplyBody::Send(SendReply {
                conversation: "u:alice:bob".into(),
                seq: 42,
                pos: "p".into(),
                time: 5,
                duplicate: false,
            }),
        ),
    );
    check(
        r#"{"id":7,"ack":{}}"#,
        reply(7, ReplyBody::Ack(AckReply {})),
    );
    check(r#"{"id":7,"ping":{}}"#, reply(7, ReplyBody::Ping(Ping {})));
    check(
        r#"{"id":7,"error":{"code":103,"name":"permission_denied","message":"no","temporary":false}}"#,
        reply(
            7,
            ReplyBody::Error(ErrorReply::new(ErrorCode::PermissionDenied, "no")),
        ),
    );
    check(
        r#"{"error":{"code":111,"name":"too_many_requests","message":"slower","temporary":true}}"#,
        reply(
            0,
            ReplyBody::Error(ErrorReply::new(ErrorCode::TooManyRequests, "slower")),
        ),
    );
}

#[test]
fn pages() {
    check(
        &format!(
            r#"{{"id":7,"sync":{{"events":[{{"pos":"p","message":{MESSAGE}}}],"pos":"p","more":false}}}}"#
        ),
        reply(
            7,
            ReplyBody::Sync(SyncReply {
                events: vec![Push {
                    pos: Some("p".into()),
                    event: Event::Message(message()),
                }],
                pos: "p".into(),
                more: false,
            }),
        ),
    );
    check(
        &format!(
            r#"{{"id":7,"history":{{"messages":[{MESSAGE}],"first":1,"last":42,"more":false}}}}"#
        ),
        reply(
            7,
            ReplyBody::History(HistoryReply {
                messages: vec![message()],
                first: 1,
                last: 42,
                more: false,
            }),
        ),
    );
    check(
        &format!(r#"{{"id":7,"get":{{"message":{MESSAGE}}}}}"#),
        reply(7, ReplyBody::Get(GetReply { message: message() })),
    );
}

#[test]
fn pushes() {
    check(
        &format!(r#"{{"push":{{"pos":"p","message":{MESSAGE}}}}}"#),
        push(Some("p".into()), Event::Message(message())),
    );
    check(
        r#"{"push":{"pos":"p","receipt":{"conversation":"g:eng","user":"bob","delivered":42,"read":40,"time":5}}}"#,
        push(
            Some("p".into()),
            Event::Receipt(Receipt {
                conversation: "g:eng".into(),
                user: "bob".into(),
                delivered: 42,
                read: 40,
                time: 5,
            }),
        ),
    );
    check(
        r#"{"push":{"gap":{"pos":"p"}}}"#,
        push(None, Event::Gap(Gap { pos: "p".into() })),
    );
    check(
        r#"{"push":{"disconnect":{"code":3001,"reason":"shutdown","reconnect":true,"delay_ms":[0,30000]}}}"#,
        push(
            None,
            Event::Disconnect(Disconnect {
                code: 3001,
                reason: "shutdown".into(),
                reconnect: true,
                delay_ms: [0, 30_000],
            }),
        ),
    );
}
