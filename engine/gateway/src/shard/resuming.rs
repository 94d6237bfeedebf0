//! The positions that the gateway keeps for devices that ask to resume.
//!
//! The gateway keeps a position once it knows that the client has every event before that position:
//! the client answered a ping that went out behind the events, or it closed its connection as RFC
//! 6455 §7.1 asks, having read up to our Close frame. A client that vanishes otherwise may be told
//! events again that it had read. It misses none.

use std::collections::HashMap;
use std::time::Duration;

use trunkline_core::store::{Position, TimelineId};

use crate::timer::{Tick, ticks};

/// The shortest time between two positions of a session that go to the store.
const KEEP: Duration = Duration::from_secs(1);

/// A position to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ToKeep {
    /// The key of the device in the store.
    pub(super) device: TimelineId,
    /// The device has every event up to this position.
    pub(super) position: Position,
}

/// The sessions of a shard whose positions the gateway keeps, by slot.
#[derive(Debug, Default)]
pub(crate) struct Resuming {
    sessions: HashMap<u32, Progress>,
}

/// How far one device has come.
///
/// `kept <= confirmed` where a position is kept.
#[derive(Debug)]
struct Progress {
    /// The device's key in the store.
    key: TimelineId,
    /// The last position that was handed out to be stored.
    kept: Option<Position>,
    /// The time at which the last position was handed out.
    kept_at: Tick,
    /// The client has all events up to this position.
    confirmed: Position,
    /// The last position before the unanswered ping. `None`: no ping is unanswered.
    asked: Option<Position>,
    /// Something was pushed since the last ping.
    pushed: bool,
}

/// The work of a shard after a pong.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Receipt {
    /// A position to store.
    pub(super) keep: Option<ToKeep>,
    /// Something was pushed behind the ping: the next flush asks again.
    pub(super) ask_again: bool,
}

impl Progress {
    /// Returns the confirmed position if it is not kept yet, and counts it as kept.
    fn keep(&mut self, now: Tick) -> Option<ToKeep> {
        if Some(self.confirmed) <= self.kept {
            return None;
        }
        self.kept = Some(self.confirmed);
        self.kept_at = now;
        Some(ToKeep {
            device: self.key,
            position: self.confirmed,
        })
    }
}

impl Resuming {
    /// Whether no session of the shard asked to resume.
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Begins to follow a session of the device with this key.
    pub(super) fn begin(&mut self, slot: u32, key: TimelineId) {
        let progress = Progress {
            key,
            kept: None,
            kept_at: 0,
            confirmed: Position::ZERO,
            asked: None,
            pushed: false,
        };
        self.sessions.insert(slot, progress);
    }

    /// Notes that a page of missed events was pushed, which begins behind `position`. The first such
    /// position is to be stored at once: a client that reconnects gets every event after it.
    pub(super) fn caught_up(&mut self, slot: u32, position: Position, now: Tick) -> Option<ToKeep> {
        let progress = self.sessions.get_mut(&slot)?;
        progress.pushed = true;
        if progress.kept.is_some() {
            return None;
        }
        progress.confirmed = position;
        progress.keep(now)
    }

    /// Notes that an event was pushed to a session.
    pub(super) fn pushed(&mut self, slot: u32) {
        if let Some(progress) = self.sessions.get_mut(&slot) {
            progress.pushed = true;
        }
    }

    /// Returns the payload of a ping to send behind the waiting output, if its answer confirms
    /// something new. `written` is the last position before the ping; `None`: events are missing.
    pub(super) fn ask(&mut self, slot: u32, written: Option<Position>) -> Option<[u8; 8]> {
        let (progress, written) = (self.sessions.get_mut(&slot)?, written?);
        if progress.asked.is_some() || !std::mem::take(&mut progress.pushed) {
            return None;
        }
        progress.asked = Some(written);
        Some(written.0.to_le_bytes())
    }

    /// Takes the answer to a ping: the client has what was sent before it. A pong with another
    /// payload changes nothing.
    pub(super) fn answer(&mut self, slot: u32, payload: &[u8], now: Tick) -> Receipt {
        let Some(progress) = self.sessions.get_mut(&slot) else {
            return Receipt::default();
        };
        let Some(position) = progress.asked.take_if(|at| payload == at.0.to_le_bytes()) else {
            return Receipt::default();
        };
        progress.confirmed = progress.confirmed.max(position);
        let is_time = now.wrapping_sub(progress.kept_at) >= ticks(KEEP);
        Receipt {
            keep: if is_time { progress.keep(now) } else { None },
            ask_again: progress.pushed,
        }
    }

    /// Notes that the client has read all that was written for it, up to this position.
    pub(super) fn confirm(&mut self, slot: u32, written: Option<Position>) {
        if let (Some(progress), Some(written)) = (self.sessions.get_mut(&slot), written) {
            progress.confirmed = progress.confirmed.max(written);
        }
    }

    /// Ends a session. Returns its last position, if an earlier one is kept and this one is not.
    pub(super) fn end(&mut self, slot: u32, now: Tick) -> Option<ToKeep> {
        let mut progress = self.sessions.remove(&slot)?;
        progress.kept?;
        progress.keep(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: TimelineId = TimelineId(9);

    fn kept(position: u64) -> Option<ToKeep> {
        Some(ToKeep {
            device: KEY,
            position: Position(position),
        })
    }

    #[test]
    fn only_what_a_client_confirms_is_kept() {
        let mut resuming = Resuming::default();
        resuming.begin(1, KEY);
        assert_eq!(
            resuming.ask(1, Some(Position(5))),
            None,
            "nothing is pushed"
        );
        assert_eq!(resuming.caught_up(1, Position(3), 100), kept(3));
        assert_eq!(
            resuming.caught_up(1, Position(4), 100),
            None,
            "kept at once only first"
        );
        assert_eq!(resuming.ask(1, None), None, "events are missing");
        let ping = resuming.ask(1, Some(Position(5))).unwrap();
        resuming.pushed(1);
        assert_eq!(
            resuming.ask(1, Some(Position(6))),
            None,
            "one ping at a time"
        );
        assert_eq!(resuming.answer(1, b"", 200), Receipt::default());
        let receipt = Receipt {
            keep: kept(5),
            ask_again: true,
        };
        assert_eq!(resuming.answer(1, &ping, 200), receipt);
        assert_eq!(
            resuming.answer(1, &ping, 300),
            Receipt::default(),
            "answered"
        );
        assert_eq!(resuming.end(1, 300), None, "6 is not confirmed");
        assert!(resuming.is_empty());
    }

    #[test]
    fn positions_are_kept_once_a_second_and_at_the_end() {
        let mut resuming = Resuming::default();
        resuming.begin(1, KEY);
        resuming.caught_up(1, Position(3), 100);
        let mut answer = |position, now| {
            resuming.pushed(1);
            let ping = resuming.ask(1, Some(Position(position))).unwrap();
            resuming.answer(1, &ping, now)
        };
        let second = ticks(KEEP);
        assert_eq!(answer(4, 100 + second - 1).keep, None);
        assert_eq!(answer(5, 100 + second).keep, kept(5));
        assert_eq!(answer(6, 100 + second + 1).keep, None);
        resuming.confirm(1, Some(Position(7)));
        resuming.confirm(1, Some(Position(2)));
        assert_eq!(resuming.end(1, 120), kept(7));
        // A session of which nothing was ever kept leaves nothing.
        resuming.begin(2, KEY);
        resuming.confirm(2, Some(Position(8)));
        assert_eq!(resuming.end(2, 120), None);
    }
}
