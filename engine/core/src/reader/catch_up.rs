//! The events that a session missed, as pushes.

use trunkline_proto::message::{ConnectReply, Push, ReplyBody};
use trunkline_storage::{Position, Token};

use super::Worker;
use super::answer::Frames;
use super::events::Events;
use super::failure::{failure, is_gone};
use super::feed::{Feed, Span};
use super::reading::Reading;
use crate::event::RecordKind;
use crate::exchange::{Answer, AnswerKind, Failure, Opening, ReplyConn};
use crate::fit::PAGE_BYTES;
use crate::ids::UserId;
use crate::position;

/// The maximum number of pushes on one page.
const PAGE: usize = 256;

/// One page of what a session missed.
pub(super) struct CatchUp<'q> {
    pub(super) user: UserId,
    /// The position from which the session catches up.
    pub(super) since: Position,
    /// The position from which the session receives events live.
    pub(super) until: Position,
    /// The reply to `connect`, if this is the first page.
    pub(super) connect: Option<&'q Opening>,
}

/// Where catching up begins.
struct Start {
    span: Span,
    /// Whether this is the position that the client asked for.
    recovered: bool,
    /// Whether there are events behind those that were read.
    more: bool,
}

impl Worker {
    /// Answers with the next page of what a session missed.
    pub(super) fn catch_up(&mut self, to: &ReplyConn, page: &CatchUp<'_>) -> Answer {
        let mut frames = Frames::new(*to, self.message_bytes);
        // A session that catches up and does not read makes the gateway hold one page.
        frames.page_bytes = frames.page_bytes.min(PAGE_BYTES);
        let kind = page.write(&self.reading, &mut self.feed, &mut frames);
        let kind = kind.unwrap_or_else(|failure| {
            match page.connect {
                Some(_) => frames.fail(failure),
                None => frames.note(failure),
            }
            AnswerKind::Expired
        });
        frames.answer(kind)
    }
}

impl CatchUp<'_> {
    fn write(
        &self,
        reading: &Reading,
        feed: &mut Feed,
        frames: &mut Frames,
    ) -> Result<AnswerKind, Failure> {
        let Start {
            span,
            recovered,
            more,
        } = self.start(reading, feed)?;
        if let Some(opening) = self.connect {
            let began = reading.epochs().token(span.since);
            frames.reply(ReplyBody::Connect(opening.reply(began, recovered)));
        }
        let mut pushed = [0_u16; RecordKind::ROOM];
        let end = Events::new(reading, feed, span, more).hand_out(|found| {
            let push = Push {
                pos: Some(found.token.as_str().into()),
                event: found.event,
            };
            let written = frames.push(push, found.may_wait);
            pushed[found.kind as usize] += u16::from(written);
            written
        })?;
        Ok(AnswerKind::CaughtUp {
            began: span.since,
            reached: end.reached,
            more: end.more,
            pushed,
        })
    }

    /// Reads the first events, from the position that the client named or that the store keeps for
    /// its device. Without a usable kept position the session begins at the present.
    fn start(&self, reading: &Reading, feed: &mut Feed) -> Result<Start, Failure> {
        let from = |since| Span {
            user: self.user,
            since,
            until: self.until,
            limit: PAGE,
        };
        let mut read = |since| feed.read(reading, from(since));
        let (since, recovered, more) = match self.connect.and_then(|opening| opening.resumes) {
            None => (self.since, true, read(self.since)),
            Some(key) => {
                let kept = reading.bytes(key)?;
                let kept = position::kept(reading.epochs(), kept.as_deref());
                match kept.map(|kept| (kept, read(kept))) {
                    Some((kept, more)) if !more.as_ref().is_err_and(is_gone) => (kept, true, more),
                    // The store keeps nothing for this device, or no events from there on.
                    _ => (self.until, false, read(self.until)),
                }
            }
        };
        Ok(Start {
            span: from(since),
            recovered,
            more: more.map_err(|error| failure(&error))?,
        })
    }
}

impl Opening {
    fn reply(&self, since: Token, recovered: bool) -> ConnectReply<'_> {
        ConnectReply {
            session: (&*self.session).into(),
            user: (&*self.user).into(),
            device: (&*self.device).into(),
            pos: position::text(since),
            recovered,
            time: self.time,
            ping_ms: self.ping_ms,
            limits: self.limits,
            expires: self.expires,
            unsubscribed: Vec::new(),
        }
    }
}
