//! The preparer: makes the next segment ready before the writer needs it.
//!
//! It prepares at most one segment ahead. The writer orders the segment when it begins to use the
//! one before. So there is as much time to prepare 64 MiB as the writer needs to fill 64 MiB.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::log::segment::{Segment, SegmentFactory};
use crate::store::condition::{Obstacle, Subsystem, mib};
use crate::store::shared::Shared;

/// The first pause before a failed attempt is repeated. Each further pause is twice as long, unless nothing was
/// written: a disk that reports no room costs nothing to ask.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(4);

/// The shortest time between two refused appends that ask the disk whether there is room again.
const LOOK: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 10 });

/// The longest rest between two pieces of a segment. A segment of 64 MiB has 256 pieces.
const LONGEST_REST: Duration = Duration::from_millis(10);

pub(crate) struct Preparer {
    work: Arc<PrepareWork>,
    thread: Option<JoinHandle<()>>,
}

struct PrepareWork {
    factory: SegmentFactory,
    shared: Arc<Shared>,
    reserve: u64,
    slot: Mutex<NextSegment>,
    changed: Condvar,
    stopping: AtomicBool,
    /// Whether the writer waits for the segment that is being prepared.
    is_awaited: AtomicBool,
    /// Whether a thread of its own prepares segments.
    is_background: bool,
}

enum NextSegment {
    /// No segment is ordered.
    Idle,
    /// The segment at this base must be prepared.
    Wanted(u64),
    /// The segment at this base cannot be prepared for now.
    Obstructed(u64, Setback),
    Ready(Arc<Segment>),
}

/// A failed attempt to prepare a segment.
struct Setback {
    obstacle: Obstacle,
    /// Whether nothing was written, so that another attempt costs nothing.
    cheap: bool,
    /// The pause before the next attempt.
    pause: Duration,
    /// When a refused append asked the disk last; `None` if none has.
    looked: Option<Instant>,
}

impl Preparer {
    /// Makes a preparer with the prepared segment `ready`, if there is one. With `background` it
    /// runs on its own thread.
    pub(crate) fn new(
        factory: SegmentFactory,
        shared: Arc<Shared>,
        reserve: u64,
        ready: Option<Arc<Segment>>,
        background: bool,
    ) -> io::Result<Self> {
        let work = Arc::new(PrepareWork {
            factory,
            shared,
            reserve,
            slot: Mutex::new(ready.map_or(NextSegment::Idle, NextSegment::Ready)),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
            is_background: background,
        });
        let thread = if background {
            let work = work.clone();
            let name = "storage-prepare".to_owned();
            Some(
                std::thread::Builder::new()
                    .name(name)
                    .spawn(move || work.run())?,
            )
        } else {
            None
        };
        Ok(Preparer { work, thread })
    }

    /// Orders the segment at `base`, unless it is already prepared.
    pub(crate) fn order(&self, base: u64) {
        let mut slot = self.work.slot.lock();
        if matches!(*slot, NextSegment::Idle) {
            *slot = NextSegment::Wanted(base);
            self.work.changed.notify_all();
        }
    }

    /// Returns whether [`take`](Self::take) returns a segment at once. Without a thread the attempt to make
    /// it is not known yet.
    pub(crate) fn is_ready(&self) -> bool {
        match *self.work.slot.lock() {
            NextSegment::Ready(_) => true,
            NextSegment::Wanted(_) => self.thread.is_none(),
            NextSegment::Idle | NextSegment::Obstructed(..) => false,
        }
    }

    /// Returns the segment that was ordered last. Waits while it is being prepared. The error has
    /// the reason why there is none for now; a later call may succeed.
    pub(crate) fn take(&self) -> Result<Arc<Segment>, Obstacle> {
        let mut slot = self.work.slot.lock();
        loop {
            if self.thread.is_some() {
                self.work.look_again(&mut slot);
            }
            match &*slot {
                NextSegment::Ready(segment) => {
                    let segment = segment.clone();
                    *slot = NextSegment::Idle;
                    return Ok(segment);
                }
                // The writer orders it when it takes the segment before it.
                NextSegment::Idle => {
                    return Err(Obstacle {
                        full: false,
                        reason: "no segment was ordered".into(),
                    });
                }
                &NextSegment::Wanted(base) if self.thread.is_none() => {
                    self.work.settle(&mut slot, base, self.work.attempt(base));
                }
                NextSegment::Wanted(_) => self.work.wait(&mut slot),
                NextSegment::Obstructed(_, setback) => {
                    let obstacle = setback.obstacle.clone();
                    let condition = &self.work.shared.condition;
                    condition.set(Subsystem::Segment, Some(obstacle.clone()));
                    return Err(obstacle);
                }
            }
        }
    }

    /// Tries again to prepare the segment. Each refused append calls this. Where nothing was written, it asks the
    /// disk, and waits for the segment if there is room again: the append that comes then is not refused.
    pub(crate) fn retry(&self) -> Result<(), Obstacle> {
        let mut slot = self.work.slot.lock();
        if self.thread.is_some() {
            self.work.look_again(&mut slot);
        } else if let &NextSegment::Obstructed(base, _) = &*slot {
            self.work.settle(&mut slot, base, self.work.attempt(base));
        }
        while matches!(*slot, NextSegment::Wanted(_)) && self.thread.is_some() {
            self.work.wait(&mut slot);
        }
        match &*slot {
            NextSegment::Obstructed(_, setback) => Err(setback.obstacle.clone()),
            _ => Ok(()),
        }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        {
            let _slot = self.work.slot.lock();
            self.work.stopping.store(true, Ordering::Release);
            self.work.changed.notify_all();
        }
        if let Some(thread) = self.thread.take() {
            // The panic of that thread has been printed already.
            let _ = thread.join();
        }
    }
}

