//! What the store says to one job.

use trunkline_proto::message::{
    ConnectReply, ErrorReply, Event, GetReply, HistoryReply, Reply, ReplyBody, SendReply,
    ServerMessage, SyncReply,
};
use trunkline_proto::{ErrorCode, Str};
use trunkline_storage::{Order, Page, Place, Position, ReadError, Reader, TimelineId};

use super::{Answer, AnswerKind, Job, Opening, Query, Range};
use crate::event::{self, Body, Kind, PosText};
use crate::ids::UserId;
use crate::sequencer::unix_ms;
use crate::session;

/// Pushes per page of catching up.
const CATCH_UP_PAGE: usize = 500;

/// A refusal, as an error reply says it.
type Failure = (ErrorCode, &'static str);

const UNKNOWN: Failure = (ErrorCode::Unknown, "no such conversation");

pub(super) fn answer(store: &Reader, job: &Job, page: &mut Page) -> Answer {
    page.clear();
    let mut frames = Vec::new();
    let mut error = None;
    let outcome = match job.query {
        Query::CatchUp {
            user,
            since,
            ref connect,
        } => {
            let connect = connect.as_deref();
            let kind = catch_up(store, job, (user, since), connect, page, &mut frames)
                .unwrap_or_else(|failure| {
                    error = Some(failure.0);
                    if connect.is_some() {
                        write_error(job, failure, &mut frames);
                    }
                    AnswerKind::Expired
                });
            return Answer {
                conn: job.conn,
                frames,
                error,
                kind,
            };
        }
        Query::Sync { user, since, limit } => sync(store, job, user, since, limit, page),
        Query::History {
            conversation,
            range,
            limit,
        } => history(store, conversation, range, limit, page),
        Query::Get { conversation, seq } => get(store, conversation, seq, page),
        Query::Duplicate { place } => duplicate(store, place, page),
        Query::Deny { conversation } => Err(deny(store, conversation)),
    };
    let paged = matches!(
        job.query,
        Query::Sync { .. } | Query::History { .. } | Query::Get { .. }
    );
    let mut kind = AnswerKind::Reply { paged };
    match outcome {
        Ok(body) => {
            if matches!(body, ReplyBody::Send(_)) {
                kind = AnswerKind::SendReply;
            }
            if job.id != 0 {
                let reply = ServerMessage::Reply(Reply { id: job.id, body });
                session::write(&mut frames, job.encoding, &reply);
            }
        }
        Err(failure) => {
            error = Some(failure.0);
            write_error(job, failure, &mut frames);
        }
    }
    Answer {
        conn: job.conn,
        frames,
        error,
        kind,
    }
}

fn write_error(job: &Job, (code, message): Failure, frames: &mut Vec<u8>) {
    let body = ReplyBody::Error(ErrorReply::new(code, message));
    let reply = ServerMessage::Reply(Reply { id: job.id, body });
    session::write(frames, job.encoding, &reply);
}

fn failure(error: &ReadError) -> Failure {
    match error {
        ReadError::Expired { .. } => (
            ErrorCode::PositionExpired,
            "events since this position are no longer kept: read history, then go on from the pos of connect",
        ),
        ReadError::Future => (
            ErrorCode::PositionExpired,
            "this position is not in the log: read history, then go on from the pos of connect",
        ),
        error => {
            tracing::error!(%error, "a read failed");
            (ErrorCode::StorageUnavailable, "the store could not be read")
        }
    }
}

fn catch_up(
    store: &Reader,
    job: &Job,
    (user, since): (UserId, Position),
    connect: Option<&Opening>,
    page: &mut Page,
    frames: &mut Vec<u8>,
) -> Result<AnswerKind, Failure> {
    let more = store
        .sync(user, since, job.until, CATCH_UP_PAGE, page)
        .map_err(|error| failure(&error))?;
    if let (Some(opening), true) = (connect, job.id != 0) {
        let body = ReplyBody::Connect(opening.reply(since));
        session::write(
            frames,
            job.encoding,
            &ServerMessage::Reply(Reply { id: job.id, body }),
        );
    }
    let (mut messages, mut receipts, mut reached) = (0, 0, job.until);
    for record in page.records() {
        if more {
            reached = record.position;
        }
        let mut pos = PosText::default();
        let Some(push) = event::push(&record, &mut pos) else {
            continue;
        };
        match push.event {
            Event::Message(_) => messages += 1,
            _ => receipts += 1,
        }
        session::write(frames, job.encoding, &ServerMessage::Push(push));
    }
    Ok(AnswerKind::CaughtUp {
        reached,
        more,
        messages,
        receipts,
    })
}

impl Opening {
    fn reply(&self, since: Position) -> ConnectReply<'_> {
        ConnectReply {
            session: (&*self.session).into(),
            user: (&*self.user).into(),
            device: (&*self.device).into(),
            pos: event::pos(since),
            recovered: true,
            time: unix_ms(),
            ping_ms: self.ping_ms,
            limits: self.limits,
        }
    }
}

