//! What the threads and whoever breaks the gateway tell each other.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Board;
use crate::clock::Nanos;

/// Never, among times that only fall.
const NEVER: u64 = u64::MAX;

/// What is known of sending, of chaos, and of who is away.
#[derive(Debug)]
pub(super) struct Chaos {
    /// When the first executor that sends began.
    sending: AtomicU64,
    /// From when to when the gateway is being broken, or may show that it was.
    from: AtomicU64,
    until: AtomicU64,
    /// Sessions of all threads that broke with the gateway and are away.
    away: AtomicU32,
    /// When the last of them was back, or given up.
    calm: AtomicU64,
}

impl Default for Chaos {
    fn default() -> Self {
        Self {
            sending: AtomicU64::new(NEVER),
            from: AtomicU64::new(NEVER),
            until: AtomicU64::new(0),
            away: AtomicU32::new(0),
            calm: AtomicU64::new(0),
        }
    }
}

impl Board {
    /// Sending began, in this thread.
    pub(super) fn sending_began(&self, at: Nanos) {
        self.chaos.sending.fetch_min(at, Ordering::SeqCst);
    }

    /// When sending began.
    pub(crate) fn sending(&self) -> Option<Nanos> {
        let at = self.chaos.sending.load(Ordering::SeqCst);
        Some(at).filter(|at| *at != NEVER)
    }

    /// The gateway is broken from now on; who leaves meanwhile does so for that.
    pub(crate) fn chaos_begins(&self, now: Nanos) {
        self.chaos.until.store(NEVER, Ordering::SeqCst);
        self.chaos.from.store(now, Ordering::SeqCst);
    }

    /// The gateway is whole again; what is seen of it until then counts as broken.
    pub(crate) fn chaos_ends(&self, until: Nanos) {
        self.chaos.until.store(until, Ordering::SeqCst);
    }

    /// Whether a session that ends now does so because the gateway was broken.
    pub(super) fn is_chaos(&self, now: Nanos) -> bool {
        now >= self.chaos.from.load(Ordering::SeqCst)
            && now <= self.chaos.until.load(Ordering::SeqCst)
    }

    /// A session broke with the gateway.
    pub(super) fn one_away(&self) {
        self.chaos.away.fetch_add(1, Ordering::SeqCst);
    }

    /// One that did is back, or given up.
    pub(super) fn one_settled(&self, now: Nanos) {
        if self.chaos.away.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.chaos.calm.fetch_max(now, Ordering::SeqCst);
        }
    }

    /// Those that are away.
    pub(crate) fn away(&self) -> u32 {
        self.chaos.away.load(Ordering::SeqCst)
    }

    /// When the last of them was back, or given up.
    pub(crate) fn calm_since(&self) -> Nanos {
        self.chaos.calm.load(Ordering::SeqCst)
    }
}
