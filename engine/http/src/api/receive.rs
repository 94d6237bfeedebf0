//! `GET /api/v1/rtm.receive`: reads messages, and waits for them.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll as Step;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use hyper::Method;
use serde::Deserialize;
use tokio::time::Instant;
use trunkline_core::clock::system_ms;
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{CommandBody, Event, History, Push, ReplyBody, Sync};
use trunkline_proto::names::is_name;

use super::head::Head;
use super::held::Manner;
use super::outstanding::Permit;
use super::visitor::Visitor;
use super::{Api, BUSY, json};
use crate::door::Sent;
use crate::metrics::Counted;
use crate::problem::Problem;
use crate::server::{Line, TakeOver};
use crate::waiting::Waiter;

/// The longest time that a request waits.
const LONGEST: Duration = Duration::from_secs(60);

/// The number of messages of an answer if the request does not say.
const PAGE: u32 = 100;

/// The longest time for which a request waits because its user is in debt.
const PAUSE: Duration = Duration::from_secs(1);

/// The fields of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    #[serde(rename = "sourceID")]
    source_id: Option<String>,
    #[serde(rename = "targetID")]
    target_id: Option<String>,
    last_pos: Option<String>,
    limit: Option<u32>,
    wait: Option<String>,
}

/// Where a request reads.
#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    /// Everything that concerns the user, after a position.
    All(String),
    /// One conversation, after a sequence.
    Conversation {
        name: Box<str>,
        after: u64,
        /// The conversation has two members: it may have no message yet.
        is_direct: bool,
    },
}

/// One answer, in the making.
struct PageOf {
    messages: Vec<Vec<u8>>,
    from: From,
    more: bool,
}

impl PageOf {
    /// Returns the body of the answer.
    fn body(&self) -> Vec<u8> {
        let mut body = Vec::from(&b"{\"messages\":["[..]);
        for (number, message) in self.messages.iter().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            body.extend_from_slice(message);
        }
        let last = match &self.from {
            From::All(pos) => pos.clone(),
            From::Conversation { after, .. } => after.to_string(),
        };
        let more = self.more;
        // A position has no sign that JSON would escape.
        let tail = format!("],\"lastPos\":\"{last}\",\"more\":{more}}}");
        body.extend_from_slice(tail.as_bytes());
        body
    }
}

/// A request that waits for something to read.
struct Poll {
    api: Arc<Api>,
    visitor: Visitor,
    waiter: Waiter,
    from: From,
    limit: u32,
    until: Instant,
    manner: Manner,
    _permit: Permit,
    _counted: Counted,
}

/// A request that waits, with its connection. It is in one place of memory, and the futures that wait for it
/// have its address: a future keeps what it is called with beside what it works with.
struct HeldPoll {
    poll: Poll,
    line: Line,
}

/// Why a request waits no longer.
enum Woken {
    /// There may be something to read, or the wait was ended.
    Came,
    /// The time is over, or the gateway stops.
    Over,
}

