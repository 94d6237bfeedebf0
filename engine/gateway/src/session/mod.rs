//! One client's session: how it opens, and the frames of what it is told.
//!
//! Nothing here touches a socket; the shard carries out what comes back.

mod connect;
mod frames;

use trunkline_core::ids::{DeviceMark, Ids, UserId};
use trunkline_core::request::{Caller, Names};
use trunkline_core::store::Position;

use crate::timer::Tick;

pub(crate) use connect::{Context, Opened, device_key, open};
pub(crate) use frames::{EventRef, Frames};

/// An open session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: UserId,
    pub(crate) names: Names,
    /// Counts the sessions of a shard.
    pub(crate) number: u64,
    /// Events after this position are pushed live; those before it came from the store.
    pub(crate) live_from: Position,
    /// The client is still being told what it missed.
    pub(crate) catching_up: bool,
    /// When the token ends it; 0 without one. Takes no room: the id is aligned to 16 bytes.
    pub(crate) expires: Tick,
}

impl Session {
    /// The session's name on the wire: its shard and its number there.
    pub(crate) fn name(&self, shard: usize) -> String {
        format!("{shard}-{:x}", self.number)
    }

    /// Returns who asks in this session.
    pub(crate) fn caller(&self) -> Caller<'_> {
        Caller {
            id: self.id,
            names: &self.names,
        }
    }

    /// What tells its device from others of the user.
    pub(crate) fn device_mark(&self, ids: &Ids) -> DeviceMark {
        ids.device_mark(self.id, self.names.device())
    }
}
