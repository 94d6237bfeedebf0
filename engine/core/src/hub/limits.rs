//! Limits of what is not stored.

use std::time::Duration;

/// Limits of presence, last-seen times and topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubLimits {
    /// How long a user stays online for others after the last session ended. A user who comes back
    /// within this time was never gone.
    pub presence_grace: Duration,
    /// The number of users whose last-seen time is kept in memory.
    pub last_seen_cache: usize,
    /// How often last-seen times are stored.
    pub last_seen_interval: Duration,
    /// The number of last-seen times that are stored per second at most; 0: none is stored.
    pub last_seen_rate: u32,
    /// The number of topics. One more takes the place of a topic without subscribers; where every
    /// topic has some, the command fails with 106.
    pub topics: usize,
    /// The number of publications of a topic that are kept for later subscribers. The oldest go first.
    pub topic_history: usize,
    /// The bytes of the publications that are kept of a topic.
    pub topic_bytes: usize,
    /// The bytes of the publications that are kept of all topics together.
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
