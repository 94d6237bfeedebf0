//! The list of a user's conversations.

use std::cmp::Reverse;
use std::collections::HashSet;

use trunkline_proto::message::{ConversationEntry, ConversationsReply, ReplyBody};
use trunkline_proto::names::{Conversation, MAX_CONVERSATION_BYTES};
use trunkline_storage::{Page, Position, TimelineId};

use super::failure::CORRUPT;
use super::messages::Messages;
use super::reading::Reading;
use super::unread::Unread;
use crate::exchange::{Cursor, Failure, Listing};
use crate::ids::UserId;
use crate::owned;
use crate::state::{self, Inbox, InboxChunk, InboxEntry};

/// A conversation of the list.
struct Entry {
    name: String,
    id: TimelineId,
    cursor: Cursor,
    /// The sequence of the last message.
    last: u64,
    /// The sequence of the last message that the user has read.
    read: u64,
    /// The number of messages that the user has not read.
    unread: u64,
    /// The number of members.
    members: u64,
}

/// The user's own part of a conversation.
struct OwnPart {
    /// The name of the conversation.
    name: String,
    id: TimelineId,
    /// The sequence of the last message that the user has read.
    read: u64,
    /// The sequence of the first message that the user sees.
    first: u64,
    /// The number of members.
    members: u64,
}

/// The user whose conversations are listed.
#[derive(Clone, Copy)]
struct Owner<'q> {
    user: UserId,
    /// Whether the user has deleted messages from the own view.
    hides: bool,
    listing: &'q Listing,
}

/// All conversations of a user: the one with the newest message first, groups without a message
/// last.
pub(super) struct ConversationList<'r> {
    reading: &'r Reading,
    entries: Vec<Entry>,
}

impl<'r> ConversationList<'r> {
    /// Reads the list.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) fn read(
        reading: &'r Reading,
        user: UserId,
        listing: &Listing,
        page: &mut Page,
    ) -> Result<Self, Failure> {
        let mut entries = Vec::new();
        let (places, hides) = places(reading, user)?;
        let owner = Owner {
            user,
            hides,
            listing,
        };
        for (place, number) in places.iter().zip(0..) {
            entries.extend(owner.entry(reading, place, number, page)?);
        }
        entries.sort_unstable_by_key(|entry| Reverse(entry.cursor));
        Ok(Self { reading, entries })
    }

    /// Returns at most `limit` conversations behind the cursor `before`, and a cursor for each.
    /// `head` is the position of the log that proves the cursors.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn page(
        self,
        mut messages: Messages<'_>,
        (before, limit): (Option<Cursor>, usize),
        head: Position,
        page: &mut Page,
    ) -> Result<(ReplyBody<'static>, Vec<String>), Failure> {
        let Self {
            reading,
            mut entries,
        } = self;
        let unread = entries.iter().map(|entry| entry.unread).sum();
        entries.retain(|entry| before.is_none_or(|before| entry.cursor < before));
        let mut more = entries.len() > limit;
        entries.truncate(limit);
        // The last messages are in memory until the page is written.
        let (mut cursors, mut bytes) = (Vec::new(), 0);
        let mut conversations = Vec::new();
        for entry in entries {
            if bytes > messages.message_bytes() {
                more = true;
                break;
            }
            let mut last = None;
            if entry.cursor.has_message {
                reading.message(entry.id, entry.last, page)?;
                let found = messages.show(page)?;
                last = found.into_iter().next().map(owned::message);
                let sizes = page.records().map(|record| record.body.len());
                bytes += sizes.sum::<usize>();
            }
            cursors.push(entry.cursor.text(reading.epochs(), head));
            conversations.push(ConversationEntry {
                conversation: entry.name.into(),
                last,
                read: entry.read,
                unread: entry.unread,
                members: entry.members,
            });
        }
        let reply = ReplyBody::Conversations(ConversationsReply {
            conversations,
            unread,
            cursor: cursors.last().cloned().unwrap_or_default().into(),
            more,
        });
        Ok((reply, cursors))
    }
}

