//! The thread of the index: it opens the index, follows the log, and begins again after a failure.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use trunkline_core::indexing::{IndexMetrics, IndexSettings};
use trunkline_core::reader::Texts;

use crate::session::Session;
use crate::view::Shared;

/// The time between two looks at the log.
const LOOK: Duration = Duration::from_millis(100);

/// The time after the first failure until the index is opened again. It doubles with each further one.
const RETRY: Duration = Duration::from_secs(1);

/// The longest time until the index is opened again.
const MOST_RETRY: Duration = Duration::from_mins(1);

/// The work of the thread of the index.
pub(crate) struct Worker {
    pub(crate) settings: IndexSettings,
    pub(crate) texts: Texts,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Arc<IndexMetrics>,
    pub(crate) stops: Receiver<()>,
}

/// Why a session ended.
enum End {
    /// The gateway stops.
    Stopped,
    /// The index or the store failed.
    Failed {
        error: String,
        /// Whether the index worked before that.
        had_worked: bool,
    },
}

impl Worker {
    /// Follows the log until it is told to stop. A failure ends nothing but the
    /// index: searches see what was indexed before it, and the index is opened again after a while.
    ///
    /// The threads of the library have the priority of the calling thread.
    pub(crate) fn run(self) {
        let mut wait = RETRY;
        loop {
            match self.session() {
                End::Stopped => return,
                End::Failed { error, had_worked } => {
                    if had_worked {
                        wait = RETRY;
                    }
                    self.metrics.failures.one();
                    tracing::error!(
                        error,
                        retry_s = wait.as_secs(),
                        "the index for searching has stopped, and new messages are not found: trying again"
                    );
                    if !self.waits(wait) {
                        return;
                    }
                    wait = (wait * 2).min(MOST_RETRY);
                }
            }
        }
    }

    /// Opens the index and follows the log.
    fn session(&self) -> End {
        let opened = Session::open(&self.settings, &self.texts, &self.shared, &self.metrics);
        let mut session = match opened {
            Ok(session) => session,
            Err(error) => {
                let had_worked = false;
                return End::Failed { error, had_worked };
            }
        };
        let mut had_worked = false;
        loop {
            match session.go_on() {
                Ok(true) => thread::yield_now(),
                Ok(false) => {
                    had_worked = true;
                    if !self.waits(LOOK) {
                        return End::Stopped;
                    }
                    continue;
                }
                Err(error) => return End::Failed { error, had_worked },
            }
            if !self.waits(Duration::ZERO) {
                return End::Stopped;
            }
        }
    }

    /// Waits, but not beyond the stop. Returns whether the thread goes on.
    fn waits(&self, time: Duration) -> bool {
        matches!(
            self.stops.recv_timeout(time),
            Err(RecvTimeoutError::Timeout)
        )
    }
}
