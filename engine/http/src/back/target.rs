//! One back end for one kind of question: its room, its rest after failures, and its log lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use trunkline_core::exchange::BackKind;

use super::breaker::Breaker;
use super::metrics::BackMetrics;
use super::pool::{Failed, Pool};
use super::tls::Trust;
use super::url::BackUrl;

/// The maximum number of questions to one back end that have no answer. Further ones fail at once.
pub const WAITING: usize = 1_024;

/// The maximum bytes of the questions to one back end that have no answer.
pub const WAITING_BYTES: usize = 16 << 20;

/// The maximum number of requests to one back end at a time. Further questions wait for them.
pub const AT_ONCE: usize = 64;

/// The shortest time between two log lines about one back end.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// A back end that answers questions of one kind.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) kind: BackKind,
    pub(super) pool: Pool,
    pub(super) at_once: Semaphore,
    waiting: AtomicUsize,
    bytes: AtomicUsize,
    breaker: Mutex<Breaker>,
    said: Mutex<Said>,
    metrics: Arc<BackMetrics>,
}

/// What the log says of a back end.
#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    /// The failures since the last line.
    failures: u64,
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
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.target.waiting.fetch_sub(1, Relaxed);
        self.target.bytes.fetch_sub(self.bytes, Relaxed);
        self.target.metrics.waiting.fetch_sub(1, Relaxed);
    }
}

impl Target {
    pub(super) fn new(
        kind: BackKind,
        url: BackUrl,
        trust: Option<Trust>,
        metrics: Arc<BackMetrics>,
    ) -> Self {
        Self {
            kind,
            pool: Pool::new(url, trust),
            at_once: Semaphore::new(AT_ONCE),
            waiting: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            breaker: Mutex::default(),
            said: Mutex::default(),
            metrics,
        }
    }

    /// Takes room for a question of this size.
    ///
    /// # Errors
    /// The back end is not to be asked now.
    pub(super) fn enter(self: &Arc<Self>, bytes: usize) -> Result<Room, NotAsked> {
        let count = self.waiting.fetch_add(1, Relaxed);
        let before = self.bytes.fetch_add(bytes, Relaxed);
        self.metrics.waiting.fetch_add(1, Relaxed);
        // From here on a drop takes it back.
        let room = Room {
            target: Arc::clone(self),
            bytes,
        };
        // A large question has room where nothing else waits.
        if count >= WAITING || (before > 0 && before + bytes > WAITING_BYTES) {
            return Err(NotAsked::Full);
        }
        match self.breaker.lock().admits(Instant::now()) {
            true => Ok(room),
            false => Err(NotAsked::Resting),
        }
    }

    /// Notes an answer that can be used.
    pub(super) fn succeeded(&self) {
        let mut breaker = self.breaker.lock();
        let was_open = breaker.is_open();
        breaker.succeeded();
        drop(breaker);
        if was_open {
            self.metrics.resting.fetch_sub(1, Relaxed);
            let (callback, url) = (self.kind.name(), self.pool.url().shown());
            tracing::info!(callback, url, "the back end answers again");
        }
    }

    /// Notes a failure. The log tells of one in a minute.
    pub(super) fn failed(&self, why: &Failed) {
        if why.is_answer() {
            // The questions of one client must not make the back end rest for all.
            self.succeeded();
        } else if self.breaker.lock().failed(Instant::now()) {
            self.metrics.resting.fetch_add(1, Relaxed);
        }
        let mut said = self.said.lock();
        said.failures += 1;
        if said.last.is_some_and(|last| last.elapsed() < LOG_PAUSE) {
            return;
        }
        let failures = std::mem::take(&mut said.failures);
        said.last = Some(Instant::now());
        drop(said);
        let (callback, url) = (self.kind.name(), self.pool.url().shown());
        tracing::warn!(callback, url, failures, %why, "a back end fails: look at its log; further failures are counted in /metrics");
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
        let mut rooms: Vec<_> = (0..WAITING).map(|_| target.enter(1).unwrap()).collect();
        assert_eq!(target.enter(1).unwrap_err(), NotAsked::Full);
        assert_eq!(target.metrics.waiting(), WAITING as u64);
        rooms.truncate(1);
        assert!(target.enter(WAITING_BYTES).is_err());
        drop(target.enter(WAITING_BYTES - 1).unwrap());
        rooms.clear();
        assert!(target.enter(WAITING_BYTES + 1).is_ok());
        assert_eq!(target.metrics.waiting(), 0);
    }

    #[test]
    fn a_back_end_that_fails_rests_and_is_counted() {
        let target = target();
        for _ in 0..100 {
            target.failed(&Failed::Late);
        }
        assert_eq!(target.enter(1).unwrap_err(), NotAsked::Resting);
        assert_eq!(target.metrics.resting(), 1);
        target.succeeded();
        assert_eq!(target.metrics.resting(), 0);
        assert!(target.enter(1).is_ok());
    }
}
