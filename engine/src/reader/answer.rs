//! What the store says to one job.

use trunkline_proto::message::{
    ConnectReply, ErrorReply, Event, GetReply, GroupCreateReply, HistoryReply, Media, Message,
    MessageReaction, Reply, ReplyBody, SendReply, ServerMessage, SyncReply,
};
use trunkline_proto::{ErrorCode, Str};
use trunkline_storage::{
    Order, Page, Place, Position, ReadError, Reader, Record, TimelineId, Token,
};

use super::access::{Access, NO_MESSAGE, View};
use super::feed::Feed;
use super::{Answer, AnswerKind, Finding, Job, Opening, Query, Range, Room, lists, passing};
use crate::event::{self, Body, Kind};
use crate::ids::{Ids, UserId};
use crate::position::{self, Tokens};
use crate::session;
use crate::state::{self, Created, Reactions};

/// Pushes per page of catching up.
const CATCH_UP_PAGE: usize = 500;

/// A refusal, as an error reply says it.
pub(super) type Failure = (ErrorCode, &'static str);

pub(super) const UNKNOWN: Failure = (ErrorCode::Unknown, "no such conversation");

pub(super) fn answer(store: &Reader, job: &Job, room: &mut Room) -> Answer {
    let Room { ids, page, feed } = room;
    let books = (store, &*ids);
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
            let kind = catch_up(books, job, (user, since), connect, feed, &mut frames)
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
        Query::Typing {
            access,
            ref listing,
        } => return found(job, passing::typing(books, access, listing)),
        Query::Contacts { user, watch } => {
            return found(job, passing::contacts(books, user, watch));
        }
        Query::LastSeen { ref asked } => return found(job, passing::last_seen(store, asked)),
        Query::Sync { user, since, limit } => sync(books, job, (user, since), limit, feed),
        Query::History {
            access,
            range,
            limit,
        } => history(books, access, range, limit, page),
        Query::Get { access, seq } => get(books, access, seq, page),
        Query::Receipts {
            access,
            seq,
            state,
            ref listing,
            limit,
        } => lists::receipts(books, access, (seq, state), listing, limit, page),
        Query::Conversations {
            user,
            ref listing,
            before,
            limit,
        } => lists::conversations(books, (user, job.until), listing, (before, limit), page),
        Query::GroupInfo {
            access,
            ref listing,
            limit,
        } => lists::group_info(books, access, listing, limit),
        Query::Duplicate { place } => duplicate(store, place, page),
        Query::Made { key } => made(store, key),
    };
    let paged = job.query.is_paged();
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

/// What the shard goes on with, or the error reply.
fn found(job: &Job, finding: Result<Finding, Failure>) -> Answer {
    let (mut frames, paged) = (Vec::new(), job.query.is_paged());
    let (kind, error) = match finding {
        Ok(finding) => {
            let found = AnswerKind::Found {
                id: job.id,
                finding: Box::new(finding),
                paged,
            };
            (found, None)
        }
        Err(failure) => {
            write_error(job, failure, &mut frames);
            (AnswerKind::Reply { paged }, Some(failure.0))
        }
    };
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
    books: (&Reader, &Ids),
    job: &Job,
    (user, since): (UserId, Position),
    connect: Option<&Opening>,
    feed: &mut Feed,
    frames: &mut Vec<u8>,
) -> Result<AnswerKind, Failure> {
    let mut read = |since| feed.read(books, user, (since, job.until), CATCH_UP_PAGE);
    let fail = |error| failure(&error);
    let (since, recovered, more) = match connect.and_then(|opening| opening.resumes) {
        None => (since, true, read(since).map_err(fail)?),
        Some(key) => {
            let kept = books.0.state(key).map_err(fail)?;
            match position::kept(books.0.epochs(), kept.as_deref()).map(|kept| (kept, read(kept))) {
                Some((kept, Ok(more))) => (kept, true, more),
                Some((_, Err(error))) if !is_gone(&error) => return Err(fail(error)),
                // Nothing is kept for this device, or nothing from there on.
                _ => (job.until, false, read(job.until).map_err(fail)?),
            }
        }
    };
    if let (Some(opening), true) = (connect, job.id != 0) {
        let body = ReplyBody::Connect(opening.reply(books.0.epochs().token(since), recovered));
        session::write(
            frames,
            job.encoding,
            &ServerMessage::Reply(Reply { id: job.id, body }),
        );
    }
    let mut tokens = Tokens::new(books.0.epochs());
    let (mut pushed, mut last, mut more) = ([0; Kind::ROOM], None, more);
    let (mut view, mut left) = (feed.hides.then(|| View::new(books, user)), CATCH_UP_PAGE);
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
        (last, left) = (Some(position), left - 1);
        let mut pos = Token::default();
        let Some(mut push) = event::push(&record, part, &mut tokens, &mut pos) else {
            continue;
        };
        conceal(&mut view, &record, &mut push.event)?;
        if let Some(kind) = Kind::of(&record) {
            pushed[kind as usize] += 1;
        }
        session::write(frames, job.encoding, &ServerMessage::Push(push));
    }
    let reached = last.filter(|_| more).unwrap_or(job.until);
    Ok(AnswerKind::CaughtUp {
        began: since,
        reached,
        more,
        pushed,
    })
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
    books: (&Reader, &Ids),
    job: &Job,
    (user, since): (UserId, Position),
    limit: usize,
    feed: &'p mut Feed,
) -> Result<ReplyBody<'p>, Failure> {
    // A client may know more than this shard has pushed, never more than the log holds.
    let until = job.until.max(since);
    let more = feed
        .read(books, user, (since, until), limit)
        .map_err(|error| failure(&error))?;
    let mut view = feed.hides.then(|| View::new(books, user));
    let mut tokens = Tokens::new(books.0.epochs());
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

