//! `GET /api/v1/events`: the events of a user as a stream (Server-Sent Events).
//!
//! A stream is a session: it counts for presence and for the sessions of its user. It reads stored
//! events from the store, in the order of the log, each time that one comes. So a client that reads
//! slowly misses none of them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::Method;
use hyper::header::{self, HeaderValue};
use serde::Deserialize;
use tokio::time::Instant;
use trunkline_core::clock::system_ms;
use trunkline_core::directory::MAX_SHARDS;
use trunkline_core::exchange::unnamed_device;
use trunkline_core::ids::UserId;
use trunkline_proto::message::{
    CaughtUp, CommandBody, Disconnect, Event, Gap, Push, ReplyBody, Sync, SyncReply,
};
use trunkline_proto::{CloseCode, Encoding, ErrorCode};

use super::head::Head;
use super::visitor::{Visitor, last_event_id};
use super::{Api, BUSY, json};
use crate::door::{Door, Sent};
use crate::mapped::MAPPED_BYTES;
use crate::metrics::Counted;
use crate::problem::Problem;
use crate::server::{Line, TakeOver};
use crate::waiting::Waiter;

/// The events that a stream reads at a time.
const PAGE: u32 = 100;

/// The shortest silence after which a stream gets its first comment.
const LEAST_PING: Duration = Duration::from_secs(1);

/// The shortest range of delays that clients are told, in milliseconds.
const LEAST_DELAY_MS: u64 = 100;

/// The fields of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    #[serde(rename = "sourceID")]
    source_id: Option<String>,
    since: Option<String>,
}

/// A session that counts for its user until this is dropped.
struct SessionSeat {
    door: Arc<dyn Door>,
    user: UserId,
}

impl Drop for SessionSeat {
    fn drop(&mut self) {
        self.door.leave_session(self.user);
    }
}

/// A stream of events.
struct Stream {
    api: Arc<Api>,
    visitor: Visitor,
    waiter: Waiter,
    place: Place,
    /// Whether the first page had not all events.
    more: bool,
    /// The silence after which the stream gets its first comment.
    first_ping: Duration,
    _session: SessionSeat,
    _counted: Counted,
}

/// How far a client has come.
struct Place {
    /// The position up to which the client has all events.
    pos: String,
    /// Whether the client is told when it has caught up.
    recovers: bool,
}

