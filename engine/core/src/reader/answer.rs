//! What the store says to one job.

use trunkline_proto::message::{
    ConnectReply, ErrorReply, Event, GetReply, GroupCreateReply, HistoryReply, Message, Push,
    Reply, ReplyBody, SendReply, ServerMessage, SyncReply,
};
use trunkline_proto::{Encoding, ErrorCode, Str};
use trunkline_storage::{
    Order, Page, Position, ReadError, Reader, Record, RecordRef, TimelineId, Token,
};

use super::access::{NO_MESSAGE, View};
use super::feed::Feed;
use super::{Room, ephemeral, lists, reactions};
use crate::event::{self, Body, RecordKind};
use crate::exchange::{Access, Answer, AnswerKind, Finding, Job, Opening, Query, Range, ReplyConn};
use crate::fit::{Cut, ReplyFrame, reaction_bytes, strip_push, write_fitting};
use crate::frames::write;
use crate::ids::{Ids, UserId};
use crate::position::{self, Tokens};
use crate::state::{self, Created};

/// Pushes per page of catching up.
const CATCH_UP_PAGE: usize = 500;

/// A refusal, as an error reply says it.
pub(super) type Failure = (ErrorCode, &'static str);

pub(super) const TOO_LARGE: Failure = (
    ErrorCode::LimitExceeded,
    "the answer does not fit into limits.message_bytes",
);

pub(super) const UNKNOWN: Failure = (ErrorCode::Unknown, "no such conversation");

pub(super) fn answer(store: &Reader, job: &Job, to: &ReplyConn, room: &mut Room) -> Answer {
    let most = room.most;
    room.page.clear();
    match &job.query {
        Query::CatchUp { .. } => return recovery(store, job, to, room),
        Query::Typing { access, listing } => {
            return found(
                job,
                to,
                ephemeral::typing((store, &room.ids), *access, listing),
            );
        }
        Query::Contacts { user, watch, part } => {
            let contacts = ephemeral::contacts((store, &room.ids), *user, (*watch, part));
            return found(job, to, contacts);
        }
        Query::LastSeen { asked } => return found(job, to, ephemeral::last_seen(store, asked)),
        _ => {}
    }
    let (mut frames, mut error) = (Vec::new(), None);
    let paged = job.query.is_paged();
    let mut kind = AnswerKind::Reply { paged };
    match looked_up(store, job, room) {
        Ok((body, cut)) => {
            if matches!(body, ReplyBody::Send(_)) {
                kind = AnswerKind::SendReply;
            }
            let frame = ReplyFrame {
                encoding: to.encoding,
                id: to.id,
                limit: most,
            };
            if to.id != 0 && !write_fitting(&mut frames, frame, body, &cut) {
                error = Some(TOO_LARGE.0);
                write_error(to, TOO_LARGE, &mut frames);
            }
        }
        Err(failure) => {
            error = Some(failure.0);
            write_error(to, failure, &mut frames);
        }
    }
    Answer {
        conn: to.conn,
        frames,
        error,
        kind,
    }
}

/// The next page of what a session missed.
fn recovery(store: &Reader, job: &Job, to: &ReplyConn, room: &mut Room) -> Answer {
    let (mut frames, mut error) = (Vec::new(), None);
    let mut kind = AnswerKind::Expired;
    if let Query::CatchUp {
        user,
        since,
        ref connect,
    } = job.query
    {
        let connect = connect.as_deref();
        let sources = (store, &room.ids);
        let feed = (&mut room.feed, room.most);
        match catch_up(
            sources,
            (job, to),
            (user, since),
            connect,
            feed,
            &mut frames,
        ) {
            Ok(caught_up) => kind = caught_up,
            Err(failure) => {
                error = Some(failure.0);
                if connect.is_some() {
                    write_error(to, failure, &mut frames);
                }
            }
        }
    }
    Answer {
        conn: to.conn,
        frames,
        error,
        kind,
    }
}

/// The reply to a question, and how it becomes shorter where it does not fit.
pub(super) fn looked_up<'r>(
    store: &Reader,
    job: &Job,
    room: &'r mut Room,
) -> Result<(ReplyBody<'r>, Cut), Failure> {
    let Room {
        ids,
        page,
        feed,
        most,
    } = room;
    let (sources, most) = ((store, &*ids), *most);
    let body = match job.query {
        Query::Sync { user, since, limit } => sync(sources, job, (user, since), limit, feed)?,
        Query::History {
            access,
            range,
            limit,
        } => {
            let body = history(sources, access, range, limit, (page, most))?;
            let cut = match range {
                Range::After(_) => Cut::Back,
                Range::Newest | Range::Before(_) => Cut::Front,
            };
            return Ok((body, cut));
        }
        Query::Get { access, seq } => get(sources, access, seq, (page, most))?,
        Query::Reactions {
            access,
            seq,
            ref reaction,
            ref listing,
            limit,
        } => {
            let wanted = (seq, reaction.as_deref());
            reactions::reactions(sources, access, wanted, listing, limit, page)?
        }
        Query::Receipts {
            access,
            seq,
            state,
            ref listing,
            limit,
        } => lists::receipts(sources, access, (seq, state), listing, limit, page)?,
        Query::Conversations {
            user,
            ref listing,
            before,
            limit,
        } => {
            let paging = (before, limit);
            let (body, cursors) =
                lists::conversations(sources, (user, job.until), listing, paging, (page, most))?;
            return Ok((body, Cut::Cursors(cursors)));
        }
        Query::GroupInfo {
            access,
            ref listing,
            limit,
        } => lists::group_info(sources, access, listing, limit)?,
        Query::Duplicate { place } => duplicate(store, place, page)?,
        Query::Made { key } => made(store, key)?,
        // Answered elsewhere.
        Query::CatchUp { .. }
        | Query::Typing { .. }
        | Query::Contacts { .. }
        | Query::LastSeen { .. } => return Err(TOO_LARGE),
    };
    Ok((body, Cut::Back))
}

