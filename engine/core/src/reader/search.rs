//! Messages with words, the newest first.
//!
//! The index names messages that may have the words, in the conversations of the user. Each is then read from
//! the store as `get` reads it, and compared with the words again. So the index decides nothing about what a
//! user sees, and what is recalled, edited or deleted is not found from that moment on.

use std::cmp::Reverse;
use std::sync::Arc;

use trunkline_proto::ErrorCode;
use trunkline_proto::message::{Message, ReplyBody, SearchReply};
use trunkline_proto::names::Conversation;
use trunkline_storage::{Page, Position};

use super::failure::CORRUPT;
use super::messages::Messages;
use super::reading::{PIECE_BYTES, Reading};
use crate::cost::Cost;
use crate::exchange::slices::{LongReply, LookedUp};
use crate::exchange::{Access, Failure, FoundAt, Search};
use crate::fit::{Cut, PAGE_BYTES};
use crate::owned;
use crate::paging::PageBuilder;
use crate::search::{Index, View};
use crate::state::{self, Inbox, InboxChunk, InboxEntry};

/// The maximum number of hits that one page looks at in the store.
const MOST_HITS: usize = 256;

/// The cost of looking a word up in one file of the index: about 2 µs in a release build on a busy machine.
const WORD: Cost = Cost::nanos(1_500);

/// The cost of an entry of the index: an estimate.
const ENTRY: Cost = Cost::nanos(40);

/// The cost of comparing one KiB of ASCII with the words: an estimate.
const COMPARE_KIB: Cost = Cost::micros(8);

/// The cost of 1 KiB of a text that is not ASCII: each character is taken apart and put together, and the
/// text may grow to three times its length. An estimate.
const FOLD_KIB: Cost = Cost::micros(64);

const NOT_OFFERED: Failure = (
    ErrorCode::UnknownCommand,
    "this gateway does not search messages: its operator starts it with --search",
);

const UNREADY: Failure = (
    ErrorCode::StorageUnavailable,
    "the index for searching is still being made: ask again later",
);

const BROKEN: Failure = (
    ErrorCode::StorageUnavailable,
    "the index for searching could not be read",
);

/// A search, and what it needs besides the store.
pub(super) struct Searching {
    pub(super) asked: Search,
    /// The index; `None` if the gateway has none.
    pub(super) index: Option<Arc<dyn Index>>,
    /// The position of the log that proves the cursors.
    pub(super) head: Position,
    /// The maximum number of bytes of a message to the client.
    pub(super) message_bytes: usize,
}

/// A message that may have the words.
struct Candidate {
    access: Access,
    seq: u64,
}

/// The newest hits so far, by their positions.
struct Newest {
    page: PageBuilder<Reverse<u64>, Candidate>,
    /// Whether the index left out hits that are older than these.
    skipped: bool,
}

impl Searching {
    /// Returns the page. It looks for the words in each conversation of the user, and then at the newest
    /// 256 hits at most. It has a chunk of the user's conversations in memory at a time.
    ///
    /// # Errors
    /// The gateway has no index, or makes it still; the errors of [`Reading::check`] for a conversation that
    /// the user names; the store or the index could not be read.
    pub(super) async fn read(self, reading: &Reading) -> LongReply {
        let index = self.index.as_ref().ok_or(NOT_OFFERED)?;
        if let Some(access) = self.asked.only {
            reading.check(access)?;
        }
        let view = index.view().map_err(|_| UNREADY)?;
        let before = self.asked.before.map(|FoundAt(at)| Reverse(at));
        let mut newest = Newest {
            page: PageBuilder::new(before, MOST_HITS),
            skipped: false,
        };
        match self.asked.only {
            Some(access) => self.look(reading, &*view, access, &mut newest).await?,
            None => self.look_everywhere(reading, &*view, &mut newest).await?,
        }
        drop(view);
        self.show(reading, newest).await
    }

    /// Looks for the words in all conversations of the user.
    async fn look_everywhere(
        &self,
        reading: &Reading,
        view: &dyn View,
        newest: &mut Newest,
    ) -> Result<(), Failure> {
        let (user, ids) = (self.asked.user, reading.ids());
        let Some(value) = reading.bytes(ids.inbox(user))? else {
            return Ok(());
        };
        let inbox: Inbox<'_> = state::decode(&value).ok_or(CORRUPT)?;
        self.look_in(reading, view, &inbox.places, newest).await?;
        for number in 0..inbox.chunks {
            let value = reading.bytes(ids.inbox_chunk(user, number))?;
            let chunk = InboxChunk::read(value.as_deref()).ok_or(CORRUPT)?;
            reading.count_listed(chunk.places.len());
            self.look_in(reading, view, &chunk.places, newest).await?;
        }
        Ok(())
    }

