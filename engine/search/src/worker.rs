//! The thread of the index: it opens the index, follows the log, and begins again after a failure.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use trunkline_core::indexing::{IndexMetrics, IndexSettings};
use trunkline_core::reader::{TextChange, Texts};
use trunkline_core::store::Position;

use crate::deaths::{self, Deaths, Verdict};
use crate::directory::Known;
use crate::files;
use crate::session::{Session, Stopped, Tools};
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
        why: Stopped,
        /// Whether the index worked before that.
        had_worked: bool,
        /// Whether it had committed something by then, as it does on its way to the end of the log.
        has_committed: bool,
    },
}

/// What the thread knows of earlier sessions.
struct Past {
    /// The files that need no check any more.
    known: Known,
    deaths: Deaths,
    /// The time until the index is opened again.
    wait: Duration,
    /// Since when the index has stopped; `None` while it works.
    stopped: Option<Instant>,
    /// The position after which the log could not be read.
    blocked: Option<Position>,
}

impl Worker {
    /// Follows the log until it is told to stop. A failure ends nothing but the
    /// index: searches see what was indexed before it, and the index is opened again after a while. The files of
    /// an index that has stopped for longer than [`IndexSettings::purge`] are removed: nobody removes the words of
    /// messages that are gone from them.
    ///
    /// The threads of the library have the priority of the calling thread.
    pub(crate) fn run(self) {
        let folder = &self.settings.folder;
        deaths::watch_panics(folder);
        let _marked = deaths::mark();
        let mut past = Past {
            known: Known::default(),
            deaths: Deaths::read(folder),
            wait: RETRY,
            stopped: None,
            blocked: None,
        };
        match past.deaths.verdict() {
            Verdict::GoOn => {}
            Verdict::MakeAnew => {
                past.deaths.made_anew();
                tracing::error!(folder = %folder.display(), "the gateway has died twice because of the index for searching: the index is made anew");
                self.remove(&past.known);
            }
            Verdict::StayOff => {
                self.metrics.failures.one();
                self.remove(&past.known);
                tracing::error!(folder = %folder.display(), "the gateway has died again and again because of the index for searching: there are no searches. Report it, and remove the folder to try again");
                while self.waits(MOST_RETRY) {}
                return;
            }
        }
        loop {
            match self.session(&mut past) {
                End::Stopped => return,
                End::Failed {
                    why,
                    had_worked,
                    has_committed,
                } => {
                    if had_worked {
                        past.wait = RETRY;
                    }
                    if had_worked || has_committed {
                        past.stopped = None;
                    }
                    self.failed(&mut past, why);
                }
            }
            if !self.waits(past.wait) {
                return;
            }
            past.wait = (past.wait * 2).min(MOST_RETRY);
        }
    }

    /// Notes a failure, and removes the files if the index has stopped for too long.
    fn failed(&self, past: &mut Past, why: Stopped) {
        past.blocked = None;
        let error = match why {
            Stopped::Room(error) => error,
            Stopped::Log { after, error } => {
                past.blocked = Some(after);
                format!("the store cannot be read: {error}")
            }
            Stopped::Index(error) => {
                // Damage may be the reason.
                past.known.lock().clear();
                error
            }
        };
        self.metrics.failures.one();
        tracing::error!(
            error,
            retry_s = past.wait.as_secs(),
            "the index for searching has stopped, and new messages are not found: trying again"
        );
        let since = *past.stopped.get_or_insert_with(Instant::now);
        let folder = &self.settings.folder;
        if since.elapsed() >= self.settings.purge && files::has_content(folder) {
            tracing::warn!(folder = %folder.display(), "the index for searching has stopped for longer than search_purge: it is removed, because it may have words of messages that are gone, and made anew when it can work");
            self.remove(&past.known);
        }
    }

    /// Removes the files of the index. Searches are not answered until it is made anew.
    fn remove(&self, known: &Known) {
        self.shared.forget();
        let metrics = &self.metrics;
        for gone in [&metrics.ready, &metrics.messages, &metrics.bytes] {
            gone.set(0);
        }
        let folder = &self.settings.folder;
        if let Err(error) = files::remove_content(folder, known)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(%error, folder = %folder.display(), "the index for searching cannot be removed: remove it, it may have words of messages that are gone");
        }
    }

    /// Opens the index and follows the log.
    fn session(&self, past: &mut Past) -> End {
        let mut had_worked = false;
        let not_opened = |why| End::Failed {
            why,
            had_worked: false,
            has_committed: false,
        };
        if let Some(why) = past.blocked.and_then(|after| self.blocked(after)) {
            return not_opened(why);
        }
        let tools = Tools {
            settings: &self.settings,
            texts: &self.texts,
            shared: &self.shared,
            metrics: &self.metrics,
            known: &past.known,
        };
        let mut session = match Session::open(tools) {
            Ok(session) => session,
            Err(why) => return not_opened(why),
        };
        loop {
            match session.go_on() {
                Ok(true) => thread::yield_now(),
                Ok(false) => {
                    had_worked = true;
                    if session.has_worked_for_long() {
                        past.deaths.forget();
                    }
                    if !self.waits(LOOK) {
                        return End::Stopped;
                    }
                    continue;
                }
                Err(why) => {
                    return End::Failed {
                        why,
                        had_worked,
                        has_committed: session.has_committed(),
                    };
                }
            }
            if !self.waits(Duration::ZERO) {
                return End::Stopped;
            }
        }
    }

    /// Returns why the log cannot be read after a position, if it still cannot.
    fn blocked(&self, after: Position) -> Option<Stopped> {
        let mut first = |_: TextChange<'_>| ControlFlow::Break(());
        let error = self.texts.follow(after, &mut first).failed?;
        Some(Stopped::Log { after, error })
    }

    /// Waits, but not beyond the stop. Returns whether the thread goes on.
    fn waits(&self, time: Duration) -> bool {
        matches!(
            self.stops.recv_timeout(time),
            Err(RecvTimeoutError::Timeout)
        )
    }
}
