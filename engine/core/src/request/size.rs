//! Checks that the content of a command fits into every message that will carry it.
//!
//! No message of the gateway is longer than `message_bytes`. Stored or passed on, the content of a
//! command is in a longer message than the command itself.

use trunkline_proto::Str;
use trunkline_proto::json::text_bytes;
use trunkline_proto::message::{CommandBody, Edit, Json, Media, Send};

use super::{Caller, ContentLimits};
use crate::event::{AROUND_MESSAGE, AROUND_NAME, Body, Extras, extra_bytes, message_bytes};
use crate::fit::reaction_bytes;

/// The bytes of JSON around a change of a group in a page of `sync`, without its names.
const AROUND_CHANGE: usize = 700;

/// The bytes of JSON around a signal or a publication, with its names.
const AROUND_DATA: usize = 320;

/// The bytes of a control character in JSON.
const WORST: usize = 6;

/// The length of the longest name of a conversation in bytes.
const CONVERSATION: usize = trunkline_proto::names::MAX_CONVERSATION_BYTES;

/// The length of the longest name of a user or device in bytes.
const NAME: usize = trunkline_proto::names::MAX_NAME_BYTES;

/// Returns the text of the error reply to a command whose content is too long for the messages that
/// would carry it; `None` if it fits.
#[inline]
pub fn too_large(
    caller: Caller<'_>,
    limits: &ContentLimits,
    command: &CommandBody<'_>,
) -> Option<String> {
    let most = limits.message_bytes;
    let (what, bytes) = match command {
        CommandBody::Send(send) => ("the message", message(caller, most, send)?),
        CommandBody::Edit(edit) => ("the message", edited(caller, limits, edit)),
        CommandBody::Signal(signal) => ("\"data\"", AROUND_DATA + signal.data.as_str().len()),
        CommandBody::Publish(publish) => ("\"data\"", AROUND_DATA + publish.data.as_str().len()),
        CommandBody::GroupCreate(create) => {
            let name = create.name.as_deref().unwrap_or_default();
            ("the group's change", change(name, &create.members))
        }
        CommandBody::GroupAdd(change_of) | CommandBody::GroupRemove(change_of) => {
            ("the group's change", change("", &change_of.members))
        }
        CommandBody::GroupRename(rename) => ("the group's change", change(&rename.name, &[])),
        CommandBody::GroupSet(set) => {
            let texts = [&set.name, &set.picture].map(|text| text.as_deref().unwrap_or_default());
            let bytes = change(texts[0], &[]) + text_bytes(texts[1]);
            ("the group's change", bytes)
        }
        _ => return None,
    };
    let over = bytes.checked_sub(most).filter(|over| *over > 0)?;
    Some(format!(
        "{what} is too large: a message with it takes {bytes} bytes, and limits.message_bytes is \
         {most}: make it {over} bytes shorter"
    ))
}

/// Returns the bytes that a message takes in JSON; `None` if it fits whatever characters it has.
#[inline]
fn message(caller: Caller<'_>, most: usize, send: &Send<'_>) -> Option<usize> {
    const NAMES: usize = 2 * CONVERSATION + 2 * NAME;
    let len = |text: &Option<Str<'_>>| text.as_ref().map_or(0, |text| text.len());
    let media = send.media.as_ref();
    let data = media.map_or(0, data_bytes);
    let texts = len(&send.text)
        + len(&send.key)
        + media.map_or(0, |media| media.mime.len() + len(&media.url));
    let extras = send.extras.as_deref();
    let extras = extras.map_or(0, |extras| extra_bytes(&Extras::of(extras)));
    let around = AROUND_MESSAGE + reaction_bytes(most) + data + extras;
    if around + NAMES + WORST * texts <= most {
        return None;
    }
    let written = |text: &Option<Str<'_>>| text.as_ref().map_or(0, |text| text_bytes(text));
    let names = caller.names;
    let other = len(&send.user).max(len(&send.group)).min(NAME);
    let conversation = "u::".len() + names.user().len() + other;
    let texts = written(&send.text)
        + written(&send.key)
        + media.map_or(0, |media| text_bytes(&media.mime) + written(&media.url));
    Some(around + 2 * conversation + names.user().len() + names.device().len() + texts)
}

/// Returns the bytes that a message takes in JSON after an edit, at least: the sequencer knows what the
/// message keeps.
#[cold]
fn edited(caller: Caller<'_>, limits: &ContentLimits, edit: &Edit<'_>) -> usize {
    let media = edit.media.as_ref();
    let body = Body {
        conversation: &edit.conversation,
        user: caller.names.user(),
        text: edit.text.as_deref(),
        mime: media.map(|media| &*media.mime),
        data: media.and_then(|media| media.data.as_deref()),
        url: media.and_then(|media| media.url.as_deref()),
        ..Body::default()
    };
    let extras = Extras {
        meta: edit.meta.as_ref().map(Json::as_str),
        edited: Some(0),
        ..Extras::default()
    };
    message_bytes(&body) + extra_bytes(&extras) + reaction_bytes(limits.message_bytes)
}

