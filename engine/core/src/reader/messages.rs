//! Messages of conversations, as one user sees them.

use std::sync::Arc;

use trunkline_proto::message::{
    GetReply, GroupCreateReply, HistoryReply, Message, ReplyBody, SendReply,
};
use trunkline_proto::{ErrorCode, Str};
use trunkline_storage::{Order, Page, Record, RecordRef, TimelineId};

use super::failure::{NO_MESSAGE, failure};
use super::reactions;
use super::reading::Reading;
use super::sets::StoredReactions;
use super::view::View;
use crate::cost::Cost;
use crate::event::{Body, RecordKind};
use crate::exchange::{Access, Failure, Range};
use crate::fit::reaction_bytes;
use crate::ids::UserId;
use crate::position;
use crate::state::{self, Created};

/// The work for a page of messages, besides reading them, after which the page ends. It is enough to
/// look for the reactions to 500 messages, and less than many reactions to each of them take.
const PAGE_WORK: Cost = Cost::micros(700);

/// Shows messages to one user.
pub(super) struct Messages<'r> {
    reading: &'r Reading,
    view: View<'r>,
    message_bytes: usize,
}

impl<'r> Messages<'r> {
    /// Returns what shows messages to `user`. Messages to the client have at most `message_bytes`
    /// bytes.
    pub(super) fn new(reading: &'r Reading, user: UserId, message_bytes: usize) -> Self {
        Self {
            reading,
            view: View::new(reading, user),
            message_bytes,
        }
    }

    /// Returns a page of a conversation's messages.
    ///
    /// # Errors
    /// The errors of [`Reading::check`].
    pub(super) fn history<'p>(
        mut self,
        access: Access,
        range: Range,
        limit: usize,
        page: &'p mut Page,
    ) -> Result<ReplyBody<'p>, Failure> {
        let (reading, conversation) = (self.reading, access.conversation);
        let sight = reading.check(access)?;
        let (first, last) = (sight.first, sight.last);
        let (seqs, order) = match range {
            Range::Newest => (first..=last, Order::Descending),
            Range::Before(before) => {
                let end = before.saturating_sub(1).min(last);
                (first..=end, Order::Descending)
            }
            Range::After(after) => (after.saturating_add(1).max(first)..=last, Order::Ascending),
        };
        if !seqs.is_empty() {
            reading.messages(conversation, seqs, limit, order, page)?;
        }
        let (messages, is_cut) = self.show_some(page, order)?;
        let oldest = match reading.first_seq(conversation)? {
            // All messages have expired.
            0 => last + 1,
            oldest => oldest,
        };
        Ok(ReplyBody::History(HistoryReply {
            messages,
            first: oldest.max(first),
            last,
            more: page.more() || is_cut,
        }))
    }

    /// Returns one message.
    ///
    /// # Errors
    /// The errors of [`Reading::check`], or the user sees no such message.
    pub(super) fn get<'p>(
        mut self,
        access: Access,
        seq: u64,
        page: &'p mut Page,
    ) -> Result<ReplyBody<'p>, Failure> {
        self.reading.visible_message(access, seq, page)?;
        let message = self.show(page)?.into_iter().next().ok_or(NO_MESSAGE)?;
        Ok(ReplyBody::Get(GetReply { message }))
    }

    /// Returns the messages of a page with the reactions to them. A message that the user deleted
    /// has no content.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn show<'p>(&mut self, page: &'p Page) -> Result<Vec<Message<'p>>, Failure> {
        let mut reacted = None;
        let mut messages = Vec::new();
        for record in page.records() {
            messages.extend(self.shown(&record, &mut reacted)?);
        }
        Ok(messages)
    }

    /// Returns the messages of a page like [`show`](Self::show), in ascending order, but ends after
    /// [`PAGE_WORK`]. `order` says which end of the page it keeps. Returns also whether it left out
    /// messages.
    fn show_some<'p>(
        &mut self,
        page: &'p Page,
        order: Order,
    ) -> Result<(Vec<Message<'p>>, bool), Failure> {
        let meter = Arc::clone(self.reading.meter());
        let most = meter.read() + PAGE_WORK;
        let mut reacted = None;
        let (mut messages, mut records) = (Vec::new(), page.records());
        let mut is_cut = false;
        while let Some(record) = match order {
            Order::Ascending => records.next(),
            Order::Descending => records.next_back(),
        } {
            if meter.read() >= most && !messages.is_empty() {
                is_cut = true;
                break;
            }
            messages.extend(self.shown(&record, &mut reacted)?);
        }
        if order == Order::Descending {
            messages.reverse();
        }
        Ok((messages, is_cut))
    }

    /// Returns the message of a record as the user sees it; `None` if the record is none. `reacted`
    /// says whether any message of the conversation has reactions, once that is known.
    fn shown<'p>(
        &mut self,
        record: &Record<'p>,
        reacted: &mut Option<bool>,
    ) -> Result<Option<Message<'p>>, Failure> {
        let (reading, ids) = (self.reading, self.reading.ids());
        if RecordKind::of(record) != Some(RecordKind::Message) {
            return Ok(None);
        }
        let Some(body) = Body::read(record.body) else {
            return Ok(None);
        };
        let mut message = body.message(record);
        self.view.conceal(record.timeline, &mut message)?;
        let is_expired = reading.expire(record.time, &mut message);
        if message.recalled || is_expired {
            // A recall removes the reactions too, but an earlier version kept them.
            return Ok(Some(message));
        }
        // Most conversations have no reactions: one look-up instead of one for each message.
        let any = match *reacted {
            Some(any) => any,
            None => {
                let key = ids.reactions(record.timeline, 0);
                *reacted.insert(reading.bytes(key)?.is_some())
            }
        };
        if any {
            let key = ids.reactions(record.timeline, record.seq);
            let stored = StoredReactions::read(reading, key);
            let stored = stored.map_err(|error| failure(&error))?;
            let bytes = reaction_bytes(self.message_bytes);
            reactions::show(&mut message, &stored, bytes);
            reading.count_listed(stored.pairs().len());
        }
        Ok(Some(message))
    }
}

