//! The rules of conversations.

use std::time::Duration;

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

#[cfg(test)]
impl Messaging {
    /// The rules of a gateway without settings.
    pub(crate) fn of_tests() -> Self {
        Self {
            fanout_limit: 200,
            receipt_fanout: 16,
            receipt_delay: Duration::from_millis(250),
            delivered_delay: Duration::from_secs(2),
            group_members: 200_000,
            members_add: false,
            recall_window: Duration::from_hours(24),
            group_cache: 2_000_000,
        }
    }
}
