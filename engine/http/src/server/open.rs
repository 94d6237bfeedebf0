//! The open connections of a port, and when each was last active.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::task::{AbortHandle, Id};
use tokio::time::Instant;

/// The number of connections among which the one that was idle for longest is dropped. To look at all
/// of many thousands would take long, for each new connection.
const LOOKED_AT: usize = 256;

/// How often as many further connections are looked at while requests of all that were looked at are
/// being answered.
const LOOKS: usize = 4;

/// The time of a connection's last activity: its start, its last complete request, or the last answer.
pub(super) struct Activity {
    began: Instant,
    /// The last activity in microseconds since `began`. [`HELD`] while a request holds the connection.
    last: AtomicU64,
    /// What the present request waits for, as one of the numbers below.
    waits_for: AtomicU8,
    /// What is not complete of the present request and its answer, as a sum of the numbers below.
    incomplete: AtomicU8,
    /// Whether the last write found no room.
    is_blocked: AtomicBool,
}

/// The body of the request has not come to its end.
const REQUEST: u8 = 1;
/// The answer has not ended.
const RESPONSE: u8 = 2;
/// There was no request yet since HTTP began with the connection.
const FIRST: u8 = 4;

/// No request waits: the connection is new, or its last request is answered.
const NOTHING: u8 = 0;
/// The head of a request has come, and the gateway waits for its body.
const BODY: u8 = 1;
/// A request has come whole, and the client waits for the gateway.
const ANSWER: u8 = 2;

/// A request without an answer. The answer is there when this is dropped.
pub(super) struct Asked(Arc<Activity>);

impl Asked {
    pub(super) fn new(activity: &Arc<Activity>) -> Self {
        activity.now();
        activity.waits_for.store(BODY, Relaxed);
        activity.incomplete.store(REQUEST | RESPONSE, Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // The client has its time to take the answer.
        self.0.now();
        self.0.waits_for.store(NOTHING, Relaxed);
    }
}

/// An answer, or the place of one to come. It has ended when this is dropped.
pub(super) struct Answering(Arc<Activity>);

impl Answering {
    pub(super) fn new(activity: &Arc<Activity>) -> Self {
        Self(Arc::clone(activity))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.incomplete.fetch_and(!RESPONSE, Relaxed);
    }
}

/// The body of a request, which notes when all of it has come.
pub(super) struct Noted {
    body: Incoming,
    activity: Arc<Activity>,
}

impl Noted {
    pub(super) fn new(body: Incoming, activity: &Arc<Activity>) -> Self {
        let noted = Self {
            body,
            activity: Arc::clone(activity),
        };
        if noted.body.is_end_stream() {
            noted.activity.is_whole();
        }
        noted
    }
}

impl Body for Noted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.activity.is_whole();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The bytes of a body after which its connection has more time.
const MUCH: usize = 64 << 10;

/// The progress of a long body, among the extensions of a request. The time of the connection begins
/// anew after each 64 KiB, in either direction.
#[derive(Clone)]
pub struct Progress {
    activity: Arc<Activity>,
    moved: usize,
}

impl Progress {
    pub(super) const fn new(activity: Arc<Activity>) -> Self {
        Self { activity, moved: 0 }
    }

    /// Begins the time of the connection anew after a time in which the gateway did not read.
    pub fn waited(&self) {
        self.activity.now();
    }

    /// Notes that bytes of the body have come or gone.
    pub fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
        if self.moved >= MUCH {
            self.moved = 0;
            self.activity.now();
        }
    }
}

/// The mark of a connection that a request holds.
const HELD: u64 = u64::MAX;

/// The open connections, by the ids of their tasks.
#[derive(Default)]
pub(super) struct Open {
    of: HashMap<Id, usize>,
    /// The connections in no order: the last takes the place of one that is removed.
    all: Vec<(AbortHandle, Arc<Activity>)>,
    /// The place from which the next look begins.
    next: usize,
}