fn sync<'p>(
    store: &Reader,
    job: &Job,
    user: UserId,
    since: Position,
    limit: usize,
    page: &'p mut Page,
) -> Result<ReplyBody<'p>, Failure> {
    // A client may know more than this shard has pushed, never more than the log holds.
    let until = job.until.max(since);
    let more = store
        .sync(user, since, until, limit, page)
        .map_err(|error| failure(&error))?;
    let events: Vec<_> = page
        .records()
        .filter_map(|record| event::owned_push(&record))
        .collect();
    let last = page.records().last().map(|record| record.position);
    let pos = match last {
        Some(last) if more => last,
        _ => until,
    };
    Ok(ReplyBody::Sync(SyncReply {
        events,
        pos: event::pos(pos),
        more,
    }))
}

fn history<'p>(
    store: &Reader,
    conversation: TimelineId,
    range: Range,
    limit: usize,
    page: &'p mut Page,
) -> Result<ReplyBody<'p>, Failure> {
    let last = last_seq(store, conversation)?;
    let (seqs, order) = match range {
        Range::Newest => (1..=last, Order::Descending),
        Range::Before(before) => (1..=before.saturating_sub(1).min(last), Order::Descending),
        Range::After(after) => (after.saturating_add(1)..=last, Order::Ascending),
    };
    if !seqs.is_empty() {
        store
            .range(conversation, seqs, limit, order, page)
            .map_err(|error| failure(&error))?;
    }
    let messages = page
        .records()
        .filter(|record| Kind::of(record) == Some(Kind::Message))
        .filter_map(|record| Some(Body::read(record.body)?.message(&record)))
        .collect();
    let first = match store.first_seq(conversation) {
        // All of them expired.
        Ok(0) => last + 1,
        Ok(first) => first,
        Err(error) => return Err(failure(&error)),
    };
    Ok(ReplyBody::History(HistoryReply {
        messages,
        first,
        last,
    }))
}

fn get<'p>(
    store: &Reader,
    conversation: TimelineId,
    seq: u64,
    page: &'p mut Page,
) -> Result<ReplyBody<'p>, Failure> {
    last_seq(store, conversation)?;
    store
        .get(conversation, seq, page)
        .map_err(|error| failure(&error))?;
    let record = page.records().next();
    let message = record.and_then(|record| Some(Body::read(record.body)?.message(&record)));
    match message {
        Some(message) => Ok(ReplyBody::Get(GetReply { message })),
        None => Err((
            ErrorCode::Unknown,
            "the conversation has no message with this sequence",
        )),
    }
}

fn duplicate<'p>(
    store: &Reader,
    place: Place,
    page: &'p mut Page,
) -> Result<ReplyBody<'p>, Failure> {
    // The first one may have been in the batch with which the store failed.
    const LOST: Failure = (
        ErrorCode::StorageUnavailable,
        "the first message with this key could not be read: whether it is stored is not known",
    );
    let Place { timeline, seq, .. } = place;
    store.get(timeline, seq, page).map_err(|_| LOST)?;
    let stored = page
        .records()
        .next()
        .and_then(|record| Some((record, Body::read(record.body)?)));
    let (record, body) = stored.ok_or(LOST)?;
    Ok(ReplyBody::Send(SendReply {
        conversation: Str::from(body.conversation),
        seq: record.seq,
        pos: event::pos(place.position),
        time: record.time,
        duplicate: true,
    }))
}

fn deny(store: &Reader, conversation: TimelineId) -> Failure {
    match last_seq(store, conversation) {
        Ok(_) => (
            ErrorCode::PermissionDenied,
            "you are no member of this conversation",
        ),
        Err(failure) => failure,
    }
}

/// The last sequence of a conversation that has one.
fn last_seq(store: &Reader, conversation: TimelineId) -> Result<u64, Failure> {
    match store.try_last_seq(conversation) {
        Ok(0) => Err(UNKNOWN),
        Ok(last) => Ok(last),
        Err(error) => Err(failure(&error)),
    }
}
