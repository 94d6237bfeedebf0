//! What shards ask of the sequencer, and what they get back.

use std::ops::Range;
use std::sync::Arc;

use trunkline_proto::ErrorCode;
use trunkline_storage::{Batch, Place, Position, TimelineId};

use crate::ids::UserId;

/// Names a connection of a shard, also after it is gone: slots are used again, generations not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnRef {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// The commands of one turn of a shard's loop, in the order they arrived.
#[derive(Debug)]
pub(crate) struct CommandBatch {
    pub(crate) shard: usize,
    pub(crate) commands: Vec<Command>,
    /// The record bodies of the commands, one behind another.
    pub(crate) bodies: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) conn: ConnRef,
    /// The client's id for the command.
    pub(crate) id: u32,
    /// Who asks.
    pub(crate) user: UserId,
    /// The other member of the conversation; the same user for notes to oneself.
    pub(crate) other: UserId,
    pub(crate) conversation: TimelineId,
    /// The record's body, in [`CommandBatch::bodies`].
    pub(crate) body: Range<usize>,
    pub(crate) what: What,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    Send {
        /// What makes this the same as an earlier send.
        key: Option<TimelineId>,
    },
    /// The body lacks the watermarks: the sequencer adds those that come into force.
    Ack {
        side: Side,
        delivered: u64,
        read: u64,
    },
}

/// Which member of a 1:1 conversation, by the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Lesser = 0,
    Greater = 1,
}

/// A committed batch as one shard sees it.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) batch: Arc<Batch>,
    /// In the order of the log.
    pub(crate) items: Vec<Item>,
}

#[derive(Debug)]
pub(crate) enum Item {
    /// Answer a command of this shard; other connections of its user that this shard holds get
    /// the push.
    Reply {
        conn: ConnRef,
        id: u32,
        user: UserId,
        outcome: Outcome,
    },
    /// Push a record to the connections of a user.
    Deliver { user: UserId, position: Position },
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// The message is the record at this position of the batch.
    Sent(Position),
    /// The message is an earlier record.
    Duplicate(Place),
    /// The watermarks moved with the record at this position, or did not have to.
    Acked(Option<Position>),
    Failed(ErrorCode, &'static str),
}
