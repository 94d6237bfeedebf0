//! The log of certificates that come to their end, or become valid, while the gateway runs.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{self, RecvTimeoutError, Sender};

use super::validity::{Span, Stage};
use super::{Acceptor, now};

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(1);

/// The thread that looks at the time of the certificates in use.
pub struct TlsWatch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// What was said last.
struct Known {
    spans: Arc<[Span]>,
    stages: Vec<Stage>,
}

impl TlsWatch {
    /// Starts it. What is so at the start was said when the files were read.
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
                for (is_bad, words) in known.look(&acceptor, now) {
                    if is_bad {
                        tracing::error!("{words}");
                    } else {
                        tracing::warn!("{words}");
                    }
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends it.
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

    /// What has come to be so since the last look, and whether clients refuse a certificate for it.
    fn look(&mut self, acceptor: &Acceptor, now: i64) -> Vec<(bool, String)> {
        let fresh = Self::of(acceptor, now);
        let mut said = Vec::new();
        // Of other certificates everything was said when they were read.
        if Arc::ptr_eq(&fresh.spans, &self.spans) {
            let both = self.stages.iter().zip(&fresh.stages);
            for (span, (before, stage)) in fresh.spans.iter().zip(both) {
                if before != stage
                    && let Some(words) = span.warning(now)
                {
                    let is_bad = matches!(stage, Stage::Early | Stage::Expired);
                    said.push((is_bad, words));
                }
            }
        }
        *self = fresh;
        said
    }
}
