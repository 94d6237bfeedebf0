//! One back end for one kind of question: its room, its rest after failures, and its log lines.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use trunkline_core::exchange::BackKind;

use super::breaker::Breaker;
use super::failed::Failed;
use super::metrics::BackMetrics;
use super::said::{LOG_PAUSE, Said};
use super::url::BackUrl;
use crate::dial::{Pool, Trust};
use crate::turns::Turns;

/// The maximum number of questions to one back end that have no answer. Further ones fail at once.
pub const WAITING: usize = 1_024;

/// The maximum bytes of the questions to one back end that have no answer.
pub const WAITING_BYTES: usize = 16 << 20;

/// The maximum number of requests to one back end at a time. Further questions wait for them.
pub const AT_ONCE: usize = 128;

/// The part of the room, and of the requests at a time, that one user has at most: one divided by this.
pub const SHARES: usize = 4;

/// A back end that answers questions of one kind.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) kind: BackKind,
    pub(super) url: BackUrl,
    pub(super) pool: Pool,
    /// The requests at a time.
    pub(super) at_once: Turns<Asker>,
    /// Senders whose message is asked about, one at a time for each.
    pub(super) in_order: Turns<Asker>,
    waiting: Mutex<Waiting>,
    /// Messages that pass unasked, behind the earlier ones of their sender.
    passing: Mutex<Waiting>,
    breaker: Mutex<Breaker>,
    said: Arc<Said>,
    metrics: Arc<BackMetrics>,
}

/// Who causes a question, as a number: a user, or an address that has no user yet.
pub(super) type Asker = u64;

/// A number of questions, and their bytes.
#[derive(Debug, Default, Clone, Copy)]
struct Load {
    count: usize,
    bytes: usize,
}

impl Load {
    /// Returns whether one more question has room in one part of so many of the whole room. A large one
    /// has room where nothing else waits.
    const fn fits(self, bytes: usize, parts: usize) -> bool {
        let small = self.bytes + bytes <= WAITING_BYTES / parts;
        self.count < WAITING / parts && (self.count == 0 || small)
    }
}

/// The questions without an answer.
#[derive(Debug, Default)]
struct Waiting {
    all: Load,
    of: HashMap<Asker, Load>,
}

impl Waiting {
    /// Takes room; returns `false` if there is none.
    fn enter(&mut self, asker: Asker, bytes: usize) -> bool {
        let own = self.of.get(&asker).copied().unwrap_or_default();
        if !self.all.fits(bytes, 1) || !own.fits(bytes, SHARES) {
            return false;
        }
        self.all.count += 1;
        self.all.bytes += bytes;
        let own = self.of.entry(asker).or_default();
        own.count += 1;
        own.bytes += bytes;
        true
    }

    fn leave(&mut self, asker: Asker, bytes: usize) {
        self.all.count -= 1;
        self.all.bytes -= bytes;
        if let Some(load) = self.of.get_mut(&asker) {
            load.count -= 1;
            load.bytes -= bytes;
            if load.count == 0 {
                self.of.remove(&asker);
            }
        }
    }
}

/// Why a back end is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAsked {
    /// Too many questions wait.
    Full,
    /// The back end failed of late.
    Resting,
}

/// The room of one question. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    target: Arc<Target>,
    asker: Asker,
    bytes: usize,
    /// Whether the back end is not asked.
    passes: bool,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.target.metrics.waiting.fetch_sub(1, Relaxed);
        let place = self.target.place(self.passes);
        place.lock().leave(self.asker, self.bytes);
    }
}

impl Target {
    pub(super) fn new(
        kind: BackKind,
        url: BackUrl,
        trust: Option<Trust>,
        metrics: Arc<BackMetrics>,
    ) -> Self {
        let (callback, shown) = (kind.name(), url.shown().to_owned());
        let write = move |failures: u64, why: &str| {
            tracing::warn!(
                callback,
                url = shown,
                failures,
                why,
                "a back end fails: look at its log; further failures are counted in /metrics"
            );
        };
        Self {
            kind,
            pool: Pool::new(url.origin(), trust),
            url,
            at_once: Turns::new(AT_ONCE, AT_ONCE / SHARES),
            // Senders whose messages pass unasked wait here too.
            in_order: Turns::new(2 * WAITING, 1),
            waiting: Mutex::default(),
            passing: Mutex::default(),
            breaker: Mutex::default(),
            said: Said::new(LOG_PAUSE, Box::new(write)),
            metrics,
        }
    }

