//! Frames of a correct peer, cut into pieces in every way.

use trunkline_proto::connection::{Connection, MessageKind, Received, Role};
use trunkline_proto::error::CloseCode;
use trunkline_proto::frame::{self, Opcode};

use crate::wire::{
    BINARY, CLOSE, CONTINUATION, FIN, Heard, Length, PING, PONG, ROLES, TEXT, check, frame, header,
    hear, hear_all, key, text,
};

const MAX: usize = 1 << 20;

#[test]
fn every_length_class() {
    for role in ROLES {
        for len in [0, 1, 124, 125, 126, 127, 300] {
            let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let stream = frame(FIN | BINARY, &payload, key(role));
            let expected = [Heard::Message(MessageKind::Binary, payload)];
            check(role, MAX, &stream, &expected, "a frame");
        }
        for len in [65_535_usize, 65_536, 65_537, 300_000] {
            let payload = "x".repeat(len);
            let stream = frame(FIN | TEXT, payload.as_bytes(), key(role));
            let near = (1..20).chain([len / 2, stream.len() - 2, stream.len() - 1]);
            for cut in near {
                let heard = hear_all(role, MAX, [&stream[..cut], &stream[cut..]]);
                assert!(heard == [text(&payload)], "{role:?}, {len} cut at {cut}");
            }
            let heard = hear_all(role, MAX, stream.chunks(1_000));
            assert!(heard == [text(&payload)], "{role:?}, {len} in pieces");
        }
    }
}

/// Returns a message in one-byte fragments, its characters cut in two, a control frame in every
/// gap.
fn fragmented(message: &str, key: Option<[u8; 4]>, control: &[u8]) -> Vec<u8> {
    let mut stream = frame(TEXT, b"", key);
    for byte in message.as_bytes().chunks(1) {
        stream.extend_from_slice(control);
        stream.extend(frame(CONTINUATION, byte, key));
    }
    stream.extend(frame(FIN | CONTINUATION, b"", key));
    stream
}

#[test]
fn fragmented_at_every_byte_and_cut_at_every_byte() {
    let message = "grüße, 世界 😀";
    for role in ROLES {
        let stream = fragmented(message, key(role), b"");
        check(role, MAX, &stream, &[text(message)], "fragments");

        let stream = fragmented(message, key(role), &frame(PING, b"ab", key(role)));
        let mut expected = vec![Heard::Ping(b"ab".into()); message.len()];
        expected.push(text(message));
        check(role, MAX, &stream, &expected, "fragments and pings");
    }
}

#[test]
fn every_split_of_short_streams() {
    let every_split = |role, stream: &[u8], expected: &[Heard]| {
        assert!(stream.len() <= 15, "2^{} splits", stream.len());
        for splits in 0_u32..1 << (stream.len() - 1) {
            let mut connection = Connection::new(role);
            let (mut heard, mut start) = (Vec::new(), 0);
            for end in 1..=stream.len() {
                if end == stream.len() || splits & (1 << (end - 1)) != 0 {
                    heard.extend(hear(&mut connection, &stream[start..end], 1_000));
                    start = end;
                }
            }
            assert!(heard == expected, "{role:?}, splits {splits:b}: {heard:?}");
        }
    };
    let close = Heard::Close(Some(1000), String::new());
    let stream = [
        frame(TEXT, &[0xc3], None),
        frame(PING, b"p", None),
        frame(FIN | CONTINUATION, &[0xa9], None),
        frame(CLOSE, &[3, 0xe8], None),
    ];
    let expected = [Heard::Ping(b"p".into()), text("é"), close.clone()];
    every_split(Role::Client, &stream.concat(), &expected);

    let key = key(Role::Server);
    let stream = [
        frame(TEXT, &[0xc3], key),
        frame(FIN | CONTINUATION, &[0xa9], key),
    ];
    every_split(Role::Server, &stream.concat(), &[text("é")]);
    let stream = [frame(FIN | BINARY, b"", key), frame(CLOSE, &[3, 0xe8], key)];
    let expected = [Heard::Message(MessageKind::Binary, Vec::new()), close];
    every_split(Role::Server, &stream.concat(), &expected);
}

#[test]
fn control_frames() {
    let longest = [b'p'; 125];
    for role in ROLES {
        let key = key(role);
        let stream = [
            frame(PING, b"", key),
            frame(PONG, &longest, key),
            frame(BINARY, b"one ", key),
            frame(PING, &longest, key),
            frame(PONG, b"heartbeat", key),
            frame(FIN | CONTINUATION, b"two", key),
            frame(FIN | TEXT, b"three", key),
        ];
        let expected = [
            Heard::Ping(Vec::new()),
            Heard::Pong(longest.into()),
            Heard::Ping(longest.into()),
            Heard::Pong(b"heartbeat".into()),
            Heard::Message(MessageKind::Binary, b"one two".into()),
            text("three"),
        ];
        check(role, 7, &stream.concat(), &expected, "controls");
    }
}

