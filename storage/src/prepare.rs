//! The preparer: has the next segment ready before the writer needs it.
//!
//! At most one segment is prepared ahead. The writer asks for it when it begins to use the one
//! before, so preparing 64 MiB has as long as filling 64 MiB takes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::backend;
use crate::segment::{Segment, SegmentFactory};
use crate::shared::Shared;

/// How often a full disk is looked at again without an append asking.
const RETRY: Duration = Duration::from_secs(1);

/// Why there is no next segment.
#[derive(Debug)]
pub(crate) enum PrepareError {
    /// The disk's soft mark is reached; a later call may succeed.
    Full,
    /// The file system failed; every later call fails too.
    Failed(String),
}

pub(crate) struct Preparer {
    work: Arc<Work>,
    thread: Option<JoinHandle<()>>,
}

struct Work {
    factory: SegmentFactory,
    shared: Arc<Shared>,
    reserve: u64,
    slot: Mutex<Slot>,
    changed: Condvar,
    stopping: AtomicBool,
}

enum Slot {
    /// Nothing to do.
    Idle,
    /// The segment at this base is to be prepared.
    Wanted(u64),
    /// It could not be prepared for want of space.
    Full(u64),
    Ready(Arc<Segment>),
    Failed(String),
}

impl Preparer {
    /// A preparer with `ready` in stock, if there is one, on a thread of its own if `background`.
    pub(crate) fn new(
        factory: SegmentFactory,
        shared: Arc<Shared>,
        reserve: u64,
        ready: Option<Arc<Segment>>,
        background: bool,
    ) -> io::Result<Self> {
        let work = Arc::new(Work {
            factory,
            shared,
            reserve,
            slot: Mutex::new(ready.map_or(Slot::Idle, Slot::Ready)),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
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

    /// Orders the segment at `base`, unless it is in stock.
    pub(crate) fn order(&self, base: u64) {
        let mut slot = self.work.slot.lock();
        if matches!(*slot, Slot::Idle) {
            *slot = Slot::Wanted(base);
            self.work.changed.notify_all();
        }
    }

    /// Hands over the segment ordered last; waits for it if it is still being prepared.
    pub(crate) fn take(&self) -> Result<Arc<Segment>, PrepareError> {
        let mut slot = self.work.slot.lock();
        loop {
            match &*slot {
                Slot::Ready(segment) => {
                    let segment = segment.clone();
                    *slot = Slot::Idle;
                    return Ok(segment);
                }
                Slot::Failed(reason) => return Err(PrepareError::Failed(reason.clone())),
                Slot::Idle => return Err(PrepareError::Failed("no segment was ordered".into())),
                &Slot::Wanted(base) if self.thread.is_none() => {
                    self.work.settle(&mut slot, self.work.attempt(base));
                }
                Slot::Wanted(_) => self.work.changed.wait(&mut slot),
                Slot::Full(_) => {
                    self.work.shared.full.store(true, Ordering::Release);
                    return Err(PrepareError::Full);
                }
            }
        }
    }

    /// Looks again whether a full disk has space; asked for by each refused append.
    pub(crate) fn retry(&self) -> Result<(), PrepareError> {
        let mut slot = self.work.slot.lock();
        if let Slot::Full(base) = *slot {
            if self.thread.is_some() {
                self.work.changed.notify_all();
                return Err(PrepareError::Full);
            }
            self.work.settle(&mut slot, self.work.attempt(base));
        }
        match &*slot {
            Slot::Full(_) => Err(PrepareError::Full),
            Slot::Failed(reason) => Err(PrepareError::Failed(reason.clone())),
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
            // A panic there has been printed already.
            let _ = thread.join();
        }
    }
}

impl Work {
    fn run(&self) {
        let mut slot = self.slot.lock();
        while !self.stopping.load(Ordering::Acquire) {
            let base = match *slot {
                Slot::Wanted(base) => base,
                Slot::Full(base) => {
                    self.changed.wait_for(&mut slot, RETRY);
                    if self.stopping.load(Ordering::Acquire) {
                        return;
                    }
                    base
                }
                _ => {
                    self.changed.wait(&mut slot);
                    continue;
                }
            };
            drop(slot);
            let result = self.attempt(base);
            slot = self.slot.lock();
            self.settle(&mut slot, result);
            self.changed.notify_all();
        }
    }

    /// Stores the outcome of an attempt. The mark "full" changes only under the slot's lock, so
    /// that it agrees with the slot.
    fn settle(&self, slot: &mut Slot, outcome: Slot) {
        if matches!(outcome, Slot::Ready(_)) {
            self.shared.full.store(false, Ordering::Release);
        }
        *slot = outcome;
    }

    /// Prepares the segment at `base`, if the disk has room for it and the reserve.
    fn attempt(&self, base: u64) -> Slot {
        let room = self.factory.size.saturating_add(self.reserve);
        let made = match self.factory.backend.free_bytes() {
            Ok(free) if free < room => return Slot::Full(base),
            Ok(_) => self.factory.create(base),
            Err(error) => Err(error),
        };
        match made {
            Ok(segment) => Slot::Ready(Arc::new(segment)),
            Err(error) if backend::is_full(&error) => Slot::Full(base),
            Err(error) => Slot::Failed(format!(
                "{}: cannot prepare the next segment: {error}",
                self.factory.backend.path("").display()
            )),
        }
    }
}