/// What the shard goes on with, or the error reply.
fn found(job: &Job, to: &ReplyConn, finding: Result<Finding, Failure>) -> Answer {
    let (mut frames, paged) = (Vec::new(), job.query.is_paged());
    let (kind, error) = match finding {
        Ok(finding) => {
            let found = AnswerKind::Found {
                id: to.id,
                finding: Box::new(finding),
                paged,
            };
            (found, None)
        }
        Err(failure) => {
            write_error(to, failure, &mut frames);
            (AnswerKind::Reply { paged }, Some(failure.0))
        }
    };
    Answer {
        conn: to.conn,
        frames,
        error,
        kind,
    }
}

fn write_error(to: &ReplyConn, (code, message): Failure, frames: &mut Vec<u8>) {
    let body = ReplyBody::Error(ErrorReply::new(code, message));
    let reply = ServerMessage::Reply(Reply { id: to.id, body });
    write(frames, to.encoding, &reply);
}

pub(super) fn failure(error: &ReadError) -> Failure {
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

/// Whether what came after a position is no longer there, or never was.
fn is_gone(error: &ReadError) -> bool {
    matches!(error, ReadError::Expired { .. } | ReadError::Future)
}

fn catch_up(
    sources: (&Reader, &Ids),
    (job, to): (&Job, &ReplyConn),
    (user, since): (UserId, Position),
    connect: Option<&Opening>,
    (feed, most): (&mut Feed, usize),
    frames: &mut Vec<u8>,
) -> Result<AnswerKind, Failure> {
    let mut read = |since| feed.read(sources, user, (since, job.until), CATCH_UP_PAGE);
    let fail = |error| failure(&error);
    let (since, recovered, more) = match connect.and_then(|opening| opening.resumes) {
        None => (since, true, read(since).map_err(fail)?),
        Some(key) => {
            let kept = sources.0.state(key).map_err(fail)?;
            match position::kept(sources.0.epochs(), kept.as_deref()).map(|kept| (kept, read(kept)))
            {
                Some((kept, Ok(more))) => (kept, true, more),
                Some((_, Err(error))) if !is_gone(&error) => return Err(fail(error)),
                // Nothing is kept for this device, or nothing from there on.
                _ => (job.until, false, read(job.until).map_err(fail)?),
            }
        }
    };
    if let (Some(opening), true) = (connect, to.id != 0) {
        let body = ReplyBody::Connect(opening.reply(sources.0.epochs().token(since), recovered));
        write(
            frames,
            to.encoding,
            &ServerMessage::Reply(Reply { id: to.id, body }),
        );
    }
    let mut tokens = Tokens::new(sources.0.epochs());
    let (mut pushed, mut last, mut more) = ([0; RecordKind::ROOM], None, more);
    let (mut view, mut left) = (feed.hides.then(|| View::new(sources, user)), CATCH_UP_PAGE);
    for (record, part, position) in parts(feed, user, since) {
        let Some(part) = part else {
            last = Some(position);
            continue;
        };
        if left == 0 {
            // Of a record with several events only some are on this page.
            more = true;
            break;
        }
        let mut pos = Token::default();
        if let Some(mut push) = event::push(&record, part, &mut tokens, &mut pos) {
            conceal(&mut view, &record, &mut push.event)?;
            if !write_push(frames, to.encoding, push, (most, last.is_some())) {
                more = true;
                break;
            }
            if let Some(kind) = RecordKind::of(&record) {
                pushed[kind as usize] += 1;
            }
        }
        (last, left) = (Some(position), left - 1);
    }
    let reached = last.filter(|_| more).unwrap_or(job.until);
    Ok(AnswerKind::CaughtUp {
        began: since,
        reached,
        more,
        pushed,
    })
}

/// Appends a push of what was missed, unless `may_wait` for the next page and this one would have
/// more than `most` bytes with it.
fn write_push(
    frames: &mut Vec<u8>,
    encoding: Encoding,
    push: Push<'_>,
    (most, may_wait): (usize, bool),
) -> bool {
    let start = frames.len();
    let mut message = ServerMessage::Push(push);
    write(frames, encoding, &message);
    if may_wait && frames.len() > most {
        frames.truncate(start);
        return false;
    }
    if frames.len() - start > most
        && let ServerMessage::Push(push) = &mut message
    {
        frames.truncate(start);
        strip_push(push);
        write(frames, encoding, &message);
    }
    true
}

/// The events of a page, each with its record, which part of that it is, and where it is in their
/// order. Behind those of a record comes its end, without a part.
fn parts(
    feed: &Feed,
    user: UserId,
    since: Position,
) -> impl Iterator<Item = (Record<'_>, Option<usize>, Position)> {
    feed.records().flat_map(move |(record, seen)| {
        let parts = event::parts_for(&record, user, since);
        let places = parts.clone();
        parts
            .filter(move |_| seen)
            .map(move |part| (record, Some(part), places.position(record.position, part)))
            .chain([(record, None, record.position)])
    })
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

fn sync<'p>(
    sources: (&Reader, &Ids),
    job: &Job,
    (user, since): (UserId, Position),
    limit: usize,
    feed: &'p mut Feed,
) -> Result<ReplyBody<'p>, Failure> {
    // A client may know more than this shard has pushed, never more than the log holds.
    let until = job.until.max(since);
    let more = feed
        .read(sources, user, (since, until), limit)
        .map_err(|error| failure(&error))?;
    let mut view = feed.hides.then(|| View::new(sources, user));
    let mut tokens = Tokens::new(sources.0.epochs());
    let (mut events, mut last, mut more, mut left) = (Vec::new(), None, more, limit);
    for (record, part, position) in parts(feed, user, since) {
        let Some(part) = part else {
            last = Some(position);
            continue;
        };
        if left == 0 {
            more = true;
            break;
        }
        (last, left) = (Some(position), left - 1);
        if let Some(mut push) = event::owned_push(&record, part, &mut tokens) {
            conceal(&mut view, &record, &mut push.event)?;
            events.push(push);
        }
    }
    let pos = last.filter(|_| more).unwrap_or(until);
    Ok(ReplyBody::Sync(SyncReply {
        events,
        pos: tokens.text(pos),
        more,
    }))
}

