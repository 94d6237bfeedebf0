//! How conversations work.

use std::time::Duration;

use super::ConfigError;
use super::settings::{Settings, time, value};

/// Most members of one group that the format and the shards are made for.
const MOST_MEMBERS: usize = 1_000_000;

/// What holds for all conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Messaging {
    /// Members of a group up to which each event enters every member's timeline; those of larger
    /// groups catch up from the group's. Clients see no difference.
    pub fanout_limit: usize,
    /// Members of a group up to which all are told of each other's receipts; in larger ones only
    /// the reader's own devices are, and `receipts` answers who asks.
    pub receipt_fanout: usize,
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
        Self {
            fanout_limit: number(flags.fanout_limit, file.fanout_limit, 200),
            receipt_fanout: number(flags.receipt_fanout, file.receipt_fanout, 16),
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
            ("receipt_fanout", self.receipt_fanout, 2, 10_000),
            ("group_members", self.group_members, 2, MOST_MEMBERS),
            ("group_cache", self.group_cache, 2, 100 * MOST_MEMBERS),
        ] {
            if !(least..=most).contains(&number) {
                return Err(value(setting, format!("from {least} to {most}")));
            }
        }
        if self.recall_window > Duration::from_secs(365 * 86_400) {
            return Err(value("recall_window", "at most 365d"));
        }
        Ok(())
    }
}
