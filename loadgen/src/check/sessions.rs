//! The state of each device's session, and the messages that the device is owed because of it.
//!
//! A device is owed every message from the first opening of its session on, also while it is away.
//! It reconnects with the position of its last push. After the answer the gateway sends all missed
//! messages, once and in order. If the gateway does not accept the position, the device begins
//! anew, and history must hold the missed messages. The same applies to a device that never comes
//! back.

use crate::clock::Nanos;

/// The state of a device's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    /// The session has not been open yet. Nothing is owed.
    Never,
    /// The session is open. Everything is owed now.
    Open,
    /// The session ended and will be opened again. Everything is owed after the answer to that.
    Away,
    /// The session ended for good. History must hold the messages that the device was owed.
    Gone,
}

/// The sessions of one thread's devices.
#[derive(Debug)]
pub(super) struct Sessions {
    states: Vec<Session>,
    /// The time from which each device is owed messages; [`Nanos::MAX`] for a device that never
    /// was.
    owed_since: Vec<Nanos>,
    /// The time at which each device's session last came back; 0 if it never did. Empty until one
    /// does.
    back_at: Vec<Nanos>,
    last_back: Nanos,
    away: u32,
    gone: u32,
}

impl Sessions {
    /// Sessions of `devices` devices that have not been open yet.
    pub(super) fn new(devices: usize) -> Self {
        Self {
            states: vec![Session::Never; devices],
            owed_since: vec![Nanos::MAX; devices],
            back_at: Vec::new(),
            last_back: 0,
            away: 0,
            gone: 0,
        }
    }

    fn of(&self, device: u32) -> Session {
        self.states[device as usize]
    }

    /// Returns whether a device's session is open.
    pub(super) fn is_open(&self, device: u32) -> bool {
        self.of(device) == Session::Open
    }

    /// Returns whether a device's session ended and is to be opened again.
    pub(super) fn is_away(&self, device: u32) -> bool {
        self.of(device) == Session::Away
    }

    /// Returns whether a device's session ended for good.
    pub(super) fn is_gone(&self, device: u32) -> bool {
        self.of(device) == Session::Gone
    }

    /// Returns whether a message sent now is owed to a device, connected or away.
    pub(super) fn is_owed(&self, device: u32) -> bool {
        matches!(self.of(device), Session::Open | Session::Away)
    }

    /// Returns the time from which on a device is owed messages; the greatest time if it never was.
    pub(super) fn owed_since(&self, device: u32) -> Nanos {
        self.owed_since[device as usize]
    }

    /// Returns when a device's session last came back and got its missed messages, if it ever did.
    pub(super) fn back_at(&self, device: u32) -> Option<Nanos> {
        let at = self.back_at.get(device as usize);
        at.copied().filter(|at| *at != 0)
    }

    /// Returns when the last session was opened, or came back.
    pub(super) fn last_back(&self) -> Nanos {
        self.last_back
    }

    /// Returns whether any session is to be opened again.
    pub(super) fn some_away(&self) -> bool {
        self.away > 0
    }

    /// Returns whether any session ended for good.
    pub(super) fn some_gone(&self) -> bool {
        self.gone > 0
    }

    /// Opens a device's session: the device is owed all messages sent from now on.
    pub(super) fn open(&mut self, now: Nanos, device: u32) {
        self.set(device, Session::Open);
        self.owed_since[device as usize] = now;
        self.last_back = now;
    }

    /// Notes that a device's session ended and is to be opened again.
    pub(super) fn leave(&mut self, device: u32) {
        self.set(device, Session::Away);
    }

    /// Opens a device's session again, before its missed messages come.
    pub(super) fn come_back(&mut self, now: Nanos, device: u32) {
        self.set(device, Session::Open);
        self.last_back = now;
        self.back_at.resize(self.states.len(), 0);
        self.back_at[device as usize] = now.max(1);
    }

    /// Notes that a device's session ended for good.
    pub(super) fn end(&mut self, device: u32) {
        self.set(device, Session::Gone);
    }

    /// Notes that no session comes back any more: sessions that are away count as gone.
    pub(super) fn give_up(&mut self) {
        for state in &mut self.states {
            if *state == Session::Away {
                *state = Session::Gone;
            }
        }
        self.gone += std::mem::take(&mut self.away);
    }

    fn set(&mut self, device: u32, state: Session) {
        let before = std::mem::replace(&mut self.states[device as usize], state);
        self.away -= u32::from(before == Session::Away);
        self.gone -= u32::from(before == Session::Gone);
        self.away += u32::from(state == Session::Away);
        self.gone += u32::from(state == Session::Gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_owed_from_its_opening_until_it_is_gone() {
        let mut sessions = Sessions::new(2);
        assert!(!sessions.is_owed(0) && sessions.owed_since(0) == Nanos::MAX);
        sessions.open(5, 0);
        assert!(sessions.is_owed(0) && sessions.is_open(0) && !sessions.is_owed(1));
        sessions.leave(0);
        assert!(sessions.is_owed(0) && sessions.is_away(0) && sessions.some_away());
        assert_eq!(sessions.back_at(0), None);
        sessions.come_back(9, 0);
        assert_eq!((sessions.owed_since(0), sessions.back_at(0)), (5, Some(9)));
        assert_eq!((sessions.last_back(), sessions.back_at(1)), (9, None));
        assert!(!sessions.some_away() && !sessions.some_gone());
        sessions.end(0);
        assert!(!sessions.is_owed(0) && sessions.is_gone(0) && sessions.some_gone());
    }

    #[test]
    fn sessions_that_are_away_are_gone_at_the_end() {
        let mut sessions = Sessions::new(3);
        for device in 0..3 {
            sessions.open(1, device);
        }
        sessions.leave(0);
        sessions.end(1);
        sessions.give_up();
        assert!(sessions.is_gone(0) && sessions.is_gone(1) && sessions.is_open(2));
        assert!(!sessions.some_away());
        sessions.open(2, 0);
        sessions.open(2, 1);
        assert!(!sessions.some_gone());
    }
}
