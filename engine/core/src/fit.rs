//! Replies that fit into one message to the client. A page that would be longer ends at an earlier
//! entry.

use trunkline_proto::json::text_bytes;
use trunkline_proto::message::{
    BlockedReply, ContactsReply, ConversationsReply, Event, GroupInfoReply, HistoryReply, Message,
    PresenceReply, Push, ReactionsReply, ReceiptsReply, Reply, ReplyBody, SearchReply,
    ServerMessage, SyncReply,
};
use trunkline_proto::{Encoding, Str};

use crate::frames::write;

/// The bytes reserved in each page for headers and lengths.
const SLACK: usize = 64;

/// The bytes behind which a page of messages or events takes no further entry; a longer first entry
/// makes a longer page. A page is made in one piece, and other answers wait meanwhile.
pub(crate) const PAGE_BYTES: usize = 256 << 10;

/// Returns the maximum number of bytes that the reactions to one message take in a page: an eighth
/// of `message_bytes`, and at most 4 KiB.
pub fn reaction_bytes(message_bytes: usize) -> usize {
    const MAX: usize = 4 << 10;
    (message_bytes / 8).min(MAX)
}

/// Which entries a page loses when it does not fit. The client asks for them with the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// The page loses its last entries.
    Back,
    /// The page loses its first entries, because the client reads backwards.
    Front,
    /// The page loses its last entries. For each entry there is the cursor from which the next page
    /// goes on behind it.
    Cursors(Vec<String>),
}

impl Cut {
    /// Returns the cursor behind the first `kept` entries; `None` if there is none.
    fn cursor_behind(&self, kept: usize) -> Option<&String> {
        match self {
            Self::Cursors(cursors) => kept.checked_sub(1).and_then(|last| cursors.get(last)),
            Self::Back | Self::Front => None,
        }
    }
}

/// The frame that a reply has to fit into.
#[derive(Debug, Clone, Copy)]
pub struct ReplyFrame {
    /// The encoding of the client.
    pub encoding: Encoding,
    /// The client's id for the command.
    pub id: u32,
    /// The maximum number of bytes of the frame.
    pub limit: usize,
}

/// A frame, and the size at which a page that goes into it ends.
#[derive(Debug, Clone, Copy)]
struct PageFrame {
    frame: ReplyFrame,
    /// The bytes behind which the page takes no further entry.
    page_bytes: usize,
}

impl PageFrame {
    /// Returns the sizes for a reply.
    fn of(frame: ReplyFrame, body: &ReplyBody<'_>) -> Self {
        let entries = match body {
            ReplyBody::History(page) => page.messages.len(),
            ReplyBody::Search(page) => page.messages.len(),
            ReplyBody::Sync(page) => page.events.len(),
            ReplyBody::Conversations(page) => page.conversations.len(),
            // Other lists are short, and a single entry goes whole if it fits into the frame.
            _ => 0,
        };
        let page_bytes = match entries {
            0 | 1 => frame.limit,
            _ => frame.limit.min(PAGE_BYTES),
        };
        Self { frame, page_bytes }
    }
}

/// Appends a reply as a frame of at most `limit` bytes. Returns `false`, and appends nothing, if not
/// even one entry of the reply fits.
pub fn write_fitting(out: &mut Vec<u8>, frame: ReplyFrame, body: ReplyBody<'_>, cut: &Cut) -> bool {
    let ReplyFrame {
        encoding,
        id,
        limit,
    } = frame;
    let start = out.len();
    let to = PageFrame::of(frame, &body);
    let mut body = body;
    if least_bytes(&body, encoding) <= to.page_bytes {
        let message = ServerMessage::Reply(Reply { id, body });
        write(out, encoding, &message);
        if out.len() - start <= to.page_bytes {
            return true;
        }
        out.truncate(start);
        let ServerMessage::Reply(reply) = message else {
            return false;
        };
        body = reply.body;
    }
    let body = shorten(to, body, cut);
    write(out, encoding, &ServerMessage::Reply(Reply { id, body }));
    let fits = out.len() - start <= limit;
    if !fits {
        out.truncate(start);
    }
    fits
}

