//! Any command and any server message.
//!
//! Required strings of commands are not empty and sequences not zero, for protobuf writes an
//! absent field and its zero value alike.

use std::borrow::Cow;

use proptest::option::of;
use proptest::prelude::*;
use trunkline_proto::message as m;
use trunkline_proto::{ErrorCode, Str};

/// Text with all that JSON escapes, and all that it need not.
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

/// Numbers of every length, the limits of both encodings among them.
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

fn connect() -> impl Strategy<Value = m::Connect<'static>> {
    let texts = (of(text()), of(text()), of(text()), of(text()), of(text()));
    (texts, any::<bool>(), any::<bool>()).prop_map(
        |((token, user, namespace, device, since), resume, batch)| m::Connect {
            token,
            user,
            namespace,
            device,
            since,
            resume,
            batch,
        },
    )
}

fn send() -> impl Strategy<Value = m::Send<'static>> {
    let texts = (of(text()), of(text()), of(text()), of(text()));
    (texts, of(media())).prop_map(|((user, group, key, text), media)| m::Send {
        user,
        group,
        key,
        text,
        media,
    })
}

pub(crate) fn command() -> impl Strategy<Value = m::Command<'static>> {
    use m::CommandBody as C;
    let ack =
        (required(), of(number()), of(number())).prop_map(|(conversation, delivered, read)| {
            m::Ack {
                conversation,
                delivered,
                read,
            }
        });
    let sync = (required(), of(any::<u32>())).prop_map(|(since, limit)| m::Sync { since, limit });
    let history = (required(), of(number()), of(number()), of(any::<u32>())).prop_map(
        |(conversation, before, after, limit)| m::History {
            conversation,
            before,
            after,
            limit,
        },
    );
    let get =
        (required(), 1..=u64::MAX).prop_map(|(conversation, seq)| m::Get { conversation, seq });
    let body = prop_oneof![
        connect().prop_map(C::Connect),
        send().prop_map(C::Send),
        ack.prop_map(C::Ack),
        sync.prop_map(C::Sync),
        history.prop_map(C::History),
        get.prop_map(C::Get),
        Just(C::Ping(m::Ping {})),
    ];
    (id(), body).prop_map(|(id, body)| m::Command { id, body })
}

/// Sends and acks in the form that the quick readers take, for the most part.
pub(crate) fn usual_command() -> impl Strategy<Value = m::Command<'static>> {
    use m::CommandBody as C;
    let plain = || {
        let character = prop_oneof![20 => prop::char::range('#', '['), 1 => any::<char>()];
        of(prop::collection::vec(character, 0..30)
            .prop_map(|c| Str::from(c.into_iter().collect::<String>())))
    };
    let send = (plain(), plain(), plain(), plain()).prop_map(|(user, group, key, text)| {
        C::Send(m::Send {
            user,
            group,
            key,
            text,
            media: None,
        })
    });
    let ack = (plain(), of(number()), of(number())).prop_map(|(conversation, delivered, read)| {
        C::Ack(m::Ack {
            conversation: conversation.unwrap_or_default(),
            delivered,
            read,
        })
    });
    (id(), prop_oneof![3 => send, 1 => ack]).prop_map(|(id, body)| m::Command { id, body })
}

fn id() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), Just(u32::MAX), any::<u32>()]
}

fn message() -> impl Strategy<Value = m::Message<'static>> {
    let place = (text(), number(), text(), text(), number());
    (place, of(text()), of(text()), of(media())).prop_map(
        |((conversation, seq, from, device, time), key, text, media)| m::Message {
            conversation,
            seq,
            from,
            device,
            time,
            key,
            text,
            media,
        },
    )
}

fn push() -> impl Strategy<Value = m::Push<'static>> {
    use m::Event as E;
    let receipt = (text(), text(), number(), number(), number()).prop_map(
        |(conversation, user, delivered, read, time)| m::Receipt {
            conversation,
            user,
            delivered,
            read,
            time,
        },
    );
    let disconnect = (any::<u16>(), text(), any::<bool>(), number(), number()).prop_map(
        |(code, reason, reconnect, min, max)| m::Disconnect {
            code,
            reason,
            reconnect,
            delay_ms: [min, max],
        },
    );
    let event = prop_oneof![
        3 => message().prop_map(E::Message),
        2 => receipt.prop_map(E::Receipt),
        1 => text().prop_map(|pos| E::Gap(m::Gap { pos })),
        1 => disconnect.prop_map(E::Disconnect),
    ];
    (of(text()), event).prop_map(|(pos, event)| m::Push { pos, event })
}

fn connect_reply() -> impl Strategy<Value = m::ConnectReply<'static>> {
    let limits = (number(), number(), number(), any::<u32>()).prop_map(
        |(message_bytes, text_bytes, key_bytes, page)| m::ConnectLimits {
            message_bytes,
            text_bytes,
            key_bytes,
            page,
        },
    );
    let names = (text(), text(), text(), text());
    (names, any::<bool>(), number(), any::<u32>(), limits).prop_map(
        |((session, user, device, pos), recovered, time, ping_ms, limits)| m::ConnectReply {
            session,
            user,
            device,
            pos,
            recovered,
            time,
            ping_ms,
            limits,
        },
    )
}

fn reply() -> impl Strategy<Value = m::ReplyBody<'static>> {
    use m::ReplyBody as R;
    let error = (prop::sample::select(&ErrorCode::ALL), text())
        .prop_map(|(code, message)| m::ErrorReply::new(code, message));
    let send = (text(), number(), text(), number(), any::<bool>()).prop_map(
        |(conversation, seq, pos, time, duplicate)| m::SendReply {
            conversation,
            seq,
            pos,
            time,
            duplicate,
        },
    );
    let events = prop::collection::vec(push(), 0..4);
    let sync = (events, text(), any::<bool>()).prop_map(|(events, pos, more)| m::SyncReply {
        events,
        pos,
        more,
    });
    let messages = prop::collection::vec(message(), 0..4);
    let history =
        (messages, number(), number()).prop_map(|(messages, first, last)| m::HistoryReply {
            messages,
            first,
            last,
        });
    prop_oneof![
        error.prop_map(R::Error),
        connect_reply().prop_map(R::Connect),
        send.prop_map(R::Send),
        Just(R::Ack(m::AckReply {})),
        sync.prop_map(R::Sync),
        history.prop_map(R::History),
        message().prop_map(|message| R::Get(m::GetReply { message })),
        Just(R::Ping(m::Ping {})),
    ]
}

pub(crate) fn server_message() -> impl Strategy<Value = m::ServerMessage<'static>> {
    let reply = (id(), reply()).prop_map(|(id, body)| m::Reply { id, body });
    prop_oneof![
        reply.prop_map(m::ServerMessage::Reply),
        push().prop_map(m::ServerMessage::Push),
    ]
}