    /// Looks for the words in some conversations.
    async fn look_in(
        &self,
        reading: &Reading,
        view: &dyn View,
        places: &[InboxEntry<'_>],
        newest: &mut Newest,
    ) -> Result<(), Failure> {
        for entry in places {
            if let Some(access) = self.access(reading, entry) {
                self.look(reading, view, access, newest).await?;
            }
            reading.pause_if_due().await;
        }
        Ok(())
    }

    /// Returns a conversation of the inbox; `None` if its name is not valid.
    fn access(&self, reading: &Reading, entry: &InboxEntry<'_>) -> Option<Access> {
        let (ids, namespace) = (reading.ids(), &self.asked.namespace);
        let (conversation, group) = match *entry {
            InboxEntry::Direct(other) => match Conversation::between(&self.asked.name, other) {
                Conversation::Direct(lesser, greater) => {
                    (ids.direct(namespace, lesser, greater), false)
                }
                Conversation::Group(_) => return None,
            },
            InboxEntry::Group(group) => (ids.group(namespace, group), true),
        };
        Some(Access {
            user: self.asked.user,
            conversation,
            group,
        })
    }

    /// Looks for the words in one conversation.
    async fn look(
        &self,
        reading: &Reading,
        view: &dyn View,
        access: Access,
        newest: &mut Newest,
    ) -> Result<(), Failure> {
        let Some(sight) = unless_unseen(reading.check(access))? else {
            return Ok(());
        };
        let mut hits = view.hits(access.conversation, &self.asked.query);
        let mut found = Vec::new();
        loop {
            let floor = newest.page.last().map_or(0, |Reverse(at)| *at);
            let looked = hits.go_on(Position(floor), &mut found);
            let looked = looked.map_err(|error| {
                tracing::error!(error, "the index for searching could not be read");
                BROKEN
            })?;
            newest.skipped |= looked.skipped;
            let meter = reading.meter();
            meter.add(WORD.times(looked.words) + ENTRY.times(looked.entries));
            for hit in found.drain(..) {
                let key = Reverse(hit.position.0);
                if (sight.first..=sight.last).contains(&hit.seq) && newest.page.takes(&key) {
                    let seq = hit.seq;
                    newest.page.add(key, Candidate { access, seq });
                }
            }
            if !looked.more {
                return Ok(());
            }
            reading.pause_if_due().await;
        }
    }

    /// Reads the hits from the store, and returns those that the user sees and that have the words.
    async fn show(&self, reading: &Reading, newest: Newest) -> LongReply {
        let list = newest.page.finish();
        let mut more = list.more || newest.skipped;
        let mut page = Page::with_bytes(PIECE_BYTES);
        // The messages are in memory until the page is written.
        let most = self.message_bytes.min(PAGE_BYTES);
        let (mut messages, mut cursors, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut last = None;
        for (Reverse(at), candidate) in list.entries {
            // A user who left a group and came back has it twice.
            if last == Some(FoundAt(at)) {
                continue;
            }
            if messages.len() >= self.asked.limit || bytes > most {
                more = true;
                break;
            }
            last = Some(FoundAt(at));
            let found = self.found(reading, at, &candidate, &mut page)?;
            let sizes = page.records().map(|record| record.body.len());
            let size: usize = sizes.sum();
            page.release();
            if let Some(message) = found {
                bytes += size;
                messages.push(message);
                cursors.push(FoundAt(at).text(reading.epochs(), self.head));
            }
            reading.pause_if_due().await;
        }
        let next = last.filter(|_| more);
        let next = next.map(|at| at.text(reading.epochs(), self.head).into());
        let reply = ReplyBody::Search(SearchReply { messages, next });
        Ok(LookedUp::Reply(Box::new(reply), Cut::Cursors(cursors)))
    }

    /// Returns a message as the user sees it; `None` if the user does not see its content, or if it has not
    /// the words.
    fn found(
        &self,
        reading: &Reading,
        at: u64,
        candidate: &Candidate,
        page: &mut Page,
    ) -> Result<Option<Message<'static>>, Failure> {
        let messages = Messages::new(reading, self.asked.user, self.message_bytes);
        let reply = messages.get(candidate.access, candidate.seq, page);
        let Some(ReplyBody::Get(reply)) = unless_unseen(reply)? else {
            return Ok(None);
        };
        let message = owned::message(reply.message);
        let is_expired = message
            .extras
            .as_deref()
            .is_some_and(|extras| extras.expired);
        if message.recalled || message.deleted || is_expired {
            return Ok(None);
        }
        // The index may be of another history of the store, until it is made anew.
        let is_the_same = page.records().any(|record| record.position == Position(at));
        let Some(text) = message.text.as_deref().filter(|_| is_the_same) else {
            return Ok(None);
        };
        let each = match text.is_ascii() {
            true => COMPARE_KIB,
            false => FOLD_KIB,
        };
        reading
            .meter()
            .add(each.times(text.len().div_ceil(1 << 10)));
        let matches = self.asked.query.matches(text);
        Ok(matches.then_some(message))
    }
}

/// Returns what was found; `None` if the user does not see it.
///
/// # Errors
/// The store could not be read.
fn unless_unseen<T>(found: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(fault @ (ErrorCode::StorageUnavailable | ErrorCode::Internal, _)) => Err(fault),
        Err(_) => Ok(None),
    }
}