/// The reason why a stream ends.
enum End {
    /// The client has gone, or does not read.
    Gone,
    /// The gateway ends the stream, and says why.
    Told(Disconnect<'static>),
}

/// Begins a stream.
pub(super) async fn handle(State(api): State<Arc<Api>>, head: Head) -> Result<Response, Problem> {
    let asked = head.query::<Asked>();
    let named = asked.as_ref().ok();
    let named = named.and_then(|asked| asked.source_id.as_deref());
    let visitor = head.visitor(&api, named).await;
    let (mut visitor, asked) = Head::known(&api, visitor, asked)?;
    api.pay(&visitor, 0, Sent::Command)?;
    let asked = asked?;
    if head.method == Method::HEAD {
        // A stream has a body.
        let mut response = Response::new(Body::empty());
        let kind = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        return Ok(response);
    }
    let number = api.streams.fetch_add(1, Relaxed);
    visitor.name_device(&unnamed_device("sse", MAX_SHARDS, number));
    visitor.forget_rights();
    let device = api
        .service
        .device_mark(visitor.id(), visitor.names().device());
    if !api.door.enter_session(visitor.id(), device) {
        let text = "this user has as many sessions as one may have: close one of them";
        return Err(Problem::new(ErrorCode::LimitExceeded, text));
    }
    let session = SessionSeat {
        door: Arc::clone(&api.door),
        user: visitor.id(),
    };
    // Before the look-up: what comes after it wakes the stream.
    let who = (visitor.id(), visitor.names());
    let waiter = api.waiting.open(who, device, visitor.stay(Some(number)));
    visitor.check_again(&*api.door)?;
    let last = last_event_id(&head.headers)?.map(str::to_owned);
    let name = last.as_ref().map_or("since", |_| "Last-Event-ID");
    let since = last.or(asked.since).filter(|since| !since.is_empty());
    let recovers = since.is_some();
    let pos = since.unwrap_or_else(|| api.service.head());
    // The client knows its position before the first event.
    let mut begin = format!("id: {pos}\n\n").into_bytes();
    let mut place = Place { pos, recovers };
    let mut more = false;
    if recovers {
        let _room = api.pages.take(visitor.id(), 1).await;
        // What comes from here on is looked up later.
        waiter.seat().take_stored();
        let first = api.sync(&visitor, &place.pos).await;
        let first = first.map_err(|problem| problem.calling("since", name))?;
        more = place.write_page(&mut begin, first);
        api.sent(&visitor, begin.len());
    }
    let manner = head.manner();
    let first_ping = spread(api.limits.http.ping, number);
    let stream = Stream {
        first_ping,
        _counted: Counted::new(&api.metrics, |metrics| &metrics.streams),
        api,
        visitor,
        waiter,
        place,
        more,
        _session: session,
    };
    let hold = Box::new(move |line| -> crate::server::Held {
        let mut begin = begin;
        let mut head = manner.stream_head("text/event-stream");
        head.append(&mut begin);
        stream.hold(line, head)
    });
    Ok(TakeOver::response(hold))
}

/// Returns the time of the first comment of a stream by its number. Streams that begin together, such as
/// after a restart, would get each of their comments together for as long as they last: the first ones come
/// early, at times that are spread evenly over the interval.
fn spread(ping: Duration, number: u64) -> Duration {
    // Multiples of the golden ratio are spread evenly whatever their number is (Knuth, "Sorting and
    // Searching", section 6.4).
    let part = (number as u32).wrapping_mul(0x9e37_79b9);
    ping.mul_f64(f64::from(part) / f64::from(u32::MAX))
        .max(LEAST_PING.min(ping))
}

impl Api {
    /// Reads the events of a visitor after a position.
    async fn sync(&self, visitor: &Visitor, since: &str) -> Result<SyncReply<'static>, Problem> {
        let sync = Sync {
            since: since.into(),
            limit: Some(PAGE),
        };
        match self.carry_out(visitor, &CommandBody::Sync(sync)).await? {
            ReplyBody::Sync(reply) => Ok(reply),
            _ => {
                let text = "the answer belongs to another command";
                Err(Problem::new(ErrorCode::Internal, text))
            }
        }
    }
}

impl Place {
    /// Writes a page of events. Returns whether there are more.
    fn write_page(&mut self, out: &mut Vec<u8>, page: SyncReply<'static>) -> bool {
        for push in page.events {
            let pos = push.pos.clone();
            write_block(out, pos.as_deref(), &json::push(push));
        }
        self.pos = page.pos.to_string();
        if self.recovers && !page.more {
            self.recovers = false;
            let pos = self.pos.as_str().into();
            let event = Event::CaughtUp(CaughtUp { pos });
            write_block(out, Some(&self.pos), &json::push(Push { pos: None, event }));
        }
        page.more
    }
}

impl Stream {
    /// Sends events until the stream ends. What waits is in the memory of the future once, and what is needed
    /// only while something is sent is in boxes.
    fn hold(mut self, mut line: Line, mut head: Vec<u8>) -> crate::server::Held {
        Box::pin(async move {
            let sent = Box::pin(self.send(&mut line, std::mem::take(&mut head))).await;
            let end = match sent {
                Ok(()) => self.run(&mut line).await,
                Err(end) => end,
            };
            if let End::Told(disconnect) = end {
                let event = Event::Disconnect(disconnect);
                write_block(&mut head, None, &json::push(Push { pos: None, event }));
                let _ = Box::pin(self.send(&mut line, head)).await;
            }
            let time = self.api.limits.http.write_timeout;
            drop(self);
            // With TLS the end has bytes to send, which a client may not take.
            let _ = Box::pin(tokio::time::timeout(time, line.end())).await;
            None
        })
    }

