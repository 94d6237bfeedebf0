//! Our framing against tungstenite's: random streams, right and wrong, must be heard alike.
//!
//! The two differ by intent in three things, which [`intended_differences`] shows one by one:
//!
//! 1. A length that is not in its shortest form: RFC 6455 §5.2 forbids it, tungstenite reads it.
//! 2. Close code 1014: registered with IANA since, tungstenite 0.30 does not know it.
//! 3. When a mistake is noticed. We fail at the first byte that shows it; tungstenite waits for
//!    the end of the frame in all but a few cases. So where we failed and tungstenite waits, the
//!    comparison sends it the rest of that frame, and then it must fail too.
//!
//! Besides, tungstenite reports a Close with an invalid code as a Close with code 1002, which
//! counts as failing here.

use std::io::{self, Read, Write};

use proptest::prelude::*;
use trunkline_proto::connection::{Connection, MessageKind, Role};
use trunkline_proto::frame::FrameError;
use tungstenite::protocol::{self, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use crate::wire::{
    BINARY, CLOSE, CONTINUATION, FIN, Heard, Length, PING, PONG, ROLES, TEXT, frame, frame_with,
    hear, key, text,
};

/// The limit of a message in bytes: so small that random streams exceed it now and then.
const MAX: usize = 300;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// The connection is open and reads more input.
    Open,
    Closed,
    Failed,
}

/// A stream that is read from memory. What is written to it is dropped.
struct Memory(io::Cursor<Vec<u8>>);

