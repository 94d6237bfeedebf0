//! The envelope of commands: ids, several commands per frame, fields of later versions.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_proto::frame::Opcode;
use trunkline_tests::client::error_code;
use trunkline_tests::gateway::{Gateway, Setup};

#[test]
fn without_an_id_only_errors_are_answered() {
    let gateway = Gateway::start();
    for encoding in [Json, Proto] {
        let mut bob = gateway.dial().connect("bob", "phone");
        let mut alice = gateway.dial().encoding(encoding).connect("alice", "phone");
        let frames = alice.frames.len();
        for (text, id) in [("no id", None), ("id 0", Some(0))] {
            let mut command = json!({"send": {"user": "bob", "text": text}});
            if let Some(id) = id {
                command["id"] = id.into();
            }
            alice.post_raw(&[command]);
            assert_eq!(bob.push_of("message")["text"], text, "it was carried out");
        }
        alice.post_raw(&[
            json!({"ping": {}}),
            json!({"ack": {"conversation": "u:alice:bob", "read": 1}}),
            json!({"history": {"conversation": "u:alice:bob"}}),
            json!({"sync": {"since": "0"}}),
        ]);
        // The receipt, where there is a new one, goes to Bob alone. He waits for it: the Bob of
        // the next round is another connection, which it would reach as well.
        if encoding == Json {
            bob.push_of("receipt");
        }
        alice.ping();
        // The gateway may answer a ping before a read without an id. One more read waits behind it
        // at one reader, and a page of reads waits behind both readers.
        for _ in 0..4 {
            alice.done("sync", &json!({"since": "0"}));
        }
        assert_eq!(
            alice.frames.len() - frames,
            5,
            "one frame per command with an id"
        );
        alice.post_raw(&[json!({"send": {"user": "bob"}})]);
        assert_eq!(error_code(&alice.stray()), 107);
        alice.post_raw(&[json!({"get": {"conversation": "u:alice:zed", "seq": 1}})]);
        assert_eq!(error_code(&alice.stray()), 102);
        alice.close();
        bob.close();
    }
}

#[test]
fn several_commands_in_a_frame() {
    let gateway = Gateway::start();
    for encoding in [Json, Proto] {
        let bob_name = format!("bob-{encoding:?}");
        let mut bob = gateway.dial().connect(&bob_name, "phone");
        let mut alice = gateway.dial().encoding(encoding).connect("alice", "phone");
        let send = |id: u32| json!({"id": id, "send": {"user": bob_name, "text": id.to_string()}});
        let bad = json!({"id": 900, "send": {"user": bob_name}});
        let mut commands: Vec<_> = (101..=120).map(send).collect();
        commands.insert(7, bad);
        commands.insert(13, json!({"id": 901, "ping": {}}));
        alice.post_raw(&commands);
        for (id, seq) in (101..=120).zip(1..) {
            assert_eq!(alice.reply(id)["send"]["seq"], json!(seq));
            assert_eq!(bob.push_of("message")["text"], id.to_string());
        }
        assert_eq!(error_code(&alice.reply(900)), 107);
        assert!(alice.reply(901)["ping"].is_object());
        assert!(
            alice.frames.iter().all(|&messages| messages == 1),
            "nobody asked for batches"
        );
    }
}

#[test]
fn a_bad_line_does_not_hide_the_next() {
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let text = "{\"id\":1001,\"ping\":{}}\nnonsense\r\n\n{\"id\":1002,\"ping\":{}}\r\n{\"id\":1003,\"nosuch\":{}}\n \n{\"id\":1004,\"ping\":{}}";
    alice.write_frame(Opcode::Text, text.as_bytes());
    for id in [1_001, 1_002, 1_004] {
        assert!(alice.reply(id)["ping"].is_object());
    }
    assert_eq!(error_code(&alice.reply(1_003)), 104);
    assert_eq!(error_code(&alice.stray()), 107);
}

#[test]
fn batches_for_those_who_ask() {
    const COMMANDS: u32 = 100;
    let gateway = Gateway::start();
    for encoding in [Json, Proto] {
        let dial = gateway.dial().encoding(encoding);
        let bob_name = format!("bob-{encoding:?}");
        let mut bobs = [false, true].map(|batch| {
            dial.clone()
                .with("batch", batch)
                .connect(&bob_name, "phone")
        });
        let mut alice = dial.with("batch", true).connect("alice", "phone");
        let commands: Vec<_> = (1..=COMMANDS)
            .map(|i| json!({"id": 1_000 + i, "send": {"user": bob_name, "text": i.to_string()}}))
            .collect();
        alice.post_raw(&commands);
        for i in 1..=COMMANDS {
            assert_eq!(alice.reply(1_000 + i)["send"]["seq"], json!(i));
            for bob in &mut bobs {
                assert_eq!(bob.push_of("message")["text"], i.to_string());
            }
        }
        // One frame of commands is decided at once: its replies come in far fewer frames.
        let most = |frames: &[usize]| frames.iter().copied().max();
        assert!(most(&alice.frames) > Some(1), "{:?}", alice.frames);
        assert!(most(&bobs[1].frames) > Some(1), "{:?}", bobs[1].frames);
        assert_eq!(most(&bobs[0].frames), Some(1), "nobody asked for batches");
    }
}

#[test]
fn what_a_later_version_adds_is_passed_over() {
    let gateway = Gateway::start();
    let mut bob = gateway.dial().connect("bob", "phone");
    let mut alice = gateway.dial().connect("alice", "phone");
    let text = r#"{"trace":[1,{"a":null}],"id":1001,"send":{"later":{"x":"}"},"user":"bob","text":"hello","flag":true},"z":1e9}"#;
    alice.write_frame(Opcode::Text, text.as_bytes());
    assert_eq!(alice.reply(1_001)["send"]["seq"], 1);
    assert_eq!(bob.push_of("message")["text"], "hello");
    // Field 2000 of Command, a string, before a ping with the id 7.
    let mut alice = gateway.dial().proto().connect("alice", "phone");
    alice.write_frame(Opcode::Binary, b"\x0a\x82\x7d\x03abc\x08\x63\x42\x00");
    assert!(alice.reply(0x63)["ping"].is_object());
}

#[test]
fn the_opening_says_what_is_allowed() {
    let gateway = Setup::default().without("ping-interval").start();
    for encoding in [Json, Proto] {
        let client = gateway.dial().encoding(encoding).connect("alice", "phone");
        let opening = client.opening();
        let limits = json!({"message_bytes": 1 << 20, "text_bytes": 64 << 10, "key_bytes": 128, "page": 500});
        assert_eq!(opening["limits"], limits);
        assert_eq!(
            (&opening["user"], &opening["device"]),
            (&json!("alice"), &json!("phone"))
        );
        assert_eq!(
            (&opening["ping_ms"], &opening["recovered"]),
            (&json!(25_000), &json!(false))
        );
        assert!(
            opening["time"].as_u64() > Some(1_700_000_000_000),
            "{opening}"
        );
        assert_ne!(opening["pos"], Value::Null);
    }
}