/// Returns the length of an inline attachment in base64.
fn data_bytes(media: &Media<'_>) -> usize {
    media
        .data
        .as_ref()
        .map_or(0, |data| data.len().div_ceil(3) * 4)
}

fn change(name: &str, members: &[Str<'_>]) -> usize {
    let members: usize = members
        .iter()
        .map(|member| member.len() + AROUND_NAME)
        .sum();
    AROUND_CHANGE + text_bytes(name) + members
}

#[cfg(test)]
mod tests {
    use trunkline_proto::Encoding;
    use trunkline_proto::message::{
        ChangeKind, ConversationEntry, ConversationsReply, Event, GroupChanged, Joining, Message,
        Publication, Push, Reply, ReplyBody, Role, SendExtras, Senders, ServerMessage, SyncReply,
    };

    use super::*;

    fn longest(message: ServerMessage<'_>) -> usize {
        let [json, proto] = [Encoding::Json, Encoding::Proto].map(|encoding| {
            let mut out = Vec::new();
            encoding.encode_server(&message, &mut out);
            out.len()
        });
        json.max(proto)
    }

    fn name() -> Str<'static> {
        "n".repeat(NAME).into()
    }

    /// As long as a position may ever be.
    fn pos() -> Str<'static> {
        "p".repeat(56).into()
    }

    fn reply(body: ReplyBody<'_>) -> ServerMessage<'_> {
        ServerMessage::Reply(Reply { id: u32::MAX, body })
    }

    #[test]
    fn what_stands_around_a_message() {
        let conversation: Str<'_> = "c".repeat(CONVERSATION).into();
        let message = Message {
            conversation: conversation.clone(),
            seq: u64::MAX,
            from: name(),
            device: name(),
            time: u64::MAX,
            key: Some("".into()),
            text: Some("".into()),
            media: Some(Media {
                mime: "".into(),
                data: Some(Vec::new().into()),
                url: Some("".into()),
                size: Some(u64::MAX),
            }),
            extras: None,
            recalled: true,
            deleted: true,
            reactions: Box::default(),
            more_reactions: true,
            too_large: true,
        };
        let push = Push {
            pos: Some(pos()),
            event: Event::Message(message.clone()),
        };
        let sync = reply(ReplyBody::Sync(SyncReply {
            events: vec![push],
            pos: pos(),
            more: true,
        }));
        let entry = ConversationEntry {
            conversation,
            last: Some(message),
            read: u64::MAX,
            unread: u64::MAX,
            members: u64::MAX,
            mentions: u64::MAX,
            muted_until: u64::MAX,
            pinned: true,
            archived: true,
        };
        let conversations = reply(ReplyBody::Conversations(ConversationsReply {
            conversations: vec![entry],
            unread: u64::MAX,
            cursor: pos(),
            more: true,
        }));
        let names = 2 * CONVERSATION + 2 * NAME;
        for message in [sync, conversations] {
            let bytes = longest(message);
            assert!(bytes < names + AROUND_MESSAGE, "{bytes}");
        }
    }

    #[test]
    fn what_extras_take() {
        let sent = SendExtras {
            reply_to: Some(u64::MAX),
            kind: Some("k\"".repeat(16).into()),
            meta: Json::parse("[1,2,3]").ok(),
            mentions: vec![name(); 3],
            ttl: Some("365d".into()),
        };
        let stored = Extras::of(&sent).stored().unwrap();
        let shown = Extras::read(&stored).unwrap().shown(1_767_225_600_500);
        let push = |extras| {
            longest(ServerMessage::Push(Push {
                pos: None,
                event: Event::Message(Message {
                    extras,
                    ..Message::default()
                }),
            }))
        };
        let (with, without) = (push(shown), push(None));
        let bytes = extra_bytes(&Extras::of(&sent));
        assert!(
            (with - without..with - without + 160).contains(&bytes),
            "{bytes}"
        );
    }

    #[test]
    fn what_stands_around_the_rest() {
        let push = Push {
            pos: Some(pos()),
            event: Event::Group(GroupChanged {
                conversation: format!("g:{}", name()).into(),
                change: ChangeKind::Created,
                by: name(),
                // The creator comes beside those of the command.
                members: vec![name()],
                name: Some("".into()),
                role: Some(Role::Member),
                picture: Some("".into()),
                send: Some(Senders::Admins),
                join: Some(Joining::Invite),
                seq: Some(u64::MAX),
                time: u64::MAX,
            }),
        };
        let sync = reply(ReplyBody::Sync(SyncReply {
            events: vec![push],
            pos: pos(),
            more: true,
        }));
        let bytes = longest(sync);
        assert!(bytes < AROUND_CHANGE, "{bytes}");
        let publication = Push {
            pos: None,
            event: Event::Publication(Publication {
                topic: name(),
                data: Json::default(),
                from: name(),
                pos: pos(),
            }),
        };
        let bytes = longest(ServerMessage::Push(publication));
        assert!(bytes < AROUND_DATA, "{bytes}");
    }
}