/// Returns the reply to a group's creation that came again with the same key.
///
/// # Errors
/// The reply to the first creation could not be read.
pub(super) fn made(reading: &Reading, key: TimelineId) -> Result<ReplyBody<'static>, Failure> {
    // The first creation may have been in the batch with which the store failed.
    const LOST: Failure = (
        ErrorCode::StorageUnavailable,
        "what was created with this key could not be read: whether it is stored is not known",
    );
    let value = reading.bytes(key).ok().flatten().ok_or(LOST)?;
    let created: Created<'_> = state::decode(&value).ok_or(LOST)?;
    Ok(ReplyBody::GroupCreate(GroupCreateReply {
        conversation: Str::from(created.conversation).into_owned(),
        members: created.members,
        duplicate: true,
    }))
}

/// Returns the reply to a message that came again with the same key. `place` is where the first one
/// is stored.
///
/// # Errors
/// The first message could not be read.
pub(super) fn duplicate<'p>(
    reading: &Reading,
    place: RecordRef,
    page: &'p mut Page,
) -> Result<ReplyBody<'p>, Failure> {
    // The first message may have been in the batch with which the store failed.
    const LOST: Failure = (
        ErrorCode::StorageUnavailable,
        "the first message with this key could not be read: whether it is stored is not known",
    );
    let RecordRef { timeline, seq, .. } = place;
    reading.message(timeline, seq, page).map_err(|_| LOST)?;
    let stored = page
        .records()
        .next()
        .and_then(|record| Some((record, Body::read(record.body)?)));
    let (record, body) = stored.ok_or(LOST)?;
    Ok(ReplyBody::Send(SendReply {
        conversation: Str::from(body.conversation),
        seq: record.seq,
        pos: position::text(reading.epochs().token(place.position)),
        time: body.happened(&record),
        duplicate: true,
    }))
}
