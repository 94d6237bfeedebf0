//! docs/protocol.md says what each field of a message takes on the wire: the figures are true.

use trunkline_proto::Encoding;
use trunkline_proto::frame::{Opcode, write_frame};
use trunkline_proto::message::{
    Command, CommandBody, Event, Message, Push, Reply, ReplyBody, Send, SendReply, ServerMessage,
};

const PAGE: &str = include_str!("../../../../docs/protocol.md");

const TEXT: &str = "I will be at the station at ten past nine, platform four. Bring the tickets, \
     the umbrella and a book for the way back!";

fn command() -> Command<'static> {
    let body = CommandBody::Send(Send {
        user: Some("bob".into()),
        key: Some("c-1".into()),
        text: Some(TEXT.into()),
        ..Send::default()
    });
    Command { id: 2, body }
}

fn reply() -> SendReply<'static> {
    SendReply {
        conversation: "u:alice:bob".into(),
        seq: 42,
        pos: "5e884898-4096".into(),
        time: 1_767_225_600_500,
        duplicate: false,
    }
}

fn message() -> Message<'static> {
    Message {
        conversation: "u:alice:bob".into(),
        seq: 42,
        from: "alice".into(),
        device: "phone".into(),
        time: 1_767_225_600_500,
        key: Some("c-1".into()),
        text: Some(TEXT.into()),
        ..Message::default()
    }
}

/// The bytes of something in JSON, and in protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes([usize; 2]);

impl Sizes {
    fn of(encode: impl Fn(Encoding, &mut Vec<u8>)) -> Self {
        Self([Encoding::Json, Encoding::Proto].map(|encoding| {
            let mut out = Vec::new();
            encode(encoding, &mut out);
            out.len()
        }))
    }

    fn of_server(message: &ServerMessage<'_>) -> Self {
        Self::of(|encoding, out| encoding.encode_server(message, out))
    }

    fn of_reply(body: SendReply<'_>) -> Self {
        let body = ReplyBody::Send(body);
        Self::of_server(&ServerMessage::Reply(Reply { id: 2, body }))
    }

    fn of_push(message: Message<'_>) -> Self {
        let event = Event::Message(message);
        let pos = Some("5e884898-4096".into());
        Self::of_server(&ServerMessage::Push(Push { pos, event }))
    }

    /// The sizes of a text that is as long as these bytes, in a frame of a client or of the gateway.
    fn framed(self, mask: Option<[u8; 4]>) -> Self {
        Self(self.0.map(|size| {
            let mut out = Vec::new();
            write_frame(&mut out, Opcode::Text, &vec![0; size], mask);
            out.len()
        }))
    }

    fn minus(self, other: Self) -> Self {
        let [json, proto] = self.0;
        Self([json - other.0[0], proto - other.0[1]])
    }

    fn plus(self, other: Self) -> Self {
        let [json, proto] = self.0;
        Self([json + other.0[0], proto + other.0[1]])
    }
}

/// The page has this row of sizes.
#[track_caller]
fn check(row: &str, Sizes([json, proto]): Sizes) {
    let row = format!("| {row} | {json} | {proto} |");
    assert!(PAGE.contains(&row), "docs/protocol.md has no row {row}");
}

/// The sizes of a field: its name and value in JSON; in protobuf what is saved without it.
fn field(name: &str, value: impl serde::Serialize, with: Sizes, without: Sizes) -> Sizes {
    let value = serde_json::to_string(&value).unwrap();
    Sizes([
        format!("\"{name}\":{value},").len(),
        with.minus(without).0[1],
    ])
}

#[test]
fn a_message() {
    let sent = Sizes::of(|encoding, out| encoding.encode_command(&command(), out));
    let mask = Some([1, 2, 3, 4]);
    check("command", sent);
    check("frame of the command", sent.framed(mask).minus(sent));
    let replied = Sizes::of_reply(reply());
    check("reply", replied);
    check("frame of the reply", replied.framed(None).minus(replied));
    let pushed = Sizes::of_push(message());
    check("push", pushed);
    check("frame of the push", pushed.framed(None).minus(pushed));
    let all = sent.framed(mask).plus(replied.framed(None));
    check("all with their frames", all.plus(pushed.framed(None)));
}

#[test]
fn the_fields_of_a_reply() {
    let full = Sizes::of_reply(reply());
    let row = |name, value: serde_json::Value, without| {
        let without = Sizes::of_reply(without);
        check(
            &format!("reply: `{name}`"),
            field(name, value, full, without),
        );
    };
    let conversation = "".into();
    let without = SendReply {
        conversation,
        ..reply()
    };
    row("conversation", "u:alice:bob".into(), without);
    row("seq", 42.into(), SendReply { seq: 0, ..reply() });
    let pos = "".into();
    row("pos", "5e884898-4096".into(), SendReply { pos, ..reply() });
    let time = 1_767_225_600_500_u64;
    row("time", time.into(), SendReply { time: 0, ..reply() });
    row("duplicate", false.into(), reply());
}

#[test]
fn the_fields_of_a_push() {
    let full = Sizes::of_push(message());
    let row = |name, value: serde_json::Value, without| {
        let without = Sizes::of_push(without);
        check(
            &format!("push: `{name}`"),
            field(name, value, full, without),
        );
    };
    let conversation = "".into();
    let without = Message {
        conversation,
        ..message()
    };
    row("conversation", "u:alice:bob".into(), without);
    row(
        "seq",
        42.into(),
        Message {
            seq: 0,
            ..message()
        },
    );
    let from = "".into();
    row("from", "alice".into(), Message { from, ..message() });
    let device = "".into();
    row(
        "device",
        "phone".into(),
        Message {
            device,
            ..message()
        },
    );
    let time = 1_767_225_600_500_u64;
    row(
        "time",
        time.into(),
        Message {
            time: 0,
            ..message()
        },
    );
    let key = None;
    row("key", "c-1".into(), Message { key, ..message() });
    let text = None;
    row("text", TEXT.into(), Message { text, ..message() });
    let event = Event::Message(message());
    let unplaced = Sizes::of_server(&ServerMessage::Push(Push { pos: None, event }));
    let pos = field("pos", "5e884898-4096", full, unplaced);
    check("push: `pos`", pos);
}
