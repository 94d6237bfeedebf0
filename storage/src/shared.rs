//! What the writer, its helper threads and all readers of a store share.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use crate::StoreKey;
use crate::backend::{Backend, Lock};
use crate::batch::Batch;
use crate::error::CommitError;
use crate::index::Index;
use crate::segment::Segment;
use crate::stats::Counters;

pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) key: StoreKey,
    /// Segments with visible records, by ascending base.
    pub(crate) segments: RwLock<Vec<Arc<Segment>>>,
    /// Locked for writing once per commit; readers copy positions out and let go before they
    /// touch a file.
    pub(crate) index: RwLock<Index>,
    /// Position of the last visible record.
    pub(crate) head: AtomicU64,
    /// End of what is on disk.
    durable: AtomicU64,
    /// The first failure; set once and never cleared.
    poison: OnceLock<String>,
    /// Appends are refused for want of space.
    pub(crate) full: AtomicBool,
    pub(crate) counters: Counters,
    /// Held until the last reader is gone: a new opening may cut and remove files.
    _lock: Box<dyn Lock>,
}

impl Shared {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        lock: Box<dyn Lock>,
        key: StoreKey,
        log: (Vec<Arc<Segment>>, Index),
        head: u64,
        durable: u64,
    ) -> Self {
        Shared {
            backend,
            key,
            segments: RwLock::new(log.0),
            index: RwLock::new(log.1),
            head: AtomicU64::new(head),
            durable: AtomicU64::new(durable),
            poison: OnceLock::new(),
            full: AtomicBool::new(false),
            counters: Counters::default(),
            _lock: lock,
        }
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Notes that everything before `end` is on disk.
    pub(crate) fn raise_durable(&self, end: u64) {
        self.durable.fetch_max(end, Ordering::AcqRel);
    }

    pub(crate) fn poisoned(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    /// Stops all appends for good.
    pub(crate) fn poison(&self, reason: String) {
        // Of two failures the first one counts.
        let _ = self.poison.set(reason);
    }

    /// Stops all appends for good, and makes the error that says so.
    pub(crate) fn fail(&self, name: &str, action: &'static str, source: io::Error) -> CommitError {
        let error = CommitError::Io {
            file: self.backend.path(name),
            action,
            source,
        };
        self.poison(error.to_string());
        error
    }

    /// Makes a written batch visible: all of it at once.
    pub(crate) fn publish(&self, batch: &Batch) {
        {
            let mut segments = self.segments.write();
            for (segment, ..) in batch.writes() {
                if segments.last().is_none_or(|last| last.base < segment.base) {
                    segments.push(segment.clone());
                }
            }
        }
        let mut index = self.index.write();
        let mut states = batch.states().iter().copied().peekable();
        for record in batch.records() {
            while let Some((key, position)) = states.next_if(|state| state.1 < record.position.0) {
                index.set_state(key, position);
            }
            index.insert(&record);
        }
        for (key, position) in states {
            index.set_state(key, position);
        }
        // Under the index's lock: a reader that finds an entry there also finds it at or before
        // the head.
        if !batch.is_empty() {
            self.head.store(batch.last().0, Ordering::Release);
        }
    }

    /// The segment that `position` lies in.
    pub(crate) fn segment_of(&self, position: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let after = segments.partition_point(|segment| segment.base <= position);
        segments
            .get(after.checked_sub(1)?)
            .filter(|segment| position < segment.end())
            .cloned()
    }

    /// Position that everything kept comes after.
    pub(crate) fn floor(&self) -> u64 {
        self.segments
            .read()
            .first()
            .map_or(0, |segment| segment.base)
    }
}
