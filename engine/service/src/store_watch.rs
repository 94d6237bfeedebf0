//! The log of the store: one line for each change of its condition.
//!
//! A separate thread looks a few times a second. So neither the sequencer nor a shard writes log
//! lines about the disk, and the store needs no log.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{self, RecvTimeoutError, Sender};
use trunkline_core::metrics::Counter;
use trunkline_storage::{Health, Reader};

use crate::control::Condition;

/// The time between two looks. A condition that comes and goes between them is not logged.
const PERIOD: Duration = Duration::from_millis(250);

/// The thread that logs the condition of the store.
pub(crate) struct StoreWatch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
    /// The free space of the disk in bytes, as of the last look.
    free: Arc<Counter>,
}

impl StoreWatch {
    /// Starts the thread. Its lines name the folder `data` and the setting `reserve`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(store: Reader, data: PathBuf, reserve: u64) -> std::io::Result<Self> {
        let (stop, stopped) = channel::bounded::<()>(1);
        // Whoever asks for the metrics waits for no disk.
        let free = Arc::new(Counter::default());
        free.set(store.free_bytes().unwrap_or(0));
        let shown = Arc::clone(&free);
        let thread = std::thread::Builder::new().name("store-watch".into());
        let thread = thread.spawn(move || {
            let mut log = Log {
                store,
                data,
                reserve,
                known: Condition {
                    health: Health::Ok,
                    run_failure: None,
                    ahead: None,
                },
            };
            loop {
                let over = stopped.recv_timeout(PERIOD) != Err(RecvTimeoutError::Timeout);
                log.look();
                shown.set(log.free());
                if over {
                    return;
                }
            }
        })?;
        Ok(Self { stop, thread, free })
    }

    /// Returns the free space of the disk in bytes, as the thread last saw it; 0 if it is unknown.
    pub(crate) fn free(&self) -> Arc<Counter> {
        Arc::clone(&self.free)
    }

    /// Looks at the store once more and ends the thread.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that watches the store panicked");
        }
    }
}

struct Log {
    store: Reader,
    data: PathBuf,
    reserve: u64,
    known: Condition,
}

impl Log {
    fn look(&mut self) {
        for notice in self.store.take_notices() {
            tracing::warn!("{notice}");
        }
        let now = Condition::of(&self.store);
        if changed(&self.known.health, &now.health) {
            self.health(&now.health);
        }
        match (&self.known.ahead, &now.ahead) {
            (None, Some(reason)) => self.ahead(reason),
            (Some(_), None) => tracing::info!(
                free_bytes = self.free(),
                "the next segment of the log is ready: messages are taken as before"
            ),
            _ => {}
        }
        match (&self.known.run_failure, &now.run_failure) {
            (None, Some(reason)) => tracing::warn!(
                %reason,
                "the store cannot make runs of the log, which grows meanwhile; it tries again every second"
            ),
            (Some(_), None) => tracing::info!("the store makes runs of the log again"),
            _ => {}
        }
        self.known = now;
    }

    /// Returns the free space of the disk in bytes; 0 if it is unknown.
    fn free(&self) -> u64 {
        self.store.free_bytes().unwrap_or(0)
    }

    fn health(&self, health: &Health) {
        let data = self.data.display();
        let (free_bytes, reserve_bytes) = (self.free(), self.reserve);
        match health {
            Health::Ok => tracing::info!(
                %data, free_bytes, reserve_bytes, "the store takes messages again"
            ),
            Health::Full { reason } => tracing::error!(
                %reason, %data, free_bytes, reserve_bytes,
                "the disk is full: nothing is stored until there is room; free space, give \
                 the folder a larger disk, or lower store_reserve"
            ),
            Health::Short { reason } => tracing::error!(
                %reason, %data, free_bytes,
                "the store cannot write: nothing is stored until the reason is gone; it tries again all the time"
            ),
            Health::Lost { reason } => tracing::error!(
                %reason, %data,
                "the store's folder is missing: nothing is stored until it is back"
            ),
            Health::Poisoned { reason } => tracing::error!(
                %reason, %data,
                "the store failed: nothing is stored until the gateway is restarted; check the disk first"
            ),
        }
    }

    fn ahead(&self, reason: &str) {
        tracing::warn!(
            reason,
            data = %self.data.display(),
            free_bytes = self.free(),
            reserve_bytes = self.reserve,
            "the store cannot make the next segment of the log: messages are refused once the segment in use is full; free space, or lower store_reserve"
        );
    }
}

/// Returns whether the state changed, or the reason of a state that needs a person. The reasons of
/// other states hold figures that change all the time.
fn changed(known: &Health, now: &Health) -> bool {
    match (known, now) {
        (Health::Lost { reason: known }, Health::Lost { reason: now }) => known != now,
        _ => std::mem::discriminant(known) != std::mem::discriminant(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_once_and_each_way_of_being_lost() {
        let full = |reason: &str| Health::Full {
            reason: reason.into(),
        };
        let lost = |reason: &str| Health::Lost {
            reason: reason.into(),
        };
        assert!(!changed(&Health::Ok, &Health::Ok));
        assert!(changed(&Health::Ok, &full("1 MiB")) && changed(&full("1 MiB"), &Health::Ok));
        assert!(!changed(&full("1 MiB"), &full("2 MiB")));
        assert!(changed(&full("1 MiB"), &lost("moved")));
        assert!(changed(&lost("moved"), &lost("replaced")) && !changed(&lost("x"), &lost("x")));
    }
}