/// Answers a request, now or once there is something to read.
pub(super) async fn handle(State(api): State<Arc<Api>>, head: Head) -> Result<Response, Problem> {
    let asked = head.query::<Asked>();
    let named = asked.as_ref().ok();
    let named = named.and_then(|asked| asked.source_id.as_deref());
    let entered = head.enter(&api, named).await;
    let ((mut visitor, permit), asked) = Head::known(&api, entered, asked)?;
    api.pay(&visitor, 0, Sent::Command)?;
    let asked = asked?;
    let mut wait = asked.wait.as_deref().map_or(Ok(Duration::ZERO), time)?;
    if head.method == Method::HEAD {
        // A request that waits writes its own answer, with a body.
        wait = Duration::ZERO;
    }
    let limit = asked.limit.unwrap_or(PAGE);
    let is_now = asked.last_pos.as_deref() == Some("now");
    let from = from(&visitor, &asked)?;
    if is_now {
        let page = api.now(&visitor, from).await?;
        return Ok(json::response(page.body()));
    }
    let left = visitor
        .expires_ms()
        .map(|at| Duration::from_millis(at.saturating_sub(system_ms())));
    let until = Instant::now() + left.map_or(wait, |left| left.min(wait));
    // Before the look-up: what comes after it wakes the request.
    let waiter = (!wait.is_zero()).then(|| api.waiting.wait(visitor.id(), visitor.stay(None)));
    if waiter.is_some() {
        visitor.check_again(&*api.door)?;
    }
    let page = api.page(&visitor, from, limit).await?;
    let (Some(waiter), true) = (waiter, page.messages.is_empty() && !page.more) else {
        let body = page.body();
        api.sent(&visitor, body.len());
        let waits = api.unread.answer(body.len())?;
        return Ok(json::response_of((permit, waits), body));
    };
    visitor.forget_rights();
    let poll = Poll {
        manner: head.manner(),
        _counted: Counted::new(&api.metrics, |metrics| &metrics.polls),
        api,
        visitor,
        waiter,
        from: page.from,
        limit,
        until,
        _permit: permit,
    };
    let hold = Box::new(move |line| -> crate::server::Held {
        Box::pin(Box::new(HeldPoll { poll, line }).hold())
    });
    Ok(TakeOver::response(hold))
}

impl HeldPoll {
    /// Holds the connection until there is something to read, the time is over, or the client goes.
    async fn hold(mut self: Box<Self>) -> Option<Line> {
        loop {
            let woken = self.wait().await?;
            // In a box: its memory is needed only while something is looked up or sent.
            match Box::pin(self.go_on(woken)).await {
                Ok(line) => return line,
                Err(held) => self = held,
            }
        }
    }

    /// Waits until something has come, or the time is over. Returns `None` if the client has gone.
    async fn wait(&mut self) -> Option<Woken> {
        let Self { poll, line } = self;
        let mut time = pin!(tokio::time::sleep_until(poll.until));
        // By hand: three futures in a `select!` take more memory than all else of the wait.
        poll_fn(move |context| {
            let seat = poll.waiter.seat();
            if seat.ending().is_some() || seat.poll_came(context).is_ready() {
                return Step::Ready(Some(Woken::Came));
            }
            // A request that came in while the gateway stopped was not woken.
            if poll.waiter.is_stopping() || time.as_mut().poll(context).is_ready() {
                return Step::Ready(Some(Woken::Over));
            }
            match line.poll_stirs(context) {
                Step::Ready(true) => Step::Ready(None),
                // The client has sent its next request already: it waits behind this one.
                Step::Ready(false) | Step::Pending => Step::Pending,
            }
        })
        .await
    }

    /// Answers, and returns the connection if it goes on; the error is the request if it waits on.
    async fn go_on(mut self: Box<Self>, woken: Woken) -> Result<Option<Line>, Box<Self>> {
        let poll = &mut self.poll;
        let ending = poll.waiter.seat().ending();
        let answer = if let Some(ending) = ending {
            Some(Err(Problem::new(ErrorCode::Unauthorized, ending.reason)))
        } else {
            poll.api.metrics.woken.one();
            match woken {
                Woken::Came if !poll.waiter.is_stopping() => poll.look().await,
                _ => Some(Ok(poll.nothing())),
            }
        };
        let Some(answer) = answer else {
            return Err(self);
        };
        let Self { poll, line } = *self;
        let time = poll.api.limits.http.write_timeout;
        let sent = poll.manner.answer(line, answer, (&poll.api.unread, time));
        Ok(sent.await)
    }
}

impl Poll {
    /// Returns the answer without messages.
    fn nothing(&self) -> Vec<u8> {
        let page = PageOf {
            messages: Vec::new(),
            from: self.from.clone(),
            more: false,
        };
        page.body()
    }