impl Read for Memory {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self.0.read(to)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for Memory {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(from.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns what tungstenite hears of a stream.
fn oracle(role: Role, stream: Vec<u8>) -> (Vec<Heard>, Verdict) {
    let role = match role {
        Role::Server => protocol::Role::Server,
        Role::Client => protocol::Role::Client,
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX))
        .max_frame_size(Some(MAX))
        .read_buffer_size(512);
    let memory = Memory(io::Cursor::new(stream));
    let mut socket = WebSocket::from_raw_socket(memory, role, Some(config));
    let mut heard = Vec::new();
    loop {
        heard.push(match socket.read() {
            Ok(Message::Text(payload)) => text(&payload),
            Ok(Message::Binary(payload)) => Heard::Message(MessageKind::Binary, payload.into()),
            Ok(Message::Ping(payload)) => Heard::Ping(payload.into()),
            Ok(Message::Pong(payload)) => Heard::Pong(payload.into()),
            Ok(Message::Close(None)) => {
                heard.push(Heard::Close(None, String::new()));
                return (heard, Verdict::Closed);
            }
            Ok(Message::Close(Some(close))) => {
                let (code, reason) = (close.code.into(), close.reason.to_string());
                if (code, &*reason) == (1002, "Protocol violation") {
                    return (heard, Verdict::Failed);
                }
                heard.push(Heard::Close(Some(code), reason));
                return (heard, Verdict::Closed);
            }
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                return (heard, Verdict::Open);
            }
            Err(_) => return (heard, Verdict::Failed),
        });
    }
}

/// The result of our reader for a stream.
struct Ours {
    heard: Vec<Heard>,
    verdict: Verdict,
    error: Option<FrameError>,
}

/// Returns the result of our reader for a stream, delivered in pieces of these sizes over and over.
fn ours(role: Role, stream: &[u8], sizes: &[usize]) -> Ours {
    let mut connection = Connection::new(role);
    let (mut heard, mut rest) = (Vec::new(), stream);
    for size in sizes.iter().cycle() {
        let (piece, behind) = rest.split_at((*size).min(rest.len()));
        heard.extend(hear(&mut connection, piece, MAX));
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    let (verdict, error) = match heard.last() {
        Some(&Heard::Failed(error)) => {
            heard.pop();
            (Verdict::Failed, Some(error))
        }
        Some(Heard::Close(..)) => (Verdict::Closed, None),
        _ => (Verdict::Open, None),
    };
    Ours {
        heard,
        verdict,
        error,
    }
}

fn compare(role: Role, stream: &[u8], sizes: &[usize]) -> Result<(), TestCaseError> {
    let Ours {
        heard,
        verdict,
        error,
    } = ours(role, stream, sizes);
    let (mut theirs, mut their_verdict) = oracle(role, stream.to_vec());
    if (verdict, their_verdict) == (Verdict::Failed, Verdict::Open) {
        // Difference 3: enough bytes for the rest of any frame within the limit.
        let stream = [stream, &[0; MAX + 14]].concat();
        (theirs, their_verdict) = oracle(role, stream);
    }
    if not_minimal(error, theirs.get(heard.len())) {
        // Difference 1: they read on, so that only what came before can be compared.
        prop_assert!(theirs.starts_with(&heard), "{heard:?}\n{theirs:?}");
        return Ok(());
    }
    if matches!(heard.last(), Some(Heard::Close(Some(1014), _))) {
        // Difference 2.
        prop_assert_eq!(their_verdict, Verdict::Failed);
        prop_assert_eq!(&heard[..heard.len() - 1], &theirs[..]);
        return Ok(());
    }
    prop_assert_eq!(heard, theirs);
    prop_assert_eq!(verdict, their_verdict, "ours: {:?}", error);
    Ok(())
}

/// Returns whether we failed for the form of a length alone. A control frame has only the shortest
/// form, so there we call every other one too long; `next` is what they made of the frame.
fn not_minimal(error: Option<FrameError>, next: Option<&Heard>) -> bool {
    use Heard::{Close, Ping, Pong};
    match error {
        Some(FrameError::LengthNotMinimal) => true,
        Some(FrameError::LongControl) => matches!(next, Some(Ping(_) | Pong(_) | Close(..))),
        _ => false,
    }
}

/// Returns a payload: UTF-8, or nearly, or any bytes.
fn payload(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let characters = prop::collection::vec(any::<char>(), 0..max / 4);
    prop_oneof![
        4 => characters.prop_map(|c| c.into_iter().collect::<String>().into_bytes()),
        2 => prop::collection::vec(b' '..b'~', 0..max),
        1 => prop::collection::vec(any::<u8>(), 0..max),
    ]
}

/// Returns the frames of a message: fragmented anywhere, with control frames between the fragments.
fn message(key: Option<[u8; 4]>) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    let opcode = prop_oneof![2 => Just(TEXT), 1 => Just(BINARY)];
    let control = prop::option::weighted(0.3, control(key));
    (opcode, payload(200), cuts, control).prop_map(move |(opcode, payload, cuts, control)| {
        let mut ends: Vec<usize> = cuts.iter().map(|c| c.index(payload.len() + 1)).collect();
        ends.push(payload.len());
        ends.sort_unstable();
        let (mut frames, mut start) = (Vec::new(), 0);
        for (i, end) in ends.iter().enumerate() {
            let opcode = if i == 0 { opcode } else { CONTINUATION };
            let fin = if i + 1 == ends.len() { FIN } else { 0 };
            frames.push(frame(fin | opcode, &payload[start..*end], key));
            start = *end;
            frames.extend(control.clone());
        }
        frames
    })
}

fn control(key: Option<[u8; 4]>) -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![Just(PING), Just(PONG)];
    (first, payload(125)).prop_map(move |(first, payload)| frame(first, &payload, key))
}

fn close(key: Option<[u8; 4]>) -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![Just(1000_u16), 990_u16..1020, 2990_u16..3010, any::<u16>()];
    let payload =
        (code, payload(100)).prop_map(|(code, reason)| [&code.to_be_bytes()[..], &reason].concat());
    prop_oneof![
        4 => payload,
        1 => Just(Vec::new()),
        1 => Just(vec![3]),
    ]
    .prop_map(move |payload| frame(CLOSE, &payload, key))
}

/// Returns a frame of any first byte, masked or not, its length in any form.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![
        4 => Just(Length::Shortest),
        1 => Just(Length::Medium),
        1 => Just(Length::Long),
    ];
    (any::<u8>(), payload(320), any::<Option<[u8; 4]>>(), length)
        .prop_map(|(first, payload, key, form)| frame_with(first, &payload, key, form))
}

