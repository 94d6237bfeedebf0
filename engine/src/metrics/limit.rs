//! The limits whose hits are counted apart.

/// A limit that nothing else in /metrics names: error and close codes have counters of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    ConnectionMessages,
    ConnectionBytes,
    ConnectionCommands,
    UserMessages,
    UserBytes,
    UserCommands,
    Connections,
    AddressConnections,
    UserConnections,
    Opening,
    Accepts,
    Newcomers,
    Recovering,
    ShardPushes,
    ShardBuffers,
    HeaderBytes,
    ControlFrames,
    MessageTime,
    HandshakeTime,
    FrameCommands,
    Pages,
    Answers,
    DrainTime,
    Watches,
    LastSeen,
    Subscriptions,
    Topics,
    Typing,
    Passing,
    Origins,
}

impl Limit {
    /// Every limit, in the order of its counter.
    pub(crate) const ALL: [Self; 30] = [
        Self::ConnectionMessages,
        Self::ConnectionBytes,
        Self::ConnectionCommands,
        Self::UserMessages,
        Self::UserBytes,
        Self::UserCommands,
        Self::Connections,
        Self::AddressConnections,
        Self::UserConnections,
        Self::Opening,
        Self::Accepts,
        Self::Newcomers,
        Self::Recovering,
        Self::ShardPushes,
        Self::ShardBuffers,
        Self::HeaderBytes,
        Self::ControlFrames,
        Self::MessageTime,
        Self::HandshakeTime,
        Self::FrameCommands,
        Self::Pages,
        Self::Answers,
        Self::DrainTime,
        Self::Watches,
        Self::LastSeen,
        Self::Subscriptions,
        Self::Topics,
        Self::Typing,
        Self::Passing,
        Self::Origins,
    ];

    /// The label in /metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ConnectionMessages => "connection_messages",
            Self::ConnectionBytes => "connection_bytes",
            Self::ConnectionCommands => "connection_commands",
            Self::UserMessages => "user_messages",
            Self::UserBytes => "user_bytes",
            Self::UserCommands => "user_commands",
            Self::Connections => "connections",
            Self::AddressConnections => "address_connections",
            Self::UserConnections => "user_connections",
            Self::Opening => "opening",
            Self::Accepts => "accepts",
            Self::Newcomers => "newcomers",
            Self::Recovering => "recovering",
            Self::ShardPushes => "shard_pushes",
            Self::ShardBuffers => "shard_buffers",
            Self::HeaderBytes => "header_bytes",
            Self::ControlFrames => "control_frames",
            Self::MessageTime => "message_time",
            Self::HandshakeTime => "handshake_time",
            Self::FrameCommands => "frame_commands",
            Self::Pages => "pages",
            Self::Answers => "answers",
            Self::DrainTime => "drain_time",
            Self::Watches => "watches",
            Self::LastSeen => "last_seen",
            Self::Subscriptions => "subscriptions",
            Self::Topics => "topics",
            Self::Typing => "typing",
            Self::Passing => "passing",
            Self::Origins => "origins",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Limit;

    #[test]
    fn each_has_its_counter() {
        for (i, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, i, "{}", limit.name());
        }
    }
}