#[test]
fn closes_and_what_follows_them() {
    let coded = |code: u16, reason: &str| [&code.to_be_bytes(), reason.as_bytes()].concat();
    let cases = [
        (Vec::new(), Heard::Close(None, String::new())),
        (coded(1000, ""), Heard::Close(Some(1000), String::new())),
        (coded(1014, "bad gateway"), {
            Heard::Close(Some(1014), "bad gateway".into())
        }),
        (coded(4999, "grüße"), {
            Heard::Close(Some(4999), "grüße".into())
        }),
    ];
    for role in ROLES {
        for (payload, close) in &cases {
            // Behind the Close: a good message, and bytes that would be an error.
            let stream = [
                frame(TEXT, b"never finished", key(role)),
                frame(CLOSE, payload, key(role)),
                frame(FIN | TEXT, b"too late", key(role)),
                vec![0xff; 20],
            ];
            let expected = std::slice::from_ref(close);
            check(role, MAX, &stream.concat(), expected, "a close");
        }
    }
}

/// A caller learns how many frames were read, and how many bytes were copied.
#[test]
fn what_reading_took_is_counted() {
    let role = Role::Server;
    let key = key(role);
    let mut connection = Connection::new(role);
    let mut taken = |piece: &[u8]| {
        hear(&mut connection, piece, MAX);
        let Received { frames, copied } = connection.take_received();
        (frames, copied)
    };
    let whole = frame(FIN | TEXT, b"twenty-one bytes long", key);
    assert_eq!(taken(&whole), (1, 0), "nothing is copied");
    assert_eq!(taken(&[&whole[..], &whole].concat()), (2, 0));
    let (begin, end) = whole.split_at(whole.len() - 5);
    assert_eq!(taken(begin), (1, 16));
    assert_eq!(taken(end), (0, 5), "the frame is counted already");
    let fragments = fragmented("ten bytes.", key, &frame(PING, b"ab", key));
    assert_eq!(taken(&fragments), (1 + 10 + 10 + 1, 10));
    let mut many = frame(TEXT, b"", key);
    many.extend(frame(CONTINUATION, b"", key).repeat(70_000));
    assert_eq!(taken(&many), (u16::MAX, 0), "the count does not wrap");
    assert_eq!(taken(b""), (0, 0));
}

#[test]
fn an_idle_connection_owns_nothing() {
    assert!(size_of::<Connection>() <= 16);
    for role in ROLES {
        let key = key(role);
        let big = vec![b'x'; 100_000];
        let messages = [
            frame(FIN | TEXT, b"short", key),
            frame(FIN | BINARY, &big, key),
            [frame(TEXT, &big, key), frame(FIN | CONTINUATION, &big, key)].concat(),
            frame(PING, &[0; 125], key),
        ];
        let mut connection = Connection::new(role);
        for message in &messages {
            for pieces in [message.len(), 70_000, 999, 1] {
                let mut heard = 0;
                for piece in message.chunks(pieces) {
                    assert_eq!(heard, 0, "nothing before the end");
                    heard += hear(&mut connection, piece, MAX).len();
                    assert_eq!(connection.is_idle(), heard == 1, "pieces of {pieces}");
                }
                assert_eq!((heard, connection.buffered()), (1, 0), "pieces of {pieces}");
            }
        }
    }
}

#[test]
fn announced_bytes_are_not_reserved() {
    const GIB: u64 = 1 << 30;
    for role in ROLES {
        for first in [FIN | BINARY, TEXT] {
            let mut connection = Connection::new(role);
            let head = header(first, GIB, key(role), Length::Shortest);
            assert_eq!(hear(&mut connection, &head, 2 << 30), []);
            assert!(connection.buffered() < 512, "{}", connection.buffered());
            // Whatever it is unmasked to, it stays ASCII.
            let piece: Vec<u8> = (0..1_000)
                .map(|i| b'a' ^ key(role).map_or(0, |key| key[i % 4]))
                .collect();
            for pieces in 1..100 {
                assert_eq!(hear(&mut connection, &piece, 2 << 30), []);
                let arrived = pieces * piece.len();
                let held = connection.buffered();
                assert!(
                    (arrived..2 * arrived + 1_000).contains(&held),
                    "{held} bytes held of {arrived}"
                );
            }
        }
    }
}

#[test]
fn what_is_written_is_heard() {
    let payload = "ü".repeat(40_000);
    for role in ROLES {
        let mut stream = Vec::new();
        for len in [0, 2, 124, 126, 65_534, 65_536, 80_000] {
            frame::write_frame(
                &mut stream,
                Opcode::Text,
                &payload.as_bytes()[..len],
                key(role),
            );
            frame::write_with(&mut stream, Opcode::Binary, key(role), |out| {
                out.extend_from_slice(&payload.as_bytes()[..len]);
            });
        }
        frame::write_frame(&mut stream, Opcode::Ping, b"p", key(role));
        frame::write_close(&mut stream, CloseCode::SHUTDOWN, "shutdown", key(role));
        let heard = hear_all(role, MAX, stream.chunks(4_096));
        let mut expected = Vec::new();
        for len in [0, 2, 124, 126, 65_534, 65_536, 80_000] {
            let bytes = &payload.as_bytes()[..len];
            expected.push(Heard::Message(MessageKind::Text, bytes.into()));
            expected.push(Heard::Message(MessageKind::Binary, bytes.into()));
        }
        expected.push(Heard::Ping(b"p".into()));
        expected.push(Heard::Close(Some(3001), "shutdown".into()));
        assert!(heard == expected, "{role:?}");
    }
}