    /// Looks whether there is something to read. Returns `None` if there is nothing.
    async fn look(&mut self) -> Option<Result<Vec<u8>, Problem>> {
        let page = loop {
            let from = self.from.clone();
            let page = self.api.page(&self.visitor, from, self.limit).await;
            let is_busy = page
                .as_ref()
                .is_err_and(|problem| problem.error().code == ErrorCode::TooManyRequests.code());
            // One event may wake thousands of requests at the same time.
            if !is_busy || self.waiter.is_stopping() || Instant::now() + BUSY >= self.until {
                break page;
            }
            tokio::time::sleep(BUSY).await;
        };
        match page {
            Ok(page) if page.messages.is_empty() && !page.more => {
                self.from = page.from;
                self.api.rest(&self.visitor).await;
                None
            }
            page => Some(page.map(|page| {
                let body = page.body();
                self.api.sent(&self.visitor, body.len());
                body
            })),
        }
    }
}

impl Api {
    /// Lets a visitor in debt wait.
    pub(super) async fn rest(&self, visitor: &Visitor) {
        let cost = trunkline_core::cost::Cost::NONE;
        if let Err(beyond) = self.door.book(&visitor.payer(), cost) {
            let time = Duration::from_millis(beyond.retry_ms);
            tokio::time::sleep(time.min(PAUSE)).await;
        }
    }

    /// Reads one page.
    async fn page(&self, visitor: &Visitor, from: From, limit: u32) -> Result<PageOf, Problem> {
        match from {
            From::All(since) => self.page_of_all(visitor, &since, limit).await,
            From::Conversation {
                name,
                after,
                is_direct,
            } => {
                let history = History {
                    conversation: (&*name).into(),
                    after: Some(after),
                    limit: Some(limit),
                    ..History::default()
                };
                let reply = self
                    .carry_out(visitor, &CommandBody::History(history))
                    .await;
                let mut page = PageOf {
                    messages: Vec::new(),
                    more: false,
                    from: From::Conversation {
                        name,
                        after,
                        is_direct,
                    },
                };
                let reply = match reply {
                    // The two have not talked yet.
                    Err(problem) if is_direct && problem.error().code == UNKNOWN && after == 0 => {
                        return Ok(page);
                    }
                    Err(problem) if is_direct && problem.error().code == UNKNOWN => {
                        return Err(beyond());
                    }
                    reply => reply?,
                };
                let ReplyBody::History(history) = reply else {
                    return Err(odd());
                };
                if after > history.last {
                    return Err(beyond());
                }
                page.more = history.more;
                for message in history.messages {
                    if let From::Conversation { after, .. } = &mut page.from {
                        *after = message.seq;
                    }
                    page.messages.push(json::push(Push {
                        pos: Some(message.seq.to_string().into()),
                        event: Event::Message(message),
                    }));
                }
                Ok(page)
            }
        }
    }

    /// Reads one page of everything that concerns a user.
    async fn page_of_all(
        &self,
        visitor: &Visitor,
        since: &str,
        limit: u32,
    ) -> Result<PageOf, Problem> {
        let sync = Sync {
            since: since.into(),
            limit: Some(limit),
        };
        let reply = self.carry_out(visitor, &CommandBody::Sync(sync)).await;
        let reply = reply.map_err(|problem| match problem.error().code {
            code if code == ErrorCode::PositionExpired.code() => gone(),
            _ => problem.calling("since", "lastPos"),
        })?;
        let ReplyBody::Sync(sync) = reply else {
            return Err(odd());
        };
        Ok(PageOf {
            messages: sync.events.into_iter().map(json::push).collect(),
            from: From::All(sync.pos.to_string()),
            more: sync.more,
        })
    }

    /// Returns where now is.
    async fn now(&self, visitor: &Visitor, from: From) -> Result<PageOf, Problem> {
        let from = match from {
            From::All(_) => From::All(self.service.head()),
            From::Conversation {
                name, is_direct, ..
            } => {
                let history = History {
                    conversation: (&*name).into(),
                    limit: Some(1),
                    ..History::default()
                };
                let reply = self
                    .carry_out(visitor, &CommandBody::History(history))
                    .await;
                let after = match reply {
                    Ok(ReplyBody::History(history)) => history.last,
                    Ok(_) => return Err(odd()),
                    Err(problem) if is_direct && problem.error().code == UNKNOWN => 0,
                    Err(problem) => return Err(problem),
                };
                From::Conversation {
                    name,
                    after,
                    is_direct,
                }
            }
        };
        Ok(PageOf {
            messages: Vec::new(),
            from,
            more: false,
        })
    }
}

