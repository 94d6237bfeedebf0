//! How conversations work.

use std::time::Duration;

use super::ConfigError;
use super::settings::{Settings, time, value};
use super::units;
use crate::event::MOST_TOLD;

/// Most members of one group that the format and the shards are made for.
const MOST_MEMBERS: usize = 1_000_000;

/// Longer than this, acknowledgements that nobody has stored would be many.
const MOST_DELAY: Duration = Duration::from_secs(10);

/// Long enough for members who look at the same time, and for a few messages in a row; too short to
/// be noticed by who waits for an answer.
const RECEIPT_DELAY: Duration = Duration::from_millis(250);

/// Most who are there when a message comes read it within two seconds: that it was delivered is
/// then no news, and one receipt does for both.
const DELIVERED_LATER: u32 = 8;

/// What holds for all conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Messaging {
    /// Members of a group up to which each event enters every member's timeline; those of larger
    /// groups catch up from the group's. Clients see no difference.
    pub fanout_limit: usize,
    /// Members of a group up to which whoever wrote a message is told of the others' receipts; in
    /// larger ones only the reader's own devices are, and `receipts` answers who asks.
    pub receipt_fanout: usize,
    /// How long a receipt waits for others of its conversation, to be stored with them.
    pub receipt_delay: Duration,
    /// The same of one that says of nothing that it was read: it may wait longer for that.
    pub delivered_delay: Duration,
    /// Members of one group; beyond it 106.
    pub group_members: usize,
    /// Members may add members, not only owners.
    pub members_add: bool,
    /// How long a sender can recall a message; after it 114.
    pub recall_window: Duration,
    /// Members of groups that the sequencer keeps in memory.
    pub group_cache: usize,
}

impl Messaging {
    pub(super) fn resolve(flags: &Settings, file: &Settings) -> Self {
        const DAY: u64 = 86_400;
        let number = |flag: Option<usize>, file, default| flag.or(file).unwrap_or(default);
        let delay = |flag: Option<units::Duration>, file: Option<units::Duration>, default| {
            flag.or(file).map_or(default, |given| given.0)
        };
        let receipt_delay = delay(flags.receipt_delay, file.receipt_delay, RECEIPT_DELAY);
        Self {
            fanout_limit: number(flags.fanout_limit, file.fanout_limit, 200),
            receipt_fanout: number(flags.receipt_fanout, file.receipt_fanout, 16),
            receipt_delay,
            delivered_delay: delay(
                flags.delivered_delay,
                file.delivered_delay,
                receipt_delay.saturating_mul(DELIVERED_LATER),
            ),
            group_members: number(flags.group_members, file.group_members, 200_000),
            members_add: flags.members_add.or(file.members_add).unwrap_or(false),
            recall_window: time(flags.recall_window, file.recall_window, DAY),
            group_cache: number(flags.group_cache, file.group_cache, 2_000_000),
        }
    }

    /// # Errors
    /// A value cannot work.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (setting, number, least, most) in [
            ("fanout_limit", self.fanout_limit, 1, 10_000),
            ("receipt_fanout", self.receipt_fanout, 2, MOST_TOLD),
            ("group_members", self.group_members, 2, MOST_MEMBERS),
            ("group_cache", self.group_cache, 2, 100 * MOST_MEMBERS),
        ] {
            if !(least..=most).contains(&number) {
                return Err(value(setting, format!("from {least} to {most}")));
            }
        }
        for (setting, delay) in [
            ("receipt_delay", self.receipt_delay),
            ("delivered_delay", self.delivered_delay),
        ] {
            if delay > MOST_DELAY {
                return Err(value(setting, "at most 10s"));
            }
        }
        if self.recall_window > Duration::from_secs(365 * 86_400) {
            return Err(value("recall_window", "at most 365d"));
        }
        Ok(())
    }
}
