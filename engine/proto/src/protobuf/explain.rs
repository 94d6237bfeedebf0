//! Explains in words, with the field's path, why a command in protobuf could not be read.

use prost::encoding::{WireType, decode_key, decode_varint};

use crate::schema::{COMMANDS, Field, FieldKind, mismatch};

const OTHERWISE: &str = "the command is not of the form that trunkline.proto gives it";

/// Returns what is wrong with a command that the generated types cannot read.
pub(super) fn explain(mut bytes: &[u8]) -> String {
    const ID: Field = Field {
        name: "id",
        tag: 1,
        kind: FieldKind::Whole(u32::MAX as u64),
        default: Some("none"),
    };
    let commands: Vec<_> = COMMANDS
        .iter()
        .map(|schema| Field {
            name: schema.name,
            tag: schema.tag,
            kind: FieldKind::Object(schema.fields),
            default: Some("none"),
        })
        .chain([ID])
        .collect();
    problem("", &commands, &mut bytes).unwrap_or_else(|| OTHERWISE.into())
}

/// Returns the error text for a missing required field, such as `ack.conversation`.
pub(super) fn missing(path: &str) -> String {
    let mut fields = path.split('.');
    let schema = fields.next().and_then(crate::schema::command);
    let mut kind = schema.map(|schema| FieldKind::Object(schema.fields));
    for name in fields {
        kind = match kind {
            Some(FieldKind::Object(fields)) => fields
                .iter()
                .find(|field| field.name == name)
                .map(|field| field.kind),
            _ => None,
        };
    }
    match kind {
        Some(kind) => mismatch(path, kind, "nothing"),
        None => format!("{path}: this field is needed"),
    }
}

/// Returns what is wrong with the first field of the wrong kind; `None` if every field is right.
fn problem(path: &str, fields: &[Field], bytes: &mut &[u8]) -> Option<String> {
    while !bytes.is_empty() {
        let Ok((tag, wire)) = decode_key(bytes) else {
            return Some(format!("{}not protobuf: a broken key", prefix(path)));
        };
        let field = fields.iter().find(|field| field.tag == tag);
        let here = match field {
            Some(field) if path.is_empty() => field.name.to_owned(),
            Some(field) => format!("{path}.{}", field.name),
            None if path.is_empty() => format!("field {tag}"),
            None => format!("{path}.field {tag}"),
        };
        let cut = || Some(format!("{here}: it runs past the end of the command"));
        let mut value: &[u8] = &[];
        match wire {
            WireType::Varint => {
                if decode_varint(bytes).is_err() {
                    return cut();
                }
            }
            WireType::LengthDelimited => {
                let len = decode_varint(bytes)
                    .ok()
                    .and_then(|len| usize::try_from(len).ok());
                let Some((front, rest)) = len.and_then(|len| bytes.split_at_checked(len)) else {
                    return cut();
                };
                (value, *bytes) = (front, rest);
            }
            WireType::ThirtyTwoBit | WireType::SixtyFourBit => {
                let len = if wire == WireType::ThirtyTwoBit { 4 } else { 8 };
                let Some((_, rest)) = bytes.split_at_checked(len) else {
                    return cut();
                };
                *bytes = rest;
            }
            WireType::StartGroup | WireType::EndGroup => {
                return Some(format!("{here}: not protobuf of this version: a group"));
            }
        }
        let Some(field) = field else { continue };
        let found = match wire {
            WireType::Varint => "a whole number",
            WireType::LengthDelimited => "bytes",
            _ => "a number of fixed length",
        };
        let is_right = match field.kind {
            FieldKind::Whole(_) | FieldKind::Flag | FieldKind::Word(_) => wire == WireType::Varint,
            FieldKind::Text | FieldKind::Texts | FieldKind::Value => {
                if wire == WireType::LengthDelimited && std::str::from_utf8(value).is_err() {
                    return Some(format!("{here}: not UTF-8"));
                }
                wire == WireType::LengthDelimited
            }
            FieldKind::Bytes => wire == WireType::LengthDelimited,
            FieldKind::Object(fields) => {
                if wire == WireType::LengthDelimited
                    && let Some(problem) = problem(&here, fields, &mut value)
                {
                    return Some(problem);
                }
                wire == WireType::LengthDelimited
            }
        };
        if !is_right {
            let kind = match field.kind {
                FieldKind::Texts => FieldKind::Text,
                other => other,
            };
            return Some(match kind {
                FieldKind::Bytes => format!("{here}: bytes are needed, found {found}"),
                kind => mismatch(&here, kind, found),
            });
        }
    }
    None
}

fn prefix(path: &str) -> String {
    match path {
        "" => String::new(),
        path => format!("{path}: "),
    }
}
