//! Clients that mean harm: each is stopped by a limit, counted, and noticed by nobody else.

use trunkline_proto::Encoding::{Json, Proto};
use trunkline_proto::frame::{Opcode, write_frame};
use trunkline_tests::client::End;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::neighbours::Neighbours;
use trunkline_tests::wait;

fn limited(gateway: &Gateway, limit: &str) -> f64 {
    gateway.metric(&format!("trunkline_limited_total{{limit=\"{limit}\"}}"))
}

/// Frames, all in one piece.
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
        let reason = "a message did not come to its end in time";
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
