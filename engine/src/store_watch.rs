//! The log of the store: one line for each change of how it is.
//!
//! A thread of its own looks a few times a second, so that neither the sequencer nor a shard
//! writes to the log because of the disk. The store's own threads do not know of logs.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{self, RecvTimeoutError, Sender};
use trunkline_storage::{Health, Reader};

use crate::control::Condition;

/// How often it looks. What comes and goes in less is not told.
const PERIOD: Duration = Duration::from_millis(250);

/// The thread that writes the log of the store.
pub(crate) struct StoreWatch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl StoreWatch {
    /// Starts it, with the figures that its lines name.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(store: Reader, data: PathBuf, reserve: u64) -> std::io::Result<Self> {
        let (stop, stopped) = channel::bounded::<()>(1);
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
                if over {
                    return;
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Looks once more and ends.
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
                "the next segment of the log is ready: messages go on"
            ),
            _ => {}
        }
        match (&self.known.run_failure, &now.run_failure) {
            (None, Some(reason)) => tracing::warn!(
                %reason,
                "the log cannot be made into runs and grows; tried again every second"
            ),
            (Some(_), None) => tracing::info!("the log is made into runs again"),
            _ => {}
        }
        self.known = now;
    }

    /// Bytes that are free; 0 where that cannot be told.
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
                "the store lacks something: nothing is stored until it is there; it is tried \
                 again all the time"
            ),
            Health::Lost { reason } => tracing::error!(
                %reason, %data,
                "the store was taken away: nothing is stored until it is back"
            ),
            Health::Poisoned { reason } => tracing::error!(
                %reason, %data,
                "the store failed: nothing is stored until a restart; look at the disk first"
            ),
        }
    }

    fn ahead(&self, reason: &str) {
        tracing::warn!(
            reason,
            data = %self.data.display(),
            free_bytes = self.free(),
            reserve_bytes = self.reserve,
            "there is no next segment of the log: messages are refused once the one in use is \
             full; free space, or lower store_reserve"
        );
    }
}

/// Whether it is another state, or another reason of one that needs a person. The reasons of
/// others have figures that change all the time.
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
