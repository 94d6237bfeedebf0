//! The compactor: its two threads, and the signals between them.
//!
//! One thread turns the log's oldest segments into runs, the other merges runs. They wait for each
//! other only to put a manifest in force. If there are too many runs to merge
//! ([`MergeRule::in_debt`](merge_rule::MergeRule::in_debt)), no more runs are made. A failed step
//! is tried again after a pause, with new files.

mod ballast;
mod expire;
mod lifetimes;
mod merge_rule;
mod old_values;
mod overwrite;
mod steps;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::run::manifest::Manifest;
use crate::store::condition::{Obstacle, Subsystem};
use crate::store::shared::Shared;
pub(crate) use ballast::NAME as BALLAST;
pub(crate) use lifetimes::Lifetimes;
use steps::Steps;

/// The pause before a failed step is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The shortest time between two refused appends that ask the disk whether there is room again.
const LOOK: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 10 });

/// The longest rest between two steps.
const LONGEST_REST: Duration = Duration::from_millis(10);

/// The settings for making and merging runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CompactionPlan {
    pub(crate) store_id: [u8; 16],
    /// The size of a block in bytes.
    pub(crate) block: usize,
    /// The number of files of a level that are merged into one file of the next level.
    pub(crate) width: usize,
    /// The time in milliseconds after which a redaction is applied even without a regular merge.
    pub(crate) redact_within: u64,
    /// Whether segments become runs with the bodies in them, as in earlier versions.
    #[cfg(test)]
    pub(crate) old_runs: bool,
    /// The size of a segment in bytes.
    pub(crate) segment: u64,
    /// The number of full segments that may wait to become runs before appends wait for them.
    pub(crate) max_waiting: usize,
    /// The lifetimes of the runs.
    pub(crate) lifetimes: Lifetimes,
}

pub(crate) struct Compactor {
    work: Arc<CompactorWork>,
    threads: Vec<JoinHandle<()>>,
}

struct CompactorWork {
    steps: Steps,
    signals: Mutex<Signals>,
    changed: Condvar,
}

/// A task of the compactor's threads.
#[derive(Debug, Clone, Copy)]
enum Task {
    Sort,
    Merge,
}

/// The signals between the threads. Entries are by task.
#[derive(Default)]
struct Signals {
    /// Whether there may be work since the thread last looked.
    due: [bool; 2],
    /// Why the last step failed; `None` if it succeeded.
    failure: [Option<Obstacle>; 2],
    /// When a refused append asked the disk last whether there is room; `None` if none has.
    looked: Option<Instant>,
    /// When an append last waited because there was; `None` if none has.
    hoped: Option<Instant>,
}

impl Compactor {
    /// Makes a compactor that continues from `manifest`. With `background` it runs on its own
    /// threads.
    pub(crate) fn new(
        shared: Arc<Shared>,
        plan: CompactionPlan,
        manifest: Manifest,
        background: bool,
    ) -> io::Result<Self> {
        let work = Arc::new(CompactorWork {
            steps: Steps::new(shared, plan, manifest),
            signals: Mutex::new(Signals {
                due: [true; 2],
                ..Signals::default()
            }),
            changed: Condvar::new(),
        });
        let mut compactor = Compactor {
            work,
            threads: Vec::new(),
        };
        if background {
            // Reads and commits have priority: the segments that may wait can hold a burst. Sorting
            // keeps the waiting segments few, so it has priority over merging.
            for (task, name, steps) in [
                (Task::Sort, "storage-sort", 10),
                (Task::Merge, "storage-merge", 19),
            ] {
                let work = compactor.work.clone();
                let thread = std::thread::Builder::new()
                    .name(name.into())
                    .spawn(move || {
                        yield_to_others(steps);
                        work.run(task);
                    })?;
                compactor.threads.push(thread);
            }
        }
        Ok(compactor)
    }

    /// Notes that a segment is full.
    pub(crate) fn wake(&self) {
        if self.threads.is_empty() {
            self.work.work_off();
        } else {
            self.work.signal(Task::Sort);
        }
    }

    /// Sets the present time in milliseconds. Runs whose lifetime is over are then removed.
    pub(crate) fn tick(&self, now: u64) {
        self.work.steps.now.store(now, Ordering::Release);
        self.work.steps.shared.old_values.go_on();
        if self.threads.is_empty() {
            self.work.work_off();
        } else {
            self.work.signal(Task::Merge);
            let shared = &self.work.steps.shared;
            let redacts = shared.index.read().redactions().has_waiting();
            if redacts || shared.erasures.has_records() || shared.old_values.has_request() {
                self.work.signal(Task::Sort);
            }
        }
    }

    /// Waits until fewer than `max` full segments wait to become runs. The error says why no
    /// segment will become runs for now. A full disk that has room again is no reason: the steps
    /// that failed are tried at once.
    pub(crate) fn admit(&self, max: usize) -> Result<(), Obstacle> {
        let work = &*self.work;
        let behind = || work.steps.shared.waiting_segments() >= max;
        if self.threads.is_empty() && behind() {
            work.work_off();
        }
        let mut signals = work.signals.lock();
        let mut waits = false;
        while behind() {
            if let Some(obstacle) = work.obstacle(&signals)
                && (self.threads.is_empty() || !work.has_hope(&mut signals, &obstacle))
            {
                return Err(obstacle);
            }
            if !std::mem::replace(&mut waits, true) {
                work.steps.shared.counters.waited();
            }
            work.changed.wait_for(&mut signals, RETRY);
        }
        Ok(())
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        {
            let _signals = self.work.signals.lock();
            self.work.steps.stopping.store(true, Ordering::Release);
            self.work.changed.notify_all();
        }
        for thread in self.threads.drain(..) {
            // The panic of that thread has been printed already.
            let _ = thread.join();
        }
    }
}

