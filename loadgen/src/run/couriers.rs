//! The thread of an agent's courier.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use crate::client::{self, CourierJob, Loop};
use crate::clock::Clock;
use crate::couriers::CourierReport;
use crate::exit::{Failure, Outcome};

/// The courier of an agent; without a thread if it has nobody to write to.
#[derive(Debug)]
pub(super) struct Courier(Option<JoinHandle<Outcome<CourierReport>>>);

impl Courier {
    /// Makes its event loop, before any descriptor table is a thread's own.
    ///
    /// # Errors
    /// No descriptors are left (exit 94).
    pub(super) fn event_loop() -> Outcome<Loop> {
        Loop::new().map_err(|why| {
            Failure::preflight(format!(
                "cannot create an event loop (epoll_create1): {why}; raise the descriptor limit (ulimit -n)"
            ))
        })
    }

    /// Starts its thread, with the clock of the run; `stop` ends it early.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(
        job: Option<CourierJob>,
        event_loop: Loop,
        clock: Clock,
        stop: &Arc<AtomicBool>,
    ) -> Outcome<Self> {
        let Some(job) = job else {
            return Ok(Self(None));
        };
        let (job, stop) = (CourierJob { clock, ..job }, Arc::clone(stop));
        let thread = std::thread::Builder::new()
            .name("courier".into())
            .spawn(move || client::run_courier(job, event_loop, &stop));
        let thread =
            thread.map_err(|why| Failure::aborted(format!("cannot start a thread: {why}")))?;
        Ok(Self(Some(thread)))
    }

    /// Returns whether the thread has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the thread. Returns what the courier did.
    ///
    /// # Errors
    /// The thread failed.
    pub(super) fn join(self) -> Outcome<Option<CourierReport>> {
        let ended = self.0.map(JoinHandle::join).transpose();
        let ended = ended.map_err(|_| Failure::aborted("the thread of the courier panicked"))?;
        ended.transpose()
    }
}
