//! Slices of long look-ups.
//!
//! A list of ten thousand members takes far longer than a page of messages. A reader that wrote it
//! in one piece would keep everybody else waiting. So the look-ups of long lists are futures that
//! stop after each [`SLICE`] of work or of time; the reader then goes on with other jobs. The
//! futures wait for nothing but their turn.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use trunkline_proto::message::ReplyBody;

use super::{Answer, Failure, Finding};
use crate::cost::Cost;
use crate::fit::Cut;

/// The work after which a long look-up lets other jobs go first.
pub(crate) const SLICE: Cost = Cost::micros(100);

/// The work after which a reader offers its core to other threads.
pub(crate) const YIELD: Cost = Cost::micros(100);

/// The result of a look-up for a query.
pub(crate) enum LookedUp<'r> {
    /// The answer to a connection that catches up.
    Answer(Box<Answer>),
    /// The reply, and how to shorten it if it does not fit into a message.
    Reply(Box<ReplyBody<'r>>, Cut),
    /// Data with which the asker carries out the command itself.
    Finding(Finding),
}

/// The result of a long look-up.
pub(crate) type LongReply = Result<LookedUp<'static>, Failure>;

/// A look-up that a reader has begun and does in slices.
pub(crate) struct LongLookUp {
    rest: Pin<Box<dyn Future<Output = LongReply> + Send>>,
    meter: Arc<Meter>,
}

impl LongLookUp {
    /// Returns a look-up that does nothing before its first slice. `meter` counts its work.
    pub(crate) fn new(
        meter: Arc<Meter>,
        look_up: impl Future<Output = LongReply> + Send + 'static,
    ) -> Self {
        Self {
            rest: Box::pin(look_up),
            meter,
        }
    }

    /// Does the next slice. Returns the result if that was the last one.
    pub(crate) fn go_on(&mut self) -> Option<LongReply> {
        self.meter.begin_slice();
        // Nothing wakes a look-up: its reader calls again.
        let mut context = Context::from_waker(Waker::noop());
        match self.rest.as_mut().poll(&mut context) {
            Poll::Ready(reply) => Some(reply),
            Poll::Pending => None,
        }
    }

    /// Returns the work since the last call.
    pub(crate) fn take_cost(&self) -> Cost {
        self.meter.take()
    }
}

impl fmt::Debug for LongLookUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongLookUp").finish_non_exhaustive()
    }
}

/// Counts the work of one job.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// The nanoseconds of work since [`take`](Self::take). One thread at a time changes it.
    nanos: AtomicU32,
    /// The work at which [`is_yield_due`](Self::is_yield_due) answered `true` last.
    yielded: AtomicU32,
    /// The time at which the slice ends, whatever its work; `None` before the first slice.
    slice_end: Mutex<Option<Instant>>,
}

impl Meter {
    /// Adds work.
    pub(crate) fn add(&self, cost: Cost) {
        let all = self.read() + cost;
        self.nanos.store(all.as_nanos(), Ordering::Relaxed);
    }

    /// Returns the work since the last [`take`](Self::take).
    pub(crate) fn read(&self) -> Cost {
        Cost::nanos(self.nanos.load(Ordering::Relaxed).into())
    }

    /// Returns the work since the last call, and counts from zero again.
    pub(crate) fn take(&self) -> Cost {
        self.yielded.store(0, Ordering::Relaxed);
        Cost::nanos(self.nanos.swap(0, Ordering::Relaxed).into())
    }

    /// Returns whether another [`YIELD`] of work is done since the last call that returned `true`,
    /// or since the last [`take`](Self::take).
    pub(crate) fn is_yield_due(&self) -> bool {
        let all = self.read();
        let before = Cost::nanos(self.yielded.load(Ordering::Relaxed).into());
        let is_due = all.minus(before) >= YIELD;
        if is_due {
            self.yielded.store(all.as_nanos(), Ordering::Relaxed);
        }
        is_due
    }

    /// Begins a slice.
    fn begin_slice(&self) {
        *self.slice_end.lock() = Some(Instant::now() + SLICE.as_time());
    }

    /// Returns whether the slice is over: its work or its time has reached [`SLICE`]. The time
    /// counts too, because prices do not know cold caches and slow disks.
    pub(crate) fn is_slice_over(&self) -> bool {
        let is_late = || {
            self.slice_end
                .lock()
                .is_some_and(|end| Instant::now() >= end)
        };
        self.read() >= SLICE || is_late()
    }
}

/// Does a look-up in one piece, whatever its pauses.
pub(crate) fn at_once<T>(look_up: impl Future<Output = T>) -> T {
    let mut look_up = std::pin::pin!(look_up);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = look_up.as_mut().poll(&mut context) {
            return done;
        }
    }
}

/// Ends the slice of the look-up that awaits this.
pub(crate) async fn pause() {
    let mut has_paused = false;
    poll_fn(|_| match std::mem::replace(&mut has_paused, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_up_goes_on_after_each_pause_and_its_work_is_counted() {
        let meter = Arc::new(Meter::default());
        let work = Arc::clone(&meter);
        let mut look_up = LongLookUp::new(meter, async move {
            for _ in 0..2 {
                work.add(SLICE);
                pause().await;
            }
            work.add(Cost::nanos(7));
            Err(crate::exchange::UNREADABLE)
        });
        for _ in 0..2 {
            assert!(look_up.go_on().is_none());
            assert_eq!(look_up.take_cost(), SLICE);
        }
        assert!(look_up.go_on().is_some_and(|reply| reply.is_err()));
        assert_eq!(look_up.take_cost(), Cost::nanos(7));
        assert_eq!(look_up.take_cost(), Cost::NONE);
    }

    #[test]
    fn a_slice_ends_by_work_or_by_time() {
        let meter = Meter::default();
        meter.begin_slice();
        meter.add(SLICE);
        assert!(meter.is_slice_over());
        meter.take();
        meter.begin_slice();
        let is_over = |_: &u32| {
            std::thread::yield_now();
            meter.is_slice_over()
        };
        assert!((0..u32::MAX).find(is_over).is_some());
        assert_eq!(meter.read(), Cost::NONE);
    }

    #[test]
    fn a_yield_is_due_after_each_piece_of_work() {
        let meter = Meter::default();
        for _ in 0..3 {
            meter.add(YIELD.minus(Cost::nanos(1)));
            assert!(!meter.is_yield_due());
            meter.add(Cost::nanos(1));
            assert!(meter.is_yield_due());
            assert!(!meter.is_yield_due());
        }
        meter.take();
        assert!(!meter.is_yield_due());
        meter.add(YIELD);
        assert!(meter.is_yield_due());
    }
}
