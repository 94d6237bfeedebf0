//! The open connections of a port, and when each was last active.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::task::{AbortHandle, Id};
use tokio::time::Instant;

/// The number of connections among which the one that was idle for longest is dropped. To look at all
/// of many thousands would take long, for each new connection.
const LOOKED_AT: usize = 256;

/// The time of a connection's last activity: its start, or its last complete request.
pub(super) struct Activity {
    began: Instant,
    /// The last activity in microseconds since `began`. [`HELD`] while a request holds the connection.
    last: AtomicU64,
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

    /// Drops the connection that was idle for longest, among some hundreds, and that no request holds.
    /// Returns `false` if requests hold all of them.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let count = self.all.len().min(LOOKED_AT);
        let looked = (self.next..self.next + count).map(|place| place % self.all.len());
        let idle = looked.filter(|place| !self.all[*place].1.is_held());
        let oldest = idle.min_by_key(|place| self.all[*place].1.last());
        self.next = (self.next + count) % self.all.len().max(1);
        let Some(place) = oldest else {
            return false;
        };
        let (task, _) = self.take(place);
        self.of.remove(&task.id());
        task.abort();
        true
    }
}