/// Returns a number of bytes that the reply takes at least: those of the texts of its messages. They
/// may be several times as long as the limit, so that writing them would be work for nothing.
fn least_bytes(body: &ReplyBody<'_>, encoding: Encoding) -> usize {
    let text = |message: &Message<'_>| {
        let text = message.text.as_deref();
        text.map_or(0, |text| match encoding {
            Encoding::Json => text_bytes(text),
            Encoding::Proto => text.len(),
        })
    };
    match body {
        ReplyBody::History(page) => page.messages.iter().map(text).sum(),
        ReplyBody::Search(page) => page.messages.iter().map(text).sum(),
        ReplyBody::Sync(page) => {
            let events = page.events.iter().map(|push| &push.event);
            let of = |event: &Event<'_>| match event {
                Event::Message(message) | Event::Edit(message) => text(message),
                _ => 0,
            };
            events.map(of).sum()
        }
        _ => 0,
    }
}

/// Returns a reply whose JSON has at most `limit` bytes; `None` where not even one entry of it fits.
pub(crate) fn fitted<'p>(body: ReplyBody<'p>, limit: usize, cut: &Cut) -> Option<ReplyBody<'p>> {
    let frame = ReplyFrame {
        encoding: Encoding::Json,
        id: 0,
        limit,
    };
    let to = PageFrame::of(frame, &body);
    let mut scratch = Vec::new();
    let mut fits = |body, limit| {
        let message = ServerMessage::Reply(Reply { id: 0, body });
        scratch.clear();
        Encoding::Json.encode_server(&message, &mut scratch);
        let fits = scratch.len() <= limit;
        match message {
            ServerMessage::Reply(Reply { body, .. }) => (fits, Some(body)),
            ServerMessage::Push(_) => (fits, None),
        }
    };
    let (whole, body) = fits(body, to.page_bytes);
    if whole {
        return body;
    }
    let (fits, body) = fits(shorten(to, body?, cut), limit);
    body.filter(|_| fits)
}

/// Removes the content of a message, or the members and the picture of a group's change. Stored events may be larger
/// than the current settings allow.
pub fn strip_push(push: &mut Push<'_>) {
    match &mut push.event {
        Event::Message(message) | Event::Edit(message) => strip(message),
        Event::Group(group) => {
            group.members.clear();
            group.picture = None;
        }
        _ => {}
    }
}

fn strip(message: &mut Message<'_>) {
    message.remove_content();
    message.too_large = true;
}

/// Returns the same reply with as many entries as fit, and with at least one.
fn shorten<'p>(to: PageFrame, body: ReplyBody<'p>, cut: &Cut) -> ReplyBody<'p> {
    match body {
        ReplyBody::Sync(page) => {
            let with = |events| {
                ReplyBody::Sync(SyncReply {
                    events,
                    pos: page.pos.clone(),
                    more: true,
                })
            };
            let events = keep(to, page.events, cut, with, strip_push);
            let pos = events.last().and_then(|push| push.pos.clone());
            ReplyBody::Sync(SyncReply {
                pos: pos.unwrap_or(page.pos),
                events,
                more: true,
            })
        }
        ReplyBody::History(page) => {
            let with = |messages| {
                ReplyBody::History(HistoryReply {
                    messages,
                    first: page.first,
                    last: page.last,
                    more: true,
                })
            };
            with(keep(to, page.messages, cut, with, strip))
        }
        ReplyBody::Search(page) => {
            let with = |messages| {
                ReplyBody::Search(SearchReply {
                    messages,
                    // Longer than any cursor, for the measure.
                    next: Some("s18446744073709551615-00000000-18446744073709551615".into()),
                })
            };
            let messages = keep(to, page.messages, cut, with, strip);
            let cursor = cut.cursor_behind(messages.len());
            let next = cursor.map(|cursor| cursor.clone().into()).or(page.next);
            ReplyBody::Search(SearchReply { messages, next })
        }
        ReplyBody::Get(mut get) => {
            strip(&mut get.message);
            ReplyBody::Get(get)
        }
        ReplyBody::Conversations(page) => {
            let with = |conversations| {
                ReplyBody::Conversations(ConversationsReply {
                    conversations,
                    unread: page.unread,
                    cursor: page.cursor.clone(),
                    more: true,
                })
            };
            let entries = keep(to, page.conversations, cut, with, |entry| {
                entry.last.iter_mut().for_each(strip);
            });
            let cursor = cut.cursor_behind(entries.len());
            let cursor = cursor.map_or_else(|| page.cursor.clone(), |cursor| cursor.clone().into());
            ReplyBody::Conversations(ConversationsReply {
                conversations: entries,
                unread: page.unread,
                cursor,
                more: true,
            })
        }
        other => shorten_list(to, other, cut),
    }
}