impl PrepareWork {
    /// Waits until the thread has tried to prepare the segment that is wanted, or for less.
    fn wait(&self, slot: &mut MutexGuard<'_, NextSegment>) {
        self.is_awaited.store(true, Ordering::Relaxed);
        self.changed.wait(slot);
        self.is_awaited.store(false, Ordering::Relaxed);
    }

    /// Wants the segment again if there was no room for it, and is now.
    fn look_again(&self, slot: &mut NextSegment) {
        if let NextSegment::Obstructed(base, setback) = slot
            && setback.cheap
            && setback.looked.is_none_or(|at| at.elapsed() >= LOOK)
        {
            setback.looked = Some(Instant::now());
            if self.look().is_ok() {
                *slot = NextSegment::Wanted(*base);
                self.changed.notify_all();
            }
        }
    }

    fn run(&self) {
        let mut slot = self.slot.lock();
        while !self.stopping.load(Ordering::Acquire) {
            let base = match &*slot {
                NextSegment::Wanted(base) => *base,
                NextSegment::Obstructed(base, setback) => {
                    let (base, pause) = (*base, setback.pause);
                    self.changed.wait_for(&mut slot, pause);
                    if self.stopping.load(Ordering::Acquire) {
                        return;
                    }
                    if let NextSegment::Obstructed(_, setback) = &*slot
                        && setback.cheap
                    {
                        // Appends wait for the segment from here on: what it takes already would look like a full disk.
                        match self.look() {
                            Ok(()) => *slot = NextSegment::Wanted(base),
                            Err(obstacle) => {
                                self.settle(&mut slot, base, Err((obstacle, true)));
                                self.changed.notify_all();
                                continue;
                            }
                        }
                    }
                    base
                }
                NextSegment::Idle | NextSegment::Ready(_) => {
                    self.changed.wait(&mut slot);
                    continue;
                }
            };
            drop(slot);
            let outcome = self.attempt(base);
            slot = self.slot.lock();
            self.settle(&mut slot, base, outcome);
            self.changed.notify_all();
        }
    }

    /// Stores the result of an attempt. The obstacle changes only under the slot's lock, so both
    /// agree.
    fn settle(
        &self,
        slot: &mut NextSegment,
        base: u64,
        outcome: Result<Segment, (Obstacle, bool)>,
    ) {
        let condition = &self.shared.condition;
        let next = match outcome {
            Ok(segment) => {
                condition.set(Subsystem::Segment, None);
                condition.set_ahead(None);
                NextSegment::Ready(Arc::new(segment))
            }
            Err((obstacle, cheap)) => {
                condition.set_ahead(Some(obstacle.clone()));
                if condition.obstacle(Subsystem::Segment).is_some() {
                    condition.set(Subsystem::Segment, Some(obstacle.clone()));
                }
                let before = match slot {
                    NextSegment::Obstructed(_, setback) => Some(setback),
                    _ => None,
                };
                let pause = match &before {
                    Some(before) if !cheap => (2 * before.pause).min(LAST_RETRY),
                    _ => FIRST_RETRY,
                };
                let setback = Setback {
                    obstacle,
                    cheap,
                    pause,
                    looked: before.and_then(|before| before.looked),
                };
                NextSegment::Obstructed(base, setback)
            }
        };
        *slot = next;
    }

    /// Prepares the segment at `base`, if the disk has room for it and for the reserve. The error
    /// also says whether nothing was written.
    fn attempt(&self, base: u64) -> Result<Segment, (Obstacle, bool)> {
        self.look().map_err(|obstacle| (obstacle, true))?;
        let made = if self.is_background {
            let rest = |worked| self.rest(worked);
            self.factory.create_in_pieces(base, &rest)
        } else {
            self.factory.create(base)
        };
        made.map_err(|error| (Obstacle::of(&self.what(), &error), false))
    }

    /// Asks the disk whether it has room for a segment and for the reserve. Writes nothing.
    fn look(&self) -> Result<(), Obstacle> {
        let lost = |error: io::Error| {
            let reason = error.to_string();
            Obstacle {
                full: false,
                reason,
            }
        };
        self.shared.check_folder().map_err(lost)?;
        let (what, size) = (self.what(), self.factory.size);
        let free = self.factory.backend.free_bytes();
        let free = free.map_err(|error| Obstacle::of(&what, &error))?;
        if free < size.saturating_add(self.reserve) {
            let reason = format!(
                "{what}: {} are free; the segment takes {}, and {} are to stay free",
                mib(free),
                mib(size),
                mib(self.reserve)
            );
            return Err(Obstacle { full: true, reason });
        }
        Ok(())
    }

    /// Returns what failed, for an error.
    fn what(&self) -> String {
        let folder = self.factory.backend.path("");
        format!("{}: cannot prepare the next segment", folder.display())
    }

    /// Leaves the disk to the commits for as long as it worked for this thread, unless the writer
    /// waits for this thread.
    fn rest(&self, worked: Duration) {
        let is_urgent = self.is_awaited.load(Ordering::Relaxed);
        if !is_urgent && !self.stopping.load(Ordering::Acquire) {
            std::thread::sleep(worked.min(LONGEST_REST));
        }
    }
}
