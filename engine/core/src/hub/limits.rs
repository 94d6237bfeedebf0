//! The limits of ephemeral state.

use std::time::Duration;

/// The limits of presence, last-seen times and topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubLimits {
    /// The time that a user stays online for others after the last session ended. Others do not see
    /// the absence of a user who comes back within this time.
    pub presence_grace: Duration,
    /// The maximum number of users whose last-seen time is in memory.
    pub last_seen_cache: usize,
    /// The interval at which last-seen times are stored.
    pub last_seen_interval: Duration,
    /// The maximum number of last-seen times to store per second; 0 stores none.
    pub last_seen_rate: u32,
    /// The maximum number of topics. One more replaces a topic without subscribers. If every topic
    /// has subscribers, the command fails with 106.
    pub topics: usize,
    /// The maximum number of publications that a topic keeps for later subscribers. The oldest go
    /// first.
    pub topic_history: usize,
    /// The maximum bytes of the publications that one topic keeps.
    pub topic_bytes: usize,
    /// The maximum bytes of the publications that all topics keep together.
    pub topics_bytes: usize,
}

#[cfg(test)]
impl HubLimits {
    /// Limits that no test reaches by accident.
    pub(crate) fn of_tests() -> Self {
        Self {
            presence_grace: Duration::from_secs(10),
            last_seen_cache: 100_000,
            last_seen_interval: Duration::from_secs(5),
            last_seen_rate: 20_000,
            topics: 100_000,
            topic_history: 100,
            topic_bytes: 1 << 20,
            topics_bytes: 64 << 20,
        }
    }
}