#[derive(Debug, Clone)]
enum Mutation {
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Truncate(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, b)| Mutation::Flip(at, b)),
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, b)| Mutation::Insert(at, b)),
        any::<prop::sample::Index>().prop_map(Mutation::Remove),
        any::<prop::sample::Index>().prop_map(Mutation::Truncate),
    ]
}

fn apply(mutation: &Mutation, stream: &mut Vec<u8>) {
    let len = stream.len();
    match mutation {
        Mutation::Flip(at, bits) if len > 0 => stream[at.index(len)] ^= bits,
        Mutation::Remove(at) if len > 0 => {
            stream.remove(at.index(len));
        }
        Mutation::Insert(at, byte) => stream.insert(at.index(len + 1), *byte),
        Mutation::Truncate(at) => stream.truncate(at.index(len + 1)),
        Mutation::Flip(..) | Mutation::Remove(_) => {}
    }
}

fn stream(role: Role) -> impl Strategy<Value = Vec<u8>> {
    let key = key(role);
    let part = prop_oneof![
        12 => message(key).prop_map(|frames| frames.concat()),
        2 => control(key),
        1 => any_frame(),
        1 => close(key),
        // A frame lost or sent twice in the middle of a message.
        1 => message(key).prop_map(|frames| frames[1..].concat()),
        1 => message(key).prop_map(|frames| [&frames[..1], &frames[..]].concat().concat()),
    ];
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.concat())
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn same_messages_and_verdict(
        (role, stream) in role().prop_flat_map(|role| (Just(role), stream(role))),
        mutations in prop_oneof![
            Just(Vec::new()),
            prop::collection::vec(mutation(), 1..3),
        ],
        sizes in prop::collection::vec(1_usize..400, 1..4),
    ) {
        let mut stream = stream;
        for mutation in &mutations {
            apply(mutation, &mut stream);
        }
        compare(role, &stream, &sizes)?;
    }
}

/// A peer's closes, every code once.
#[test]
fn every_close_code() {
    for role in ROLES {
        for code in 0..=u16::MAX {
            let stream = frame(CLOSE, &code.to_be_bytes(), key(role));
            compare(role, &stream, &[stream.len()]).unwrap();
        }
    }
}

#[test]
fn intended_differences() {
    use FrameError as E;
    let check = |role, stream: &[u8], error, verdict, theirs| {
        let Ours {
            verdict: our_verdict,
            error: our_error,
            ..
        } = ours(role, stream, &[stream.len()]);
        assert_eq!((our_verdict, our_error), (verdict, error), "{stream:?}");
        assert_eq!(oracle(role, stream.to_vec()).1, theirs, "{stream:?}");
    };
    let (open, closed, failed) = (Verdict::Open, Verdict::Closed, Verdict::Failed);
    for role in ROLES {
        let key = key(role);
        for form in [Length::Medium, Length::Long] {
            let stream = frame_with(FIN | TEXT, b"hi", key, form);
            check(role, &stream, Some(E::LengthNotMinimal), failed, open);
            let stream = frame_with(PING, b"hi", key, form);
            check(role, &stream, Some(E::LongControl), failed, open);
        }
        let stream = frame(CLOSE, &1014_u16.to_be_bytes(), key);
        check(role, &stream, None, closed, failed);

        // Noticed before the frame has ended.
        let wrong_key = match role {
            Role::Server => None,
            Role::Client => Some([1, 2, 3, 4]),
        };
        let mask = match role {
            Role::Server => E::NotMasked,
            Role::Client => E::Masked,
        };
        for (error, stream) in [
            (mask, frame(FIN | TEXT, b"hi", wrong_key)),
            (E::ReservedBit, frame(FIN | 0x40 | TEXT, b"hi", key)),
            (E::FragmentedControl, frame(9, b"hi", key)),
            (E::LongControl, frame(PING, &[0; 126], key)),
            (E::UnexpectedContinuation, frame(FIN, b"hi", key)),
            (E::Utf8, frame(FIN | TEXT, b"\xff and more", key)),
        ] {
            let unfinished = &stream[..stream.len() - 1];
            check(role, unfinished, Some(error), failed, open);
            check(role, &stream, Some(error), failed, failed);
        }
    }
}
