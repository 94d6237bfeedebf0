//! Generators of server messages.

use proptest::option::of;
use proptest::prelude::*;
use trunkline_proto::ErrorCode;
use trunkline_proto::message as m;

use super::{id, json, media, meta, number, text, texts};

fn message() -> impl Strategy<Value = m::Message<'static>> {
    let place = (text(), number(), text(), text(), number());
    let reactions = prop_oneof![Just(vec![]), prop::collection::vec(reaction(), 0..4)];
    let fate = (any::<[bool; 4]>(), reactions);
    let content = (of(text()), of(text()), of(media()), message_extras());
    (place, content, fate).prop_map(
        |((conversation, seq, from, device, time), (key, text, media, extras), fate)| m::Message {
            conversation,
            seq,
            from,
            device,
            time,
            key,
            text,
            media,
            extras,
            recalled: fate.0[0],
            deleted: fate.0[1],
            reactions: fate.1.into(),
            more_reactions: fate.0[2],
            too_large: fate.0[3],
        },
    )
}

fn message_extras() -> impl Strategy<Value = Option<Box<m::MessageExtras<'static>>>> {
    let times = (of(number()), of(number()), any::<bool>());
    let extras = (of(number()), of(text()), meta(), texts(), times);
    let extras = extras.prop_map(|(reply_to, kind, meta, mentions, times)| {
        let (edited, expires, expired) = times;
        m::MessageExtras {
            reply_to,
            kind,
            meta,
            edited,
            mentions,
            expires,
            expired,
        }
        .boxed()
    });
    prop_oneof![Just(None), extras]
}

fn reaction() -> impl Strategy<Value = m::MessageReaction<'static>> {
    (text(), texts(), number(), any::<bool>()).prop_map(|(reaction, users, count, more)| {
        m::MessageReaction {
            reaction,
            users,
            count,
            more,
        }
    })
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
        1 => text().prop_map(|pos| E::CaughtUp(m::CaughtUp { pos })),
        1 => disconnect.prop_map(E::Disconnect),
        2 => change(),
        1 => message().prop_map(E::Edit),
        2 => passing(),
    ];
    (of(text()), event).prop_map(|(pos, event)| m::Push { pos, event })
}

/// Makes pushes about stored messages and groups.
fn change() -> impl Strategy<Value = m::Event<'static>> {
    use m::{ChangeKind as K, Event as E};
    let recalled =
        (text(), number(), text(), number()).prop_map(|(conversation, seq, by, time)| {
            m::Recalled {
                conversation,
                seq,
                by,
                time,
            }
        });
    let deleted = (text(), number(), number()).prop_map(|(conversation, seq, time)| m::Deleted {
        conversation,
        seq,
        time,
    });
    let place = (text(), number());
    let reacted = (place, text(), text(), any::<bool>(), number()).prop_map(
        |((conversation, seq), user, reaction, removed, time)| m::Reacted {
            conversation,
            seq,
            user,
            reaction,
            removed,
            time,
        },
    );
    let kinds = &[
        K::Created,
        K::Added,
        K::Removed,
        K::Left,
        K::Renamed,
        K::Role,
        K::Set,
        K::Joined,
        K::Pinned,
        K::Unpinned,
    ];
    let kind = prop::sample::select(kinds);
    let set = (of(role()), of(text()), of(send()), of(join()), of(number()));
    let group = (text(), kind, text(), texts(), of(text()), set, number()).prop_map(
        |(conversation, change, by, members, name, set, time)| m::GroupChanged {
            conversation,
            change,
            by,
            members,
            name,
            role: set.0,
            picture: set.1,
            send: set.2,
            join: set.3,
            seq: set.4,
            time,
        },
    );
    let flags = any::<[bool; 2]>();
    let settings = (text(), number(), flags, number()).prop_map(
        |(conversation, muted_until, [pinned, archived], time)| m::ConversationSettings {
            conversation,
            muted_until,
            pinned,
            archived,
            time,
        },
    );
    prop_oneof![
        recalled.prop_map(E::Recall),
        deleted.prop_map(E::Delete),
        reacted.prop_map(E::Reaction),
        group.prop_map(E::Group),
        settings.prop_map(E::Settings),
    ]
}

