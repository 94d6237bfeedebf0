//! PROTOCOL.md: every example is one, and every command and push has one.

use std::collections::BTreeSet;

use trunkline_proto::Encoding;

use crate::encodings::decode;

const PAGE: &str = include_str!("../../PROTOCOL.md");
const PROTO: &str = include_str!("../../trunkline.proto");

/// The lines of the page's code blocks that begin with this arrow, without it.
fn examples(arrow: &str) -> Vec<&'static str> {
    let blocks = PAGE.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(str::lines);
    lines.filter_map(|line| line.strip_prefix(arrow)).collect()
}

/// The names of a `oneof` of a message of the protobuf form.
fn names(message: &str, oneof: &str) -> BTreeSet<String> {
    let find = |text: &'static str, start: &str| {
        let (_, behind) = text.split_once(start).expect("it is there");
        behind
    };
    let message = find(PROTO, &format!("\nmessage {message} {{"));
    let fields = find(message, &format!("oneof {oneof} {{\n"));
    let fields = fields.lines().take_while(|line| line.trim() != "}");
    let name = |field: &str| field.split_whitespace().nth(1).map(str::to_owned);
    fields.filter_map(name).collect()
}

/// The last key that is no envelope's: what a message is called.
fn called(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    let message = value.get("push").unwrap_or(&value);
    let keys = message.as_object().unwrap().keys();
    let mut names = keys.filter(|key| !["id", "pos"].contains(&&***key));
    let name = names.next().unwrap().clone();
    assert_eq!(names.next(), None, "{json}");
    name
}

#[test]
fn commands() {
    let mut shown = BTreeSet::new();
    for example in examples("→ ") {
        let commands = decode(Encoding::Json, example.as_bytes());
        let [Ok(command)] = &commands[..] else {
            panic!("{example}: {commands:?}");
        };
        let mut written = Vec::new();
        Encoding::Json.encode_command(command, &mut written);
        assert_eq!(String::from_utf8(written).unwrap(), example);
        let mut proto = Vec::new();
        Encoding::Proto.encode_command(command, &mut proto);
        assert_eq!(decode(Encoding::Proto, &proto), commands, "{example}");
        shown.insert(called(example));
    }
    assert_eq!(shown, names("Command", "command"));
}

#[test]
fn replies_and_pushes() {
    let (mut replies, mut pushes) = (BTreeSet::new(), BTreeSet::new());
    for example in examples("← ") {
        let mut message = None;
        let decoded = Encoding::Json.decode_server(example.as_bytes(), |m| message = Some(m));
        let message = message.unwrap_or_else(|| panic!("{example}: {decoded:?}"));
        let mut written = Vec::new();
        Encoding::Json.encode_server(&message, &mut written);
        assert_eq!(String::from_utf8(written).unwrap(), example);
        let mut proto = Vec::new();
        Encoding::Proto.encode_server(&message, &mut proto);
        let decoded = Encoding::Proto.decode_server(&proto, |again| assert_eq!(again, message));
        assert!(decoded.is_ok(), "{example}: {decoded:?}");
        let is_push = example.contains("\"push\"");
        (if is_push { &mut pushes } else { &mut replies }).insert(called(example));
    }
    assert_eq!(replies, names("Reply", "reply"));
    assert_eq!(pushes, names("Push", "event"));
}
