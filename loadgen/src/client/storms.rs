//! Storms of reconnects, as one thread sees them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::schedule::Chosen;
use crate::stats::{Counters, empty, sparse};

/// The results of one storm in one thread.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Storm {
    /// The number of the storm's executor.
    number: usize,
    /// The intended time of the storm.
    pub(crate) at: Nanos,
    /// Sessions that the storm cut.
    pub(crate) cut: u64,
    /// The number of cut sessions that did not come back.
    pub(crate) gone: u64,
    /// The times from the storm's start until a session was back, in microseconds.
    #[serde(with = "sparse")]
    pub(crate) back: Histogram<u64>,
    /// The times from the intended time of a send to its answer in microseconds, for devices that
    /// stayed connected while the storm lasted.
    #[serde(with = "sparse")]
    pub(crate) ack: Histogram<u64>,
    /// The times from the intended time of a send to its push in microseconds, for devices that
    /// stayed connected.
    #[serde(with = "sparse")]
    pub(crate) e2e: Histogram<u64>,
    /// The thread's counters when the storm began.
    pub(crate) before: Counters,
    /// The thread's counters when the storm was over.
    pub(crate) after: Option<Counters>,
}

impl Storm {
    /// Returns the number of the storm's executor.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    fn begin(at: Nanos, number: usize, before: Counters) -> Self {
        Self {
            number,
            at,
            cut: 0,
            gone: 0,
            back: empty(),
            ack: empty(),
            e2e: empty(),
            before,
            after: None,
        }
    }

    /// Adds the results of another thread for the same storm.
    pub(crate) fn add(&mut self, other: &Self) {
        self.at = self.at.min(other.at);
        self.cut += other.cut;
        self.gone += other.gone;
        // All histograms have the same bounds, so adding cannot fail.
        let _ = self.back.add(&other.back);
        let _ = self.ack.add(&other.ack);
        let _ = self.e2e.add(&other.e2e);
        self.before.add(&other.before);
        let after = self.after.get_or_insert(self.before);
        after.add(&other.after.unwrap_or(other.before));
    }
}

/// Which latency of a device that stays connected is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StormLatency {
    /// From the intended time of a send to its answer.
    Ack,
    /// From the intended time of a send to its push.
    E2e,
}

/// The storms of a thread, in the order in which they began. There are few.
#[derive(Debug, Default)]
pub(super) struct Storms(Vec<(Chosen, Storm)>);

impl Storms {
    /// Counts a session that a storm cuts. Returns the storm's place.
    pub(super) fn cut(&mut self, at: Nanos, chosen: Chosen, counters: Counters) -> u8 {
        let known = self.0.iter().position(|it| it.0 == chosen);
        let place = known.unwrap_or_else(|| {
            let storm = Storm::begin(at, chosen.number, counters);
            self.0.push((chosen, storm));
            self.0.len() - 1
        });
        self.0[place].1.cut += 1;
        place as u8
    }

    /// Counts a session that a storm had cut and that is back. Returns the time since the storm's start.
    pub(super) fn back(&mut self, place: u8, now: Nanos) -> Nanos {
        let storm = &mut self.0[place as usize].1;
        let took = now.saturating_sub(storm.at);
        storm.back.saturating_record(took.div_ceil(1_000));
        took
    }

    /// Counts a session that a storm had cut and that does not come back.
    pub(super) fn gone(&mut self, place: u8) {
        self.0[place as usize].1.gone += 1;
    }

    /// Returns whether all sessions that the storm of an executor has cut so far are back or given
    /// up.
    pub(super) fn is_over(&self, number: usize) -> bool {
        let mut storms = self.0.iter().map(|it| &it.1);
        storms.all(|it| it.number != number || it.back.len() + it.gone == it.cut)
    }

    /// Records a latency of a device that stays connected while a storm lasts.
    pub(super) fn record(&mut self, device: u32, latency: StormLatency, took: Nanos) {
        for (chosen, storm) in &mut self.0 {
            if storm.after.is_none() && !chosen.has(device) {
                let histogram = match latency {
                    StormLatency::Ack => &mut storm.ack,
                    StormLatency::E2e => &mut storm.e2e,
                };
                histogram.saturating_record(took.div_ceil(1_000));
            }
        }
    }

    /// Returns all storms, in the order in which they began.
    pub(super) fn into_all(self) -> Vec<Storm> {
        self.0.into_iter().map(|it| it.1).collect()
    }

    /// Notes that the storm of an executor is over.
    pub(super) fn end(&mut self, number: usize, counters: Counters) {
        let storms = self.0.iter_mut().map(|it| &mut it.1);
        let ended = storms.filter(|it| it.number == number);
        ended.for_each(|it| it.after = Some(counters));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;
    use crate::schedule::{Action, Work};

    fn chosen(number: usize) -> Chosen {
        let mut work = Work::Storm(crate::schedule::Storm::new(number, 1.0, 10, 1));
        let Some(Action::Cut(cut)) = work.take() else {
            panic!("a storm cuts somebody");
        };
        cut.storm.expect("it says so")
    }

    #[test]
    fn storms_are_told_apart_and_over_when_all_are_back_or_given_up() {
        let mut storms = Storms::default();
        let counters = |refused| Counters {
            refused,
            ..Counters::default()
        };
        for _ in 0..2 {
            assert_eq!(storms.cut(SECOND, chosen(4), counters(5)), 0);
        }
        assert_eq!(storms.cut(2 * SECOND, chosen(6), counters(9)), 1);
        assert!(!storms.is_over(4) && !storms.is_over(6) && storms.is_over(5));
        assert_eq!(storms.back(0, SECOND + 3_000), 3_000);
        assert!(!storms.is_over(4));
        storms.gone(0);
        assert!(storms.is_over(4) && !storms.is_over(6));
        storms.end(4, counters(8));
        let first = &storms.0[0].1;
        assert_eq!((first.cut, first.gone, first.back.max()), (2, 1, 3));
        assert_eq!(first.after.map(|it| it.refused), Some(8));
        assert!(storms.0[1].1.after.is_none());
        // Two threads' parts of one storm.
        let mut all = first.clone();
        let mut other = first.clone();
        other.at = SECOND / 2;
        all.add(&other);
        assert_eq!(
            (all.at, all.cut, all.gone, all.back.len()),
            (SECOND / 2, 4, 2, 2)
        );
        assert_eq!(all.before.refused, 10);
        assert_eq!(all.after.map(|it| it.refused), Some(16));
    }
}