fn role() -> impl Strategy<Value = m::Role> {
    prop::sample::select(&[m::Role::Member, m::Role::Owner, m::Role::Admin])
}

fn send() -> impl Strategy<Value = m::Senders> {
    prop::sample::select(&[m::Senders::All, m::Senders::Admins])
}

fn join() -> impl Strategy<Value = m::Joining> {
    prop::sample::select(&[m::Joining::Invite, m::Joining::Open])
}

/// Makes pushes of ephemeral events.
fn passing() -> impl Strategy<Value = m::Event<'static>> {
    use m::Event as E;
    let publication =
        (text(), json(), text(), text()).prop_map(|(topic, data, from, pos)| m::Publication {
            topic,
            data,
            from,
            pos,
        });
    prop_oneof![
        presence().prop_map(E::Presence),
        (text(), text(), any::<bool>(), number()).prop_map(
            |(conversation, user, stop, expires_ms)| E::Typing(m::TypingUser {
                conversation,
                user,
                stop,
                expires_ms,
            })
        ),
        (text(), json()).prop_map(|(user, data)| E::Signal(m::Signalled { user, data })),
        publication.prop_map(E::Publication),
    ]
}

fn presence() -> impl Strategy<Value = m::UserPresence<'static>> {
    (text(), any::<bool>(), any::<u32>(), of(number())).prop_map(
        |(user, online, devices, last_seen)| m::UserPresence {
            user,
            online,
            devices,
            last_seen,
        },
    )
}

fn group_reply() -> impl Strategy<Value = m::ReplyBody<'static>> {
    use m::ReplyBody as R;
    let members = || number().prop_map(|members| m::GroupMembersReply { members });
    let member = (text(), role(), number()).prop_map(|(user, role, since)| m::GroupMember {
        user,
        role,
        since,
    });
    let visibility = prop::sample::select(&[m::Visibility::All, m::Visibility::Joined]);
    let group = (text(), of(text()), visibility, number());
    let pin = (number(), number()).prop_map(|(seq, time)| m::PinnedMessage { seq, time });
    let pins = prop::collection::vec(pin, 0..3);
    let rules = (of(text()), send(), join(), pins);
    let members_of = prop::collection::vec(member, 0..4);
    let info = (group, rules, members_of, any::<bool>()).prop_map(
        |((group, name, history, count), (picture, send, join, pins), members, more)| {
            m::GroupInfoReply {
                group,
                name,
                picture,
                history,
                send,
                join,
                pins,
                count,
                members,
                more,
            }
        },
    );
    prop_oneof![
        (text(), number(), any::<bool>()).prop_map(|(conversation, members, duplicate)| {
            R::GroupCreate(m::GroupCreateReply {
                conversation,
                members,
                duplicate,
            })
        }),
        members().prop_map(R::GroupAdd),
        members().prop_map(R::GroupRemove),
        members().prop_map(R::GroupJoin),
        (texts(), any::<bool>())
            .prop_map(|(users, more)| R::Blocked(m::BlockedReply { users, more })),
        info.prop_map(R::GroupInfo),
    ]
}

fn passing_reply() -> impl Strategy<Value = m::ReplyBody<'static>> {
    use m::ReplyBody as R;
    let contact =
        (text(), any::<bool>(), of(number())).prop_map(|(user, online, last_seen)| m::Contact {
            user,
            online,
            last_seen,
        });
    let contacts = prop::collection::vec(contact, 0..4);
    let users = prop::collection::vec(presence(), 0..4);
    let subscribed = || {
        (text(), any::<bool>()).prop_map(|(pos, recovered)| m::SubscribeReply { pos, recovered })
    };
    prop_oneof![
        (contacts, any::<bool>())
            .prop_map(|(contacts, more)| R::Contacts(m::ContactsReply { contacts, more })),
        (users, any::<bool>())
            .prop_map(|(users, more)| R::Presence(m::PresenceReply { users, more })),
        any::<bool>().prop_map(|online| R::Signal(m::SignalReply { online })),
        subscribed().prop_map(R::Subscribe),
        subscribed().prop_map(R::Unsubscribe),
        text().prop_map(|pos| R::Publish(m::PublishReply { pos })),
        json().prop_map(|data| R::Rpc(m::RpcReply { data })),
    ]
}

