//! The state that the threads share with the part of the run that breaks the gateway.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Board;
use crate::clock::Nanos;

/// Never, among times that only fall.
const NEVER: u64 = u64::MAX;

/// The times of sending and of faults, and the number of away sessions.
#[derive(Debug)]
pub(super) struct Chaos {
    /// The time at which the first sending executor began.
    sending: AtomicU64,
    /// The beginning of the time in which the gateway is broken, or may show effects of it.
    from: AtomicU64,
    /// The end of the time in which the gateway is broken, or may show effects of it.
    until: AtomicU64,
    /// Sessions of all threads that broke with the gateway and are away.
    away: AtomicU32,
    /// The time at which the last away session was back, or given up.
    calm: AtomicU64,
    /// The time of the last acknowledgement in any thread.
    acknowledged: AtomicU64,
    /// The beginning of the last fault, also of one that is planned.
    fault: AtomicU64,
    /// The longest time without an acknowledgement since the last fault began.
    silence: AtomicU64,
}

impl Default for Chaos {
    fn default() -> Self {
        Self {
            sending: AtomicU64::new(NEVER),
            from: AtomicU64::new(NEVER),
            until: AtomicU64::new(0),
            away: AtomicU32::new(0),
            calm: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            fault: AtomicU64::new(NEVER),
            silence: AtomicU64::new(0),
        }
    }
}

impl Board {
    /// Sending began, in this thread.
    pub(super) fn sending_began(&self, at: Nanos) {
        self.chaos.sending.fetch_min(at, Ordering::SeqCst);
    }

    /// Returns when sending began.
    pub(crate) fn sending(&self) -> Option<Nanos> {
        let at = self.chaos.sending.load(Ordering::SeqCst);
        Some(at).filter(|at| *at != NEVER)
    }

    /// Notes that a fault begins. Sessions that end from now on do so because of the fault.
    pub(crate) fn chaos_begins(&self, now: Nanos) {
        self.planned_begins(now);
        self.chaos.until.store(NEVER, Ordering::SeqCst);
        self.chaos.from.store(now, Ordering::SeqCst);
    }

    /// Notes that a planned change begins, which clients must not notice: sessions that end from now on, and sends
    /// that get no answer, have no excuse but an earlier fault.
    pub(crate) fn planned_begins(&self, now: Nanos) {
        self.chaos.silence.store(0, Ordering::SeqCst);
        self.chaos.fault.store(now, Ordering::SeqCst);
    }

    /// Notes that the gateway works again. Its effects until `until` still count as effects of the
    /// fault.
    pub(crate) fn chaos_ends(&self, until: Nanos) {
        self.chaos.until.store(until, Ordering::SeqCst);
    }

    /// Returns whether a session that ends now does so because the gateway was broken.
    pub(super) fn is_chaos(&self, now: Nanos) -> bool {
        now >= self.chaos.from.load(Ordering::SeqCst)
            && now <= self.chaos.until.load(Ordering::SeqCst)
    }

    /// Notes that a send was acknowledged, if faults belong to the run.
    pub(super) fn acknowledged(&self, now: Nanos) {
        let before = self.chaos.acknowledged.fetch_max(now, Ordering::SeqCst);
        // Before the fault everything was well.
        let silent = now.saturating_sub(before.max(self.chaos.fault.load(Ordering::SeqCst)));
        if silent > self.chaos.silence.load(Ordering::SeqCst) {
            self.chaos.silence.fetch_max(silent, Ordering::SeqCst);
        }
    }

    /// Returns when a send was acknowledged last.
    pub(crate) fn last_acknowledged(&self) -> Nanos {
        self.chaos.acknowledged.load(Ordering::SeqCst)
    }

    /// Returns the longest time without an acknowledgement since the last fault began; `None` if there was
    /// no acknowledgement since then.
    pub(crate) fn longest_silence(&self) -> Option<Nanos> {
        let some = self.last_acknowledged() > self.chaos.fault.load(Ordering::SeqCst);
        some.then(|| self.chaos.silence.load(Ordering::SeqCst))
    }

    /// A session broke with the gateway.
    pub(super) fn one_away(&self) {
        self.chaos.away.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes that an away session is back, or given up.
    pub(super) fn one_settled(&self, now: Nanos) {
        if self.chaos.away.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.chaos.calm.fetch_max(now, Ordering::SeqCst);
        }
    }

    /// Returns the number of sessions that are away because of faults.
    pub(crate) fn away(&self) -> u32 {
        self.chaos.away.load(Ordering::SeqCst)
    }

    /// Returns when the last away session was back, or given up.
    pub(crate) fn calm_since(&self) -> Nanos {
        self.chaos.calm.load(Ordering::SeqCst)
    }
}
