//! The generator threads of a run on this machine.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use super::jobs::Crew;
use crate::client::{self, Job, Loop, Measured};
use crate::clock::Clock;
use crate::exit::{Failure, Outcome};

/// The threads that play a run, each with its connections.
#[derive(Debug)]
pub(super) struct Workers(Vec<JoinHandle<Outcome<Measured>>>);

impl Workers {
    /// Makes the event loops of all threads, before the first thread has a descriptor table of its own: a
    /// loop that is made later is made in one thread's table only.
    ///
    /// # Errors
    /// No descriptors are left (exit 94).
    pub(super) fn loops(crew: &Crew<'_>) -> Outcome<Vec<Loop>> {
        let loops = (0..crew.threads()).map(|_| Loop::new());
        loops.collect::<std::io::Result<_>>().map_err(|why| {
            Failure::preflight(format!(
                "cannot create an event loop (epoll_create1): {why}; raise the descriptor limit (ulimit -n)"
            ))
        })
    }

    /// Starts a thread for each job, with the clock of the run; `stop` ends them early.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(
        jobs: impl IntoIterator<Item = Job>,
        loops: Vec<Loop>,
        clock: Clock,
        stop: &Arc<AtomicBool>,
    ) -> Outcome<Self> {
        let mut workers = Vec::new();
        for (job, event_loop) in jobs.into_iter().zip(loops) {
            let (thread, job) = (job.thread, Job { clock, ..job });
            let stop = Arc::clone(stop);
            let worker = std::thread::Builder::new()
                .name(format!("client-{thread}"))
                .spawn(move || client::run(job, event_loop, &stop))
                .map_err(|why| Failure::aborted(format!("cannot start a thread: {why}")))?;
            workers.push(worker);
        }
        Ok(Self(workers))
    }

    /// Returns whether all threads have ended.
    pub(super) fn are_finished(&self) -> bool {
        self.0.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the threads. Returns what each measured.
    ///
    /// # Errors
    /// A thread failed.
    pub(super) fn join(self) -> Outcome<Vec<Measured>> {
        let joined = self.0.into_iter().map(JoinHandle::join);
        joined
            .map(|ended| ended.map_err(|_| Failure::aborted("a thread panicked"))?)
            .collect()
    }
}
