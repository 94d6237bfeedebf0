//! A token bucket without a clock: the caller says how much time has passed.
//!
//! A level counts tenths of a token, because a second has ten ticks. A rate of N tokens per second is so
//! exactly N tenths per tick, and rounding loses nothing.

use std::time::Duration;

use crate::timer::{TICKS_PER_SECOND, Tick};

/// The number of parts of a token in which levels are counted: one for each tick of a second.
const PARTS: i64 = TICKS_PER_SECOND as i64;

/// The speed at which a bucket fills, and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Parts per tick, which is the same number as tokens per second. 0: no limit.
    per_tick: i64,
    /// The size of a bucket, in parts.
    burst: i64,
}

impl Rate {
    /// Makes a rate. A bucket holds the tokens of the time `burst`, and at least one. 0 tokens per second
    /// means no limit.
    pub(crate) fn new(per_second: u32, burst: Duration) -> Self {
        let ticks = i64::try_from(burst.as_millis() * u128::from(TICKS_PER_SECOND) / 1_000);
        let per_tick = i64::from(per_second);
        Self {
            per_tick,
            // Less than one token would never let anything through.
            burst: per_tick
                .saturating_mul(ticks.unwrap_or(i64::MAX))
                .max(PARTS),
        }
    }

    /// Whether there is no limit.
    pub(crate) const fn is_off(&self) -> bool {
        self.per_tick == 0
    }

    /// Returns the number of ticks after which a bucket is full that has a debt of at most `tokens`.
    pub(crate) fn ticks_to_fill(&self, tokens: u32) -> Tick {
        if self.is_off() {
            return 0;
        }
        let missing = self.burst.saturating_add(i64::from(tokens) * PARTS);
        Tick::try_from(missing / self.per_tick + 1).unwrap_or(Tick::MAX / 4)
    }
}

/// A token bucket. Every call has to pass the same [`Rate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    level: i64,
}

impl Bucket {
    /// Makes a full bucket.
    pub(crate) const fn full(rate: &Rate) -> Self {
        Self { level: rate.burst }
    }

    /// Adds the tokens of this number of ticks.
    pub(crate) fn refill(&mut self, rate: &Rate, ticks: Tick) {
        let more = rate.per_tick.saturating_mul(i64::from(ticks));
        self.level = self.level.saturating_add(more).min(rate.burst);
    }

    /// Takes tokens. Returns `false`, and takes none, if the bucket is empty. A bucket with any token
    /// gives more than it has: later takers wait until the debt is paid. So a request larger than the
    /// whole bucket passes too.
    pub(crate) fn take(&mut self, rate: &Rate, tokens: u32) -> bool {
        if rate.is_off() {
            return true;
        }
        let allowed = self.level > 0;
        if allowed {
            self.level -= i64::from(tokens) * PARTS;
        }
        allowed
    }
}

impl Bucket {
    /// Returns the number of ticks after which the bucket has a token again.
    pub(crate) fn ticks_to_wait(&self, rate: &Rate) -> Tick {
        if rate.is_off() || self.level > 0 {
            return 0;
        }
        Tick::try_from(-self.level / rate.per_tick + 1).unwrap_or(Tick::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Requests: the ticks since the last request, and the tokens.
    fn requests() -> impl Strategy<Value = Vec<(Tick, u32)>> {
        prop::collection::vec((0..40u32, 0..300u32), 1..200)
    }

    proptest! {
        /// In any stretch of the requests, no more tokens pass than the burst, the rate times the stretch,
        /// and one request that goes into debt.
        #[test]
        fn no_more_than_promised(
            rate in 1..500u32,
            burst in 1..20u64,
            requests in requests(),
        ) {
            let rate_of = Rate::new(rate, Duration::from_secs(burst));
            let mut bucket = Bucket::full(&rate_of);
            let (mut now, mut passed) = (0u64, Vec::new());
            for &(ticks, tokens) in &requests {
                now += u64::from(ticks);
                bucket.refill(&rate_of, ticks);
                if bucket.take(&rate_of, tokens) {
                    passed.push((now, u64::from(tokens)));
                }
            }
            for (i, &(from, _)) in passed.iter().enumerate() {
                let mut before = 0;
                for &(at, tokens) in &passed[i..] {
                    let promised = u64::from(rate) * (burst * u64::from(TICKS_PER_SECOND) + at - from);
                    prop_assert!(before * u64::from(TICKS_PER_SECOND) < promised);
                    before += tokens;
                }
            }
        }

        /// A client that stays below the rate is never refused.
        #[test]
        fn no_less_than_promised(rate in 1..500u32, burst in 1..20u64, ticks in prop::collection::vec(0..10u32, 1..200)) {
            let rate_of = Rate::new(rate, Duration::from_secs(burst));
            let mut bucket = Bucket::full(&rate_of);
            let mut owed = 0;
            for ticks in ticks {
                bucket.refill(&rate_of, ticks);
                // The whole tokens that the rate allows for this time.
                owed += ticks * rate;
                let tokens = owed / TICKS_PER_SECOND;
                owed %= TICKS_PER_SECOND;
                prop_assert!(tokens == 0 || bucket.take(&rate_of, tokens));
            }
        }

        /// Refilling in pieces gives the same level as refilling at once.
        #[test]
        fn time_in_pieces(rate in 1..500u32, burst in 1..20u64, debt in 0..5_000u32, pieces in prop::collection::vec(0..9u32, 1..50)) {
            let rate_of = Rate::new(rate, Duration::from_secs(burst));
            let mut whole = Bucket::full(&rate_of);
            whole.take(&rate_of, debt);
            let mut cut = whole;
            whole.refill(&rate_of, pieces.iter().sum());
            for piece in pieces {
                cut.refill(&rate_of, piece);
            }
            prop_assert_eq!(whole, cut);
        }

        /// The next request is allowed after the time that a refusal names, and not a tick before.
        #[test]
        fn as_long_as_it_says(rate in 1..500u32, burst in 1..20u64, debt in 1..50_000u32) {
            let rate_of = Rate::new(rate, Duration::from_secs(burst));
            let mut bucket = Bucket::full(&rate_of);
            bucket.take(&rate_of, debt);
            let ticks = bucket.ticks_to_wait(&rate_of);
            prop_assert_eq!(ticks == 0, bucket.take(&rate_of, 0));
            if ticks > 0 {
                bucket.refill(&rate_of, ticks - 1);
                prop_assert!(!bucket.take(&rate_of, 1));
                bucket.refill(&rate_of, 1);
                prop_assert!(bucket.take(&rate_of, 1));
            }
        }

        /// A bucket that was unused for its time to fill is as full as a new one.
        #[test]
        fn full_again(rate in 1..500u32, burst in 1..20u64, debt in 0..5_000u32) {
            let rate_of = Rate::new(rate, Duration::from_secs(burst));
            let mut bucket = Bucket::full(&rate_of);
            bucket.take(&rate_of, debt);
            bucket.refill(&rate_of, rate_of.ticks_to_fill(debt));
            prop_assert_eq!(bucket, Bucket::full(&rate_of));
        }
    }

    #[test]
    fn extremes_do_not_wrap() {
        let rate = Rate::new(u32::MAX, Duration::from_hours(1));
        let mut bucket = Bucket::full(&rate);
        assert!(bucket.take(&rate, u32::MAX));
        bucket.refill(&rate, Tick::MAX);
        assert_eq!(bucket, Bucket::full(&rate));
        let off = Rate::new(0, Duration::from_secs(1));
        let mut bucket = Bucket::full(&off);
        assert!((0..100).all(|_| bucket.take(&off, u32::MAX)));
    }
}
