//! The counters of back ends. Several threads write them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use trunkline_core::exchange::BackKind;

use super::failed::Failed;
use super::webhooks::WebhookMetrics;

/// The counters of questions of one kind.
#[derive(Debug, Default)]
struct KindMetrics {
    asked: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    turned_away: AtomicU64,
    nanos: AtomicU64,
}

/// The numbers of one kind of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindNumbers {
    /// The questions that were answered.
    pub answered: u64,
    /// The answers that refuse.
    pub refused: u64,
    /// The questions without an answer that can be used.
    pub failed: u64,
    /// The questions that nobody was asked, because too many wait or the back end rests.
    pub turned_away: u64,
    /// The time until answers came or questions failed, in nanoseconds.
    pub nanos: u64,
}

/// The upper bounds of the times of answers, in milliseconds. One more bucket has all longer times.
pub const ANSWER_BOUNDS_MS: [u64; 14] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000,
];

/// The results of asking or telling a back end, in the order of their histograms.
const RESULTS: [&str; 3] = ["answered", "refused", "failed"];

/// The times until back ends had answered, with one of the [`RESULTS`].
#[derive(Debug, Default)]
struct Answers {
    buckets: [AtomicU64; ANSWER_BOUNDS_MS.len() + 1],
    nanos: AtomicU64,
}

/// The times until back ends had answered with one result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerTimes {
    /// The result: `answered`, `refused` or `failed`.
    pub result: &'static str,
    /// The answers within each of [`ANSWER_BOUNDS_MS`] that no earlier bucket counts. The last bucket
    /// counts all later ones.
    pub counts: [u64; ANSWER_BOUNDS_MS.len() + 1],
    /// The sum of all times in nanoseconds.
    pub nanos: u64,
}

impl Answers {
    fn note(&self, time: Duration) {
        let within = |&bound: &u64| time > Duration::from_millis(bound);
        let bucket = ANSWER_BOUNDS_MS.partition_point(within);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos(time), Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The counters of the back ends of a gateway.
#[derive(Debug, Default)]
pub struct BackMetrics {
    kinds: [KindMetrics; BackKind::ALL.len()],
    answers: [Answers; RESULTS.len()],
    /// The questions that have no answer yet.
    pub(super) waiting: AtomicU64,
    /// The back ends that rest because they failed.
    pub(super) resting: AtomicU64,
    /// The counters of webhooks.
    pub webhooks: WebhookMetrics,
}

impl BackMetrics {
    /// Returns the numbers of a kind.
    pub fn of(&self, kind: BackKind) -> KindNumbers {
        let of = &self.kinds[kind as usize];
        KindNumbers {
            answered: of.asked.load(Relaxed),
            refused: of.refused.load(Relaxed),
            failed: of.failed.load(Relaxed),
            turned_away: of.turned_away.load(Relaxed),
            nanos: of.nanos.load(Relaxed),
        }
    }

    /// Returns the times until back ends had answered, by result. Webhooks count too.
    pub fn answers(&self) -> [AnswerTimes; RESULTS.len()] {
        std::array::from_fn(|at| {
            let Answers { buckets, nanos } = &self.answers[at];
            AnswerTimes {
                result: RESULTS[at],
                counts: std::array::from_fn(|bucket| buckets[bucket].load(Relaxed)),
                nanos: nanos.load(Relaxed),
            }
        })
    }

    /// Returns the number of questions that have no answer yet.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// Returns the number of back ends that rest because they failed.
    pub fn resting(&self) -> u64 {
        self.resting.load(Relaxed)
    }

    /// Counts a back end that begins to rest, or that rests no longer.
    pub(super) fn rests(&self, begins: bool) {
        match begins {
            true => self.resting.fetch_add(1, Relaxed),
            false => self.resting.fetch_sub(1, Relaxed),
        };
    }

    pub(super) fn answered(&self, kind: BackKind, refuses: bool, time: Duration) {
        let of = &self.kinds[kind as usize];
        of.asked.fetch_add(1, Relaxed);
        of.refused.fetch_add(u64::from(refuses), Relaxed);
        self.answers[usize::from(refuses)].note(time);
        self.took(kind, time);
    }

    pub(super) fn failed(&self, kind: BackKind, time: Duration) {
        self.kinds[kind as usize].failed.fetch_add(1, Relaxed);
        self.answers[2].note(time);
        self.took(kind, time);
    }

    /// Counts the time of a webhook. A status other than 200 to 299 counts as a refusal.
    pub(super) fn told(&self, result: &Result<(), Failed>, time: Duration) {
        let at = match result {
            Ok(()) => 0,
            Err(Failed::Status(_)) => 1,
            Err(_) => 2,
        };
        self.answers[at].note(time);
    }

    pub(super) fn turned_away(&self, kind: BackKind) {
        self.kinds[kind as usize].turned_away.fetch_add(1, Relaxed);
    }

    fn took(&self, kind: BackKind, time: Duration) {
        self.kinds[kind as usize]
            .nanos
            .fetch_add(nanos(time), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_where_its_bound_is_not_passed_yet() {
        let metrics = BackMetrics::default();
        for millis in [0, 1, 3, 30_000, 30_001] {
            metrics.answered(BackKind::ALL[0], false, Duration::from_millis(millis));
        }
        metrics.answered(BackKind::ALL[0], true, Duration::from_millis(7));
        metrics.failed(BackKind::ALL[1], Duration::from_millis(7));
        metrics.told(&Err(Failed::Late), Duration::from_millis(8));
        let [answered, refused, failed] = metrics.answers();
        let mut expected = [0; ANSWER_BOUNDS_MS.len() + 1];
        (expected[0], expected[2], expected[13], expected[14]) = (2, 1, 1, 1);
        assert_eq!((answered.result, answered.counts), ("answered", expected));
        assert_eq!(answered.nanos, 60_005_000_000);
        assert_eq!((refused.result, refused.counts[3]), ("refused", 1));
        assert_eq!((failed.result, failed.counts[3]), ("failed", 2));
    }
}