    /// Sends events until something ends the stream. Returns what it is.
    async fn run(&mut self, line: &mut Line) -> End {
        let mut ping = self.first_ping;
        loop {
            // In a box: its memory is needed only while there are events.
            if let Err(end) = Box::pin(self.tell(line)).await {
                return end;
            }
            if let Err(end) = self.wait(line, &mut ping).await {
                return end;
            }
        }
    }

    /// Waits for events. Sends a comment after each silence: after `ping` the first time.
    async fn wait(&mut self, line: &mut Line, next: &mut Duration) -> Result<(), End> {
        loop {
            let ping = *next;
            if self.waiter.is_stopping() {
                return Err(End::Told(self.good_bye()));
            }
            if let Some(ending) = self.waiter.seat().ending() {
                let end = self.disconnect(ending.code, ending.reason, ending.reconnect);
                return Err(End::Told(end));
            }
            let expires = self.visitor.expires_ms().map(|at| {
                let left = at.saturating_sub(system_ms());
                Duration::from_millis(left)
            });
            // Events that come all the time do not keep a session alive.
            if expires.is_some_and(|left| left.is_zero()) {
                return Err(End::Told(token_expired()));
            }
            let until = Instant::now() + expires.map_or(ping, |left| left.min(ping));
            tokio::select! {
                () = self.waiter.seat().came() => {
                    self.api.metrics.woken.one();
                    if !self.is_ending() {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep_until(until) => {
                    if expires.is_some_and(|left| left <= ping) {
                        return Err(End::Told(token_expired()));
                    }
                    Box::pin(self.send(line, b": ping\n\n".to_vec())).await?;
                    *next = self.api.limits.http.ping;
                }
                is_gone = line.stirs() => if is_gone {
                    return Err(End::Gone);
                }
            }
        }
    }

    /// Sends the events that have come.
    async fn tell(&mut self, line: &mut Line) -> Result<(), End> {
        let mut more = std::mem::take(&mut self.more);
        loop {
            let mut out = Vec::new();
            for frames in self.waiter.seat().take() {
                let message = frames.message(Encoding::Json);
                write_block(&mut out, None, pushed(message));
            }
            // Others send typing and signals: this user pays for no look-up because of them.
            let (mut page, mut room) = (None, None);
            if self.waiter.seat().take_stored() || more {
                room = Some(self.api.pages.take(self.visitor.id(), 1).await);
                // Mapped from the beginning: a page that grows on the heap stays there.
                out.reserve(MAPPED_BYTES);
                // In a box: this memory is not needed while many wait for room, or for their clients.
                page = Some(Box::pin(self.api.sync(&self.visitor, &self.place.pos)).await);
            }
            let busy = ErrorCode::TooManyRequests.code();
            let is_busy = matches!(&page, Some(Err(problem)) if problem.error().code == busy);
            more = match page {
                Some(Ok(page)) => self.place.write_page(&mut out, page),
                Some(Err(problem)) => self.write_failure(&mut out, &problem)?,
                None => false,
            };
            drop(room);
            if !out.is_empty() {
                self.api.sent(&self.visitor, out.len());
                self.send(line, out).await?;
            }
            self.api.rest(&self.visitor).await;
            if !more || self.is_ending() {
                return Ok(());
            }
            if is_busy {
                tokio::time::sleep(BUSY).await;
            }
        }
    }

    /// Writes what a failed look-up means for the client. Returns whether to try again at once.
    fn write_failure(&mut self, out: &mut Vec<u8>, problem: &Problem) -> Result<bool, End> {
        let error = problem.error();
        if error.code == ErrorCode::PositionExpired.code() {
            // The events have expired: the client has missed some.
            self.place.pos = self.api.service.head();
            let pos = self.place.pos.as_str().into();
            let event = Event::Gap(Gap { pos });
            write_block(
                out,
                Some(&self.place.pos),
                &json::push(Push { pos: None, event }),
            );
            return Ok(true);
        }
        if error.code == ErrorCode::TooManyRequests.code() {
            return Ok(true);
        }
        Err(End::Told(self.disconnect(
            CloseCode::SERVER_ERROR,
            "the store could not be read",
            true,
        )))
    }

    /// Returns whether the gateway stops, or an operator ends the stream.
    fn is_ending(&self) -> bool {
        self.waiter.is_stopping() || self.waiter.seat().ending().is_some()
    }

    /// Returns what a stopping gateway tells its clients.
    fn good_bye(&self) -> Disconnect<'static> {
        self.disconnect(CloseCode::SHUTDOWN, "shutdown", true)
    }

    fn disconnect(
        &self,
        code: CloseCode,
        reason: &'static str,
        reconnect: bool,
    ) -> Disconnect<'static> {
        let limits = &self.api.limits.http;
        // As long as it takes to take all streams in again.
        let streams = self.api.metrics.streams.get();
        let most = streams * 1_000 / u64::from(limits.reconnect_rate.max(1));
        let most = most.max(LEAST_DELAY_MS).min(limits.reconnect_delay_ms);
        let most = if reconnect { most } else { 0 };
        Disconnect {
            code: code.0,
            reason: reason.into(),
            reconnect,
            delay_ms: [0, most],
        }
    }

