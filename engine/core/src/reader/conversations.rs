//! The list of a user's conversations.

use std::cmp::Reverse;
use std::collections::HashSet;

use trunkline_proto::message::{ConversationEntry, ConversationsReply, ReplyBody};
use trunkline_proto::names::Conversation;
use trunkline_storage::{Page, Position, TimelineId};

use super::failure::CORRUPT;
use super::mentions::Mentions;
use super::messages::Messages;
use super::reading::{PIECE_BYTES, Reading};
use super::unread::Unread;
use crate::exchange::slices::{LongReply, LookedUp};
use crate::exchange::{Cursor, Failure, Listing};
use crate::fit::{Cut, PAGE_BYTES};
use crate::ids::UserId;
use crate::owned;
use crate::paging::PageBuilder;
use crate::state::{self, Inbox, InboxChunk, InboxEntry, Settings};

/// A question for a page of a user's conversations: the one with the newest message first, groups
/// without a message last.
pub(super) struct ConversationList<'q> {
    pub(super) user: UserId,
    pub(super) listing: &'q Listing,
    /// The end of the page before; `None` for the first page.
    pub(super) before: Option<Cursor>,
    /// The maximum number of conversations.
    pub(super) limit: usize,
    /// The position of the log that proves the cursors.
    pub(super) head: Position,
    /// The maximum number of bytes of a message to the client.
    pub(super) message_bytes: usize,
}

/// A conversation of the list.
struct Entry {
    name: String,
    id: TimelineId,
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

/// The conversations of a user, as they are read one after another.
struct Walk<'q> {
    owner: Owner<'q>,
    /// The conversations so far. A user who left a group and came back has it twice.
    seen: HashSet<TimelineId>,
    /// The number of unread messages in all conversations so far.
    unread: u64,
    page: PageBuilder<Reverse<Cursor>, Entry>,
}

impl ConversationList<'_> {
    /// Returns the page, with a cursor for each conversation. It reads all conversations of the
    /// user, and keeps those of the page alone.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) async fn read(&self, reading: &Reading) -> LongReply {
        let mut walk = Walk {
            owner: Owner {
                user: self.user,
                hides: false,
                listing: self.listing,
            },
            seen: HashSet::new(),
            unread: 0,
            page: PageBuilder::new(self.before.map(Reverse), self.limit),
        };
        if let Some(value) = reading.bytes(reading.ids().inbox(self.user))? {
            let inbox: Inbox<'_> = state::decode(&value).ok_or(CORRUPT)?;
            walk.owner.hides = inbox.hides;
            for number in 0..inbox.chunks {
                let key = reading.ids().inbox_chunk(self.user, number);
                let value = reading.bytes(key)?;
                let chunk = InboxChunk::read(value.as_deref()).ok_or(CORRUPT)?;
                walk.visit(reading, &chunk.places).await?;
            }
            walk.visit(reading, &inbox.places).await?;
        }
        self.reply(reading, walk).await
    }

    /// Returns the reply with the last message of each conversation of the page.
    async fn reply(&self, reading: &Reading, walk: Walk<'_>) -> LongReply {
        let Walk { owner, .. } = walk;
        let list = walk.page.finish();
        let mut more = list.more;
        let mut messages = Messages::new(reading, self.user, self.message_bytes);
        let mut page = Page::with_bytes(PIECE_BYTES);
        // The last messages are in memory until the page is written.
        let most = self.message_bytes.min(PAGE_BYTES);
        let (mut cursors, mut bytes) = (Vec::new(), 0);
        let any_settings = reading.ids().any_settings(self.user);
        let any_settings = reading.bytes(any_settings)?.is_some();
        let mut conversations = Vec::new();
        for (Reverse(cursor), entry) in list.entries {
            if bytes > most {
                more = true;
                break;
            }
            let mut last = None;
            if cursor.has_message {
                reading.message(entry.id, entry.last, &mut page)?;
                let found = messages.show(&page)?;
                last = found.into_iter().next().map(owned::message);
                let sizes = page.records().map(|record| record.body.len());
                bytes += sizes.sum::<usize>();
            }
            let mut mentions = 0;
            if entry.unread > 0 {
                let unread = Mentions {
                    reading,
                    user: self.user,
                    name: &owner.listing.user,
                    hides: owner.hides,
                    conversation: entry.id,
                };
                mentions = unread.count(entry.read, &mut page).await?;
            }
            let mut settings = Settings::default();
            if any_settings {
                let key = reading.ids().settings(self.user, entry.id);
                settings = reading.value(key)?.unwrap_or_default();
            }
            cursors.push(cursor.text(reading.epochs(), self.head));
            conversations.push(ConversationEntry {
                conversation: entry.name.into(),
                last,
                read: entry.read,
                unread: entry.unread,
                members: entry.members,
                mentions,
                muted_until: settings.muted_until,
                pinned: settings.pinned,
                archived: settings.archived,
            });
            reading.pause_if_due().await;
        }
        if bytes > PIECE_BYTES {
            // Writing a long reply is a piece of its own.
            reading.pause().await;
        }
        let reply = ReplyBody::Conversations(ConversationsReply {
            conversations,
            unread: walk.unread,
            cursor: cursors.last().cloned().unwrap_or_default().into(),
            more,
        });
        Ok(LookedUp::Reply(Box::new(reply), Cut::Cursors(cursors)))
    }
}

