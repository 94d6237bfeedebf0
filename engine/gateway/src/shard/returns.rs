//! How long those who are sent away are told to wait before they come again.
//!
//! A gateway takes in so many sessions a second (`reconnect_rate`). Those who are sent away together
//! each wait a random time, within a range as long as taking all of them in takes: shorter, and most
//! find no room; longer, and they wait for nothing.

use crate::timer::{TICKS_PER_SECOND, Tick};

/// The shortest range, in milliseconds: few need no spreading, but should not come in step.
const SHORTEST: u64 = 100;

/// The range of delays, in milliseconds from 0 on.
#[derive(Debug)]
pub(super) struct Returns {
    /// Sessions that the whole gateway takes in within a second, of which each counts 1.
    rate: u64,
    /// Shards that share it.
    shards: u64,
    longest: u64,
    /// The range for all, once the gateway stops.
    stopping: Option<u64>,
    /// What those count who were sent away and have not had their turn, in parts of a tick's worth
    /// that come out even: `rate` of them have their turn in a tick.
    outside: u64,
    /// Until when those who had their turn were taken off.
    at: Tick,
}

impl Returns {
    pub(super) fn new(rate: u32, shards: usize, longest_ms: u64) -> Self {
        Self {
            rate: u64::from(rate).max(1),
            shards: (shards as u64).max(1),
            longest: longest_ms,
            stopping: None,
            outside: 0,
            at: 0,
        }
    }

    /// The gateway stops, and so many sessions of all its shards, each of which counts `cost`, have
    /// to go elsewhere or come back.
    pub(super) fn stop(&mut self, sessions: usize, cost: u64) {
        let all = (sessions as u64).saturating_mul(cost);
        self.stopping = Some(self.range(all.saturating_mul(1_000) / self.rate));
    }

    /// The range for a session of those that go because the gateway stops.
    pub(super) fn of_all(&self) -> u64 {
        self.stopping.unwrap_or(self.longest)
    }

    /// The range for one more of those that this shard has no room for now. Whoever was sent away
    /// before has their turn first.
    pub(super) fn of_one(&mut self, now: Tick, cost: u64) -> u64 {
        let scale = self.shards * u64::from(TICKS_PER_SECOND);
        let passed = u64::from(now.wrapping_sub(self.at));
        self.outside = self
            .outside
            .saturating_sub(passed.saturating_mul(self.rate));
        self.at = now;
        self.outside = self.outside.saturating_add(cost.saturating_mul(scale));
        let ticks_in_ms = 1_000 / u64::from(TICKS_PER_SECOND);
        self.range(self.outside.saturating_mul(ticks_in_ms) / self.rate)
    }

    fn range(&self, ms: u64) -> u64 {
        ms.max(SHORTEST).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_gateway() {
        for (sessions, cost, rate, longest, expected) in [
            (1, 1, 10_000, 30_000, 100),
            (500, 1, 10_000, 30_000, 100),
            (2_000, 1, 10_000, 30_000, 200),
            (10_000, 1, 10_000, 30_000, 1_000),
            (10_000, 8, 10_000, 30_000, 8_000),
            (500, 1, 100, 30_000, 5_000),
            (1_000_000, 1, 10_000, 30_000, 30_000),
            (10_000, 1, 10_000, 700, 700),
            (10_000, 1, 10_000, 0, 0),
            (usize::MAX, u64::MAX, 1, 30_000, 30_000),
        ] {
            let mut returns = Returns::new(rate, 2, longest);
            assert_eq!(returns.of_all(), longest, "nothing is known yet");
            returns.stop(sessions, cost);
            assert_eq!(returns.of_all(), expected, "{sessions} at {rate}");
        }
    }

    #[test]
    fn those_without_room_queue() {
        // 5,000 a second for this shard, 500 a tick.
        let mut returns = Returns::new(10_000, 2, 30_000);
        assert_eq!(returns.of_one(7, 1), 100);
        let last = (0..4_999).map(|_| returns.of_one(7, 1)).last();
        assert_eq!(last, Some(1_000));
        // Half a second later half of them have had their turn.
        assert_eq!(returns.of_one(12, 1), 500);
        assert_eq!(returns.of_one(10_000, 1), 100);
        assert_eq!(returns.of_one(10_000, 8 * 5_000), 8_000);
        let many = (0..1_000_000).map(|_| returns.of_one(10_001, 1)).last();
        assert_eq!(many, Some(30_000));
    }
}
