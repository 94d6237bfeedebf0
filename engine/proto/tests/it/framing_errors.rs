//! Frames that a peer must not send: each mistake with its close code, and the byte at which it is
//! noticed.

use trunkline_proto::connection::{Connection, Role};
use trunkline_proto::frame::FrameError;

use crate::wire::{
    BINARY, CLOSE, CONTINUATION, FIN, Heard, Length, PING, PONG, ROLES, TEXT, check, frame,
    frame_with, header, hear, key, text,
};

const MAX: usize = 1_000;

/// One stream per mistake, with the close code of RFC 6455 §7.4.1.
fn mistakes(role: Role) -> Vec<(FrameError, u16, Vec<u8>)> {
    use FrameError as E;
    let key = key(role);
    let wrong_mask = match role {
        Role::Server => (E::NotMasked, frame(FIN | TEXT, b"hi", None)),
        Role::Client => (E::Masked, frame(FIN | TEXT, b"hi", Some([1, 2, 3, 4]))),
    };
    let coded = |code: u16| frame(CLOSE, &code.to_be_bytes(), key);
    let mut all = vec![
        (wrong_mask.0, 1002, wrong_mask.1),
        (E::FragmentedControl, 1002, frame(9, b"", key)),
        (E::FragmentedControl, 1002, frame(8, b"", key)),
        (E::LongControl, 1002, frame(PING, &[0; 126], key)),
        (E::LongControl, 1002, frame(CLOSE, &[0; 70_000], key)),
        (E::UnexpectedContinuation, 1002, {
            frame(FIN | CONTINUATION, b"hi", key)
        }),
        (
            E::UnexpectedContinuation,
            1002,
            frame(CONTINUATION, b"", key),
        ),
        (E::ExpectedContinuation, 1002, {
            [frame(TEXT, b"a", key), frame(FIN | TEXT, b"b", key)].concat()
        }),
        (E::ExpectedContinuation, 1002, {
            [frame(BINARY, b"a", key), frame(BINARY, b"b", key)].concat()
        }),
        (E::ShortClose, 1002, frame(CLOSE, &[3], key)),
        (E::Utf8, 1007, frame(CLOSE, &[3, 0xe8, 0xff], key)),
        (E::Utf8, 1007, frame(FIN | TEXT, b"caf\xc3", key)),
        (E::Utf8, 1007, frame(FIN | TEXT, b"\xed\xa0\x80", key)),
        (E::Utf8, 1007, {
            [frame(TEXT, b"\xf0\x9f", key), frame(FIN, b"\x98", key)].concat()
        }),
        (E::TooBig, 1009, frame(FIN | BINARY, &[0; MAX + 1], key)),
        (E::TooBig, 1009, {
            [frame(BINARY, &[0; MAX], key), frame(FIN, &[0], key)].concat()
        }),
        (E::LengthTooLarge, 1002, {
            header(FIN | BINARY, 1 << 63, key, Length::Long)
        }),
        (E::TooBig, 1009, {
            header(FIN | BINARY, (1 << 63) - 1, key, Length::Long)
        }),
    ];
    for (len, form) in [
        (0, Length::Medium),
        (125, Length::Medium),
        (0, Length::Long),
        (126, Length::Long),
        (65_535, Length::Long),
    ] {
        let stream = frame_with(FIN | BINARY, &vec![0; len], key, form);
        all.push((E::LengthNotMinimal, 1002, stream));
    }
    for bit in [0x40, 0x20, 0x10, 0x70] {
        for first in [FIN | TEXT, PONG, CONTINUATION] {
            all.push((E::ReservedBit, 1002, frame(first | bit, b"hi", key)));
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        all.push((E::ReservedOpcode, 1002, frame(FIN | opcode, b"hi", key)));
        all.push((E::ReservedOpcode, 1002, frame(opcode, b"hi", key)));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        all.push((E::CloseCode, 1002, coded(code)));
    }
    all
}

#[test]
fn each_mistake_and_its_close_code() {
    let mut provoked = Vec::new();
    for role in ROLES {
        for (error, code, mistake) in mistakes(role) {
            assert_eq!(error.close_code().0, code, "{error:?}");
            provoked.push(error);
            // What came before the mistake is heard, what comes after it is not.
            let stream = [
                frame(FIN | TEXT, b"before", key(role)),
                mistake,
                frame(FIN | TEXT, b"after", key(role)),
            ];
            let stream = stream.concat();
            let expected = [text("before"), Heard::Failed(error)];
            if stream.len() < 3 * MAX {
                check(role, MAX, &stream, &expected, "a mistake");
            } else {
                let heard = crate::wire::hear_all(role, MAX, stream.chunks(1));
                assert_eq!(heard, expected);
            }
        }
    }
    for error in FrameError::ALL {
        assert!(provoked.contains(&error), "{error:?} is not tested");
    }
}

/// Feeds `stream` byte by byte: the error must come with the byte at `wrong`, not later.
#[track_caller]
fn check_at(role: Role, max: usize, stream: &[u8], wrong: usize, error: FrameError) {
    let mut connection = Connection::new(role);
    for (i, byte) in stream[..wrong].chunks(1).enumerate() {
        assert_eq!(hear(&mut connection, byte, max), [], "byte {i}");
    }
    let heard = hear(&mut connection, &stream[wrong..=wrong], max);
    assert_eq!(heard, [Heard::Failed(error)], "{role:?}");
    assert_eq!(
        connection.buffered(),
        0,
        "a failed connection holds nothing"
    );
}

#[test]
fn wrong_text_fails_at_its_first_wrong_byte() {
    // Text, and where it stops being the start of any UTF-8.
    let cases: [(&[u8], usize); 7] = [
        (b"\xff and more", 0),
        (b"abc\x80def", 3),
        (b"abc\xc0\x80", 3),
        (b"\xc3\x28 and more", 1),
        (b"\xed\xa0\x80", 1),
        ("κόσμε\u{10ffff}".as_bytes(), usize::MAX),
        (b"\xf4\x90\x80\x80 and more", 1),
    ];
    for role in ROLES {
        let key = key(role);
        for (bytes, wrong) in cases {
            // One frame that announces more than ever arrives.
            let unfinished = [bytes, &[b'x'; 400]].concat();
            let stream = frame(FIN | TEXT, &unfinished, key);
            let payload = stream.len() - unfinished.len();
            if wrong == usize::MAX {
                let message = std::str::from_utf8(&unfinished).unwrap();
                check(role, MAX, &stream, &[text(message)], "good text");
                continue;
            }
            check_at(role, MAX, &stream, payload + wrong, FrameError::Utf8);

            // A fragment per byte: the fragment of the wrong byte fails.
            let mut stream = frame(TEXT, b"", key);
            let size = frame(CONTINUATION, b"x", key).len();
            for byte in bytes.chunks(1) {
                stream.extend(frame(CONTINUATION, byte, key));
            }
            let first = frame(TEXT, b"", key).len();
            let at = first + size * (wrong + 1) - 1;
            check_at(role, MAX, &stream, at, FrameError::Utf8);
        }
    }
}

#[test]
fn mistakes_of_the_header_are_noticed_in_the_header() {
    for role in ROLES {
        let key = key(role);
        let first = [
            (frame(FIN | 0x40 | TEXT, b"", key), FrameError::ReservedBit),
            (frame(FIN | 3, b"", key), FrameError::ReservedOpcode),
            (frame(9, b"", key), FrameError::FragmentedControl),
        ];
        for (stream, error) in first {
            check_at(role, MAX, &stream, 0, error);
        }
        check_at(role, MAX, &frame(PING, &[0; 126], key), 1, {
            FrameError::LongControl
        });
        let head = header(FIN | BINARY, MAX as u64 + 1, key, Length::Shortest);
        check_at(role, MAX, &head, head.len() - 1, FrameError::TooBig);
    }
}

#[test]
fn the_limit_counts_all_fragments_and_nothing_else() {
    let exact = |role| {
        [
            frame(TEXT, b"12345", key(role)),
            frame(PING, &[b'p'; 125], key(role)),
            frame(CONTINUATION, b"", key(role)),
            frame(FIN | CONTINUATION, b"67890", key(role)),
        ]
        .concat()
    };
    for role in ROLES {
        let ping = Heard::Ping([b'p'; 125].into());
        let stream = [exact(role), exact(role)].concat();
        let expected = [ping.clone(), text("1234567890"), ping, text("1234567890")];
        check(role, 10, &stream, &expected, "two messages at the limit");

        let stream = exact(role);
        let last = frame(FIN | CONTINUATION, b"67890", key(role)).len();
        let header = stream.len() - last + last - 5 - 1;
        let mut connection = Connection::new(role);
        let heard = hear(&mut connection, &stream[..header], 9);
        assert_eq!(heard.len(), 1, "only the ping: {heard:?}");
        let heard = hear(&mut connection, &stream[header..], 9);
        assert_eq!(heard, [Heard::Failed(FrameError::TooBig)], "{role:?}");
    }
}
