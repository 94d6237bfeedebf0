//! Rests a back end that fails: most requests fail at once then, instead of waiting for a timeout.

use std::time::{Duration, Instant};

/// The failures in a row after which a back end rests.
const FAILURES: u32 = 5;

/// The first rest. Each further one is twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);

/// The longest rest.
const LONGEST: Duration = Duration::from_secs(30);

/// Whether a back end is asked.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// The failures since the last success.
    failures: u32,
    /// The end of the rest, and how long it is. `None`: the back end is asked.
    rest: Option<(Instant, Duration)>,
    /// A request is on its way that finds out whether the back end answers again.
    probing: bool,
}

impl Breaker {
    /// Returns whether a request may go out now. After a rest one request at a time may, until one
    /// succeeds.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        let admits = self.would_admit(now);
        self.probing = self.probing || admits && self.rest.is_some();
        admits
    }

    /// Returns whether [`admits`](Self::admits) would return true now.
    pub(super) fn would_admit(&self, now: Instant) -> bool {
        self.opens_at(now).is_some_and(|at| at <= now)
    }

    /// Returns when a request may go out: `now` or later; `None` if first another one has to end.
    pub(super) fn opens_at(&self, now: Instant) -> Option<Instant> {
        match self.rest {
            None => Some(now),
            Some(_) if self.probing => None,
            Some((until, _)) => Some(until.max(now)),
        }
    }

    /// Returns whether the back end rests.
    pub(super) const fn is_open(&self) -> bool {
        self.rest.is_some()
    }

    /// Notes an answer.
    pub(super) const fn succeeded(&mut self) {
        *self = Self {
            failures: 0,
            rest: None,
            probing: false,
        };
    }

    /// Notes a failure. Returns whether the back end begins to rest that did not rest before.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let length = match self.rest {
            // Requests that went out before the rest change nothing.
            Some(_) if !self.probing => return false,
            Some((_, length)) => (length * 2).min(LONGEST),
            None if self.failures < FAILURES => return false,
            None => FIRST,
        };
        let is_new = self.rest.is_none();
        self.rest = Some((now + length, length));
        self.probing = false;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_after_failures_in_a_row_and_then_one_request_finds_out() {
        let mut breaker = Breaker::default();
        let mut now = Instant::now();
        for _ in 1..FAILURES {
            assert!(!breaker.failed(now));
        }
        breaker.succeeded();
        for _ in 1..FAILURES {
            assert!(!breaker.failed(now) && breaker.admits(now));
        }
        assert!(breaker.failed(now) && breaker.is_open());
        let mut rest = FIRST;
        for _ in 0..10 {
            assert!(!breaker.admits(now));
            // Nobody has to look again before the end of the rest.
            assert_eq!(breaker.opens_at(now), Some(now + rest));
            // A request from before the rest.
            assert!(!breaker.failed(now));
            now += rest;
            assert!(breaker.admits(now) && !breaker.admits(now));
            assert_eq!(breaker.opens_at(now), None);
            assert!(!breaker.failed(now));
            rest = (rest * 2).min(LONGEST);
        }
        now += LONGEST;
        assert!(breaker.admits(now));
        breaker.succeeded();
        assert!(!breaker.is_open() && breaker.admits(now) && breaker.admits(now));
    }
}