/// Makes replies with pages of receipts and conversations.
fn listing_reply() -> impl Strategy<Value = m::ReplyBody<'static>> {
    use m::ReplyBody as R;
    let counts =
        (number(), number(), number()).prop_map(|(members, delivered, read)| m::ReceiptCounts {
            members,
            delivered,
            read,
        });
    let user = (text(), number(), number()).prop_map(|(user, seq, time)| m::ReceiptUser {
        user,
        seq,
        time,
    });
    let users = prop::collection::vec(user, 0..4);
    let receipts =
        (counts, users, any::<bool>()).prop_map(|(counts, users, more)| m::ReceiptsReply {
            counts,
            users,
            more,
        });
    let own = (number(), any::<[bool; 2]>());
    let numbers = (number(), number(), number(), number());
    let entry = (text(), of(message()), numbers, own).prop_map(
        |(conversation, last, (read, unread, members, mentions), own)| m::ConversationEntry {
            conversation,
            last,
            read,
            unread,
            members,
            mentions,
            muted_until: own.0,
            pinned: own.1[0],
            archived: own.1[1],
        },
    );
    let entries = prop::collection::vec(entry, 0..3);
    let conversations = (entries, number(), text(), any::<bool>()).prop_map(
        |(conversations, unread, cursor, more)| m::ConversationsReply {
            conversations,
            unread,
            cursor,
            more,
        },
    );
    let reactions = (prop::collection::vec(reaction(), 0..3), any::<bool>())
        .prop_map(|(reactions, more)| m::ReactionsReply { reactions, more });
    let search = (prop::collection::vec(message(), 0..3), of(text()))
        .prop_map(|(messages, next)| m::SearchReply { messages, next });
    prop_oneof![
        reactions.prop_map(R::Reactions),
        receipts.prop_map(R::Receipts),
        conversations.prop_map(R::Conversations),
        search.prop_map(R::Search),
    ]
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
    let token = (of(number()), texts());
    (names, any::<bool>(), number(), any::<u32>(), limits, token).prop_map(
        |((session, user, device, pos), recovered, time, ping_ms, limits, token)| m::ConnectReply {
            session,
            user,
            device,
            pos,
            recovered,
            time,
            ping_ms,
            limits,
            expires: token.0,
            unsubscribed: token.1,
        },
    )
}

fn reply() -> impl Strategy<Value = m::ReplyBody<'static>> {
    use m::ReplyBody as R;
    let code = prop::sample::select(&ErrorCode::ALL);
    let error =
        (code, text(), of(text()), of(number())).prop_map(|(code, message, limit, retry_ms)| {
            m::ErrorReply {
                limit,
                retry_ms,
                ..m::ErrorReply::new(code, message)
            }
        });
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
        (messages, number(), number(), any::<bool>()).prop_map(|(messages, first, last, more)| {
            m::HistoryReply {
                messages,
                first,
                last,
                more,
            }
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
        prop::sample::select(&[
            R::GroupLeave(m::Done {}),
            R::GroupRename(m::Done {}),
            R::Recall(m::Done {}),
            R::Delete(m::Done {}),
            R::React(m::Done {}),
            R::Edit(m::Done {}),
            R::Typing(m::Done {}),
            R::GroupRole(m::Done {}),
            R::GroupSet(m::Done {}),
            R::Pin(m::Done {}),
            R::Unpin(m::Done {}),
            R::Block(m::Done {}),
            R::Unblock(m::Done {}),
            R::Settings(m::Done {}),
        ]),
        group_reply(),
        passing_reply(),
        listing_reply(),
    ]
}

pub(crate) fn server_message() -> impl Strategy<Value = m::ServerMessage<'static>> {
    let reply = (id(), reply()).prop_map(|(id, body)| m::Reply { id, body });
    prop_oneof![
        reply.prop_map(m::ServerMessage::Reply),
        push().prop_map(m::ServerMessage::Push),
    ]
}
