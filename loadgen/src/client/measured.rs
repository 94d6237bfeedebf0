//! The measurements of a generator thread, or of several together.

use serde::{Deserialize, Serialize};

use super::{SendWindow, Storm, TargetTally};
use crate::check::Findings;
use crate::clock::Nanos;
use crate::stats::Latencies;

/// The most failures that are kept, for people.
const TROUBLES: usize = 4;

/// The measurements of a thread. Those of several threads can be added.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Measured {
    pub(crate) findings: Findings,
    pub(crate) latencies: Latencies,
    /// The longest time that a loop was away from its sockets, from the first send until sessions
    /// are closed. Only then can it change a figure.
    pub(crate) stall: Nanos,
    /// The part of a processor that the busiest thread took while messages were sent, 0 to 1.
    pub(crate) busy: Option<f64>,
    /// The time from the start of the first executor that sends to the end of the last one.
    pub(crate) sending: SendWindow,
    /// The storms, in the order in which they began.
    pub(crate) storms: Vec<Storm>,
    /// The first failures, one of each thread, for people.
    pub(crate) troubles: Vec<String>,
    /// The duration of making the groups.
    pub(crate) making: Nanos,
    /// The use of each target, in the order of the command line.
    pub(crate) targets: Vec<TargetTally>,
}

impl Measured {
    /// Measurements of nothing, to which those of threads are added.
    pub(crate) fn nothing() -> Self {
        Self {
            findings: Findings::default(),
            latencies: Latencies::new(),
            stall: 0,
            busy: None,
            sending: SendWindow::NONE,
            storms: Vec::new(),
            troubles: Vec::new(),
            making: 0,
            targets: Vec::new(),
        }
    }

    /// Returns the measurements of all these threads together.
    pub(crate) fn whole(threads: impl IntoIterator<Item = Self>) -> Self {
        let mut whole = Self::nothing();
        threads.into_iter().for_each(|it| whole.add(it));
        whole
    }

    /// Adds the measurements of other threads, or of another machine.
    pub(crate) fn add(&mut self, other: Self) {
        self.findings.add(&other.findings);
        self.latencies.add(&other.latencies);
        self.stall = self.stall.max(other.stall);
        let busy = [self.busy, other.busy].into_iter().flatten();
        self.busy = busy.reduce(f64::max);
        self.sending = self.sending.with(other.sending);
        self.making = self.making.max(other.making);
        self.troubles.extend(other.troubles);
        self.troubles.truncate(TROUBLES);
        if self.targets.len() < other.targets.len() {
            self.targets
                .resize_with(other.targets.len(), TargetTally::default);
        }
        for (own, more) in self.targets.iter_mut().zip(other.targets) {
            own.add(more);
        }
        for storm in other.storms {
            let mut known = self.storms.iter_mut();
            match known.find(|it| it.number() == storm.number()) {
                Some(known) => known.add(&storm),
                None => self.storms.push(storm),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;
    use crate::stats::Metric;

    /// Returns what a thread measured that sent from `from` on, and whose latencies are these, in ms.
    fn measured(from: Nanos, latencies: std::ops::Range<u64>) -> Measured {
        let mut it = Measured::nothing();
        for ms in latencies {
            it.latencies
                .record(Metric::E2e, from, from + ms * 1_000_000);
        }
        it.sending = SendWindow {
            from,
            until: from + 10 * SECOND,
        };
        it.stall = from / 2;
        it.busy = Some(0.5 / from as f64 * SECOND as f64);
        it.troubles = vec![format!("from {from}")];
        it
    }

    /// Sends measurements to another machine.
    fn sent(it: &Measured) -> Measured {
        serde_json::from_str(&serde_json::to_string(it).unwrap()).unwrap()
    }

    #[test]
    fn what_machines_measured_adds_up_as_if_it_were_one() {
        let parts = [
            (SECOND, 1..501),
            (3 * SECOND, 501..901),
            (SECOND, 901..1_001),
        ];
        let apart = parts.clone().map(|(from, ms)| sent(&measured(from, ms)));
        let whole = Measured::whole(apart);
        let p = whole.latencies.percentiles(Metric::E2e);
        // The values are 1 ms to 1,000 ms, with three significant digits.
        let close = |us: u64, ms: u64| us.abs_diff(ms * 1_000) <= ms;
        assert_eq!(p.count, 1_000);
        for (us, ms) in [(p.p50, 500), (p.p90, 900), (p.p99, 990), (p.p999, 999)] {
            assert!(close(us, ms), "{us} µs, not {ms} ms");
        }
        assert!(close(p.max, 1_000), "{p:?}");
        assert_eq!(whole.sending.length(), 12 * SECOND);
        assert_eq!(whole.stall, 3 * SECOND / 2);
        assert_eq!(whole.busy, Some(0.5), "the busiest of them");
        assert_eq!(whole.troubles.len(), 3);
        // The same as on one machine, value by value.
        let here = Measured::whole(parts.map(|(from, ms)| measured(from, ms)));
        for metric in Metric::ALL {
            assert_eq!(whole.latencies.of(metric), here.latencies.of(metric));
        }
    }
}
