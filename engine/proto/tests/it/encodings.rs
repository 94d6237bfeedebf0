//! Both encodings carry every message, and the hand-written readers and writers agree with the
//! general ones.

use proptest::prelude::*;
use prost::Message as _;
use trunkline_proto::message::{self as m, Command, ServerMessage};
use trunkline_proto::protobuf::wire;
use trunkline_proto::{BadCommand, Encoding};

use crate::generators::{command, server_message, usual_command};

const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::Proto];

/// Returns the payload of these messages, as a frame carries them.
fn payload<T>(encoding: Encoding, all: &[T], encode: impl Fn(&T, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, message) in all.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(encoding.separator());
        }
        encode(message, &mut out);
    }
    out
}

pub(crate) fn decode(encoding: Encoding, payload: &[u8]) -> Vec<Result<Command<'_>, BadCommand>> {
    let mut all = Vec::new();
    encoding.decode_commands(payload, |command| all.push(command));
    all
}

/// Returns the same JSON with a space behind each colon and comma that is outside of strings.
fn with_spaces(json: &[u8]) -> Vec<u8> {
    let (mut spaced, mut in_string, mut escaped) = (Vec::new(), false, false);
    for &byte in json {
        spaced.push(byte);
        match byte {
            b'"' if !escaped => in_string = !in_string,
            b':' | b',' if !in_string => spaced.push(b' '),
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
    }
    spaced
}

fn decode_server(encoding: Encoding, payload: &[u8]) -> Vec<ServerMessage<'_>> {
    let mut all = Vec::new();
    let decoded = encoding.decode_server(payload, |message| all.push(message));
    assert!(decoded.is_ok(), "{decoded:?} of {payload:?}");
    all
}

#[test]
fn a_reader_stops_after_a_command_and_goes_on_with_the_rest() {
    let frame = b"\n \x0c\n{\"id\":1,\"ping\":{}}\n\n{bad\n\t\n {\"id\":3,\"ping\":{}}\n\n ";
    let mut rest = &frame[..];
    let mut next = || {
        let command = Encoding::Json.next_command(&mut rest);
        command.map(|read| (read.map_err(|bad| bad.id).map(|command| command.id), rest))
    };
    let (first, rest) = next().unwrap();
    assert_eq!(first, Ok(1));
    assert!(rest.starts_with(b"\n{bad"));
    assert_eq!(next().unwrap().0, Err(0));
    assert_eq!(next().unwrap().0, Ok(3));
    assert!(next().is_none() && next().is_none());
    // A frame of empty lines holds no command, which only the reader of the whole frame says.
    assert_eq!(
        decode(Encoding::Json, b" \n\n"),
        [Err(BadCommand::no_command())]
    );
    assert!(Encoding::Json.next_command(&mut &b" \n\n"[..]).is_none());
    // Nothing follows a broken length.
    let mut rest = &[200, 1, 7][..];
    assert!(matches!(
        Encoding::Proto.next_command(&mut rest),
        Some(Err(_))
    ));
    assert!(Encoding::Proto.next_command(&mut rest).is_none());
}

