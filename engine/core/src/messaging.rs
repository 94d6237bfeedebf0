//! The rules of conversations and groups.

use std::time::Duration;

/// The rules for all conversations of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Messaging {
    /// The maximum number of members of a group whose events enter every member's sync timeline.
    /// Members of larger groups catch up from the group's channel. Clients see no difference.
    pub fanout_limit: usize,
    /// How long members catch up from the channel at least. Each change between the two writes the inbox of
    /// every member, for a command that may name few of them.
    pub channel_stays: Duration,
    /// The maximum number of members of a group in which authors receive the receipts of other
    /// members. In larger groups only the reader's own devices receive them, and clients use
    /// `receipts` to ask.
    pub receipt_fanout: usize,
    /// The time that a receipt with a read mark waits for others of its conversation, to be stored
    /// with them.
    pub receipt_delay: Duration,
    /// The time that a receipt with delivered marks only waits for others of its conversation.
    pub delivered_delay: Duration,
    /// The maximum number of members of a group. One more fails with 106.
    pub group_members: usize,
    /// Whether all members may add members, not only owners.
    pub members_add: bool,
    /// The time in which a sender can recall a message. A later recall fails with 114.
    pub recall_window: Duration,
    /// The time in which a sender can edit a message. A later edit fails with 119.
    pub edit_window: Duration,
    /// The longest time after which a message may expire. A longer `ttl` fails with 106.
    pub most_ttl: Duration,
    /// The maximum number of bytes of a message of the gateway. An edit that makes a message longer fails
    /// with 106.
    pub message_bytes: usize,
    /// The number of members, of all groups together, that the sequencer keeps in memory.
    pub group_cache: usize,
    /// Whether a back end may rewrite the text of messages. Then a send that repeats a key may have another
    /// text than the stored message: the back end may have rewritten it otherwise this time.
    pub rewrites: bool,
}

#[cfg(test)]
impl Messaging {
    /// The rules of a gateway without settings.
    pub(crate) fn of_tests() -> Self {
        Self {
            fanout_limit: 200,
            channel_stays: Duration::from_hours(1),
            receipt_fanout: 16,
            receipt_delay: Duration::from_millis(250),
            delivered_delay: Duration::from_secs(2),
            group_members: 200_000,
            members_add: false,
            recall_window: Duration::from_hours(24),
            edit_window: Duration::from_hours(24),
            most_ttl: Duration::from_hours(360),
            group_cache: 2_000_000,
            rewrites: false,
            message_bytes: 1 << 20,
        }
    }
}