    /// Takes room for a question of this size.
    ///
    /// # Errors
    /// The back end is not to be asked now.
    pub(super) fn enter(self: &Arc<Self>, asker: Asker, bytes: usize) -> Result<Room, NotAsked> {
        if !self.breaker.lock().would_admit(Instant::now()) {
            return Err(NotAsked::Resting);
        }
        self.room(asker, bytes, false).ok_or(NotAsked::Full)
    }

    /// Takes room for a message that passes unasked, and waits for earlier ones of its sender; `None` if
    /// too many do so.
    pub(super) fn pass(self: &Arc<Self>, asker: Asker, bytes: usize) -> Option<Room> {
        self.room(asker, bytes, true)
    }

    fn room(self: &Arc<Self>, asker: Asker, bytes: usize, passes: bool) -> Option<Room> {
        if !self.place(passes).lock().enter(asker, bytes) {
            return None;
        }
        self.metrics.waiting.fetch_add(1, Relaxed);
        Some(Room {
            target: Arc::clone(self),
            asker,
            bytes,
            passes,
        })
    }

    const fn place(&self, passes: bool) -> &Mutex<Waiting> {
        if passes { &self.passing } else { &self.waiting }
    }

    /// Lets a question out whose turn it is. Returns `false` if the back end rests meanwhile.
    pub(super) fn admits(&self) -> bool {
        self.breaker.lock().admits(Instant::now())
    }

    /// Notes an answer that can be used.
    pub(super) fn succeeded(&self) {
        let mut breaker = self.breaker.lock();
        let was_open = breaker.is_open();
        breaker.succeeded();
        drop(breaker);
        if was_open {
            self.metrics.resting.fetch_sub(1, Relaxed);
            let (callback, url) = (self.kind.name(), self.url.shown());
            tracing::info!(callback, url, "the back end answers again");
        }
    }

    /// Notes a failure. The log tells of all kinds, in one line a minute.
    pub(super) fn failed(&self, why: &Failed) {
        if why.is_answer() {
            // The questions of one client must not make the back end rest for all.
            self.succeeded();
        } else if self.breaker.lock().failed(Instant::now()) {
            self.metrics.resting.fetch_add(1, Relaxed);
        }
        self.said.note(why, Handle::try_current().ok().as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Arc<Target> {
        let url = "http://127.0.0.1:9/".parse().unwrap();
        Arc::new(Target::new(BackKind::Rpc, url, None, Arc::default()))
    }

    #[test]
    fn questions_are_bounded_by_number_and_bytes() {
        let target = target();
        let each = WAITING / SHARES;
        let mut rooms = Vec::new();
        for asker in 0..SHARES as u64 {
            rooms.extend((0..each).map(|_| target.enter(asker, 1).unwrap()));
            // A user has a part of the room only.
            assert_eq!(target.enter(asker, 1).unwrap_err(), NotAsked::Full);
        }
        assert_eq!(target.enter(9, 1).unwrap_err(), NotAsked::Full);
        assert_eq!(target.metrics.waiting(), WAITING as u64);
        rooms.truncate(1);
        let share = WAITING_BYTES / SHARES;
        assert!(target.enter(0, share).is_err());
        let most = target.enter(0, share - 1).unwrap();
        assert!(target.enter(0, 1).is_err());
        let other = target.enter(1, share).unwrap();
        drop((rooms, most, other));
        // One large question of a user, and nothing else of this user.
        let large = target.enter(0, WAITING_BYTES + 1).unwrap();
        assert!(target.enter(0, 1).is_err() && target.enter(1, 1).is_err());
        drop(large);
        assert_eq!(target.metrics.waiting(), 0);
        assert!(target.waiting.lock().of.is_empty());
    }

    #[test]
    fn messages_that_pass_unasked_have_bounded_room_of_their_own() {
        let target = target();
        let asked = target.enter(1, 1).unwrap();
        let most = WAITING / SHARES;
        let passing: Vec<_> = (0..most).map(|_| target.pass(1, 1).unwrap()).collect();
        assert!(target.pass(1, 1).is_none() && target.pass(2, 1).is_some());
        assert!(target.enter(1, 1).is_ok());
        assert_eq!(target.metrics.waiting(), 1 + most as u64);
        drop((asked, passing));
        assert_eq!(target.metrics.waiting(), 0);
        assert!(target.passing.lock().of.is_empty() && target.waiting.lock().of.is_empty());
    }

    #[test]
    fn a_back_end_that_fails_rests_and_is_counted() {
        let target = target();
        for _ in 0..100 {
            target.failed(&Failed::Late);
        }
        assert_eq!(target.enter(1, 1).unwrap_err(), NotAsked::Resting);
        assert_eq!(target.metrics.resting(), 1);
        target.succeeded();
        assert_eq!(target.metrics.resting(), 0);
        assert!(target.enter(1, 1).is_ok());
    }
}