const UNKNOWN: u16 = ErrorCode::Unknown.code();

/// The error of a sequence that no message of the conversation has had. After the restore of a backup, sequences
/// begin again before the one that a reader keeps: it would miss the messages up to there.
fn beyond() -> Problem {
    let text = "lastPos is behind the last message of the conversation: ask again without it";
    Problem::new(ErrorCode::PositionExpired, text)
}

/// The error of a position that has expired, or is of another history of the store.
fn gone() -> Problem {
    let text = "the events after this lastPos are not known any more: ask without it for the oldest that there are, \
                or with lastPos=now for what comes";
    Problem::new(ErrorCode::PositionExpired, text)
}

fn odd() -> Problem {
    let text = "the answer belongs to another command";
    Problem::new(ErrorCode::Internal, text)
}

/// Returns where a request reads.
fn from(visitor: &Visitor, asked: &Asked) -> Result<From, Problem> {
    let last = asked.last_pos.as_deref().filter(|last| !last.is_empty());
    let Some(target) = asked.target_id.as_deref() else {
        let since = match last {
            None | Some("now") => "oldest",
            Some(since) => since,
        };
        return Ok(From::All(since.to_owned()));
    };
    let after = match last {
        None | Some("now") => 0,
        Some(after) => after.parse().map_err(|_| {
            Problem::bad("with targetID, lastPos is the sequence of a message: a whole number")
        })?,
    };
    let group = target.strip_prefix("g:");
    if !is_name(group.unwrap_or(target)) {
        return Err(Problem::bad("targetID is a user, or g:<group>"));
    }
    let name = match group {
        Some(_) => target.into(),
        None => conversation(visitor.names().user(), target).into(),
    };
    Ok(From::Conversation {
        name,
        after,
        is_direct: group.is_none(),
    })
}

/// Returns the conversation of two users.
fn conversation(one: &str, other: &str) -> String {
    let (lesser, greater) = (one.min(other), one.max(other));
    format!("u:{lesser}:{greater}")
}

/// Reads a time, such as `30s` or `500ms`. A number without a unit has seconds.
fn time(text: &str) -> Result<Duration, Problem> {
    let number = |digits: &str| digits.parse::<u32>().ok().map(u64::from);
    let time = if let Some(digits) = text.strip_suffix("ms") {
        number(digits).map(Duration::from_millis)
    } else {
        let seconds = text.strip_suffix('s').unwrap_or(text);
        number(seconds).map(Duration::from_secs)
    };
    time.filter(|time| *time <= LONGEST)
        .ok_or_else(|| Problem::bad("wait is a time from 0s to 60s, such as 30s or 500ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the size of the futures that a function makes.
    fn size_of_future<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_request_that_waits_takes_little_memory() {
        let sizes = [size_of::<HeldPoll>(), size_of_future(HeldPoll::hold)];
        assert!(sizes.iter().sum::<usize>() <= 640, "{sizes:?}");
    }

    #[test]
    fn times_are_read() {
        for (text, millis) in [
            ("0s", Some(0)),
            ("30s", Some(30_000)),
            ("0", Some(0)),
            ("60", Some(60_000)),
            ("60s", Some(60_000)),
            ("500ms", Some(500)),
            ("61s", None),
            ("-1s", None),
            ("1m", None),
            ("", None),
            ("s", None),
        ] {
            let read = time(text).ok().map(|time| time.as_millis());
            assert_eq!(read, millis, "{text}");
        }
    }

    #[test]
    fn answers_have_their_form() {
        let page = PageOf {
            messages: vec![b"{\"a\":1}".to_vec(), b"{}".to_vec()],
            from: From::All("5e-1".to_owned()),
            more: true,
        };
        let body = String::from_utf8(page.body()).unwrap();
        assert_eq!(
            body,
            r#"{"messages":[{"a":1},{}],"lastPos":"5e-1","more":true}"#
        );
        assert_eq!(conversation("bob", "alice"), "u:alice:bob");
    }
}