/// Returns a list of users or reactions with as many entries as fit, and with at least one.
fn shorten_list<'p>(to: PageFrame, body: ReplyBody<'p>, cut: &Cut) -> ReplyBody<'p> {
    match body {
        ReplyBody::Receipts(page) => {
            let with = |users| {
                ReplyBody::Receipts(ReceiptsReply {
                    counts: page.counts,
                    users,
                    more: true,
                })
            };
            with(keep(to, page.users, cut, with, |_| ()))
        }
        ReplyBody::Blocked(page) => {
            let with = |users| ReplyBody::Blocked(BlockedReply { users, more: true });
            with(keep(to, page.users, cut, with, |_| ()))
        }
        ReplyBody::GroupInfo(page) => {
            let with = |members| {
                ReplyBody::GroupInfo(GroupInfoReply {
                    group: page.group.clone(),
                    name: page.name.clone(),
                    picture: page.picture.clone(),
                    history: page.history,
                    send: page.send,
                    join: page.join,
                    pins: page.pins.clone(),
                    count: page.count,
                    members,
                    more: true,
                })
            };
            with(keep(to, page.members, cut, with, |_| ()))
        }
        ReplyBody::Contacts(page) => {
            let with = |contacts| {
                ReplyBody::Contacts(ContactsReply {
                    contacts,
                    more: true,
                })
            };
            with(keep(to, page.contacts, cut, with, |_| ()))
        }
        ReplyBody::Presence(page) => {
            let with = |users| ReplyBody::Presence(PresenceReply { users, more: true });
            with(keep(to, page.users, cut, with, |_| ()))
        }
        ReplyBody::Reactions(page) => {
            let with = |reactions| {
                ReplyBody::Reactions(ReactionsReply {
                    reactions,
                    more: page.more,
                })
            };
            match &page.reactions[..] {
                // A page of the users of one reaction.
                [only] if !only.users.is_empty() => {
                    let of = |users: Vec<Str<'p>>| {
                        with(vec![trunkline_proto::message::MessageReaction {
                            users,
                            more: true,
                            ..only.clone()
                        }])
                    };
                    of(keep(to, only.users.clone(), cut, of, |_| ()))
                }
                _ => {
                    let reactions = keep(to, page.reactions.clone(), cut, with, |_| ());
                    ReplyBody::Reactions(ReactionsReply {
                        reactions,
                        more: true,
                    })
                }
            }
        }
        other => other,
    }
}

