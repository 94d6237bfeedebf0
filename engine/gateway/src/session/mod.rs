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
    live_from: Position,
    /// The session is still being pushed the events that it missed.
    catching_up: bool,
    /// The tick at which the token expires; 0 without a token. Takes no room, because the id is aligned
    /// to 16 bytes.
    expires: Tick,
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

    /// Begins the session: it gets events after `position` live. With `recovers` it first gets those
    /// that it missed, from the store.
    pub(crate) fn begin(&mut self, position: Position, recovers: bool) {
        self.live_from = position;
        self.catching_up = recovers;
    }

    /// Returns whether the session is still being pushed the events that it missed.
    pub(crate) const fn is_catching_up(&self) -> bool {
        self.catching_up
    }

    /// Returns whether the event at `position` is to be pushed now. Events come in the order of the
    /// log. An event that comes while the session catches up is left to the store, and live events
    /// begin after it.
    pub(crate) fn takes(&mut self, position: Position) -> bool {
        if position <= self.live_from {
            return false;
        }
        if self.catching_up {
            self.live_from = position;
        }
        !self.catching_up
    }

    /// Notes that the store's events up to `reached` are pushed. Returns whether the session has
    /// caught up, and gets events live from now on.
    pub(crate) fn caught_up(&mut self, reached: Position) -> bool {
        if self.live_from <= reached {
            self.catching_up = false;
        }
        !self.catching_up
    }

    /// Returns the last position whose events the session has been given or will be given from the
    /// store. `seen` is the last position that the shard has seen.
    pub(crate) fn until(&self, seen: Position) -> Position {
        if self.catching_up {
            self.live_from
        } else {
            self.live_from.max(seen)
        }
    }

    /// Returns the tick at which the session's token expires; [`Tick::MAX`] without a token.
    pub(crate) const fn expires(&self) -> Tick {
        match self.expires {
            0 => Tick::MAX,
            at => at,
        }
    }

    /// Sets the tick at which the session's token expires; 0 means that there is no token.
    pub(crate) const fn set_expiry(&mut self, at: Tick) {
        self.expires = at;
    }

    /// Returns the mark that tells this device from others of the user.
    pub(crate) fn device_mark(&self, ids: &Ids) -> DeviceMark {
        ids.device_mark(self.id, self.names.device())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session {
            id: trunkline_core::store::TimelineId(7),
            names: Names::new("alice", "phone", ""),
            number: 1,
            live_from: Position::ZERO,
            catching_up: false,
            expires: 0,
        }
    }

    #[test]
    fn live_events_begin_after_the_position_of_the_session() {
        let mut session = session();
        session.begin(Position(10), false);
        assert!(!session.takes(Position(9)) && !session.takes(Position(10)));
        assert!(session.takes(Position(11)) && session.takes(Position(12)));
        assert_eq!(session.live_from, Position(10));
        assert_eq!(session.until(Position(12)), Position(12));
    }

    #[test]
    fn what_comes_during_catching_up_is_left_to_the_store() {
        let mut session = session();
        session.begin(Position(10), true);
        assert!(!session.takes(Position(15)));
        assert_eq!(session.until(Position(20)), Position(15));
        assert!(!session.caught_up(Position(14)) && session.is_catching_up());
        assert!(session.caught_up(Position(15)) && !session.is_catching_up());
        assert!(!session.takes(Position(15)) && session.takes(Position(16)));
    }

    #[test]
    fn a_session_without_a_token_never_expires() {
        let mut session = session();
        assert_eq!(session.expires(), Tick::MAX);
        session.set_expiry(5);
        assert_eq!(session.expires(), 5);
    }
}
