//! Sessions that ended and are opened again, from where they were.
//!
//! A session that is away has an entry in one map, and a time in one heap when the next attempt is
//! due. A delay that the gateway named is obeyed. Other attempts back off exponentially with full
//! jitter, so that sessions that were cut off together do not come back in step.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use compact_str::CompactString;
use fnv::FnvHashMap;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use trunkline_proto::message::Disconnect;

use crate::clock::{Nanos, SECOND};

/// The longest wait before the second attempt. Each further attempt doubles it, up to [`LONGEST`].
const BASE: Nanos = SECOND / 10;
/// The longest wait between attempts where the gateway named no range of delays.
const LONGEST: Nanos = 5 * SECOND;
/// The least upper limit of the wait between attempts, if the gateway named a range of delays.
const LONGEST_NAMED: Nanos = SECOND;

/// Stands for the delays where the gateway asked the client to reconnect and named none.
const BACK_OFF: [u64; 2] = [u64::MAX, 0];

/// The capacity that is kept when no session is away. The memory of a storm is freed.
const KEPT: usize = 1 << 10;

/// The reason why a session is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The load generator cut the session.
    Cut,
    /// The session broke because the run broke the gateway.
    Chaos,
    /// The gateway asked the client to reconnect.
    Requested,
    /// The session broke without such a request, and not because of the run.
    Broken,
}

/// A session that is away.
#[derive(Debug)]
struct Away {
    /// The position of the last push; empty if no push came.
    since: CompactString,
    left: Nanos,
    cause: Cause,
    /// Attempts that failed.
    failed: u32,
    /// The longest wait before another attempt.
    longest: Nanos,
    /// The session has never been open.
    first: bool,
    /// The storm that cut the session, by its place.
    storm: Option<u8>,
}

/// The sessions of a thread that are away.
#[derive(Debug)]
pub(super) struct Reconnects {
    /// A session that is not open again after so long does not come back.
    timeout: Nanos,
    away: FnvHashMap<u32, Away>,
    due: BinaryHeap<Reverse<(Nanos, u32)>>,
    /// Ranges of delays in milliseconds that the gateway named to sessions whose sockets have not
    /// ended yet.
    named: FnvHashMap<u32, [u64; 2]>,
    rng: Xoshiro256PlusPlus,
}

/// The return of a session that was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Return {
    pub(super) cause: Cause,
    /// The session was open before.
    pub(super) again: bool,
    /// The session asked for what it missed.
    pub(super) asked: bool,
    /// The storm that cut the session, by its place.
    pub(super) storm: Option<u8>,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextAttempt {
    /// The next attempt is due at this time.
    At(Nanos),
    /// The time for coming back is over.
    GiveUp,
    /// No attempt follows, because the session does not come back.
    None,
}

/// A session that does not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GivenUp {
    pub(super) cause: Cause,
    /// The session has never been open.
    pub(super) first: bool,
    /// The storm that cut the session, by its place.
    pub(super) storm: Option<u8>,
}

