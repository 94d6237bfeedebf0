//! Generators of commands.

use proptest::option::of;
use proptest::prelude::*;
use trunkline_proto::Str;
use trunkline_proto::message as m;

use super::{id, json, media, meta, number, required, text, texts};

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
    (texts, of(media()), send_extras()).prop_map(|((user, group, key, text), media, extras)| {
        m::Send {
            user,
            group,
            key,
            text,
            media,
            extras,
        }
    })
}

/// Makes the fields that few messages have. Half of the messages have none of them.
fn send_extras() -> impl Strategy<Value = Option<Box<m::SendExtras<'static>>>> {
    let extras = (of(number()), of(text()), meta(), texts(), of(text()));
    let extras = extras.prop_map(|(reply_to, kind, meta, mentions, ttl)| {
        m::SendExtras {
            reply_to,
            kind,
            meta,
            mentions,
            ttl,
        }
        .boxed()
    });
    prop_oneof![Just(None), extras]
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
    let range = (of(number()), of(number()), of(any::<u32>()));
    let history = (required(), range, of(number())).prop_map(
        |(conversation, (before, after, limit), thread)| m::History {
            conversation,
            before,
            after,
            limit,
            thread,
        },
    );
    let get =
        (required(), 1..=u64::MAX).prop_map(|(conversation, seq)| m::Get { conversation, seq });
    let body = prop_oneof![
        connect().prop_map(C::Connect).boxed(),
        send().prop_map(C::Send).boxed(),
        ack.prop_map(C::Ack),
        sync.prop_map(C::Sync),
        history.prop_map(C::History),
        get.prop_map(C::Get),
        Just(C::Ping(m::Ping {})),
        // Boxed: a strategy holds all of its parts, and threads have little stack.
        group_command().boxed(),
        managing_command().boxed(),
        message_command().boxed(),
        passing_command().boxed(),
    ];
    (id(), body).prop_map(|(id, body)| m::Command { id, body })
}

/// Makes mostly `send` and `ack` commands in the form that the hand-written readers accept.
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
            extras: None,
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

fn group_command() -> impl Strategy<Value = m::CommandBody<'static>> {
    use m::CommandBody as C;
    let visibility = prop::sample::select(&[m::Visibility::All, m::Visibility::Joined]);
    let create = (required(), of(text()), texts(), visibility, of(text())).prop_map(
        |(group, name, members, history, key)| m::GroupCreate {
            group,
            name,
            members,
            history,
            key,
        },
    );
    let members = || {
        let members = prop::collection::vec(text(), 1..4);
        (required(), members).prop_map(|(group, members)| m::GroupMembers { group, members })
    };
    let info =
        (required(), of(text()), of(any::<u32>())).prop_map(|(group, after, limit)| m::GroupInfo {
            group,
            after,
            limit,
        });
    prop_oneof![
        create.prop_map(C::GroupCreate),
        members().prop_map(C::GroupAdd),
        members().prop_map(C::GroupRemove),
        required().prop_map(|group| C::GroupLeave(m::GroupLeave { group })),
        (required(), required())
            .prop_map(|(group, name)| C::GroupRename(m::GroupRename { group, name })),
        info.prop_map(C::GroupInfo),
    ]
}

fn edit() -> impl Strategy<Value = m::CommandBody<'static>> {
    let content = (of(text()), of(media()), meta());
    (required(), 1..=u64::MAX, content).prop_map(|(conversation, seq, (text, media, meta))| {
        m::CommandBody::Edit(Box::new(m::Edit {
            conversation,
            seq,
            text,
            media,
            meta,
        }))
    })
}

