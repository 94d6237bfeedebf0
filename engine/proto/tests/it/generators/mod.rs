//! Any command and any server message.
//!
//! Required strings of commands are not empty and sequences not zero, for protobuf writes an
//! absent field and its zero value alike.

use std::borrow::Cow;

use proptest::option::of;
use proptest::prelude::*;
use trunkline_proto::Str;
use trunkline_proto::message as m;

mod command;
mod server;

pub(crate) use command::{command, usual_command};
pub(crate) use server::server_message;

/// Makes text with characters that JSON escapes, and with others.
pub(crate) fn text() -> BoxedStrategy<Str<'static>> {
    let character = prop_oneof![
        6 => b' '..=b'~',
        1 => 0_u8..b' ',
        1 => Just(b'"'),
        1 => Just(b'\\'),
    ];
    let character = prop_oneof![
        8 => character.prop_map(char::from),
        1 => any::<char>(),
        1 => prop::char::range('\u{7f}', '\u{2030}'),
    ];
    prop::collection::vec(character, 0..40)
        .prop_map(|c| Str::from(c.into_iter().collect::<String>()))
        .boxed()
}

fn required() -> impl Strategy<Value = Str<'static>> {
    text().prop_map(|text| {
        if text.is_empty() {
            Str::from("x")
        } else {
            text
        }
    })
}

/// Makes numbers of every length, including the limits of both encodings.
fn number() -> BoxedStrategy<u64> {
    prop_oneof![
        Just(0),
        Just(u64::MAX),
        (0_u32..64).prop_map(|bits| 1 << bits),
        any::<u64>(),
        any::<u8>().prop_map(u64::from),
        any::<u32>().prop_map(u64::from),
    ]
    .boxed()
}

fn media() -> impl Strategy<Value = m::Media<'static>> {
    let data = of(prop::collection::vec(any::<u8>(), 0..40));
    (required(), data, of(text()), of(number())).prop_map(|(mime, data, url, size)| m::Media {
        mime,
        data: data.map(Cow::Owned),
        url,
        size,
    })
}

/// Makes lists of names, including empty lists.
fn texts() -> impl Strategy<Value = Vec<Str<'static>>> {
    prop::collection::vec(text(), 0..4)
}

/// Makes JSON values, also with white space and forms of numbers that the writers of this package
/// do not use.
fn json() -> BoxedStrategy<m::Json<'static>> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        text().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let space = || "[ \t]{0,2}";
    let value = scalar.prop_recursive(4, 16, 4, move |inner| {
        let items = prop::collection::vec((space(), inner, space()), 0..4);
        (items, any::<bool>()).prop_map(|(items, object)| {
            let items: Vec<_> = items
                .into_iter()
                .enumerate()
                .map(|(n, (before, item, behind))| {
                    let name = if object {
                        format!("\"x{n}\":")
                    } else {
                        String::new()
                    };
                    format!("{before}{name}{item}{behind}")
                })
                .collect();
            let (open, close) = if object { ('{', '}') } else { ('[', ']') };
            format!("{open}{}{close}", items.join(","))
        })
    });
    value
        .prop_map(|text| m::Json::parse(&text).unwrap().into_owned())
        .boxed()
}

/// Makes values that may be absent. In JSON null is absence too.
fn meta() -> BoxedStrategy<Option<m::Json<'static>>> {
    of(json())
        .prop_map(|meta| meta.filter(|meta| meta.as_str() != "null"))
        .boxed()
}

fn id() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), Just(u32::MAX), any::<u32>()]
}
