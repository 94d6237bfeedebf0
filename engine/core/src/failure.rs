//! Error replies as values: below everything that refuses a caller.

use trunkline_proto::ErrorCode;

/// An error reply: its code and its text for people.
pub type Failure = (ErrorCode, &'static str);

/// The error reply where the gateway cannot decode a stored value or record.
pub const UNREADABLE: Failure = (
    ErrorCode::Internal,
    "the data stored for this cannot be decoded: a newer version wrote it, or it is damaged; run \
     `trunkline store verify` on the gateway's data folder",
);

/// The error reply to a caller who names a conversation of others, or one that does not exist.
pub const NOT_A_MEMBER: Failure = (
    ErrorCode::PermissionDenied,
    "you are not a member of this conversation, or it does not exist",
);

/// The error reply to a caller who would reach a user who blocks the caller.
pub const BLOCKED: Failure = (
    ErrorCode::PermissionDenied,
    "this user accepts nothing from you",
);

/// The error reply to a caller whose name of a user is not valid.
pub const BAD_USER: Failure = (
    ErrorCode::BadRequest,
    "a user is 1 to 64 bytes of [A-Za-z0-9._@-]",
);

/// The error reply to a caller whose name of a topic is not valid.
pub const BAD_TOPIC: Failure = (
    ErrorCode::BadRequest,
    "a topic is 1 to 64 bytes of [A-Za-z0-9._@-]",
);

/// The error reply to a caller who would make more topics than the gateway may have.
pub const TOO_MANY_TOPICS: Failure = (
    ErrorCode::LimitExceeded,
    "the gateway has reached its number of topics: max_topics",
);

/// The error reply to a caller who asked for something of a topic that another node has to do, and who gets no answer.
pub const NO_TOPIC_NODE: Failure = (
    ErrorCode::StorageUnavailable,
    "the node of the cluster that numbers this topic does not answer: whether it published is not known; try again",
);

/// The error reply to a caller whose question to another node has no room.
pub(crate) const NODES_BUSY: Failure = (
    ErrorCode::TooManyRequests,
    "too many questions to other nodes of the cluster wait: try again",
);
