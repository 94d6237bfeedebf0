//! A JSON value that the server passes on unchanged.

use std::borrow::Cow;
use std::fmt;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;

use crate::json_text::{Flaw, strict};

const NO_VALUE: &str = "a JSON value is needed";

/// The text of any JSON value that clients exchange and that the server does not interpret.
///
/// Reading checks that the text is one JSON value; nothing parses it again. The text holds no line
/// break, because reading replaces line breaks between tokens by spaces. So the value fits into a
/// frame of several messages, one per line.
#[derive(Clone)]
pub struct Json<'a>(Cow<'a, str>);

/// The name under which serde_json writes a text as it is, as it does with its `RawValue`. A `RawValue`
/// of a text can only be had by parsing the text.
const RAW: &str = "$serde_json::private::RawValue";

/// Reports that a text is not one interoperable JSON value, or is nested deeper than
/// [`Json::MAX_DEPTH`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotJson(Flaw);

impl NotJson {
    /// Returns what is wrong with the value of the field at `path`.
    pub(crate) fn under(self, path: &str) -> String {
        self.0.under(path).to_string()
    }
}

impl<'a> Json<'a> {
    /// The most arrays and objects within each other. Deeper nesting can exhaust the stack of a
    /// client whose reader is recursive.
    pub const MAX_DEPTH: usize = 64;

    /// Checks that `text` is one JSON value that every reader understands alike (RFC 8259 §8).
    ///
    /// # Errors
    /// The text is not such a value, or is nested too deep.
    pub fn parse(text: &'a str) -> Result<Self, NotJson> {
        strict::check(text.as_bytes()).map_err(NotJson)?;
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Self::from_raw(raw.get()),
            Err(_) => Err(NotJson(Flaw::at("", NO_VALUE))),
        }
    }

    /// Returns a value whose text [`parse`](Self::parse) or a decoder has checked before. Does not look at
    /// the text.
    #[must_use]
    pub const fn checked(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// Returns a copy that borrows nothing.
    pub fn into_owned(self) -> Json<'static> {
        Json(Cow::Owned(self.0.into_owned()))
    }

    /// Returns the same value, borrowed from this one.
    pub fn borrow(&self) -> Json<'_> {
        Json(Cow::Borrowed(&self.0))
    }

    /// Returns the value's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes the text of a JSON value that is not nested too deep.
    fn from_raw(text: &'a str) -> Result<Self, NotJson> {
        if depth(text) > Self::MAX_DEPTH {
            let max = Self::MAX_DEPTH;
            let what = format!("a JSON value is nested at most {max} deep");
            return Err(NotJson(Flaw::at("", what)));
        }
        if !text.contains(['\n', '\r']) {
            return Ok(Self::checked(text));
        }
        // Inside of strings they are escaped, so these stand between tokens.
        let one_line = text.replace(['\n', '\r'], " ");
        Ok(Self(Cow::Owned(one_line)))
    }
}

/// Returns how many arrays and objects stand within each other in valid JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string) = (0_usize, 0, false);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => drop(bytes.next()),
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl Default for Json<'_> {
    /// Returns `null`.
    fn default() -> Self {
        Self::checked("null")
    }
}

impl PartialEq for Json<'_> {
    /// Compares the texts, not their meaning.
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut raw = to.serialize_struct(RAW, 1)?;
        raw.serialize_field(RAW, self.as_str())?;
        raw.end()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(from)?;
        Self::from_raw(raw.get()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_as_they_are_but_on_one_line() {
        for (text, kept) in [
            ("null", "null"),
            (" 1.50e3 ", "1.50e3"),
            (
                r#"{"b":1,"a":[ "\n" ],"c":2}"#,
                r#"{"b":1,"a":[ "\n" ],"c":2}"#,
            ),
            ("[1,\r\n 2]", "[1,   2]"),
        ] {
            assert_eq!(Json::parse(text).unwrap().as_str(), kept);
        }
        for bad in [
            "",
            "x",
            "1 2",
            "[1",
            "\"a\nb\"",
            "{\"a\"}",
            r#""\ud800""#,
            "[1e400]",
            r#"{"a":1,"a":1}"#,
        ] {
            assert!(Json::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_checked_text_is_written_as_it_is() {
        let text = r#"{"b":1.50,"a":["\"",null]}"#;
        let values = [Json::checked(text), Json::parse(text).unwrap()];
        for value in values {
            let written = serde_json::to_string(&[&value]).unwrap();
            assert_eq!(written, format!("[{text}]"));
            let raw = serde_json::from_str::<&RawValue>(text).unwrap();
            assert_eq!(written, serde_json::to_string(&[raw]).unwrap());
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Json::parse(&nested(Json::MAX_DEPTH)).is_ok());
        assert!(Json::parse(&nested(Json::MAX_DEPTH + 1)).is_err());
        assert!(Json::parse(&nested(200_000)).is_err());
        let brackets_in_text = format!(r#"["\"{}"]"#, "[{".repeat(100));
        assert!(Json::parse(&brackets_in_text).is_ok());
        let side_by_side = format!("[{}[]]", "[],".repeat(100));
        assert!(Json::parse(&side_by_side).is_ok());
    }
}
