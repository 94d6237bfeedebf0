//! The parts of receipts, and the users who learn of them.

use std::ops::Range;

use smallvec::SmallVec;
use trunkline_storage::Position;

use crate::exchange::{ConnRef, ReplyTo};
use crate::ids::UserId;

/// The connection of a device, and its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) shard: usize,
    pub(crate) conn: ConnRef,
}

impl Device {
    /// Returns the device of this process that waits for an answer; `None` for a call, which comes from no device, and
    /// for another node.
    pub(crate) fn of(reply_to: &ReplyTo) -> Option<Self> {
        let to = reply_to.conn()?;
        Some(Self {
            shard: to.shard.into(),
            conn: to.conn,
        })
    }
}

/// A part of a receipt, and the users who receive it live.
#[derive(Debug)]
pub(crate) struct PartRecipients {
    /// The position of the receipt's record.
    pub(crate) position: Position,
    /// The number of the part, from 0.
    pub(crate) part: usize,
    /// The user whose marks the part has, if the user receives it: on all devices except `device`.
    pub(crate) reader: Option<UserId>,
    /// The only device that acknowledged; `None` if several devices did, a call, or another node.
    pub(crate) device: Option<Device>,
    /// Other users. All their devices receive the part.
    pub(crate) others: SmallVec<[UserId; 2]>,
    /// The acknowledgements that the part comes from: their places among the decided commands behind the part.
    pub(crate) acks: Range<usize>,
}

/// A part of a receipt with its recipients.
#[derive(Debug)]
pub(crate) struct QueuedPart {
    /// The number of decided commands that come before the part in the order of the log.
    pub(crate) after: usize,
    pub(crate) recipients: PartRecipients,
}
