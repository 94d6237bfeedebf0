//! Error codes of replies, close codes of connections, and reports of messages that cannot be read.

/// The reason why a command failed: the `code` of an error reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
#[allow(
    missing_docs,
    reason = "the names and texts below are the documentation"
)]
pub enum ErrorCode {
    Internal = 100,
    Unauthorized = 101,
    Unknown = 102,
    PermissionDenied = 103,
    UnknownCommand = 104,
    LimitExceeded = 106,
    BadRequest = 107,
    TokenExpired = 109,
    TooManyRequests = 111,
    PositionExpired = 112,
    RecallWindowPassed = 114,
    StorageUnavailable = 115,
    StorageFull = 116,
    KeyReused = 117,
    NameTaken = 118,
    EditWindowPassed = 119,
    BackEndUnavailable = 120,
}

impl ErrorCode {
    /// All codes, in ascending order.
    pub const ALL: [Self; 17] = [
        Self::Internal,
        Self::Unauthorized,
        Self::Unknown,
        Self::PermissionDenied,
        Self::UnknownCommand,
        Self::LimitExceeded,
        Self::BadRequest,
        Self::TokenExpired,
        Self::TooManyRequests,
        Self::PositionExpired,
        Self::RecallWindowPassed,
        Self::StorageUnavailable,
        Self::StorageFull,
        Self::KeyReused,
        Self::NameTaken,
        Self::EditWindowPassed,
        Self::BackEndUnavailable,
    ];

    /// Returns the code's number on the wire.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// Returns the code's `name` on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Unauthorized => "unauthorized",
            Self::Unknown => "unknown",
            Self::PermissionDenied => "permission_denied",
            Self::UnknownCommand => "unknown_command",
            Self::LimitExceeded => "limit_exceeded",
            Self::BadRequest => "bad_request",
            Self::TokenExpired => "token_expired",
            Self::TooManyRequests => "too_many_requests",
            Self::PositionExpired => "position_expired",
            Self::RecallWindowPassed => "recall_window_passed",
            Self::StorageUnavailable => "storage_unavailable",
            Self::StorageFull => "storage_full",
            Self::KeyReused => "key_reused",
            Self::NameTaken => "name_taken",
            Self::EditWindowPassed => "edit_window_passed",
            Self::BackEndUnavailable => "back_end_unavailable",
        }
    }

    /// Returns whether the same command may succeed later.
    pub const fn temporary(self) -> bool {
        matches!(
            self,
            Self::Internal
                | Self::TooManyRequests
                | Self::StorageUnavailable
                | Self::StorageFull
                | Self::BackEndUnavailable
        )
    }
}

/// A WebSocket close code (RFC 6455 §7.4 and the protocol's own 3000–3999).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The connection ended normally.
    pub const NORMAL: Self = Self(1000);
    /// The peer sent a frame that breaks RFC 6455.
    pub const PROTOCOL: Self = Self(1002);
    /// The peer sent the wrong kind of frame for the chosen encoding.
    pub const UNSUPPORTED: Self = Self(1003);
    /// The peer sent text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The peer sent too many control frames, or did not complete a message.
    pub const POLICY: Self = Self(1008);
    /// The peer sent a message larger than the limit.
    pub const TOO_BIG: Self = Self(1009);
    /// The server shuts down. The client should reconnect.
    pub const SHUTDOWN: Self = Self(3001);
    /// The server failed. The client should reconnect.
    pub const SERVER_ERROR: Self = Self(3004);
    /// The client does not read fast enough. The client should reconnect.
    pub const SLOW_READER: Self = Self(3008);
    /// The client sent no pong in time. The client should reconnect.
    pub const NO_PONG: Self = Self(3012);
    /// The server is overloaded. The client should reconnect later.
    pub const OVERLOADED: Self = Self(3013);
    /// The token is not valid. The client must not reconnect with it.
    pub const INVALID_TOKEN: Self = Self(3500);
    /// The client broke the protocol. The client must not reconnect.
    pub const BAD_REQUEST: Self = Self(3501);
    /// The client sent no `connect` before the deadline.
    pub const NO_CONNECT: Self = Self(3502);
    /// An administrator replaced this session.
    pub const REPLACED: Self = Self(3503);
    /// There are too many connections.
    pub const CONNECTION_LIMIT: Self = Self(3504);
    /// The token expired.
    pub const TOKEN_EXPIRED: Self = Self(3505);

    /// Returns whether a peer may send this code in a close frame (RFC 6455 §7.4, IANA registry).
    pub const fn is_valid_on_wire(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Returns whether the protocol tells the client to reconnect.
    pub const fn reconnect(self) -> bool {
        !matches!(self.0, 3500..=3999)
    }
}

/// Reports a command that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCommand {
    /// The command's id; 0 if it could not be read.
    pub id: u32,
    /// The error: [`ErrorCode::BadRequest`] or [`ErrorCode::UnknownCommand`].
    pub code: ErrorCode,
    /// What is wrong, for people.
    pub message: String,
}

impl BadCommand {
    /// Returns the error for a frame without a command.
    pub fn no_command() -> Self {
        Self {
            id: 0,
            code: ErrorCode::BadRequest,
            message: "the frame holds no command".to_owned(),
        }
    }
}

/// Reports a server message that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("not a server message of this protocol version: {0}")]
pub struct DecodeError(pub(crate) String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_named() {
        for pair in ErrorCode::ALL.windows(2) {
            assert!(pair[0].code() < pair[1].code());
            assert_ne!(pair[0].name(), pair[1].name());
        }
    }

    #[test]
    fn close_codes() {
        for good in [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999] {
            assert!(CloseCode(good).is_valid_on_wire(), "{good}");
        }
        for bad in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            assert!(!CloseCode(bad).is_valid_on_wire(), "{bad}");
        }
        assert!(CloseCode::SHUTDOWN.reconnect() && !CloseCode::INVALID_TOKEN.reconnect());
    }
}