/// Takes the content out of a message that the user deleted.
fn conceal(
    view: &mut Option<View<'_>>,
    record: &Record<'_>,
    event: &mut Event<'_>,
) -> Result<(), Failure> {
    if let (Some(view), Event::Message(message)) = (view, event) {
        let hides = view.hides(record.timeline, record.seq);
        if hides.map_err(|error| failure(&error))? {
            empty(message);
        }
    }
    Ok(())
}

fn empty(message: &mut Message<'_>) {
    message.deleted = true;
    message.text = None;
    message.media = None;
}

fn history<'p>(
    sources: (&Reader, &Ids),
    access: Access,
    range: Range,
    limit: usize,
    (page, most): (&'p mut Page, usize),
) -> Result<ReplyBody<'p>, Failure> {
    let (store, ids) = sources;
    let sight = access.check(store, ids)?;
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
        store
            .range(access.conversation, seqs, limit, order, page)
            .map_err(|error| failure(&error))?;
    }
    let messages = messages(sources, &mut View::new(sources, access.user), (page, most))?;
    let more = page.more();
    let oldest = match store.first_seq(access.conversation) {
        // All of them expired.
        Ok(0) => last + 1,
        Ok(oldest) => oldest,
        Err(error) => return Err(failure(&error)),
    };
    Ok(ReplyBody::History(HistoryReply {
        messages,
        first: oldest.max(first),
        last,
        more,
    }))
}

