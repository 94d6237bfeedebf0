//! Where each device's session is, and what the device is owed for it.
//!
//! A device is owed every message from the first opening of its session on, also while it is away:
//! it comes back with the position of the last push, and everything missed has to come behind the
//! answer, once and in order. One whose position is not taken begins anew: what it missed is looked
//! for in history, like what a device misses that never comes back.

use super::Checker;
use crate::clock::Nanos;
use crate::population::{MAX_DEVICES, Part};

/// Where a device's session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// It has not been open yet: nothing is owed.
    Never,
    /// It is open: everything is owed, now.
    Open,
    /// It ended and is to be opened again: everything is owed, behind the answer to that.
    Away,
    /// It ended for good: what was owed is looked for in history.
    Gone,
}

/// The sessions of one thread's devices.
#[derive(Debug)]
pub(super) struct Sessions {
    states: Vec<Session>,
    /// By device: from when on it is owed what is sent; never so far: the end of time.
    owed_since: Vec<Nanos>,
    /// By device: when its session last came back; empty until one does.
    back_at: Vec<Nanos>,
    last_back: Nanos,
    away: u32,
    gone: u32,
}

impl Sessions {
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

    /// Where a device's session is.
    pub(super) fn of(&self, device: u32) -> Session {
        self.states[device as usize]
    }

    pub(super) fn is_open(&self, device: u32) -> bool {
        self.of(device) == Session::Open
    }

    pub(super) fn is_gone(&self, device: u32) -> bool {
        self.of(device) == Session::Gone
    }

    /// Whether a message sent now is owed to a device.
    pub(super) fn owed(&self, device: u32) -> bool {
        matches!(self.of(device), Session::Open | Session::Away)
    }

    /// From when on a device is owed what is sent.
    pub(super) fn owed_since(&self, device: u32) -> Nanos {
        self.owed_since[device as usize]
    }

    /// When a device's session last came back with what it had missed, if it ever did.
    pub(super) fn back_at(&self, device: u32) -> Option<Nanos> {
        let at = self.back_at.get(device as usize);
        at.copied().filter(|at| *at != 0)
    }

    /// When the last session was opened, or came back.
    pub(super) fn last_back(&self) -> Nanos {
        self.last_back
    }

    /// Whether a session is to be opened again.
    pub(super) fn some_away(&self) -> bool {
        self.away > 0
    }

    /// Whether a session ended for good.
    pub(super) fn some_gone(&self) -> bool {
        self.gone > 0
    }

    fn set(&mut self, device: u32, state: Session) {
        let before = std::mem::replace(&mut self.states[device as usize], state);
        self.away -= u32::from(before == Session::Away);
        self.gone -= u32::from(before == Session::Gone);
        self.away += u32::from(state == Session::Away);
        self.gone += u32::from(state == Session::Gone);
    }

    /// Whoever is away now is gone.
    fn give_up(&mut self) {
        for state in &mut self.states {
            if *state == Session::Away {
                *state = Session::Gone;
                self.gone += 1;
            }
        }
        self.away = 0;
    }
}

impl Checker {
    /// A device's session is open, and live from here on: it is owed what is sent from now on.
    /// What it was owed before, where it was away, is looked for in history.
    pub(crate) fn opened(&mut self, now: Nanos, device: u32) {
        if self.sessions.of(device) == Session::Away {
            for place in self.flights.places() {
                let stream = self.flights.at(place).stream;
                let bit = self.bit_of(stream, device);
                self.flights.at(place).lapsed |= bit;
            }
            self.lapse_in_groups(device);
        }
        self.seat_in_groups(device, true);
        self.sessions.set(device, Session::Open);
        self.sessions.owed_since[device as usize] = now;
        self.sessions.last_back = now;
        self.receipts.opened(&self.part, device);
    }

    /// A device's session ended and is to be opened again: it is still owed everything. `excused`:
    /// the run itself ended it.
    pub(crate) fn away(&mut self, device: u32, excused: bool) {
        self.sessions.set(device, Session::Away);
        self.set_adrift(device, excused, true);
    }

    /// A device's session is open again, and what it missed comes behind this.
    pub(crate) fn back(&mut self, now: Nanos, device: u32) {
        self.sessions.set(device, Session::Open);
        self.sessions.last_back = now;
        let all = self.sessions.states.len();
        self.sessions.back_at.resize(all, 0);
        self.sessions.back_at[device as usize] = now.max(1);
    }

    /// A device's session ended before it should, and will not come back; so does one that was
    /// away and does not.
    pub(crate) fn gone(&mut self, device: u32) {
        self.seat_in_groups(device, false);
        self.sessions.set(device, Session::Gone);
        self.set_adrift(device, false, false);
    }

    /// Whether a device is owed a message that is sent now, be it there or away.
    pub(crate) fn owed(&self, device: u32) -> bool {
        self.sessions.owed(device)
    }

    /// Nobody is waited for any more.
    pub(super) fn nobody_comes_back(&mut self) {
        self.sessions.give_up();
    }

    /// Bits of a user's devices that are owed a message now.
    pub(super) fn owed_of(&self, user: u32, except: u32) -> u16 {
        let first = self.part.first_device(user);
        (0..self.part.device_count(user))
            .filter(|i| first + i != except && self.owed(first + i))
            .fold(0, |bits, i| bits | 1 << i)
    }

    /// The bit of a device in flights of a stream; none where it has no part in it.
    pub(super) fn bit_of(&self, stream: u32, device: u32) -> u16 {
        self.seat(device, stream).map_or(0, |(_, bit)| bit)
    }

    /// The devices that bits of a flight stand for.
    pub(super) fn devices_of(&self, stream: u32, bits: u16) -> impl Iterator<Item = u32> + use<> {
        let (user, slot) = self.part.stream_parts(stream);
        let part: &Part = &self.part;
        let firsts = [part.contact(user, slot), user].map(|user| part.first_device(user));
        (0..MAX_DEVICES * 2)
            .filter(move |bit| bits & 1 << bit != 0)
            .map(move |bit| firsts[(bit / MAX_DEVICES) as usize] + bit % MAX_DEVICES)
    }
}

/// The device that a stream's messages are sent from.
pub(crate) fn sender(part: &Part, stream: u32) -> u32 {
    let (user, _) = part.stream_parts(stream);
    part.first_device(user) + stream % part.device_count(user).max(1)
}
