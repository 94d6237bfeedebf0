//! What to look for in a server's message, compiled once.

use std::borrow::Cow;

use memchr::memmem::Finder;
use regex::bytes::Regex;

use super::pointer::{self, Pointer};

/// The longest regular expression when compiled, in bytes.
const REGEX_MAX: usize = 1 << 20;

/// A pattern: a part that a message has, and a value in it.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    contains: Option<Finder<'static>>,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    /// The pattern only says yes or no.
    None,
    /// The value at a place in JSON.
    Pointer(Pointer),
    /// The first group of a regular expression.
    Regex(Regex),
}

/// A match.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Match<'b> {
    /// The value; empty for a pattern without one.
    pub(crate) value: Cow<'b, str>,
    /// Where to look for the next match.
    pub(crate) next: usize,
}

impl Pattern {
    /// Compiles a pattern. A pattern with a pointer, `at`, looks at JSON; one with a `regex` takes
    /// its first group.
    ///
    /// # Errors
    /// The pointer or the expression is wrong, or both are given, or nothing is.
    pub(crate) fn new(
        contains: Option<&str>,
        at: Option<(&str, &str)>,
        regex: Option<&str>,
    ) -> Result<Self, String> {
        let value = match (at, regex) {
            (Some((key, _)), Some(_)) => {
                return Err(format!("`{key}` and `regex` exclude each other: take one"));
            }
            (Some((key, at)), None) => {
                Value::Pointer(Pointer::parse(at).map_err(|why| format!("{key}: {why}"))?)
            }
            (None, Some(regex)) => Value::Regex(compile(regex)?),
            (None, None) if contains.is_none() => {
                return Err(
                    "is empty: add `contains`, a text that the message has, or `regex`".into(),
                );
            }
            (None, None) => Value::None,
        };
        if contains == Some("") {
            return Err("`contains` is empty, which every message has: leave it out".into());
        }
        Ok(Self {
            contains: contains.map(|text| Finder::new(text).into_owned()),
            value,
        })
    }

    /// Returns whether a match has a value.
    pub(crate) fn has_value(&self) -> bool {
        match &self.value {
            Value::None => false,
            Value::Pointer(_) => true,
            Value::Regex(regex) => regex.captures_len() > 1,
        }
    }

    /// Returns the first match in a message from `from` on.
    pub(crate) fn find<'b>(&self, message: &'b [u8], from: usize) -> Option<Match<'b>> {
        if from >= message.len() {
            return None;
        }
        if let Value::Regex(regex) = &self.value {
            self.in_part(&message[from..])?;
            let found = regex.captures_at(message, from)?;
            let whole = found.get(0)?;
            let value = found.get(1).map_or(&b""[..], |group| group.as_bytes());
            return Some(Match {
                value: String::from_utf8_lossy(value),
                next: whole.end().max(from + 1),
            });
        }
        let mut at = from;
        while at < message.len() {
            let part = part(message, at);
            let next = at + part.len() + 1;
            if self.in_part(part).is_some()
                && let Some(value) = self.value(part)
            {
                return Some(Match { value, next });
            }
            at = next;
        }
        None
    }

    /// Returns whether a part has the text that it must contain.
    fn in_part(&self, part: &[u8]) -> Option<()> {
        match &self.contains {
            None => Some(()),
            Some(finder) => finder.find(part).map(drop),
        }
    }

    fn value<'b>(&self, part: &'b [u8]) -> Option<Cow<'b, str>> {
        match &self.value {
            Value::Pointer(pointer) => pointer.find(part),
            _ => Some(Cow::Borrowed("")),
        }
    }
}

/// Returns the part of a message that is looked at by itself: a line, if the message is several JSON
/// texts in lines, or else the whole rest.
fn part(message: &[u8], from: usize) -> &[u8] {
    let rest = &message[from..];
    match memchr::memchr(b'\n', rest) {
        Some(end) if pointer::is_json(&rest[..end]) => &rest[..end],
        _ => rest,
    }
}

fn compile(regex: &str) -> Result<Regex, String> {
    // Without Unicode, `.` and classes mean bytes, whatever a message holds.
    let mut builder = regex::bytes::RegexBuilder::new(regex);
    let built = builder.unicode(false).size_limit(REGEX_MAX).build();
    built.map_err(|why| {
        let why = why.to_string();
        let last = why.lines().last().unwrap_or_default();
        format!("regex: {}", last.trim_start_matches("error: "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pattern: &Pattern, message: &str) -> Vec<String> {
        let mut at = 0;
        let mut found = Vec::new();
        while let Some(it) = pattern.find(message.as_bytes(), at) {
            at = it.next;
            found.push(it.value.into_owned());
        }
        found
    }

    #[test]
    fn a_value_is_taken_from_json() {
        let acked = Pattern::new(Some("\"send\""), Some(("id", "/id")), None).unwrap();
        assert!(acked.has_value());
        assert_eq!(all(&acked, r#"{"id":17,"send":{"seq":1}}"#), ["17"]);
        assert_eq!(all(&acked, r#"{"id":17,"push":{}}"#), [""; 0]);
        assert_eq!(all(&acked, r#"{"send":{"seq":1}}"#), [""; 0]);
        // Several in lines, and one that is spread over lines.
        let lines = "{\"id\":1,\"send\":{}}\n{\"ping\":1}\n{\"id\":2,\"send\":{}}";
        assert_eq!(all(&acked, lines), ["1", "2"]);
        assert_eq!(all(&acked, "{\n  \"id\": 3,\n  \"send\": {}\n}"), ["3"]);
    }

    #[test]
    fn a_regex_finds_all_in_one_message() {
        let msg = Pattern::new(Some("MSG"), None, Some(r"MSG \S+ 1 \d+\r\n([^\r]*)\r\n")).unwrap();
        let message = "MSG a 1 2\r\nhi\r\nPING\r\nMSG a 1 3\r\nyou\r\n";
        assert_eq!(all(&msg, message), ["hi", "you"]);
        let empty = Pattern::new(None, None, Some("x*")).unwrap();
        assert_eq!(all(&empty, "abc").len(), 3);
        assert!(!empty.has_value());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (contains, at, regex, words) in [
            (None, None, None, "is empty"),
            (Some(""), None, None, "every message"),
            (None, Some(("id", "id")), None, "begins with /"),
            (None, Some(("id", "/id")), Some("x"), "take one"),
            (None, None, Some("("), "regex: unclosed group"),
        ] {
            let why = Pattern::new(contains, at, regex).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }
}
