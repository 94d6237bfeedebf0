//! Events for users at other nodes.

use std::sync::Arc;

use smallvec::SmallVec;

use super::super::PushFrames;
use super::elsewhere::NodeNumber;
use crate::ids::UserId;

/// An event for users at one other node.
#[derive(Debug, Clone)]
pub struct EventElsewhere {
    /// The node.
    pub node: NodeNumber,
    /// The ids of the users.
    pub users: SmallVec<[UserId; 2]>,
    /// The push, as frames of each encoding.
    pub frames: Arc<PushFrames>,
    /// Whether to drop the event for a connection that has other data waiting.
    pub trifle: bool,
}

impl EventElsewhere {
    /// Returns the memory that the event keeps, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of::<UserId>() * self.users.len() + self.frames.size()
    }
}
