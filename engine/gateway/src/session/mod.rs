//! The session of one client: opens it, and encodes the stored events that are pushed to it.
//!
//! Nothing here touches a socket.

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
    /// The id of the user.
    pub(crate) id: UserId,
    /// The names of the user, the device and the namespace.
    pub(crate) names: Names,
    /// The number of the session in its shard.
    pub(crate) number: u64,
    /// The session gets events after this position live, and earlier ones from the store.
    pub(crate) live_from: Position,
    /// The session is still being pushed the events that it missed.
    pub(crate) catching_up: bool,
    /// The tick at which the token expires; 0 without a token. Takes no room, because the id is aligned
    /// to 16 bytes.
    pub(crate) expires: Tick,
}

impl Session {
    /// Returns the name of the session on the wire: its shard, and its number there.
    pub(crate) fn name(&self, shard: usize) -> String {
        format!("{shard}-{:x}", self.number)
    }

    /// Returns the user of this session, as a caller of commands.
    pub(crate) fn caller(&self) -> Caller<'_> {
        Caller {
            id: self.id,
            names: &self.names,
        }
    }

    /// Returns the mark that tells this device from others of the user.
    pub(crate) fn device_mark(&self, ids: &Ids) -> DeviceMark {
        ids.device_mark(self.id, self.names.device())
    }
}
