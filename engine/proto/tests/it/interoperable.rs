//! The JSON that the decoder accepts, compared with serde's reader.

use std::collections::BTreeSet;
use std::fmt;

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::{self, MapAccess, SeqAccess};
use trunkline_proto::message::Json;

/// Reads any JSON value in whose objects no name occurs twice.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Strict;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Strict, A::Error> {
                while list.next_element::<Strict>()?.is_some() {}
                Ok(Strict)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
                let mut names = BTreeSet::new();
                while let Some((name, _)) = map.next_entry::<String, Strict>()? {
                    if !names.insert(name) {
                        return Err(de::Error::custom("twice"));
                    }
                }
                Ok(Strict)
            }
        }
        from.deserialize_any(Visitor)
    }
}

/// Makes pieces of JSON, and pieces that JSON never has.
fn pieces() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"b\"",
        "\"\\u0061\"",
        "\\ud800",
        "\\udc00",
        "\\u00e9",
        "\\x",
        "\\",
        "0",
        "1",
        "-",
        ".",
        "e",
        "E+",
        "308",
        "309",
        "400",
        "true",
        "null",
        " ",
        "\n",
        "\u{1}",
        "é",
        "{\"a\":",
        "[1,",
        "\"a\":1,",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// A value is taken where serde's reader reads each of its texts and numbers, and no name
    /// stands twice.
    #[test]
    fn as_another_reader_has_it(text in pieces()) {
        let theirs = serde_json::from_str::<Strict>(&text);
        prop_assert_eq!(Json::parse(&text).is_ok(), theirs.is_ok(), "{}: {:?}", text, theirs.err());
    }
}
