//! How long clients that are sent away are told to wait before they reconnect.
//!
//! A gateway admits a number of sessions a second (`reconnect_rate`). Each client waits a random time
//! within a range as long as admitting all of them takes. In a shorter range most clients would find no
//! room; in a longer one they would wait for nothing.

use crate::timer::{TICKS_PER_SECOND, Tick};

/// The shortest range, in milliseconds. It keeps even few clients from reconnecting at the same moment.
const SHORTEST: u64 = 100;

/// The range of delays, in milliseconds from 0 on.
#[derive(Debug)]
pub(super) struct Returns {
    /// The number of plain sessions that the whole gateway admits within a second.
    rate: u64,
    /// The number of shards that share the rate.
    shards: u64,
    /// The longest range, in milliseconds.
    longest: u64,
    /// The range for all clients of a gateway that stops, in milliseconds.
    stopping: Option<u64>,
    /// The sessions that were sent away and are not admitted again yet, in parts of a plain session. The
    /// size of a part makes `rate` parts the share of this shard in one tick.
    outside: u64,
    /// The tick up to which admitted sessions are taken off `outside`.
    at: Tick,
}

impl Returns {
    /// Makes the delays of a shard that has sent nobody away.
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

    /// Sets the range for the stop of a gateway. Its shards have `sessions` sessions together, and each
    /// takes as long to admit as `cost` plain ones.
    pub(super) fn stop(&mut self, sessions: usize, cost: u64) {
        let all = (sessions as u64).saturating_mul(cost);
        self.stopping = Some(self.range(all.saturating_mul(1_000) / self.rate));
    }

    /// The range for a client that goes because the gateway stops, in milliseconds.
    pub(super) fn of_all(&self) -> u64 {
        self.stopping.unwrap_or(self.longest)
    }

    /// Returns the range for a client that this shard has no room for now, in milliseconds, and counts the
    /// client as `cost` plain ones. Clients that were sent away earlier have their turn first.
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