/// Lowers the priority of this thread by `steps`, if the system allows it. On Linux each thread has
/// its own priority.
fn yield_to_others(steps: i32) {
    #[cfg(target_os = "linux")]
    {
        let own = Some(rustix::thread::gettid());
        if let Ok(nice) = rustix::process::getpriority_process(own) {
            let _ = rustix::process::setpriority_process(own, nice + steps);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = steps;
}

impl CompactorWork {
    fn run(&self, task: Task) {
        while self.next(task) {
            let mut begun = Instant::now();
            while self.step(task) {
                self.rest(begun.elapsed());
                begun = Instant::now();
            }
        }
    }

    /// Leaves disk and processor to the commits for as long as a step took, unless segments wait that an
    /// append may soon wait for.
    fn rest(&self, worked: Duration) {
        let steps = &self.steps;
        let is_urgent = 2 * steps.shared.waiting_segments() >= steps.plan.max_waiting;
        if !is_urgent && !steps.stopping.load(Ordering::Acquire) {
            std::thread::sleep(worked.min(LONGEST_REST));
        }
    }

    /// Waits until there may be work. Returns `false` when the store closes.
    fn next(&self, task: Task) -> bool {
        let mut signals = self.signals.lock();
        let retry = Instant::now() + RETRY;
        loop {
            if self.steps.stopping.load(Ordering::Acquire) {
                return false;
            }
            if std::mem::take(&mut signals.due[task as usize]) {
                return true;
            }
            if signals.failure[task as usize].is_none() {
                self.changed.wait(&mut signals);
            } else if self.changed.wait_until(&mut signals, retry).timed_out() {
                return true;
            }
        }
    }

    fn signal(&self, task: Task) {
        self.signals.lock().due[task as usize] = true;
        self.changed.notify_all();
    }

    /// Returns why no segment will become runs for now.
    fn obstacle(&self, signals: &Signals) -> Option<Obstacle> {
        let [sort, merge] = &signals.failure;
        let poison = || {
            self.steps.shared.poisoned().map(|reason| Obstacle {
                full: false,
                reason: reason.into(),
            })
        };
        let held_up = || merge.clone().filter(|_| self.steps.in_debt());
        sort.clone().or_else(poison).or_else(held_up)
    }

    /// Returns whether the disk was full and has room again for a segment and its runs. The threads try at once
    /// then. If it does not help, such as beyond a quota, there is no hope before they would try by themselves.
    fn has_hope(&self, signals: &mut Signals, obstacle: &Obstacle) -> bool {
        let is_recent = |at: Option<Instant>, time| at.is_some_and(|at| at.elapsed() < time);
        if !obstacle.full || is_recent(signals.looked, LOOK) || is_recent(signals.hoped, RETRY) {
            return false;
        }
        signals.looked = Some(Instant::now());
        let free = self.steps.shared.backend.free_bytes();
        if free.map_or(true, |free| free < 2 * self.steps.plan.segment) {
            return false;
        }
        signals.hoped = Some(Instant::now());
        signals.failure = Default::default();
        signals.due = [true; 2];
        self.changed.notify_all();
        true
    }

    /// Does one step of a task. Returns whether there may be another step.
    fn step(&self, task: Task) -> bool {
        if self.steps.is_over() {
            return false;
        }
        let done = match task {
            Task::Sort => self.steps.sort(),
            Task::Merge => self.steps.merge(),
        };
        let again = matches!(done, Ok(true));
        let failure = match done {
            Ok(_) => None,
            // The store is closing.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return false,
            Err(error) => {
                self.steps.shared.run_failed(error.to_string());
                Some(Obstacle::of("the log cannot be made into runs", &error))
            }
        };
        let shared = &self.steps.shared;
        if shared.condition.obstacle_now(Subsystem::Runs).is_some() {
            // Wakes an append that waits for this step.
            if shared.waiting_segments() < self.steps.plan.max_waiting {
                shared.condition.set(Subsystem::Runs, None);
            } else if let Some(obstacle) = &failure {
                shared
                    .condition
                    .set(Subsystem::Runs, Some(obstacle.clone()));
            }
        }
        // Before the lock, which each commit takes while a segment waits: this thread has a low
        // priority.
        shared.counters.merges_due(self.steps.merge_due_bytes());
        let mut signals = self.signals.lock();
        signals.failure[task as usize] = failure;
        if !again && signals.failure.iter().all(Option::is_none) {
            self.steps.shared.runs_settled();
        }
        if again {
            // The other task may have work now: more runs may be enough to merge, and fewer runs
            // may allow new ones.
            let other = match task {
                Task::Sort => Task::Merge,
                Task::Merge => Task::Sort,
            };
            signals.due[other as usize] = true;
        }
        self.changed.notify_all();
        again
    }

    /// Does all work that is possible, in a fixed order.
    fn work_off(&self) {
        while self.step(Task::Sort) || self.step(Task::Merge) {}
    }
}
