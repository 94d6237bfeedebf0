//! The reply to `connect`: names, position and limits of the new session.

use std::sync::Arc;

use trunkline_core::exchange::Opening;
use trunkline_core::hub::Hub;
use trunkline_core::position;
use trunkline_core::store::{Epochs, Position, TimelineId};
use trunkline_proto::message::{ConnectLimits, ConnectReply};

use super::parts::Parts;
use crate::limits::Limits;
use crate::session::Session;

/// Makes the replies to `connect`.
pub(crate) struct Greeting {
    shard: usize,
    epochs: Epochs,
    hub: Arc<Hub>,
    limits: Arc<Limits>,
}

impl Greeting {
    /// Makes the greeting of a shard.
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            shard: parts.index,
            epochs: parts.epochs.clone(),
            hub: Arc::clone(&parts.hub),
            limits: Arc::clone(&parts.limits),
        }
    }

    /// Returns the reply to a `connect` whose session is live from `pos` on. `expires` is the time at
    /// which the token expires, in milliseconds since 1970.
    pub(super) fn reply(
        &self,
        session: &Session,
        pos: Position,
        expires: Option<u64>,
    ) -> ConnectReply<'static> {
        ConnectReply {
            session: session.name(self.shard).into(),
            user: session.names.user().to_owned().into(),
            device: session.names.device().to_owned().into(),
            pos: position::text(self.epochs.token(pos)),
            recovered: false,
            time: self.hub.clock.now(),
            ping_ms: self.ping_ms(),
            limits: self.limits(),
            expires,
            unsubscribed: Vec::new(),
        }
    }

    /// Returns what a reader needs for the reply to a `connect` that catches up. `resumes` is the key
    /// of the device whose kept position is meant; `None`: the client named a position.
    pub(super) fn opening(
        &self,
        session: &Session,
        resumes: Option<TimelineId>,
        expires: Option<u64>,
    ) -> Opening {
        Opening {
            resumes,
            session: session.name(self.shard),
            user: session.names.user().to_owned(),
            device: session.names.device().to_owned(),
            time: self.hub.clock.now(),
            ping_ms: self.ping_ms(),
            limits: self.limits(),
            expires,
        }
    }

    /// The ping interval in milliseconds.
    fn ping_ms(&self) -> u32 {
        u32::try_from(self.limits.ping_interval.as_millis()).unwrap_or(u32::MAX)
    }

    fn limits(&self) -> ConnectLimits {
        let content = &self.limits.content;
        ConnectLimits {
            message_bytes: content.message_bytes as u64,
            text_bytes: content.text_bytes as u64,
            key_bytes: content.key_bytes as u64,
            page: content.page,
        }
    }
}
