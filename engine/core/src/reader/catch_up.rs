//! The events that a session missed, as pushes.

use trunkline_proto::message::{ConnectReply, Push, ReplyBody};
use trunkline_storage::{Position, Token};

use super::answer::Frames;
use super::events::Events;
use super::failure::{failure, is_gone};
use super::feed::{Feed, Span};
use super::reading::Reading;
use crate::event::RecordKind;
use crate::exchange::{Answer, AnswerKind, Failure, Opening};
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

impl CatchUp<'_> {
    /// Returns the answer to a session: the next page of what it missed. `frames` has no frames.
    pub(super) async fn answer(
        &self,
        reading: &Reading,
        feed: &mut Feed,
        mut frames: Frames,
    ) -> Answer {
        // A session that catches up and does not read makes the gateway hold one page.
        frames.page_bytes = frames.page_bytes.min(PAGE_BYTES);
        let kind = self.write(reading, feed, &mut frames).await;
        let kind = kind.unwrap_or_else(|failure| {
            match self.connect {
                Some(_) => frames.fail(failure),
                None => frames.note(failure),
            }
            AnswerKind::Expired
        });
        frames.answer(kind)
    }

    async fn write(
        &self,
        reading: &Reading,
        feed: &mut Feed,
        frames: &mut Frames,
    ) -> Result<AnswerKind, Failure> {
        let Start {
            span,
            recovered,
            more,
        } = self.start(reading, feed).await?;
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
    async fn start(&self, reading: &Reading, feed: &mut Feed) -> Result<Start, Failure> {
        let from = |since| Span {
            user: self.user,
            since,
            until: self.until,
            limit: PAGE,
        };
        let resumes = self.connect.and_then(|opening| opening.resumes);
        // The store may keep nothing for this device, or no events from there on.
        let (mut since, mut recovered, mut more) = (self.until, false, None);
        match resumes {
            None => (since, recovered) = (self.since, true),
            Some(key) => {
                let kept = reading.bytes(key)?;
                if let Some(kept) = position::kept(reading.epochs(), kept.as_deref()) {
                    let read = feed.read(reading, from(kept)).await;
                    if !read.as_ref().is_err_and(is_gone) {
                        (since, recovered, more) = (kept, true, Some(read));
                    }
                }
            }
        }
        let more = match more {
            Some(more) => more,
            None => feed.read(reading, from(since)).await,
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
