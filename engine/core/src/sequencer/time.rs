//! The sequencer's time: looked at once a turn, and kept in the store.

use std::time::Duration;

use trunkline_storage::{Reader, TimelineId, Writer};

use crate::clock::{Clock, Leap, Look, Mark, Steady};
use crate::ids::Ids;
use crate::metrics::SequencerMetrics;

/// Leaps that the log tells of in an hour. All are counted.
const TOLD: u32 = 10;

/// From here on the log says at the start that the store's time is behind.
const WORTH_TELLING: Duration = Duration::from_mins(5);

/// What the sequencer knows of the time.
pub(super) struct Time {
    steady: Steady,
    /// The key of the store's mark, and what it holds.
    key: TimelineId,
    marked: Mark,
    /// When the hour of leaps told began, and how many there were.
    hour: Duration,
    told: u32,
}

impl Time {
    /// Goes on from what the store knows, and sets the clock of the other threads.
    pub(super) fn start(store: &Reader, ids: &Ids, clock: &Clock) -> Self {
        let look = clock.look();
        let mut time = Self {
            steady: Steady::start(look, None, 0),
            key: ids.clock(),
            marked: Mark::default(),
            hour: Duration::ZERO,
            told: 0,
        };
        time.begin(store, look);
        clock.set(time.wire(), look.passed);
        time
    }

    /// Goes on from what the store knows, as of a look.
    fn begin(&mut self, store: &Reader, look: Look) {
        let mark = store.state(self.key).unwrap_or_else(|error| {
            tracing::error!(%error, "the store's time could not be read: going on from the last record");
            None
        });
        let mark = mark.and_then(|bytes| Mark::read(&bytes));
        let steady = Steady::start(look, mark, store.opened_at());
        let behind = steady.behind();
        if behind > WORTH_TELLING {
            tracing::warn!(
                store_ms = steady.steady(),
                system_ms = look.system.as_millis() as u64,
                "the system clock is far ahead of the time in the store: what expires follows it slowly"
            );
        }
        self.marked = mark.unwrap_or_else(|| steady.mark());
        self.steady = steady;
        self.hour = look.passed;
    }

    /// Takes a look at the time.
    pub(super) fn look(&mut self, look: Look, metrics: &SequencerMetrics) {
        if let Some(leap) = self.steady.look(look) {
            metrics.clock_leaps.one();
            self.tell(leap, look);
        }
        metrics.clock_behind.set(self.steady.behind().as_secs());
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

    /// What records are stamped with, in milliseconds.
    pub(super) fn steady(&self) -> u64 {
        self.steady.steady()
    }

    /// What clients are told.
    pub(super) fn wire(&self) -> Duration {
        self.steady.wire()
    }

    /// Puts the time into the batch under construction, if the store's mark is old.
    pub(super) fn mark(&mut self, writer: &mut Writer) {
        let mark = self.steady.mark();
        // Without room in the store a later one will do.
        if self.marked.is_due(mark) && writer.set_state(self.key, &mark.bytes()).is_ok() {
            self.marked = mark;
        }
    }
}

#[cfg(test)]
mod tests;