impl Walk<'_> {
    /// Reads these conversations.
    async fn visit(&mut self, reading: &Reading, places: &[InboxEntry<'_>]) -> Result<(), Failure> {
        let mut page = Page::with_bytes(PIECE_BYTES);
        for place in places {
            let Some(id) = self.owner.id(reading, place) else {
                continue;
            };
            let number = self.seen.len() as u64;
            if self.seen.insert(id)
                && let Some((cursor, entry)) = self
                    .owner
                    .entry(reading, (place, number), &mut page)
                    .await?
            {
                self.unread += entry.unread;
                let cursor = Reverse(cursor);
                if self.page.takes(&cursor) {
                    self.page.add(cursor, entry);
                }
            }
            reading.pause_if_due().await;
        }
        Ok(())
    }
}

impl Owner<'_> {
    /// Returns the id of a conversation of the inbox; `None` if its name is not valid.
    fn id(&self, reading: &Reading, place: &InboxEntry<'_>) -> Option<TimelineId> {
        let (ids, namespace) = (reading.ids(), &self.listing.namespace);
        match *place {
            InboxEntry::Direct(other) => match Conversation::between(&self.listing.user, other) {
                Conversation::Direct(lesser, greater) => {
                    Some(ids.direct(namespace, lesser, greater))
                }
                Conversation::Group(_) => None,
            },
            InboxEntry::Group(group) => Some(ids.group(namespace, group)),
        }
    }

    /// Returns the entry of one place of the inbox with its cursor; `None` for a group that the user
    /// is no longer in. The place comes with its number.
    async fn entry(
        &self,
        reading: &Reading,
        (place, number): (&InboxEntry<'_>, u64),
        page: &mut Page,
    ) -> Result<Option<(Cursor, Entry)>, Failure> {
        let own = match *place {
            InboxEntry::Direct(other) => self.direct(reading, other)?,
            InboxEntry::Group(group) => self.group(reading, group)?,
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
        if !has_message && matches!(place, InboxEntry::Direct(_)) {
            // An erased user of this name had the conversation.
            return Ok(None);
        }
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
        let entry = Entry {
            name,
            id,
            last,
            read,
            unread: unread.count(read, last, page).await?,
            members,
        };
        Ok(Some((Cursor { has_message, at }, entry)))
    }

    /// Returns the user's part of the 1:1 conversation with `other`.
    fn direct(&self, reading: &Reading, other: &str) -> Result<Option<OwnPart>, Failure> {
        let pair = Conversation::between(&self.listing.user, other);
        let Conversation::Direct(lesser, greater) = pair else {
            return Ok(None);
        };
        let ids = reading.ids();
        let id = ids.direct(&self.listing.namespace, lesser, greater);
        let side = usize::from(lesser != self.listing.user);
        Ok(Some(OwnPart {
            name: pair.text().to_string(),
            id,
            read: reading.direct(id)?.marks[side].read,
            first: reading.first_of_direct(id, self.user)?,
            members: 1 + u64::from(lesser != greater),
        }))
    }

    /// Returns the user's part of a group, which is named as in `eng`; `None` if the user is not in
    /// it.
    fn group(&self, reading: &Reading, group: &str) -> Result<Option<OwnPart>, Failure> {
        let id = reading.ids().group(&self.listing.namespace, group);
        let member = reading.member(id, self.user)?;
        if !member.is_in() {
            return Ok(None);
        }
        let members = reading.group(id)?.members;
        let marks = reading.advance(id)?.of(member.number, member.marks);
        Ok(Some(OwnPart {
            name: format!("g:{group}"),
            id,
            read: member.read_up_to(marks),
            first: member.first_seq,
            members,
        }))
    }
}
