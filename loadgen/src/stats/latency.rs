//! Latency histograms.

use std::sync::Arc;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::sparse::{self, Sparse};
use super::{Tally, Timeline};
use crate::clock::Nanos;

/// The longest latency that is recorded exactly, in microseconds: an hour. Longer ones count as
/// this one.
const MAX_US: u64 = 3_600_000_000;

/// A latency, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// From the start of a connection to its open session: tcp, upgrade and auth.
    Connect,
    /// The TCP handshake.
    Tcp,
    /// The HTTP upgrade.
    Upgrade,
    /// The `connect` command.
    Auth,
    /// From the start of a connection that opens a session again to the session: tcp, upgrade and
    /// `connect`.
    Resume,
    /// From a storm's start to a session that it had ended being open again.
    StormRecovery,
    /// From the intended time of a send whose session was away to its real time.
    Held,
    /// From the intended time of a send to its answer.
    Ack,
    /// From the intended time of a send to its push on a device.
    E2e,
    /// From the intended time of a send to its push on a device, of messages in groups.
    E2eGroup,
    /// From the intended time of a send to the last write of its turn of the loop.
    SendLag,
    /// From the intended start of a connection to its real start.
    ConnectLag,
}

impl Metric {
    /// All metrics, in the order of reports.
    pub(crate) const ALL: [Self; 12] = [
        Self::Connect,
        Self::Tcp,
        Self::Upgrade,
        Self::Auth,
        Self::Resume,
        Self::StormRecovery,
        Self::Held,
        Self::Ack,
        Self::E2e,
        Self::E2eGroup,
        Self::SendLag,
        Self::ConnectLag,
    ];

    /// Returns the name of the metric in scenarios and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tcp => "tcp",
            Self::Upgrade => "upgrade",
            Self::Auth => "auth",
            Self::Resume => "resume",
            Self::StormRecovery => "storm_recovery",
            Self::Held => "held",
            Self::Ack => "ack",
            Self::E2e => "e2e",
            Self::E2eGroup => "e2e_group",
            Self::SendLag => "send_lag",
            Self::ConnectLag => "connect_lag",
        }
    }
}

/// A histogram for each [`Metric`] with three significant digits, and histograms over time, in
/// bounded memory.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(into = "Form", try_from = "Form")]
pub(crate) struct Latencies {
    histograms: Vec<Histogram<u64>>,
    timeline: Timeline,
    /// The tally that is read while the run goes on.
    tally: Option<Arc<Tally>>,
}

/// The form in which latencies travel to another machine.
#[derive(Debug, Deserialize, Serialize)]
struct Form {
    /// The values of each metric, in the order of [`Metric::ALL`].
    histograms: Vec<Sparse>,
    timeline: Timeline,
}

impl From<Latencies> for Form {
    fn from(it: Latencies) -> Self {
        Self {
            histograms: it.histograms.iter().map(sparse::of).collect(),
            timeline: it.timeline,
        }
    }
}

impl TryFrom<Form> for Latencies {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        if form.histograms.len() != Metric::ALL.len() {
            return Err(format!("latencies of {} metrics", form.histograms.len()));
        }
        let histograms = form.histograms.iter().map(sparse::histogram);
        Ok(Self {
            histograms: histograms.collect::<Result<_, _>>()?,
            timeline: form.timeline,
            tally: None,
        })
    }
}

/// Returns an empty histogram of a latency.
pub(crate) fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_US, 3).expect("constant bounds that the crate accepts")
}

impl Latencies {
    /// Empty histograms.
    pub(crate) fn new() -> Self {
        Self {
            histograms: Metric::ALL.iter().map(|_| empty()).collect(),
            timeline: Timeline::new(),
            tally: None,
        }
    }

    /// Empty histograms of a thread that counts in `tally` too.
    pub(crate) fn watched(tally: Arc<Tally>) -> Self {
        Self {
            tally: Some(tally),
            ..Self::new()
        }
    }

    /// Records the time from `from` to `to`.
    pub(crate) fn record(&mut self, metric: Metric, from: Nanos, to: Nanos) {
        let us = to.saturating_sub(from).div_ceil(1000);
        self.histograms[metric as usize].saturating_record(us);
        self.timeline.record(metric, to, us);
        if let Some(tally) = &self.tally {
            tally.record(metric, us);
        }
    }

    /// Adds the histograms of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.histograms.iter_mut().zip(&other.histograms) {
            // All histograms have the same bounds, so adding cannot fail.
            let _ = mine.add(theirs);
        }
        self.timeline.add(&other.timeline);
    }

    /// Returns the latencies of each interval, once all threads are added.
    pub(crate) fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Returns the histogram of a metric.
    pub(crate) fn of(&self, metric: Metric) -> &Histogram<u64> {
        &self.histograms[metric as usize]
    }

    /// Returns the percentiles of a metric.
    pub(crate) fn percentiles(&self, metric: Metric) -> Percentiles {
        Percentiles::of(self.of(metric))
    }
}

/// The percentiles of a latency in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Percentiles {
    /// The number of values.
    pub(crate) count: u64,
    /// The median: half of the values are at most this.
    pub(crate) p50: u64,
    /// The 90th percentile.
    pub(crate) p90: u64,
    /// The 99th percentile.
    pub(crate) p99: u64,
    /// The 99.9th percentile.
    pub(crate) p999: u64,
    /// The largest value.
    pub(crate) max: u64,
}

impl Percentiles {
    /// Returns the percentiles of a histogram.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile: f64| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_what_was_recorded() {
        let (mut one, mut other) = (Latencies::new(), Latencies::new());
        for us in 1..=500u64 {
            one.record(Metric::Ack, 0, us * 1000);
            other.record(Metric::Ack, 1_000_000, 1_000_000 + (us + 500) * 1000);
        }
        one.add(&other);
        let p = one.percentiles(Metric::Ack);
        assert_eq!(
            (p.count, p.p50, p.p90, p.p99, p.max),
            (1000, 500, 900, 990, 1000)
        );
        assert_eq!(one.percentiles(Metric::E2e).count, 0);
    }

    #[test]
    fn nothing_is_lost_on_the_way_to_another_machine() {
        let mut one = Latencies::new();
        for us in (0..5_000u64).chain([123_457, 3_600_000_000, 9_000_000_000]) {
            let from = us * 1_000_000;
            one.record(Metric::E2e, from, from + us * 1_000);
            one.record(Metric::Tcp, from, from + us * 7_000);
        }
        let text = serde_json::to_string(&one).unwrap();
        let there: Latencies = serde_json::from_str(&text).unwrap();
        for metric in Metric::ALL {
            assert_eq!(there.of(metric), one.of(metric), "{}", metric.name());
        }
        let (mut all, mut here) = (Latencies::new(), Latencies::new());
        all.add(&there);
        here.add(&one);
        for interval in 0..here.timeline().len() {
            let of = |it: &Latencies| it.timeline().of(interval, Metric::E2e);
            assert_eq!(of(&all), of(&here), "{interval}");
        }
        assert_eq!(all.timeline().len(), here.timeline().len());
        // What no histogram holds is refused, and not cut off.
        for (from, to) in [
            ("[[", "[[[99999999999999,1],"),
            ("\"width\":", "\"width\":3"),
        ] {
            let bad = text.replacen(from, to, 1);
            serde_json::from_str::<Latencies>(&bad).expect_err(&bad[..40]);
        }
    }

    #[test]
    fn the_order_of_metrics_is_that_of_the_histograms() {
        for (i, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(*metric as usize, i);
        }
    }
}
