//! Logs when a certificate expires, or becomes valid, while the gateway runs.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{self, RecvTimeoutError, Sender};

use super::validity::{Span, Stage};
use super::{Acceptor, now};

/// The time between two looks at the certificates.
const PERIOD: Duration = Duration::from_secs(1);

/// The thread that watches when the certificates in use are valid.
pub struct TlsWatch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// The state of the certificates at the last look.
struct Known {
    spans: Arc<[Span]>,
    stages: Vec<Stage>,
}

/// A change to log.
#[derive(Debug, PartialEq, Eq)]
struct News {
    /// Clients refuse the certificate because of it.
    refused: bool,
    /// The sentence for the log.
    text: String,
}

impl TlsWatch {
    /// Starts the thread. It logs changes only: reading the files logged the state before.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(acceptor: Arc<Acceptor>) -> std::io::Result<Self> {
        let (stop, stopped) = channel::bounded::<()>(1);
        let mut known = Known::of(&acceptor, now());
        let thread = std::thread::Builder::new().name("tls-watch".into());
        let thread = thread.spawn(move || {
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                let now = now();
                for News { refused, text } in known.look(&acceptor, now) {
                    if refused {
                        tracing::error!("{text}");
                    } else {
                        tracing::warn!("{text}");
                    }
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that watches the certificates panicked");
        }
    }
}

impl Known {
    fn of(acceptor: &Acceptor, now: i64) -> Self {
        let spans = Arc::clone(&acceptor.spans.read());
        let stages = spans.iter().map(|span| span.stage(now)).collect();
        Self { spans, stages }
    }

    /// Returns what has changed since the last look.
    fn look(&mut self, acceptor: &Acceptor, now: i64) -> Vec<News> {
        let fresh = Self::of(acceptor, now);
        let mut news = Vec::new();
        // Reading the files logged the state of new certificates.
        if Arc::ptr_eq(&fresh.spans, &self.spans) {
            let both = self.stages.iter().zip(&fresh.stages);
            for (span, (before, stage)) in fresh.spans.iter().zip(both) {
                if before != stage
                    && let Some(text) = span.warning(now)
                {
                    let refused = matches!(stage, Stage::Early | Stage::Expired);
                    news.push(News { refused, text });
                }
            }
        }
        *self = fresh;
        news
    }
}