impl Owner<'_> {
    /// Returns the entry of one place of the inbox; `None` for a group that the user is no longer
    /// in. `number` is the number of the place.
    fn entry(
        &self,
        reading: &Reading,
        place: &str,
        number: u64,
        page: &mut Page,
    ) -> Result<Option<Entry>, Failure> {
        let own = match place.strip_prefix("u:") {
            Some(other) => self.direct(reading, other)?,
            None => self.group(reading, place)?,
        };
        let Some(OwnPart {
            name,
            id,
            read,
            first,
            members,
        }) = own
        else {
            return Ok(None);
        };
        let last = reading.last_seq(id)?;
        // The user sees nothing before there is a message from after joining.
        let has_message = last >= first;
        let at = if has_message {
            reading.message(id, last, page)?;
            // A message without a record has expired: it sorts behind all other messages.
            page.records().next().map_or(0, |record| record.position.0)
        } else {
            number
        };
        let unread = Unread {
            reading,
            user: self.user,
            name: &self.listing.user,
            hides: self.hides,
            conversation: id,
        };
        Ok(Some(Entry {
            name,
            id,
            cursor: Cursor { has_message, at },
            last,
            read,
            unread: unread.count(read, last, page)?,
            members,
        }))
    }

    /// Returns the user's part of the 1:1 conversation with `other`.
    fn direct(&self, reading: &Reading, other: &str) -> Result<Option<OwnPart>, Failure> {
        let pair = Conversation::between(&self.listing.user, other);
        let Conversation::Direct(lesser, greater) = pair else {
            return Ok(None);
        };
        let ids = reading.ids();
        let id = ids.direct(&self.listing.namespace, lesser, greater);
        let mut name = [0; MAX_CONVERSATION_BYTES];
        let side = usize::from(lesser != self.listing.user);
        Ok(Some(OwnPart {
            name: pair.write_into(&mut name).to_owned(),
            id,
            read: reading.direct(id)?.marks[side].read,
            first: 1,
            members: 1 + u64::from(lesser != greater),
        }))
    }

    /// Returns the user's part of a group, which is named as in `g:eng`; `None` if the user is not
    /// in it.
    fn group(&self, reading: &Reading, name: &str) -> Result<Option<OwnPart>, Failure> {
        let group = name.strip_prefix("g:").unwrap_or_default();
        let id = reading.ids().group(&self.listing.namespace, group);
        let member = reading.member(id, self.user)?;
        if !member.is_in() {
            return Ok(None);
        }
        let members = reading.group(id)?.members;
        let marks = reading.advance(id)?.of(member.number, member.marks);
        Ok(Some(OwnPart {
            name: name.to_owned(),
            id,
            read: member.read_up_to(marks),
            first: member.first_seq,
            members,
        }))
    }
}

/// Returns the conversations in a user's inbox, each once, and whether the user has deleted messages
/// from the own view.
fn places(reading: &Reading, user: UserId) -> Result<(Vec<String>, bool), Failure> {
    let name = |place: &InboxEntry<'_>| match place {
        InboxEntry::Direct(other) => format!("u:{other}"),
        InboxEntry::Group(group) => format!("g:{group}"),
    };
    let Some(value) = reading.bytes(reading.ids().inbox(user))? else {
        return Ok((Vec::new(), false));
    };
    let inbox: Inbox<'_> = state::decode(&value).ok_or(CORRUPT)?;
    let mut places = Vec::new();
    for number in 0..inbox.chunks {
        let key = reading.ids().inbox_chunk(user, number);
        let value = reading.bytes(key)?.unwrap_or_default();
        let chunk: InboxChunk<'_> = state::decode(&value).ok_or(CORRUPT)?;
        places.extend(chunk.places.iter().map(name));
    }
    places.extend(inbox.places.iter().map(name));
    // A user who left a group and came back has it twice.
    let mut seen = HashSet::new();
    places.retain(|place| seen.insert(place.clone()));
    Ok((places, inbox.hides))
}
