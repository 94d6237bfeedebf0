//! What one client may do: from commands to requests, from stored events to frames.
//!
//! Nothing here touches a socket; the shard carries out what comes back.

mod connect;
mod fit;
mod frames;
mod names;
mod recipients;
mod request;
mod size;

use trunkline_storage::Position;

use crate::ids::{DeviceMark, Ids, UserId};
use crate::shard::timer::Tick;

pub(crate) use connect::{device_key, open};
use names::Names;

pub(crate) use fit::{Cut, strip_push, write_fitting};
pub(crate) use frames::{Frames, opcode, write, write_batch};
pub(crate) use recipients::{Recipients, recipients};
pub(crate) use request::{Ask, Asked, NOT_A_MEMBER, ask};
pub(crate) use size::{reaction_bytes, too_large};

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

    /// What tells its device from others of the user.
    pub(crate) fn device_mark(&self, ids: &Ids) -> DeviceMark {
        ids.device_mark(self.id, self.names.device())
    }
}
