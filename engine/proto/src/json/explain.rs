//! Explains in words, with the field's path, why a command in JSON could not be read.
//!
//! Only failed commands come here, so reading them a second time costs little.

use serde::Deserialize;
use serde::de::{self, MapAccess};
use serde_json::value::RawValue;
use std::fmt;

use crate::message::Json;
use crate::schema::{self, Field, FieldKind, Schema, mismatch};
use crate::text::Str;

const ID: FieldKind = FieldKind::Whole(u32::MAX as u64);

/// Returns what is wrong with a command that is interoperable JSON.
pub(super) fn explain(line: &[u8]) -> String {
    let Ok(Members(members)) = serde_json::from_slice(line) else {
        let line = String::from_utf8_lossy(line);
        return format!("a command is an object, found {}", found(&line));
    };
    let mut command: Option<(&Schema, &RawValue)> = None;
    for (name, value) in &members {
        if **name == *"id" {
            if let Some(problem) = problem("id", ID, value.get()) {
                return problem;
            }
        } else if let Some(schema) = schema::command(name) {
            if let Some((first, _)) = command {
                let (first, second) = (first.name, schema.name);
                return format!("a command names one thing to do, found {first} and {second}");
            }
            command = Some((schema, value));
        }
    }
    let Some((schema, body)) = command else {
        return "the object names no command".into();
    };
    problem(schema.name, FieldKind::Object(schema.fields), body.get()).unwrap_or_else(|| {
        format!(
            "{}: the command has not the form it should have",
            schema.name
        )
    })
}

/// Returns what is wrong with a value that must be of this kind; `None` if it is right.
fn problem(path: &str, kind: FieldKind, json: &str) -> Option<String> {
    let is_right = match kind {
        FieldKind::Text => serde_json::from_str::<Str<'_>>(json).is_ok(),
        FieldKind::Flag => serde_json::from_str::<bool>(json).is_ok(),
        FieldKind::Whole(most) => {
            let number = serde_json::from_str::<u64>(json);
            if matches!(found(json), "a number") && !number.as_ref().is_ok_and(|n| *n <= most) {
                // The number itself says most.
                return Some(mismatch(path, kind, &json[..json.len().min(24)]));
            }
            number.is_ok()
        }
        FieldKind::Word(words) => match serde_json::from_str::<Str<'_>>(json) {
            Ok(word) if words.contains(&&*word) => true,
            Ok(_) => return Some(mismatch(path, kind, "another text")),
            Err(_) => false,
        },
        FieldKind::Texts => match serde_json::from_str::<Vec<&RawValue>>(json) {
            Ok(texts) => {
                let place = |n| format!("{path}[{n}]");
                return texts
                    .iter()
                    .enumerate()
                    .find_map(|(n, text)| problem(&place(n), FieldKind::Text, text.get()));
            }
            Err(_) => false,
        },
        FieldKind::Value => match Json::parse(json) {
            Ok(_) => true,
            Err(error) => return Some(error.under(path)),
        },
        FieldKind::Bytes => {
            use base64::{Engine, engine::general_purpose::STANDARD};
            match serde_json::from_str::<Str<'_>>(json) {
                Ok(text) if STANDARD.decode(text.as_bytes()).is_ok() => true,
                Ok(_) => return Some(mismatch(path, kind, "other characters in it")),
                Err(_) => false,
            }
        }
        FieldKind::Object(fields) => match serde_json::from_str::<Members<'_>>(json) {
            Ok(Members(members)) => return object_problem(path, fields, &members),
            Err(_) => false,
        },
    };
    (!is_right).then(|| mismatch(path, kind, found(json)))
}

fn object_problem(
    path: &str,
    fields: &[Field],
    members: &[(Str<'_>, &RawValue)],
) -> Option<String> {
    fields.iter().find_map(|field| {
        let path = format!("{path}.{}", field.name);
        match members.iter().find(|(name, _)| **name == *field.name) {
            // Those that need no value take null for none, but for flags and lists.
            Some((_, value))
                if value.get() == "null"
                    && field.default.is_some()
                    && !matches!(
                        field.kind,
                        FieldKind::Flag | FieldKind::Texts | FieldKind::Word(_)
                    ) =>
            {
                None
            }
            Some((_, value)) => problem(&path, field.kind, value.get()),
            None if field.default.is_none() => Some(mismatch(&path, field.kind, "nothing")),
            None => None,
        }
    })
}

/// Returns the kind of a JSON value, in words.
fn found(json: &str) -> &'static str {
    match json.trim_start().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a text",
        Some(b't') => "true",
        Some(b'f') => "false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The members of an object, whose values are not parsed.
struct Members<'a>(Vec<(Str<'a>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Visitor)
    }
}