impl Activity {
    /// Makes the activity of a connection that begins now. `began` is any earlier time.
    pub(super) fn new(began: Instant) -> Self {
        let activity = Self {
            began,
            last: AtomicU64::new(0),
            waits_for: AtomicU8::new(NOTHING),
            incomplete: AtomicU8::new(FIRST),
            is_blocked: AtomicBool::new(false),
        };
        activity.now();
        activity
    }

    /// Notes a request.
    pub(super) fn now(&self) {
        let since = u64::try_from(self.began.elapsed().as_micros());
        self.last.store(since.unwrap_or(HELD - 1), Relaxed);
    }

    /// Notes that a request holds the connection.
    pub(super) fn hold(&self) {
        self.last.store(HELD, Relaxed);
    }

    /// Notes that the request is answered.
    pub(super) fn go_on(&self) {
        self.now();
    }

    /// Returns the time of the last activity.
    pub(super) fn last(&self) -> Instant {
        self.began + Duration::from_micros(self.last.load(Relaxed).min(HELD / 2_000))
    }

    fn is_held(&self) -> bool {
        self.last.load(Relaxed) == HELD
    }

    /// Notes that the body of a request has come.
    fn is_whole(&self) {
        self.incomplete.fetch_and(!REQUEST, Relaxed);
        let waits_for = &self.waits_for;
        // A body may end after the answer.
        let _ = waits_for.compare_exchange(BODY, ANSWER, Relaxed, Relaxed);
    }

    /// Notes that HTTP begins with the connection.
    pub(super) fn begin(&self) {
        self.incomplete.store(FIRST, Relaxed);
    }

    /// Notes whether the last write found no room.
    pub(super) fn set_blocked(&self, is_blocked: bool) {
        self.is_blocked.store(is_blocked, Relaxed);
    }

    /// Whether the last write found no room.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Relaxed)
    }

    /// Returns whether HTTP is done with a request: it has come to its end, and the client's socket has all of the answer.
    pub(super) fn is_between_requests(&self) -> bool {
        self.incomplete.load(Relaxed) == 0 && !self.is_blocked()
    }

    fn waits_for_an_answer(&self) -> bool {
        self.waits_for.load(Relaxed) == ANSWER
    }
}

impl Open {
    /// Returns the number of open connections.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds a connection.
    pub(super) fn insert(&mut self, task: AbortHandle, activity: Arc<Activity>) {
        self.of.insert(task.id(), self.all.len());
        self.all.push((task, activity));
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&mut self, id: Id) {
        if let Some(place) = self.of.remove(&id) {
            self.take(place);
        }
    }

    fn take(&mut self, place: usize) -> (AbortHandle, Arc<Activity>) {
        let taken = self.all.swap_remove(place);
        if let Some((moved, _)) = self.all.get(place) {
            self.of.insert(moved.id(), place);
        }
        taken
    }

    /// Drops the connection that was idle for longest, among some hundreds, and that no request holds. One
    /// whose request is being answered goes only if there is no other among those. Returns `false` if
    /// requests hold all of them.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let mut waiting = None;
        let mut left = self.all.len();
        for _ in 0..LOOKS {
            let count = left.min(LOOKED_AT);
            left -= count;
            match self.oldest(count) {
                Some((false, _, place)) => return self.abort(place),
                found => waiting = waiting.into_iter().chain(found).min(),
            }
        }
        waiting.is_some_and(|(_, _, place)| self.abort(place))
    }

    /// Looks at some more connections. Returns the place of the one to drop among them: whether its request
    /// is being answered, and when it was last active.
    fn oldest(&mut self, count: usize) -> Option<(bool, Instant, usize)> {
        let looked = (self.next..self.next + count).map(|place| place % self.all.len());
        let idle = looked.filter(|place| !self.all[*place].1.is_held());
        let oldest = idle
            .map(|place| {
                let activity = &self.all[place].1;
                (activity.waits_for_an_answer(), activity.last(), place)
            })
            .min();
        self.next = (self.next + count) % self.all.len().max(1);
        oldest
    }

    fn abort(&mut self, place: usize) -> bool {
        let (task, _) = self.take(place);
        self.of.remove(&task.id());
        task.abort();
        true
    }
}