/// Returns the entries that fit into the page, and at least one. If one entry does not fit into the
/// frame, returns it without its content: `strip` removes that. `with` makes a reply of entries.
fn keep<'p, T: Clone>(
    to: PageFrame,
    mut entries: Vec<T>,
    cut: &Cut,
    with: impl Fn(Vec<T>) -> ReplyBody<'p>,
    strip: impl Fn(&mut T),
) -> Vec<T> {
    let ReplyFrame {
        encoding,
        id,
        limit,
    } = to.frame;
    let mut scratch = Vec::new();
    let mut size = |entries: Vec<T>| {
        scratch.clear();
        let body = with(entries);
        encoding.encode_server(&ServerMessage::Reply(Reply { id, body }), &mut scratch);
        scratch.len()
    };
    let base = size(Vec::new());
    let room = |bytes: usize| bytes.saturating_sub(base + SLACK);
    let mut left = room(to.page_bytes);
    let mut first_fits = false;
    let front = *cut == Cut::Front;
    if front {
        entries.reverse();
    }
    let mut kept = 0;
    for entry in &entries {
        // Four more bytes: the separator of two entries, and longer lengths around them.
        let size = size(vec![entry.clone()]) - base + 4;
        if size > left {
            first_fits = size <= room(limit);
            break;
        }
        left -= size;
        kept += 1;
    }
    if kept == 0
        && let Some(first) = entries.first_mut()
    {
        if !first_fits {
            strip(first);
        }
        kept = 1;
    }
    entries.truncate(kept);
    if front {
        entries.reverse();
    }
    entries
}

#[cfg(test)]
mod tests {
    use trunkline_proto::message::{MessageReaction, ReceiptCounts, ReceiptUser};

    use super::*;

    const LIMIT: usize = 4_096;

    /// Writes a reply and reads it back. Returns what is left of it, as the `pos` of a sync reply.
    fn written(encoding: Encoding, body: &ReplyBody<'_>, cut: &Cut) -> ReplyBody<'static> {
        let mut out = Vec::new();
        assert!(write_fitting(
            &mut out,
            ReplyFrame {
                encoding,
                id: 7,
                limit: LIMIT,
            },
            body.clone(),
            cut
        ));
        assert!(out.len() <= LIMIT, "{}", out.len());
        let header = if out[1] == 126 { 4 } else { 2 };
        let mut found = None;
        encoding
            .decode_server(&out[header..], |message| {
                let ServerMessage::Reply(reply) = message else {
                    panic!("{message:?}")
                };
                found = Some(match reply.body {
                    ReplyBody::History(page) => ReplyBody::Sync(SyncReply {
                        events: Vec::new(),
                        pos: format!(
                            "{}-{} {}",
                            page.messages[0].seq,
                            page.messages[page.messages.len() - 1].seq,
                            page.messages[0].too_large,
                        )
                        .into(),
                        more: page.more,
                    }),
                    ReplyBody::Receipts(page) => ReplyBody::Sync(SyncReply {
                        events: Vec::new(),
                        pos: format!("{}", page.users.len()).into(),
                        more: page.more,
                    }),
                    ReplyBody::Reactions(page) => ReplyBody::Sync(SyncReply {
                        events: Vec::new(),
                        pos: format!("{}", page.reactions[0].users.len()).into(),
                        more: page.reactions[0].more,
                    }),
                    other => panic!("{other:?}"),
                });
            })
            .unwrap();
        found.unwrap()
    }

    fn said(encoding: Encoding, body: &ReplyBody<'_>, cut: &Cut) -> (String, bool) {
        match written(encoding, body, cut) {
            ReplyBody::Sync(page) => (page.pos.to_string(), page.more),
            other => panic!("{other:?}"),
        }
    }

    fn history(text: &str, count: u64) -> ReplyBody<'_> {
        let message = |seq| Message {
            seq,
            text: Some(text.into()),
            ..Message::default()
        };
        ReplyBody::History(HistoryReply {
            messages: (1..=count).map(message).collect(),
            first: 1,
            last: count,
            more: false,
        })
    }

