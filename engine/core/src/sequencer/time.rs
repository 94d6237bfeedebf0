//! The sequencer's time. The sequencer reads the clocks once a turn, and the store keeps a mark of
//! the time.

use std::time::Duration;

use trunkline_storage::{Reader, TimelineId};

use super::batch::{Moment, OpenBatch};
use crate::clock::{Clock, Leap, Look, Mark, Steady};
use crate::ids::Ids;
use crate::metrics::SequencerMetrics;

/// The maximum number of leaps that the log reports per hour. The metrics count all.
const TOLD: u32 = 10;

/// The lag of the store's time from which on the log reports it at the start.
const WORTH_TELLING: Duration = Duration::from_mins(5);

/// The sequencer's steady time and wire time, and what the store knows of them.
pub(super) struct Time {
    steady: Steady,
    /// The key of the mark in the store, and the mark it holds.
    key: TimelineId,
    marked: Mark,
    /// The start of the present hour, and the number of leaps reported in it.
    hour: Duration,
    told: u32,
}

impl Time {
    /// Continues from the time in the store, or from the steady time and the wire time `least` if they are later, and sets the
    /// clock of the other threads.
    pub(super) fn start(
        store: &Reader,
        ids: &Ids,
        clock: &Clock,
        least: Option<(Duration, Duration)>,
    ) -> Self {
        let look = clock.look();
        let mut time = Self {
            steady: Steady::start(look, None, 0),
            key: ids.clock(),
            marked: Mark::default(),
            hour: Duration::ZERO,
            told: 0,
        };
        time.begin(store, look);
        if let Some((steady, wire)) = least {
            time.steady.reach(steady, wire);
        }
        if time.is_far_behind() {
            tracing::warn!(
                store_ms = time.steady.steady(),
                system_ms = look.system.as_millis() as u64,
                "the system clock is far ahead of the time in the store: what expires follows it slowly"
            );
        }
        clock.set(time.wire(), look.passed);
        clock.set_steady(Duration::from_millis(time.steady.steady()), look.passed);
        time
    }

    /// Continues from the time in the store, as of a look.
    fn begin(&mut self, store: &Reader, look: Look) {
        let mark = store.state(self.key).unwrap_or_else(|error| {
            tracing::error!(%error, "the store's time could not be read: going on from the last record");
            None
        });
        let mark = mark.and_then(|bytes| Mark::read(&bytes));
        let steady = Steady::start(look, mark, store.opened_at());
        self.marked = mark.unwrap_or_else(|| steady.mark());
        self.steady = steady;
        self.hour = look.passed;
    }

    /// Returns whether the system clock is so far ahead that the log says it. A node of a cluster in which nothing is stored has
    /// an old time in its store, and a right one beside it.
    fn is_far_behind(&self) -> bool {
        self.steady.behind() > WORTH_TELLING
    }

    /// Advances the time to a look, and reports a leap of the system clock. Returns the time for the
    /// batch.
    pub(super) fn look(&mut self, look: Look, metrics: &SequencerMetrics) -> Moment {
        if let Some(leap) = self.steady.look(look) {
            metrics.clock_leaps.one();
            self.tell(leap, look);
        }
        metrics.clock_behind.set(self.steady.behind().as_secs());
        Moment {
            wire: self.wire().as_millis() as u64,
            steady: self.steady.steady(),
            passed: look.passed.as_millis() as u64,
        }
    }

    fn tell(&mut self, leap: Leap, look: Look) {
        if look.passed.saturating_sub(self.hour) >= Duration::from_hours(1) {
            (self.hour, self.told) = (look.passed, 0);
        }
        self.told += 1;
        if self.told <= TOLD {
            tracing::warn!(
                expected_ms = leap.expected,
                found_ms = leap.found,
                "the system clock leapt: times of messages follow it in a minute if it stays there, \
                 and what expires follows it slowly; check the clock of this machine"
            );
        }
    }

    /// Returns the wire time, which clients see.
    pub(super) fn wire(&self) -> Duration {
        self.steady.wire()
    }

    /// Adds a mark of the time to the batch, if the mark in the store is old. If the store has no
    /// room, a later batch gets the mark.
    pub(super) fn mark(&mut self, batch: &mut OpenBatch) {
        let mark = self.steady.mark();
        if self.marked.is_due(mark) && batch.set(self.key, &mark.bytes()).is_ok() {
            self.marked = mark;
        }
    }
}

#[cfg(test)]
mod tests;
