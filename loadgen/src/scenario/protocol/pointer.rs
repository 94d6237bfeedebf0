//! JSON pointers (RFC 6901) into texts, without a document in memory.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The most steps of a pointer.
const STEPS_MAX: usize = 32;

/// A compiled pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer(Vec<String>);

impl Pointer {
    /// Compiles a pointer such as `/push/message/text`.
    ///
    /// # Errors
    /// The text is no pointer.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!(
                "`{text}` is no JSON pointer, which begins with /, such as /push/text"
            ));
        };
        let steps: Vec<_> = rest
            .split('/')
            .map(|step| step.replace("~1", "/").replace("~0", "~"))
            .collect();
        if steps.len() > STEPS_MAX {
            return Err(format!("`{text}` has more than {STEPS_MAX} steps"));
        }
        Ok(Self(steps))
    }

    /// Returns the text or the whole number at the pointer; `None` if there is none.
    pub(super) fn find<'b>(&self, json: &'b [u8]) -> Option<Cow<'b, str>> {
        let mut found = None;
        let walk = Walk {
            steps: &self.0,
            found: &mut found,
        };
        let mut reader = serde_json::Deserializer::from_slice(json);
        // The reading ends at the value, which leaves the rest unread: that is no error here.
        let _ = walk.deserialize(&mut reader);
        found
    }
}

/// Returns whether a text is one value of JSON.
pub(super) fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// The way from a value to the one at the pointer.
struct Walk<'p, 'f, 'b> {
    steps: &'p [String],
    found: &'f mut Option<Cow<'b, str>>,
}

impl<'b> DeserializeSeed<'b> for Walk<'_, '_, 'b> {
    type Value = ();

    fn deserialize<D: Deserializer<'b>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Walk<'_, '_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.steps.split_first() else {
            return Ok(());
        };
        while let Some(is_step) = map.next_key_seed(Is(step))? {
            if is_step {
                let found = self.found;
                return map.next_value_seed(Walk { steps: rest, found });
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.steps.split_first() else {
            return Ok(());
        };
        let Ok(wanted) = step.parse::<usize>() else {
            return Ok(());
        };
        for _ in 0..wanted {
            if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        let found = self.found;
        list.next_element_seed(Walk { steps: rest, found })?;
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'b str) -> Result<(), E> {
        if self.steps.is_empty() {
            *self.found = Some(Cow::Borrowed(text));
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.steps.is_empty() {
            *self.found = Some(Cow::Owned(text.to_owned()));
        }
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        if self.steps.is_empty() {
            *self.found = Some(Cow::Owned(number.to_string()));
        }
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Whether a key is this one, without a copy of the key.
struct Is<'p>(&'p str);

impl<'b> DeserializeSeed<'b> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'b>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_as_a_document_finds_them() {
        let json = r#"{"a":{"b":[1,{"c/d":"x","e~f":"\u00fc\n"}],"n":null,"t":true,"m":-3,"g":1.5},
            "id":18446744073709551615,"":"empty"}"#;
        let document: serde_json::Value = serde_json::from_str(json).unwrap();
        for pointer in [
            "/id",
            "/a/b/0",
            "/a/b/1/c~1d",
            "/a/b/1/e~0f",
            "/a/b/7",
            "/a/x",
            "/",
            "/a/b/x",
            "/a/n",
            "/a/t",
            "/a/m",
            "/a/g",
            "/a",
            "/a/b",
            "/id/x",
        ] {
            let expected = match document.pointer(pointer) {
                Some(serde_json::Value::String(text)) => Some(text.clone()),
                Some(serde_json::Value::Number(n)) => n.as_u64().map(|n| n.to_string()),
                _ => None,
            };
            let found = Pointer::parse(pointer).unwrap().find(json.as_bytes());
            assert_eq!(found.map(Cow::into_owned), expected, "{pointer}");
        }
    }

    #[test]
    fn what_is_no_json_has_no_value() {
        let pointer = Pointer::parse("/a").unwrap();
        for text in [
            "",
            "{",
            "a",
            "[1,2",
            "{\"b\":1}",
            "{\"b\":}",
            "\"a\"",
            "{\"b\":[{]",
        ] {
            assert_eq!(pointer.find(text.as_bytes()), None, "{text}");
        }
        // A plain text is borrowed.
        let found = pointer.find(br#"{"b":{"a":1},"a":"x"}"#);
        assert!(matches!(found, Some(Cow::Borrowed("x"))), "{found:?}");
        assert!(Pointer::parse("").is_err() && Pointer::parse("a").is_err());
        assert!(Pointer::parse(&"/a".repeat(STEPS_MAX + 1)).is_err());
    }
}
