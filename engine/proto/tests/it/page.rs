//! docs/protocol.md: every example can be read, and every command and push has an example.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_proto::Encoding;
use trunkline_proto::schema::{COMMANDS, Field, FieldKind};

use crate::encodings::decode;

const PAGE: &str = include_str!("../../../../docs/protocol.md");
const PROTO: &str = include_str!("../../trunkline.proto");

/// Returns the lines of the page's code blocks that begin with this arrow, without it.
fn examples(arrow: &str) -> Vec<&'static str> {
    let blocks = PAGE.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(str::lines);
    lines.filter_map(|line| line.strip_prefix(arrow)).collect()
}

/// Returns the names of a `oneof` of a message of the protobuf form.
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

/// Returns the last key that is no envelope's: what a message is called.
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

/// Returns what the page calls the kind of a field.
fn word(kind: FieldKind) -> String {
    match kind {
        FieldKind::Text => "text".into(),
        FieldKind::Whole(_) => "whole number".into(),
        FieldKind::Flag => "true or false".into(),
        FieldKind::Texts => "list of texts".into(),
        FieldKind::Word(words) => {
            let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            format!("one of {}", words.join(", "))
        }
        FieldKind::Value => "JSON value".into(),
        FieldKind::Bytes => "bytes, in JSON as base64".into(),
        FieldKind::Object(_) => "object".into(),
    }
}

/// Returns the rows of a table of fields: name, kind and default.
fn rows(prefix: &str, fields: &[Field]) -> Vec<[String; 3]> {
    let mut rows = Vec::new();
    for field in fields {
        let name = format!("{prefix}{}", field.name);
        let default = field.default.unwrap_or("required");
        rows.push([format!("`{name}`"), word(field.kind), default.to_owned()]);
        if let FieldKind::Object(inner) = field.kind {
            rows.extend(self::rows(&format!("{name}."), inner));
        }
    }
    rows
}

#[test]
fn every_command_has_a_table_of_its_fields() {
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    let mut tables = BTreeMap::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if !line.ends_with(" | type | default | limits |") {
            continue;
        }
        let table = lines
            .by_ref()
            .skip(1)
            .take_while(|line| line.starts_with('|'));
        let table: Vec<_> = table.map(|line| cells(line)[..3].to_vec()).collect();
        for name in cells(line)[0].split(", ") {
            let twice = tables.insert(name.trim_matches('`').to_owned(), table.clone());
            assert_eq!(twice, None, "{name} has two tables");
        }
    }
    for command in COMMANDS {
        let expected = rows("", command.fields);
        let found = tables.remove(command.name).unwrap_or_default();
        assert_eq!(found, expected, "{}", command.name);
    }
    assert!(tables.is_empty(), "of no command: {tables:?}");
}

/// The numbers of commands and fields are those of trunkline.proto.
#[test]
fn the_table_of_commands_is_that_of_protobuf() {
    let numbers = |message: &str| -> BTreeMap<String, (String, u32)> {
        let start = format!("\nmessage {message} {{");
        let Some((_, behind)) = PROTO.split_once(&start) else {
            panic!("no message {message}");
        };
        let mut numbers = BTreeMap::new();
        for line in behind.lines().take_while(|line| *line != "}") {
            let Some((field, number)) = line.trim().split_once(" = ") else {
                continue;
            };
            let words: Vec<_> = field.split_whitespace().collect();
            if let [.., kind, name] = words[..]
                && let Ok(number) = number.trim_end_matches(';').parse()
            {
                numbers.insert(name.to_owned(), (kind.to_owned(), number));
            }
        }
        numbers
    };
    let mut commands = numbers("Command");
    commands.remove("id");
    assert_eq!(commands.len(), COMMANDS.len());
    let check = |message: &str, fields: &[Field]| {
        let numbers = numbers(message);
        assert_eq!(numbers.len(), fields.len(), "{message}");
        for field in fields {
            assert_eq!(numbers[field.name].1, field.tag, "{message}.{}", field.name);
        }
    };
    for command in COMMANDS {
        let (message, number) = &commands[command.name];
        assert_eq!(*number, command.tag, "{}", command.name);
        if !command.fields.is_empty() {
            check(message, command.fields);
        }
        for field in command.fields {
            if let FieldKind::Object(fields) = field.kind {
                check("Media", fields);
            }
        }
    }
}