/// A byte more at each place of a command in its usual form: both readers of JSON agree.
#[test]
fn a_byte_more_changes_both_readers_alike() {
    let commands = [
        r#"{"id":2,"send":{"user":"bob","text":"hello","key":"k"}}"#,
        r#"{"id":3,"ack":{"conversation":"u:alice:bob","delivered":2,"read":1}}"#,
    ];
    for command in commands {
        for json in [command.as_bytes().to_vec(), with_spaces(command.as_bytes())] {
            for (at, &byte) in json
                .iter()
                .enumerate()
                .flat_map(|(at, _)| b" \t\",:{}1\\".iter().map(move |byte| (at, byte)))
            {
                let changed = [&json[..at], &[byte], &json[at..]].concat();
                let general = [b" ", &changed[..]].concat();
                let quick = decode(Encoding::Json, &changed);
                let general = decode(Encoding::Json, &general);
                let shown = String::from_utf8_lossy(&changed);
                assert_eq!(outline(&quick), outline(&general), "{shown}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn commands(commands in prop::collection::vec(command(), 1..4)) {
        let expected: Vec<_> = commands.iter().cloned().map(Ok).collect();
        for encoding in BOTH {
            let payload = payload(encoding, &commands, |c, out| encoding.encode_command(c, out));
            prop_assert_eq!(&decode(encoding, &payload), &expected, "{:?}", encoding);
        }
    }

    #[test]
    fn server_messages(messages in prop::collection::vec(server_message(), 1..4)) {
        for encoding in BOTH {
            let payload = payload(encoding, &messages, |m, out| encoding.encode_server(m, out));
            prop_assert_eq!(&decode_server(encoding, &payload), &messages, "{:?}", encoding);
        }
    }

    /// The hand-written JSON is byte for byte that of serde.
    #[test]
    fn json_is_the_serde_form(message in server_message(), before in "[a-z]{0,20}") {
        let mut out = before.clone().into_bytes();
        Encoding::Json.encode_server(&message, &mut out);
        let serde = before + &serde_json::to_string(&message).unwrap();
        prop_assert_eq!(String::from_utf8(out).unwrap(), serde);
    }

    /// The hand-written protobuf is byte for byte that of the generated types.
    #[test]
    fn protobuf_is_the_generated_form(message in server_message(), command in command()) {
        let mut out = Vec::new();
        Encoding::Proto.encode_server(&message, &mut out);
        let generated = wire::ServerMessage::decode_length_delimited(&out[..]).unwrap();
        prop_assert_eq!(generated.encode_length_delimited_to_vec(), out);

        let mut out = Vec::new();
        Encoding::Proto.encode_command(&command, &mut out);
        let generated = wire::Command::decode_length_delimited(&out[..]).unwrap();
        prop_assert_eq!(generated.encode_length_delimited_to_vec(), out);
    }

    /// The quick readers take commands in their usual form. White space at the start of JSON, or an unknown
    /// field in protobuf, leaves a command to the general readers: the answers must agree, on
    /// broken commands too, and with the spaces that some JSON writers add.
    #[test]
    fn quick_and_general_readers_agree(
        command in prop_oneof![usual_command(), command()],
        broken in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        spaced in any::<bool>(),
    ) {
        let mut json = Vec::new();
        Encoding::Json.encode_command(&command, &mut json);
        if spaced {
            json = with_spaces(&json);
        }
        if let Some((at, byte)) = &broken {
            let at = at.index(json.len());
            json[at] = *byte;
        }
        let general = [b" ", &json[..]].concat();
        let (quick, general) = (decode(Encoding::Json, &json), decode(Encoding::Json, &general));
        // Error texts name columns, which the space moves.
        prop_assert_eq!(outline(&quick), outline(&general), "{}", String::from_utf8_lossy(&json));

        let mut proto = Vec::new();
        Encoding::Proto.encode_command(&command, &mut proto);
        let start = proto.len() - wire::Command::decode_length_delimited(&proto[..])
            .unwrap()
            .encoded_len();
        let body = &mut proto[start..];
        if let Some((at, byte)) = broken.filter(|_| !body.is_empty()) {
            let at = at.index(body.len());
            body[at] = byte;
        }
        // Number 2000, a varint.
        let unknown_field = [0x80, 0x7d, 0];
        let general = [&unknown_field[..], &*body].concat();
        let length = prost::encoding::encoded_len_varint(general.len() as u64);
        let mut framed = Vec::with_capacity(length + general.len());
        prost::encoding::encode_varint(general.len() as u64, &mut framed);
        framed.extend(general);
        let quick = decode(Encoding::Proto, &proto);
        prop_assert_eq!(outline(&quick), outline(&decode(Encoding::Proto, &framed)));
    }

    /// Messages that are cut short, changed or continued get an answer, and no decoder panics.
    #[test]
    fn damaged_messages_are_answered(
        command in command(),
        message in server_message(),
        cut in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        tail in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        let damage = |mut payload: Vec<u8>| {
            for (at, byte) in &changes {
                let at = at.index(payload.len());
                payload[at] = *byte;
            }
            payload.truncate(cut.index(payload.len() + 1));
            payload.extend_from_slice(&tail);
            payload
        };
        for encoding in BOTH {
            let mut payload = Vec::new();
            encoding.encode_command(&command, &mut payload);
            prop_assert!(!decode(encoding, &damage(payload)).is_empty());
            let mut payload = Vec::new();
            encoding.encode_server(&message, &mut payload);
            let _ = encoding.decode_server(&damage(payload), |_| ());
        }
    }

    /// The first command of a frame is what is read next, besides a line feed or its length.
    #[test]
    fn the_first_command_is_the_next_one(commands in prop::collection::vec(command(), 1..4)) {
        for encoding in BOTH {
            let frame = payload(encoding, &commands, |one, out| encoding.encode_command(one, out));
            let mut rest = &frame[..];
            for _ in &commands {
                let (before, first) = (rest.len(), encoding.first_command(rest).len());
                prop_assert!(encoding.next_command(&mut rest).is_some());
                let used = before - rest.len();
                prop_assert!((first..=first + 3).contains(&used), "{} {}", first, used);
            }
        }
    }

    /// Random input gets an answer, and no decoder panics.
    #[test]
    fn garbage_is_answered(garbage in prop::collection::vec(any::<u8>(), 0..60)) {
        for encoding in BOTH {
            prop_assert!(!decode(encoding, &garbage).is_empty());
            let _ = encoding.decode_server(&garbage, |_| ());
        }
    }
}

/// The last of a scalar field wins, messages are merged: protobuf's rules, quick reader or not.
#[test]
fn protobuf_fields_that_stand_twice() {
    let send = |fields: &[u8]| [&[3 << 3 | 2, fields.len() as u8], fields].concat();
    let body = [
        vec![1 << 3, 1],
        send(&[1 << 3 | 2, 1, b'a', 1 << 3 | 2, 1, b'b']),
        vec![1 << 3, 7],
        send(&[4 << 3 | 2, 2, b'h', b'i']),
    ];
    let merged = m::Send {
        user: Some("b".into()),
        text: Some("hi".into()),
        ..m::Send::default()
    };
    let once = m::Send {
        text: None,
        ..merged.clone()
    };
    for (parts, expected) in [(&body[..3], once), (&body[..], merged)] {
        let body = parts.concat();
        let payload = [&[body.len() as u8], &body[..]].concat();
        let expected = Command {
            id: 7,
            body: m::CommandBody::Send(expected),
        };
        assert_eq!(decode(Encoding::Proto, &payload), [Ok(expected)]);
    }
}

type Outline<'a> = Vec<Result<Command<'a>, (u32, u16)>>;

fn outline<'a>(decoded: &[Result<Command<'a>, BadCommand>]) -> Outline<'a> {
    decoded
        .iter()
        .map(|r| r.clone().map_err(|bad| (bad.id, bad.code.code())))
        .collect()
}
