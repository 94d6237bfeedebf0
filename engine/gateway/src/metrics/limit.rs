//! The limits whose hits have counters of their own.

/// A limit whose hits are counted. Error and close codes have counters besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Messages per second of a connection.
    ConnectionMessages,
    /// Bytes per second of a connection.
    ConnectionBytes,
    /// Commands per second of a connection.
    ConnectionCommands,
    /// Messages per second of a user.
    UserMessages,
    /// Bytes per second of a user.
    UserBytes,
    /// Commands per second of a user.
    UserCommands,
    /// Connections of the gateway or of a shard.
    Connections,
    /// Connections of an address.
    AddressConnections,
    /// Sessions of a user.
    UserConnections,
    /// Connections without a session.
    Opening,
    /// Connections accepted in a turn.
    Accepts,
    /// Connections without a session that are read in a turn.
    Newcomers,
    /// Sessions that catch up at the same time.
    Recovering,
    /// Half of the bytes that a shard may hold: a live push was dropped.
    ShardPushes,
    /// The bytes that a shard may hold: a connection was ended.
    ShardBuffers,
    /// Bytes of an upgrade request.
    HeaderBytes,
    /// Pings and pongs of a connection per second.
    ControlFrames,
    /// Time for one WebSocket message.
    MessageTime,
    /// Time for the upgrade.
    HandshakeTime,
    /// Commands of one frame.
    FrameCommands,
    /// Pages that readers look up for a connection at the same time.
    Pages,
    /// Commands of a connection that the sequencer has not decided: the connection is not read.
    Outstanding,
    /// Output of a connection: its next question waits until the output is smaller.
    Answers,
    /// Time for stopping.
    DrainTime,
    /// Users that a connection watches.
    Watches,
    /// Departures that wait to be stored.
    LastSeen,
    /// Topics that a connection is subscribed to.
    Subscriptions,
    /// Topics of the gateway.
    Topics,
    /// Typing events of a connection per second.
    Typing,
    /// Ephemeral events that wait for a shard.
    Ephemeral,
    /// Web pages that may connect.
    Origins,
    /// A trusted proxy did not say who its client is in the way that was agreed.
    Proxies,
    /// `rpc` commands of a connection without an answer.
    Rpcs,
}

impl Limit {
    /// Every limit, in the order of its counter.
    pub const ALL: [Self; 33] = [
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
        Self::Outstanding,
        Self::Answers,
        Self::DrainTime,
        Self::Watches,
        Self::LastSeen,
        Self::Subscriptions,
        Self::Topics,
        Self::Typing,
        Self::Ephemeral,
        Self::Origins,
        Self::Proxies,
        Self::Rpcs,
    ];

    /// The label in /metrics.
    pub const fn name(self) -> &'static str {
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
            Self::Outstanding => "outstanding",
            Self::Answers => "answers",
            Self::DrainTime => "drain_time",
            Self::Watches => "watches",
            Self::LastSeen => "last_seen",
            Self::Subscriptions => "subscriptions",
            Self::Topics => "topics",
            Self::Typing => "typing",
            Self::Ephemeral => "passing",
            Self::Origins => "origins",
            Self::Proxies => "proxies",
            Self::Rpcs => "rpcs",
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