/// Makes commands about the rules of groups, blocked users and settings.
fn managing_command() -> impl Strategy<Value = m::CommandBody<'static>> {
    use m::CommandBody as C;
    let role = prop::sample::select(&[m::Role::Member, m::Role::Owner, m::Role::Admin]);
    let role = (required(), required(), role).prop_map(|(group, user, role)| m::GroupRole {
        group,
        user,
        role,
    });
    let send = prop::sample::select(&[m::Senders::All, m::Senders::Admins]);
    let join = prop::sample::select(&[m::Joining::Invite, m::Joining::Open]);
    let set = (required(), of(text()), of(text()), of(send), of(join)).prop_map(
        |(group, name, picture, send, join)| m::GroupSet {
            group,
            name,
            picture,
            send,
            join,
        },
    );
    let place = || {
        (required(), 1..=u64::MAX)
            .prop_map(|(conversation, seq)| m::MessageRef { conversation, seq })
    };
    let user = || required().prop_map(|user| m::UserRef { user });
    let blocked =
        (of(text()), of(any::<u32>())).prop_map(|(after, limit)| m::Blocked { after, limit });
    let settings = (
        required(),
        of(number()),
        of(any::<bool>()),
        of(any::<bool>()),
    )
        .prop_map(
            |(conversation, muted_until, pinned, archived)| m::Settings {
                conversation,
                muted_until,
                pinned,
                archived,
            },
        );
    prop_oneof![
        role.prop_map(C::GroupRole),
        set.prop_map(C::GroupSet),
        required().prop_map(|group| C::GroupJoin(m::GroupJoin { group })),
        place().prop_map(C::Pin),
        place().prop_map(C::Unpin),
        user().prop_map(C::Block),
        user().prop_map(C::Unblock),
        blocked.prop_map(C::Blocked),
        settings.prop_map(C::Settings),
    ]
}

/// Makes commands about stored messages.
fn message_command() -> impl Strategy<Value = m::CommandBody<'static>> {
    use m::CommandBody as C;
    const STATES: &[m::ReceiptState] = &[
        m::ReceiptState::Read,
        m::ReceiptState::Delivered,
        m::ReceiptState::Unread,
    ];
    let place = || (required(), 1..=u64::MAX);
    let state = prop::sample::select(STATES);
    let receipts = (place(), state, of(text()), of(any::<u32>())).prop_map(
        |((conversation, seq), state, after, limit)| m::Receipts {
            conversation,
            seq,
            state,
            after,
            limit,
        },
    );
    let conversations =
        (of(text()), of(any::<u32>())).prop_map(|(after, limit)| m::Conversations { after, limit });
    let search = (required(), of(text()), of(text()), of(any::<u32>())).prop_map(
        |(text, conversation, after, limit)| m::Search {
            text,
            conversation,
            after,
            limit,
        },
    );
    let one = || place().prop_map(|(conversation, seq)| m::MessageRef { conversation, seq });
    let react =
        (place(), required(), any::<bool>()).prop_map(|((conversation, seq), reaction, remove)| {
            m::React {
                conversation,
                seq,
                reaction,
                remove,
            }
        });
    let reactions = (place(), of(text()), of(text()), of(any::<u32>())).prop_map(
        |((conversation, seq), reaction, after, limit)| m::Reactions {
            conversation,
            seq,
            reaction,
            after,
            limit,
        },
    );
    prop_oneof![
        reactions.prop_map(C::Reactions),
        receipts.prop_map(C::Receipts),
        conversations.prop_map(C::Conversations),
        search.prop_map(C::Search),
        one().prop_map(C::Recall),
        one().prop_map(C::Delete),
        react.prop_map(C::React),
        edit().boxed(),
    ]
}

/// Makes commands about presence and ephemeral events.
fn passing_command() -> impl Strategy<Value = m::CommandBody<'static>> {
    use m::CommandBody as C;
    let page = || (of(text()), of(any::<u32>()));
    let contacts = (texts(), texts(), any::<bool>(), page()).prop_map(
        |(add, remove, watch, (after, limit))| m::Contacts {
            add,
            remove,
            watch,
            after,
            limit,
        },
    );
    let presence = (texts(), texts(), texts()).prop_map(|(watch, unwatch, query)| m::Presence {
        watch,
        unwatch,
        query,
    });
    prop_oneof![
        contacts.prop_map(C::Contacts),
        presence.prop_map(C::Presence),
        (required(), any::<bool>())
            .prop_map(|(conversation, stop)| C::Typing(m::Typing { conversation, stop })),
        (required(), json()).prop_map(|(user, data)| C::Signal(m::Signal { user, data })),
        (required(), of(text()))
            .prop_map(|(topic, since)| C::Subscribe(m::Subscribe { topic, since })),
        required().prop_map(|topic| C::Unsubscribe(m::Unsubscribe { topic })),
        (required(), json()).prop_map(|(topic, data)| C::Publish(m::Publish { topic, data })),
        (required(), json()).prop_map(|(method, data)| C::Rpc(m::Rpc { method, data })),
    ]
}