fn get<'p>(
    sources: (&Reader, &Ids),
    access: Access,
    seq: u64,
    (page, most): (&'p mut Page, usize),
) -> Result<ReplyBody<'p>, Failure> {
    let (store, ids) = sources;
    let sight = access.check(store, ids)?;
    if seq >= sight.first {
        store
            .get(access.conversation, seq, page)
            .map_err(|error| failure(&error))?;
    }
    let messages = messages(sources, &mut View::new(sources, access.user), (page, most))?;
    match messages.into_iter().next() {
        Some(message) => Ok(ReplyBody::Get(GetReply { message })),
        None => Err(NO_MESSAGE),
    }
}

/// The messages of a page as one user sees them, with what others reacted.
pub(super) fn messages<'p>(
    (store, ids): (&Reader, &Ids),
    view: &mut View<'_>,
    (page, most): (&'p Page, usize),
) -> Result<Vec<Message<'p>>, Failure> {
    let mut messages = Vec::new();
    let mut reacted = None;
    for record in page.records() {
        if RecordKind::of(&record) != Some(RecordKind::Message) {
            continue;
        }
        let Some(body) = Body::read(record.body) else {
            continue;
        };
        let mut message = body.message(&record);
        let hides = view.hides(record.timeline, record.seq);
        if hides.map_err(|error| failure(&error))? {
            empty(&mut message);
        }
        if message.recalled {
            // What was reacted went with it; an earlier version kept that.
            messages.push(message);
            continue;
        }
        // Most conversations have no reactions: one look instead of one per message.
        let any = match reacted {
            Some(any) => any,
            None => {
                let key = ids.reactions(record.timeline, 0);
                let value = store.state(key).map_err(|error| failure(&error))?;
                *reacted.insert(value.is_some())
            }
        };
        if any {
            let key = ids.reactions(record.timeline, record.seq);
            let value = store.state(key).map_err(|error| failure(&error))?;
            let bytes = reaction_bytes(most);
            reactions::show(&mut message, &value.unwrap_or_default(), bytes);
        }
        messages.push(message);
    }
    Ok(messages)
}

fn made(store: &Reader, key: TimelineId) -> Result<ReplyBody<'static>, Failure> {
    // The first one may have been in the batch with which the store failed.
    const LOST: Failure = (
        ErrorCode::StorageUnavailable,
        "what was created with this key could not be read: whether it is stored is not known",
    );
    let value = store.state(key).map_err(|_| LOST)?.ok_or(LOST)?;
    let created: Created<'_> = state::decode(&value).ok_or(LOST)?;
    Ok(ReplyBody::GroupCreate(GroupCreateReply {
        conversation: Str::from(created.conversation).into_owned(),
        members: created.members,
        duplicate: true,
    }))
}

fn duplicate<'p>(
    store: &Reader,
    place: RecordRef,
    page: &'p mut Page,
) -> Result<ReplyBody<'p>, Failure> {
    // The first one may have been in the batch with which the store failed.
    const LOST: Failure = (
        ErrorCode::StorageUnavailable,
        "the first message with this key could not be read: whether it is stored is not known",
    );
    let RecordRef { timeline, seq, .. } = place;
    store.get(timeline, seq, page).map_err(|_| LOST)?;
    let stored = page
        .records()
        .next()
        .and_then(|record| Some((record, Body::read(record.body)?)));
    let (record, body) = stored.ok_or(LOST)?;
    Ok(ReplyBody::Send(SendReply {
        conversation: Str::from(body.conversation),
        seq: record.seq,
        pos: position::text(store.epochs().token(place.position)),
        time: body.happened(&record),
        duplicate: true,
    }))
}