    #[test]
    fn pages_end_at_the_end_they_are_read_to() {
        // In JSON six times as long.
        let controls = "\u{1}".repeat(100);
        let page = history(&controls, 50);
        let (json, more) = said(Encoding::Json, &page, &Cut::Back);
        assert_eq!((&*json, more), ("1-5 false", true));
        assert_eq!(said(Encoding::Json, &page, &Cut::Front).0, "46-50 false");
        let (proto, more) = said(Encoding::Proto, &page, &Cut::Back);
        assert_eq!((&*proto, more), ("1-36 false", true));
        let small = history("hi", 9);
        assert_eq!(
            said(Encoding::Json, &small, &Cut::Back),
            ("1-9 false".into(), false)
        );
    }

    #[test]
    fn pages_of_messages_end_at_their_size_and_a_long_message_goes_whole() {
        let frame = |encoding| ReplyFrame {
            encoding,
            id: 7,
            limit: 4 * PAGE_BYTES,
        };
        let (short, long) = ("x".repeat(PAGE_BYTES / 4), "x".repeat(2 * PAGE_BYTES));
        for encoding in [Encoding::Json, Encoding::Proto] {
            for (text, count, bytes) in [
                (&short, 3, 3 * short.len()),
                (&short, 20, 3 * short.len()),
                (&long, 1, long.len()),
                (&long, 20, long.len()),
            ] {
                let mut out = Vec::new();
                let page = history(text, count);
                assert!(write_fitting(&mut out, frame(encoding), page, &Cut::Back));
                assert!((bytes..bytes + 1_000).contains(&out.len()), "{}", out.len());
                let page = fitted(history(text, count), 4 * PAGE_BYTES, &Cut::Back);
                let Some(ReplyBody::History(page)) = page else {
                    panic!("{page:?}")
                };
                let texts = page.messages.iter().flat_map(|message| &message.text);
                assert_eq!(texts.map(|text| text.len()).sum::<usize>(), bytes);
            }
        }
    }

    #[test]
    fn a_message_that_is_too_large_comes_without_its_content() {
        let long = "x".repeat(LIMIT);
        for encoding in [Encoding::Json, Encoding::Proto] {
            for cut in [Cut::Back, Cut::Front] {
                let (page, more) = said(encoding, &history(&long, 3), &cut);
                let expected = if cut == Cut::Back {
                    "1-1 true"
                } else {
                    "3-3 true"
                };
                assert_eq!((&*page, more), (expected, true));
            }
        }
    }

    #[test]
    fn lists_of_users_are_shortened() {
        let name = "n".repeat(64);
        let users = vec![
            ReceiptUser {
                user: (&*name).into(),
                seq: u64::MAX,
                time: u64::MAX,
            };
            500
        ];
        let page = ReplyBody::Receipts(ReceiptsReply {
            counts: ReceiptCounts::default(),
            users,
            more: false,
        });
        let who = ReplyBody::Reactions(ReactionsReply {
            reactions: vec![MessageReaction {
                reaction: "like".into(),
                users: vec![(&*name).into(); 500],
                count: 500,
                more: false,
            }],
            more: false,
        });
        for encoding in [Encoding::Json, Encoding::Proto] {
            for page in [&page, &who] {
                let (count, more) = said(encoding, page, &Cut::Back);
                assert!((20..60).contains(&count.parse::<u32>().unwrap()), "{count}");
                assert!(more);
            }
        }
    }

    #[test]
    fn no_page_is_shorter_than_the_least_that_it_takes() {
        let texts = ["", "x", "\u{1}\"\n", "ä€😀"].map(|text| text.repeat(700));
        let message = |text: String| Message {
            text: Some(text.into()),
            ..Message::default()
        };
        let body = ReplyBody::History(HistoryReply {
            messages: texts.map(message).into(),
            first: 1,
            last: 4,
            more: false,
        });
        for encoding in [Encoding::Json, Encoding::Proto] {
            let least = least_bytes(&body, encoding);
            let mut out = Vec::new();
            let frame = ReplyFrame {
                encoding,
                id: 7,
                limit: usize::MAX,
            };
            assert!(write_fitting(&mut out, frame, body.clone(), &Cut::Back));
            assert!(least <= out.len() && least > out.len() / 2, "{least}");
        }
    }
}
