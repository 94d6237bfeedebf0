//! The counters of back ends. Several threads write them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use trunkline_core::exchange::BackKind;

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

/// The counters of the back ends of a gateway.
#[derive(Debug, Default)]
pub struct BackMetrics {
    kinds: [KindMetrics; BackKind::ALL.len()],
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
        self.took(kind, time);
    }

    pub(super) fn failed(&self, kind: BackKind, time: Duration) {
        self.kinds[kind as usize].failed.fetch_add(1, Relaxed);
        self.took(kind, time);
    }

    pub(super) fn turned_away(&self, kind: BackKind) {
        self.kinds[kind as usize].turned_away.fetch_add(1, Relaxed);
    }

    fn took(&self, kind: BackKind, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.kinds[kind as usize].nanos.fetch_add(nanos, Relaxed);
    }
}