impl Reconnects {
    /// Makes a list without away sessions. A session that is not open again after `timeout` does
    /// not come back.
    pub(super) fn new(seed: u64, timeout: Nanos) -> Self {
        Self {
            timeout,
            away: FnvHashMap::default(),
            due: BinaryHeap::new(),
            named: FnvHashMap::default(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
        }
    }

    /// Returns whether no session is away.
    pub(super) fn is_empty(&self) -> bool {
        self.away.is_empty()
    }

    /// Returns whether the session of a device is away.
    pub(super) fn is_away(&self, device: u32) -> bool {
        self.away.contains_key(&device)
    }

    /// Returns when the next attempt is due.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes a device whose next attempt is due.
    pub(super) fn take_due(&mut self, now: Nanos) -> Option<u32> {
        if self.due()? > now {
            return None;
        }
        self.due.pop().map(|Reverse((_, device))| device)
    }

    /// Returns the position from which a device wants to continue.
    pub(super) fn since(&self, device: u32) -> Option<CompactString> {
        let away = self.away.get(&device)?;
        Some(away.since.clone()).filter(|since| !since.is_empty())
    }

    /// The gateway does not take the position of a device. Returns whether the device had asked with
    /// one, and begins anew.
    pub(super) fn forget_position(&mut self, device: u32) -> bool {
        let away = self.away.get_mut(&device);
        away.is_some_and(|away| !std::mem::take(&mut away.since).is_empty())
    }

    /// Notes the delay that a `disconnect` event names for a reconnect.
    pub(super) fn note_disconnect(&mut self, device: u32, said: &Disconnect<'_>) {
        if said.reconnect {
            self.named.insert(device, said.delay_ms);
        }
    }

    /// Notes that the gateway closed with a code that asks for a reconnect. A delay that it named
    /// before stays valid.
    pub(super) fn note_close(&mut self, device: u32) {
        self.named.entry(device).or_insert(BACK_OFF);
    }

    /// The gateway named a delay in seconds, with a Retry-After header.
    pub(super) fn note_retry_after(&mut self, device: u32, seconds: u64) {
        let from = seconds.saturating_mul(1_000);
        self.named
            .insert(device, [from, from.saturating_add(1_000)]);
    }

    /// Returns the longest wait between attempts, from the range of delays that the gateway named
    /// last.
    fn longest(&self, device: u32) -> Option<Nanos> {
        let named = self
            .named
            .get(&device)
            .filter(|named| **named != BACK_OFF)?;
        Some(named[1].saturating_mul(1_000_000).max(LONGEST_NAMED))
    }

    /// Returns the wait before attempt `number`: the delay that the gateway named, or else an
    /// exponential back-off.
    fn delay(&mut self, device: u32, number: u32, longest: Nanos) -> Nanos {
        let (from, to) = match self.named.remove(&device) {
            Some([from, to]) if [from, to] != BACK_OFF => {
                (from.saturating_mul(1_000_000), to.saturating_mul(1_000_000))
            }
            _ => (0, BASE.saturating_mul(1 << number.min(16)).min(longest)),
        };
        self.rng.random_range(from..=to.max(from))
    }

    fn leaves(&mut self, now: Nanos, device: u32, cause: Cause, storm: Option<u8>) {
        let away = Away {
            since: CompactString::default(),
            left: now,
            cause,
            failed: 0,
            longest: LONGEST,
            first: false,
            storm,
        };
        self.away.insert(device, away);
    }

    /// Notes that the load generator cuts a session, which reconnects at `back`.
    pub(super) fn cut(&mut self, now: Nanos, device: u32, back: Nanos, storm: Option<u8>) {
        self.leaves(now, device, Cause::Cut, storm);
        self.due.push(Reverse((back, device)));
    }

    /// Notes that an open session broke; `excused` if the run broke the gateway. Returns whether
    /// the session reconnects: `always`, or because the gateway asked for it.
    pub(super) fn broke(&mut self, now: Nanos, device: u32, excused: bool, always: bool) -> bool {
        let asked = self.named.contains_key(&device);
        if !always && !asked {
            return false;
        }
        let longest = self.longest(device).unwrap_or(LONGEST);
        let delay = self.delay(device, 0, longest);
        let cause = match (excused, asked) {
            (true, _) => Cause::Chaos,
            (false, true) => Cause::Requested,
            (false, false) => Cause::Broken,
        };
        self.leaves(now, device, cause, None);
        if let Some(away) = self.away.get_mut(&device) {
            away.longest = longest;
        }
        self.due.push(Reverse((now + delay, device)));
        true
    }

    /// Notes that the socket of an away session has ended. The session will continue from
    /// `position`. Returns whether the end is excused, because the gateway did not cause it.
    pub(super) fn ended(&mut self, device: u32, position: Option<CompactString>) -> bool {
        self.named.remove(&device);
        let Some(away) = self.away.get_mut(&device) else {
            return false;
        };
        if let Some(position) = position {
            away.since = position;
        }
        !matches!(away.cause, Cause::Requested | Cause::Broken)
    }

    /// Notes that an attempt to reopen an away session failed. Returns what follows.
    pub(super) fn failed(&mut self, now: Nanos, device: u32) -> NextAttempt {
        let longest = self.longest(device);
        let Some(away) = self.away.get_mut(&device) else {
            self.named.remove(&device);
            return NextAttempt::None;
        };
        away.failed += 1;
        away.longest = longest.unwrap_or(away.longest);
        let (number, longest, until) = (away.failed, away.longest, away.left + self.timeout);
        if now >= until {
            return NextAttempt::GiveUp;
        }
        let delay = self.delay(device, number, longest);
        let at = (now + delay).min(until);
        self.due.push(Reverse((at, device)));
        NextAttempt::At(at)
    }

    /// Notes that the first attempt of a session failed while the run breaks the gateway. Further
    /// attempts follow.
    pub(super) fn first_failed(&mut self, now: Nanos, device: u32) {
        self.leaves(now, device, Cause::Chaos, None);
        if let Some(away) = self.away.get_mut(&device) {
            away.first = true;
        }
    }

    /// A session does not come back.
    pub(super) fn give_up(&mut self, device: u32) -> Option<GivenUp> {
        let away = self.away.remove(&device)?;
        Some(GivenUp {
            cause: away.cause,
            first: away.first,
            storm: away.storm,
        })
    }

    /// A device's session is open. Returns how it returned, if it was away.
    pub(super) fn returned(&mut self, device: u32) -> Option<Return> {
        let away = self.away.remove(&device)?;
        if self.away.is_empty() {
            self.away.shrink_to(KEPT);
            self.due.shrink_to(KEPT);
        }
        Some(Return {
            cause: away.cause,
            again: !away.first,
            asked: !away.since.is_empty(),
            storm: away.storm,
        })
    }

    /// Ends all attempts to reopen sessions. Returns the devices that are still away, in order.
    pub(super) fn end(&mut self) -> Vec<u32> {
        self.due.clear();
        let mut away: Vec<u32> = self.away.keys().copied().collect();
        away.sort_unstable();
        away
    }
}

#[cfg(test)]
mod tests;
