//! A page of a user's events, for `sync` and for sessions that catch up.

use trunkline_proto::message::{Event, Message, Push, ReplyBody, SyncReply};
use trunkline_storage::{Position, ReadError, Record, TimelineId, Token};

use super::edited::Edited;
use super::failure::failure;
use super::feed::{Feed, Span};
use super::reading::Reading;
use super::view::View;
use crate::event::{self, RecordKind};
use crate::exchange::Failure;
use crate::ids::UserId;
use crate::position::{self, Tokens};

/// The events of a span, read from the store.
pub(super) struct Events<'f> {
    feed: &'f Feed,
    span: Span,
    /// Whether there are events behind those that were read.
    more: bool,
    reading: &'f Reading,
    view: Option<View<'f>>,
    edited: Edited<'f>,
    tokens: Tokens,
}

/// One event of a page.
pub(super) struct PageEvent<'f> {
    pub(super) event: Event<'f>,
    /// The position of the event.
    pub(super) token: Token,
    pub(super) kind: RecordKind,
    /// Whether the page already covers earlier positions, so that it may end before this event.
    pub(super) may_wait: bool,
}

/// Where a page of events ends.
pub(super) struct PageEnd {
    /// The position up to which the page has all events.
    pub(super) reached: Position,
    /// Whether there are more events.
    pub(super) more: bool,
}

/// A step through the records of a page.
struct Step<'f> {
    record: Record<'f>,
    /// The part of the record that is an event; `None` at the end of the record.
    part: Option<usize>,
    position: Position,
}

impl<'f> Events<'f> {
    /// Wraps what [`Feed::read`] read for this span; `more` is what it returned.
    pub(super) fn new(reading: &'f Reading, feed: &'f Feed, span: Span, more: bool) -> Self {
        Self {
            feed,
            span,
            more,
            view: feed.hides().then(|| View::new(reading, span.user)),
            reading,
            edited: Edited::new(reading),
            tokens: Tokens::new(reading.epochs()),
        }
    }

    /// Hands the events to `take`, oldest first, until the limit is reached or `take` returns
    /// `false`. The page ends before an event that was not taken.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn hand_out(
        mut self,
        mut take: impl FnMut(PageEvent<'f>) -> bool,
    ) -> Result<PageEnd, Failure> {
        let (mut last, mut left) = (None, self.span.limit);
        for step in self.steps() {
            let Step {
                record,
                part,
                position,
            } = step;
            let Some(part) = part else {
                last = Some(position);
                continue;
            };
            if left == 0 {
                // The page has only some events of this record.
                self.more = true;
                break;
            }
            if self.edited.is_full() && last.is_some() {
                self.more = true;
                break;
            }
            let kind = RecordKind::of(&record);
            let placed = match kind {
                Some(RecordKind::Edit) => self.edited.event(&record)?,
                _ => event::event(&record, part),
            };
            if let (Some(kind), Some(placed)) = (kind, placed) {
                let mut event = placed.event;
                match &mut event {
                    Event::Message(message) => {
                        if self.is_closed(record.timeline, message)? {
                            message.remove_content();
                        }
                        self.reading.expire(record.time, message);
                    }
                    Event::Edit(message) if self.is_closed(record.timeline, message)? => {
                        (last, left) = (Some(position), left - 1);
                        continue;
                    }
                    _ => {}
                }
                if let Some(view) = &mut self.view {
                    view.conceal_event(record.timeline, &mut event)?;
                }
                let taken = take(PageEvent {
                    event,
                    token: self.tokens.token(placed.position),
                    kind,
                    may_wait: last.is_some(),
                });
                if !taken {
                    self.more = true;
                    break;
                }
            }
            (last, left) = (Some(position), left - 1);
        }
        Ok(PageEnd {
            reached: last.filter(|_| self.more).unwrap_or(self.span.until),
            more: self.more,
        })
    }

    /// Returns whether a message was edited in a group in which the user does not see it any more. Its
    /// record is among the user's events for ever, and has the newest content.
    fn is_closed(&self, timeline: TimelineId, message: &Message<'_>) -> Result<bool, Failure> {
        let extras = message.extras.as_deref();
        let is_edited = extras.is_some_and(|extras| extras.edited.is_some());
        if !is_edited || !message.conversation.starts_with("g:") {
            return Ok(false);
        }
        let member = self.reading.member(timeline, self.span.user)?;
        Ok(!member.is_in() || message.seq < member.first_seq)
    }

    /// Returns the events of all records that the user may see, and the end of each record.
    fn steps(&self) -> impl Iterator<Item = Step<'f>> + use<'f> {
        let Span { user, since, .. } = self.span;
        self.feed.records().flat_map(move |(record, seen)| {
            let parts = event::parts_for(&record, user, since);
            let places = parts.clone();
            parts
                .filter(move |_| seen)
                .map(move |part| Step {
                    record,
                    part: Some(part),
                    position: places.position(record.position, part),
                })
                .chain([Step {
                    record,
                    part: None,
                    position: record.position,
                }])
        })
    }
}

/// What a `sync` asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) user: UserId,
    /// The position after which events are read; `None` for the oldest event that there is.
    pub(super) since: Option<Position>,
    /// The last position that is read, unless the client knows of a later one.
    pub(super) until: Position,
    /// The maximum number of events.
    pub(super) limit: usize,
}

/// The maximum number of times that a look-up of the oldest events begins. Events may expire in between.
const BEGINNINGS: usize = 8;

/// Reads the events that a `sync` asks for. Returns what was read, and whether there are more.
async fn read(reading: &Reading, feed: &mut Feed, asked: Asked) -> Result<(Span, bool), ReadError> {
    let mut since = asked.since.unwrap_or(Position::ZERO);
    let mut left = BEGINNINGS;
    loop {
        let span = Span {
            user: asked.user,
            since,
            // A client may know more than its shard has pushed. At a node of a cluster it may know more than the store
            // has: what lies between is not passed over.
            until: asked.until.min(reading.store().head()).max(since),
            limit: asked.limit,
        };
        left -= 1;
        match feed.read(reading, span).await {
            Err(ReadError::Expired { oldest }) if asked.since.is_none() && left > 0 => {
                since = oldest;
            }
            read => return read.map(|more| (span, more)),
        }
    }
}

/// Returns the reply to `sync`.
///
/// # Errors
/// The store could not be read, or no longer holds what came after the position.
pub(super) async fn sync<'f>(
    reading: &'f Reading,
    feed: &'f mut Feed,
    asked: Asked,
) -> Result<ReplyBody<'f>, Failure> {
    let read = read(reading, feed, asked).await;
    let (span, more) = read.map_err(|error| failure(&error))?;
    let mut events = Vec::new();
    let end = Events::new(reading, feed, span, more).hand_out(|found| {
        events.push(Push {
            pos: Some(position::text(found.token)),
            event: found.event,
        });
        true
    })?;
    Ok(ReplyBody::Sync(SyncReply {
        events,
        pos: position::text(reading.epochs().token(end.reached)),
        more: end.more,
    }))
}
