//! The counters of webhooks. The thread of the webhooks alone writes them.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use super::super::failed::Failed;

/// What a back end is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A message whose recipient had no device connected.
    Offline,
    /// A user who came or left.
    Presence,
}

impl Told {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Offline, Self::Presence];

    /// Returns the name of the kind, as settings have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Presence => "presence",
        }
    }
}

/// The results of tries, in the order of their counters.
const RESULTS: [&str; 5] = ["told", "status", "unreachable", "broken", "late"];

/// The names of the states of a back end: it is told of nothing, it is told, and it rests because it does not
/// answer.
const CIRCUITS: [&str; 3] = ["off", "closed", "open"];

/// The reasons why something is not told, in the order of their counters.
const DROPS: [&str; 3] = ["unseen", "full", "undecodable"];

/// The counters of webhooks.
#[derive(Debug, Default)]
pub struct WebhookMetrics {
    waiting: [AtomicU64; Told::ALL.len()],
    /// The time of the oldest entry in milliseconds since 1970; 0 without any.
    oldest_ms: AtomicU64,
    behind: AtomicU64,
    /// The recipients whose further messages are left to the log.
    later: AtomicU64,
    /// The senders whose further messages are left to the log.
    held: AtomicU64,
    /// The states of back ends, as places in `CIRCUITS`.
    circuits: [AtomicU8; Told::ALL.len()],
    tries: [AtomicU64; RESULTS.len()],
    given_up: [AtomicU64; Told::ALL.len()],
    dropped: [AtomicU64; DROPS.len()],
}

impl WebhookMetrics {
    /// Returns how much waits to be told.
    pub fn waiting(&self) -> u64 {
        self.waiting.iter().map(|one| one.load(Relaxed)).sum()
    }

    /// Returns the age of the oldest message that waits, in milliseconds; 0 without any. `now` is in
    /// milliseconds since 1970 UTC.
    pub fn oldest_age_ms(&self, now: u64) -> u64 {
        match self.oldest_ms.load(Relaxed) {
            0 => 0,
            oldest => now.saturating_sub(oldest),
        }
    }

    /// Returns the bytes of the log that were not looked through yet.
    pub fn behind(&self) -> u64 {
        self.behind.load(Relaxed)
    }

    /// Returns the number of recipients of whom more messages wait than are counted by
    /// [`waiting`](Self::waiting).
    pub fn later(&self) -> u64 {
        self.later.load(Relaxed)
    }

    /// Returns the number of senders whose messages wait in the log, because a back end refuses many of them.
    pub fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// Returns the state of the back end of a webhook: `off` if there is none, `closed` while it is told, `open`
    /// while it rests, because it does not answer.
    pub fn circuit(&self, told: Told) -> &'static str {
        let at = usize::from(self.circuits[told as usize].load(Relaxed));
        CIRCUITS.get(at).copied().unwrap_or_default()
    }

    /// Returns the number of tries by result.
    pub fn tries(&self) -> [(&'static str, u64); RESULTS.len()] {
        std::array::from_fn(|at| (RESULTS[at], self.tries[at].load(Relaxed)))
    }

    /// Returns how much was given up, by what it was.
    pub fn given_up(&self) -> [(&'static str, u64); Told::ALL.len()] {
        Told::ALL.map(|told| (told.name(), self.given_up[told as usize].load(Relaxed)))
    }

    /// Returns how much was not told, by reason.
    pub fn dropped(&self) -> [(&'static str, u64); DROPS.len()] {
        std::array::from_fn(|at| (DROPS[at], self.dropped[at].load(Relaxed)))
    }

    pub(super) fn set_waiting(&self, told: Told, count: usize) {
        self.waiting[told as usize].store(count as u64, Relaxed);
    }

    pub(super) fn set_log(&self, oldest_ms: u64, behind: u64) {
        self.oldest_ms.store(oldest_ms, Relaxed);
        self.behind.store(behind, Relaxed);
    }

    pub(super) fn set_more(&self, recipients: usize, senders: usize) {
        self.later.store(recipients as u64, Relaxed);
        self.held.store(senders as u64, Relaxed);
    }

    pub(super) fn set_circuit(&self, told: Told, rests: bool) {
        self.circuits[told as usize].store(1 + u8::from(rests), Relaxed);
    }

    pub(super) fn tried(&self, result: &Result<(), Failed>) {
        let at = match result {
            Ok(()) => 0,
            Err(Failed::Status(_)) => 1,
            Err(Failed::Unreachable(_)) => 2,
            Err(Failed::Broken(_) | Failed::TooLong | Failed::Garbage(_)) => 3,
            Err(Failed::Late) => 4,
        };
        self.tries[at].fetch_add(1, Relaxed);
    }

    pub(super) fn gave_up(&self, told: Told) {
        self.given_up[told as usize].fetch_add(1, Relaxed);
    }

    /// Counts a message that its recipient cannot see any more.
    pub(super) fn unseen(&self) {
        self.dropped[0].fetch_add(1, Relaxed);
    }

    /// Counts changes of presence for which there was no room.
    pub(super) fn full(&self, count: u64) {
        self.dropped[1].fetch_add(count, Relaxed);
    }

    /// Counts messages that cannot be decoded.
    pub(super) fn undecodable(&self, count: u64) {
        self.dropped[2].fetch_add(count, Relaxed);
    }
}