    /// Sends bytes within the time that a client has to take them.
    async fn send(&self, line: &mut Line, bytes: Vec<u8>) -> Result<(), End> {
        let time = self.api.limits.http.write_timeout;
        let sent = self.api.unread.send(line, bytes, time).await;
        sent.map_err(|_| End::Gone)
    }
}

fn token_expired() -> Disconnect<'static> {
    Disconnect {
        code: CloseCode::TOKEN_EXPIRED.0,
        reason: "the token has expired: use a new one".into(),
        reconnect: false,
        delay_ms: [0, 0],
    }
}

/// Returns the object of a push in a message.
fn pushed(message: &[u8]) -> &[u8] {
    const BEFORE: &[u8] = b"{\"push\":";
    let object = message.strip_prefix(BEFORE);
    object
        .and_then(|rest| rest.strip_suffix(b"}"))
        .unwrap_or(message)
}

/// Writes one event. JSON has no line breaks, which would end it.
fn write_block(out: &mut Vec<u8>, id: Option<&str>, data: &[u8]) {
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of any streams that follow each other, about as many get their first comment in each part of the interval.
    #[test]
    fn first_comments_are_spread_over_the_interval() {
        let ping = Duration::from_secs(20);
        for first in [0, 7_000, u64::from(u32::MAX) - 500, u64::MAX - 1_000] {
            let mut parts = [0; 10];
            for number in (0..1_000).map(|number| first.wrapping_add(number)) {
                let time = spread(ping, number);
                assert!(time >= LEAST_PING && time <= ping, "{time:?}");
                parts[(time.as_millis() as usize / 2_000).min(9)] += 1;
            }
            let evenly = parts.iter().all(|part| (90..=110).contains(part));
            assert!(evenly, "{first}: {parts:?}");
        }
        let short = Duration::from_millis(200);
        assert_eq!(spread(short, 5), short);
    }

    #[test]
    fn events_are_blocks_with_their_position() {
        let mut out = Vec::new();
        write_block(&mut out, Some("5e-1"), b"{\"gap\":{}}");
        write_block(&mut out, None, pushed(b"{\"push\":{\"typing\":{}}}"));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "id: 5e-1\ndata: {\"gap\":{}}\n\ndata: {\"typing\":{}}\n\n"
        );
    }
}