/// A message that outlives the page it was read into.
pub(super) fn owned(message: Message<'_>) -> Message<'static> {
    let own = |text: Option<Str<'_>>| text.map(Str::into_owned);
    Message {
        conversation: message.conversation.into_owned(),
        from: message.from.into_owned(),
        device: message.device.into_owned(),
        key: own(message.key),
        text: own(message.text),
        media: message.media.map(|media| Media {
            mime: media.mime.into_owned(),
            data: media.data.map(|data| data.into_owned().into()),
            url: own(media.url),
            size: media.size,
        }),
        reactions: message
            .reactions
            .into_iter()
            .map(|one| MessageReaction {
                reaction: one.reaction.into_owned(),
                users: one.users.into_iter().map(Str::into_owned).collect(),
            })
            .collect(),
        seq: message.seq,
        time: message.time,
        recalled: message.recalled,
        deleted: message.deleted,
    }
}

fn empty(message: &mut Message<'_>) {
    message.deleted = true;
    message.text = None;
    message.media = None;
}

fn history<'p>(
    books: (&Reader, &Ids),
    access: Access,
    range: Range,
    limit: usize,
    page: &'p mut Page,
) -> Result<ReplyBody<'p>, Failure> {
    let (store, ids) = books;
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
    let messages = messages(books, &mut View::new(books, access.user), page)?;
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
    }))
}

fn get<'p>(
    books: (&Reader, &Ids),
    access: Access,
    seq: u64,
    page: &'p mut Page,
) -> Result<ReplyBody<'p>, Failure> {
    let (store, ids) = books;
    let sight = access.check(store, ids)?;
    if seq >= sight.first {
        store
            .get(access.conversation, seq, page)
            .map_err(|error| failure(&error))?;
    }
    let messages = messages(books, &mut View::new(books, access.user), page)?;
    match messages.into_iter().next() {
        Some(message) => Ok(ReplyBody::Get(GetReply { message })),
        None => Err(NO_MESSAGE),
    }
}

/// The messages of a page as one user sees them, with what others reacted.
pub(super) fn messages<'p>(
    (store, ids): (&Reader, &Ids),
    view: &mut View<'_>,
    page: &'p Page,
) -> Result<Vec<Message<'p>>, Failure> {
    let mut messages = Vec::new();
    let mut reacted = None;
    for record in page.records() {
        if Kind::of(&record) != Some(Kind::Message) {
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
            message.reactions = reactions(&value.unwrap_or_default());
        }
        messages.push(message);
    }
    Ok(messages)
}

/// By reaction, in the order in which each came first.
fn reactions(value: &[u8]) -> Vec<MessageReaction<'static>> {
    let state: Reactions<'_> = state::decode(value).unwrap_or_default();
    let mut all = Vec::<MessageReaction<'static>>::new();
    for (user, reaction) in state.list {
        let user = Str::from(user.to_owned());
        match all.iter_mut().find(|one| *one.reaction == *reaction) {
            Some(one) => one.users.push(user),
            None => all.push(MessageReaction {
                reaction: Str::from(reaction.to_owned()),
                users: vec![user],
            }),
        }
    }
    all
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
        pos: position::text(store.epochs().token(place.position)),
        time: body.happened(&record),
        duplicate: true,
    }))
}
