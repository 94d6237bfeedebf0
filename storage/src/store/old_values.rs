//! What the program wants to be erased of old values, until the compactor has done it.
//!
//! Nothing of this is on the disk: a program that must be sure asks again after an opening. Erasing
//! twice changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::{Position, TimelineId};

/// The most keys whose old values are erased together.
const MOST_KEYS: usize = 65_536;

/// How far the erasure of old values is, since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OldValuesErased {
    /// The number of calls of [`Reader::erase_old_values`](crate::Reader::erase_old_values) that are done.
    pub calls: u64,
    /// The number of values that were overwritten.
    pub values: u64,
    /// The number of segments that were left as they are, because they are damaged.
    pub damaged: u64,
    /// Whether the store waits for a record, because it seals segments only to go on in the next one.
    pub waits_for_record: bool,
}

/// The keys whose old values are to be erased.
pub(crate) struct Request {
    pub(crate) keys: Vec<TimelineId>,
    /// Values at later positions stay.
    pub(crate) until: Position,
    /// Whether old values leave the runs too.
    pub(crate) purges: bool,
}

/// What is to be erased, and how far that is. One request at a time.
#[derive(Default)]
pub(crate) struct OldValues {
    state: Mutex<State>,
    /// Segments with a base before this position are to be sealed.
    seal_before: AtomicU64,
    /// Whether it rests until the next tick.
    rests: AtomicBool,
}

#[derive(Default)]
struct State {
    request: Option<Arc<Request>>,
    erased: OldValuesErased,
    /// Whether the runs of values are to be merged into one.
    purge: bool,
}

impl OldValues {
    /// Takes a request. Returns the number of calls that are done with it; `None` if another one is under
    /// way, or if there are too many keys.
    pub(crate) fn ask(&self, request: Request) -> Option<u64> {
        let mut state = self.state.lock();
        if state.request.is_some() || request.keys.len() > MOST_KEYS {
            return None;
        }
        state.request = Some(Arc::new(request));
        Some(state.erased.calls + 1)
    }

    pub(crate) fn request(&self) -> Option<Arc<Request>> {
        self.state.lock().request.clone()
    }

    pub(crate) fn has_request(&self) -> bool {
        self.state.lock().request.is_some()
    }

    /// Notes that the request is carried out.
    pub(crate) fn done(&self) {
        let mut state = self.state.lock();
        state.request = None;
        state.erased.calls += 1;
        self.seal_before.store(0, Ordering::Relaxed);
    }

    pub(crate) fn erased(&self) -> OldValuesErased {
        OldValuesErased {
            waits_for_record: self.seal_before.load(Ordering::Relaxed) > 0,
            ..self.state.lock().erased
        }
    }

    /// Counts values that were overwritten.
    pub(crate) fn overwrote(&self, values: usize) {
        self.state.lock().erased.values += values as u64;
    }

    /// Counts a segment that is damaged.
    pub(crate) fn left_out(&self) {
        self.state.lock().erased.damaged += 1;
    }

    /// Lets the writer seal the segments with a base before `position`; 0 for none.
    pub(crate) fn seal_before(&self, position: u64) {
        self.seal_before.store(position, Ordering::Relaxed);
    }

    /// Returns whether the segment at `base` is to be sealed.
    #[inline]
    pub(crate) fn wants_seal(&self, base: u64) -> bool {
        base < self.seal_before.load(Ordering::Relaxed)
    }

    /// Wants the runs of values to be merged into one, or notes that they are.
    pub(crate) fn set_purge(&self, wanted: bool) {
        self.state.lock().purge = wanted;
    }

    pub(crate) fn wants_purge(&self) -> bool {
        self.state.lock().purge
    }

    /// Rests until the next [`go_on`](Self::go_on).
    pub(crate) fn rest(&self) {
        self.rests.store(true, Ordering::Relaxed);
    }

    pub(crate) fn go_on(&self) {
        self.rests.store(false, Ordering::Relaxed);
    }

    pub(crate) fn rests(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }
}
