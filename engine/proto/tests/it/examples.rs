//! The forms of commands that docs/protocol.md shows.

use trunkline_proto::message::{
    Ack, Command, CommandBody, Connect, Get, History, Media, Ping, Send, Sync,
};
use trunkline_proto::{Encoding, Str};

use crate::encodings::decode;

fn some(text: &str) -> Option<Str<'_>> {
    Some(text.into())
}

/// Reads `json` as the one command of a frame; written again it is `canonical`.
#[track_caller]
fn check_command(json: &str, id: u32, body: CommandBody<'_>, canonical: &str) {
    let command = Command { id, body };
    assert_eq!(
        decode(Encoding::Json, json.as_bytes()),
        [Ok(command.clone())]
    );
    let mut out = Vec::new();
    Encoding::Json.encode_command(&command, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), canonical);
}

/// A command whose written form is the form it was read in.
#[track_caller]
fn same(json: &str, id: u32, body: CommandBody<'_>) {
    check_command(json, id, body, json);
}

#[test]
fn connect() {
    check_command(
        r#"{"id":1,"connect":{"token":"t","user":"alice","device":"phone","since":"p","resume":false,"batch":false}}"#,
        1,
        CommandBody::Connect(Connect {
            token: some("t"),
            user: some("alice"),
            device: some("phone"),
            since: some("p"),
            ..Connect::default()
        }),
        r#"{"id":1,"connect":{"token":"t","user":"alice","device":"phone","since":"p"}}"#,
    );
    same(
        r#"{"id":1,"connect":{"user":"alice","namespace":"acme","resume":true,"batch":true}}"#,
        1,
        CommandBody::Connect(Connect {
            user: some("alice"),
            namespace: some("acme"),
            resume: true,
            batch: true,
            ..Connect::default()
        }),
    );
}

#[test]
fn send() {
    let send = Send {
        user: some("bob"),
        key: some("c-1"),
        text: some("hello"),
        ..Send::default()
    };
    same(
        r#"{"id":7,"send":{"user":"bob","key":"c-1","text":"hello"}}"#,
        7,
        CommandBody::Send(send.clone()),
    );
    let inline = Media {
        mime: "image/png".into(),
        data: Some(vec![0, 255, 16].into()),
        ..Media::default()
    };
    same(
        r#"{"id":7,"send":{"group":"eng","media":{"type":"image/png","data":"AP8Q"}}}"#,
        7,
        CommandBody::Send(Send {
            group: some("eng"),
            media: Some(inline),
            ..Send::default()
        }),
    );
    let elsewhere = Media {
        mime: "video/mp4".into(),
        url: some("https://x/y"),
        size: Some(9),
        ..Media::default()
    };
    same(
        r#"{"send":{"user":"bob","media":{"type":"video/mp4","url":"https://x/y","size":9}}}"#,
        0,
        CommandBody::Send(Send {
            user: some("bob"),
            media: Some(elsewhere),
            ..Send::default()
        }),
    );
}

#[test]
fn ack() {
    let ack = |delivered, read| {
        CommandBody::Ack(Ack {
            conversation: "u:alice:bob".into(),
            delivered,
            read,
        })
    };
    same(
        r#"{"id":2,"ack":{"conversation":"u:alice:bob","delivered":42,"read":40}}"#,
        2,
        ack(Some(42), Some(40)),
    );
    same(
        r#"{"id":2,"ack":{"conversation":"u:alice:bob","read":40}}"#,
        2,
        ack(None, Some(40)),
    );
}

#[test]
fn reading() {
    same(
        r#"{"id":3,"sync":{"since":"p","limit":500}}"#,
        3,
        CommandBody::Sync(Sync {
            since: "p".into(),
            limit: Some(500),
        }),
    );
    let history = |before, after, limit| {
        CommandBody::History(History {
            conversation: "g:eng".into(),
            before,
            after,
            limit,
            thread: None,
        })
    };
    same(
        r#"{"id":4,"history":{"conversation":"g:eng","before":43,"limit":50}}"#,
        4,
        history(Some(43), None, Some(50)),
    );
    same(
        r#"{"id":4,"history":{"conversation":"g:eng","after":0}}"#,
        4,
        history(None, Some(0), None),
    );
    let get = Get {
        conversation: "u:alice:bob".into(),
        seq: 42,
    };
    same(
        r#"{"id":5,"get":{"conversation":"u:alice:bob","seq":42}}"#,
        5,
        CommandBody::Get(get),
    );
}

#[test]
fn ping() {
    same(
        r#"{"id":4294967295,"ping":{}}"#,
        u32::MAX,
        CommandBody::Ping(Ping {}),
    );
}

#[test]
fn other_forms_of_a_command() {
    let ping = CommandBody::Ping(Ping {});
    let check = |json: &str, id, body: &CommandBody<'_>| {
        let expected = Ok(Command {
            id,
            body: body.clone(),
        });
        assert_eq!(
            decode(Encoding::Json, json.as_bytes()),
            [expected],
            "{json}"
        );
    };
    check(r#"{"ping":{}}"#, 0, &ping);
    check(r#"{"id":0,"ping":{}}"#, 0, &ping);
    check(r#"{"ping":{},"id":7}"#, 7, &ping);
    check(" { \"id\" : 7 ,\t\"ping\" : { } } \r", 7, &ping);
    check(
        r#"{"id":7,"ping":{"later":[1,{"x":null}]},"trace":"abc"}"#,
        7,
        &ping,
    );
    check(r#"{"trace":"abc","id":7,"ping":{}}"#, 7, &ping);
    check("\n\n{\"id\":7,\"ping\":{}}\n \n", 7, &ping);
    let send = CommandBody::Send(Send {
        user: some("bob"),
        text: some("a\"\\/\u{8}\u{c}\n\r\té😀\u{0}"),
        ..Send::default()
    });
    check(
        r#"{"id":7,"send":{"user":"\u0062ob","text":"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000"}}"#,
        7,
        &send,
    );
    let hello = CommandBody::Send(Send {
        user: some("bob"),
        text: some("grüße 😀"),
        ..Send::default()
    });
    for json in [
        r#"{"id":7,"send":{"text":"grüße 😀","user":"bob"}}"#,
        r#"{"id":7,"send":{"text":"grüße 😀","user":"bob","key":null,"media":null,"later":1}}"#,
        r#"{"send":{"text":"grüße 😀","user":"bob"},"id":7}"#,
    ] {
        check(json, 7, &hello);
    }
}

/// A command in its ordinary form is read without a copy.
#[test]
fn ordinary_text_is_borrowed() {
    use std::borrow::Cow;
    let command = Command {
        id: 1,
        body: CommandBody::Send(Send {
            user: some("bob"),
            text: some("grüße"),
            ..Send::default()
        }),
    };
    for encoding in [Encoding::Json, Encoding::Proto] {
        let mut payload = Vec::new();
        encoding.encode_command(&command, &mut payload);
        let decoded = decode(encoding, &payload);
        let [
            Ok(Command {
                body: CommandBody::Send(send),
                ..
            }),
        ] = &decoded[..]
        else {
            panic!("{decoded:?}");
        };
        for text in [&send.user, &send.text] {
            let borrowed = matches!(text, Some(Str(Cow::Borrowed(_))));
            assert!(borrowed, "{encoding:?} copies {text:?}");
        }
    }
}
