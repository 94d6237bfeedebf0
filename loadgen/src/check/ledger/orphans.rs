//! Orphans: messages whose session broke before their answer came, or whose answer said that it is not
//! known whether they are stored, until their fate is known.
//!
//! 1. A message with an idempotency key is sent again when the session is back, or some time after such an
//!    answer, and answered then.
//! 2. A message without a key may be stored or not. A push to any device proves that it is stored,
//!    also a push to the sender during catching up. History proves it too.
//! 3. A message of which no device was told and that history does not hold was never stored. It
//!    counts as unknown, not as lost.

use super::super::origin::Origin;
use super::super::scene::Scene;
use super::{Departure, Ledger};
use crate::clock::{Nanos, SECOND};

/// The wait, after the last session came back, for events that tell the fate of orphans. The end of
/// the wait is no violation, because history is asked next.
const QUIET: Nanos = 2 * SECOND;

impl Ledger {
    /// Notes that a device's session ended, so that no answer comes to the messages sent on it.
    /// `by_run`: the run itself broke the session. `again`: the session will be back, and messages
    /// with a key are sent again.
    pub(in crate::check) fn orphan(
        &mut self,
        scene: &mut Scene<'_>,
        device: u32,
        by_run: bool,
        again: bool,
    ) {
        let mut next = self.flights.first_of(device);
        while let Some(place) = next {
            next = self.flights.after(place);
            let flight = self.flights.at(place);
            if flight.ack_seq == 0 && !flight.judged {
                flight.orphaned = true;
                flight.by_run |= by_run;
                flight.keyed &= again;
                self.land(scene, place);
            }
        }
    }

    /// Notes that nothing is sent again any more.
    pub(super) fn give_up_sending_again(&mut self, scene: &mut Scene<'_>) {
        for place in self.flights.places() {
            let flight = self.flights.at(place);
            if flight.orphaned && flight.keyed {
                flight.keyed = false;
                self.land(scene, place);
            }
        }
    }

    /// Returns the first message of a device that is to be sent again, now that its session is open
    /// again, in the order of sending. Each message is given once for each time that its session
    /// broke.
    pub(in crate::check) fn send_again(
        &mut self,
        scene: &mut Scene<'_>,
        device: u32,
    ) -> Option<Departure> {
        let mut next = self.flights.first_of(device);
        while let Some(place) = next {
            next = self.flights.after(place);
            let flight = self.flights.at(place);
            if flight.orphaned && flight.keyed && flight.ack_seq == 0 {
                (flight.orphaned, flight.resent) = (false, true);
                let origin = flight.origin();
                scene.counters.resent += 1;
                return Some(Departure {
                    id: self.flights.id(place),
                    origin,
                });
            }
        }
        None
    }

    /// Returns whether a message may have come to the device that sent it.
    ///
    /// A gateway that did not know what became of a message may push it to its sender, too. After a
    /// reconnect, the missed messages include the user's own ones. Only the gateway knows
    /// where they end and live pushes begin. So a client accepts its own messages, in order and
    /// once, but they are not owed. Each of them proves that its message is stored.
    pub(in crate::check) fn is_echo(
        &mut self,
        scene: &mut Scene<'_>,
        device: u32,
        origin: Origin,
        seq: u32,
    ) -> bool {
        let place = self.flights.find(origin);
        let is_orphan = place.is_some_and(|it| self.flights.get(it).orphaned);
        let may_be = (is_orphan || scene.sessions.back_at(device).is_some())
            && device == scene.roster.sender(origin.stream)
            && self.conversations.was_sent(origin);
        if may_be && let Some(place) = place {
            self.prove(scene, place, seq);
            self.land(scene, place);
        }
        may_be
    }

    /// Notes that a message is stored, with or without its answer.
    fn prove(&mut self, scene: &mut Scene<'_>, place: u32, seq: u32) {
        self.set_sequence(scene, place, seq);
        let flight = self.flights.at(place);
        if flight.push_seq == 0 {
            flight.push_seq = seq;
        }
    }

    /// Notes that a page of history has a message.
    pub(in crate::check) fn found_in_history(
        &mut self,
        scene: &mut Scene<'_>,
        origin: Origin,
        seq: u32,
    ) {
        let Some(place) = self.flights.find(origin) else {
            return;
        };
        if self.is_settled_by_history(scene, place, seq) {
            return;
        }
        let flight = *self.flights.get(place);
        if flight.is_owed() {
            // A device was gone, or the answer never came, so history must decide.
            self.flights.settle_all(place);
            let told = flight.judged && (flight.ack_seq != 0 || flight.orphaned);
            self.flights.at(place).judged = true;
            scene.counters.recovered += u64::from(!told);
        }
        self.land(scene, place);
    }

    /// Handles a message in history that was never answered: its sequence goes into the digest, as
    /// its answer's would have. Returns whether history decided the fate of an orphan.
    fn is_settled_by_history(&mut self, scene: &mut Scene<'_>, place: u32, seq: u32) -> bool {
        let flight = *self.flights.get(place);
        if flight.ack_seq != 0 {
            return false;
        }
        self.add_to_digest(place, seq);
        if !flight.orphaned || flight.judged {
            return false;
        }
        self.prove(scene, place, seq);
        // The message stays owed to connected devices until the end.
        if !self.is_waited_for(scene, place) {
            self.flights.settle_all(place);
            self.flights.at(place).synced |= flight.is_owed();
            self.land(scene, place);
        }
        true
    }

    /// Returns whether the checker waits only for the fate of orphans, and the time for that is
    /// over.
    pub(in crate::check) fn only_doubts(&self, scene: &Scene<'_>) -> bool {
        let sessions = scene.sessions;
        let quiet = scene.now >= sessions.last_back() + QUIET && !sessions.some_away();
        let mut flights = self.flights.iter();
        quiet && flights.all(|flight| flight.is_in_doubt() || flight.waits_for_history())
    }

    /// Returns whether history has shown orphans that devices are still owed.
    pub(in crate::check) fn still_owed(&self, scene: &Scene<'_>) -> bool {
        self.flights.places().into_iter().any(|place| {
            let flight = self.flights.get(place);
            let shown = flight.orphaned && !flight.judged && flight.push_seq != 0;
            shown && self.is_waited_for(scene, place)
        })
    }
}
