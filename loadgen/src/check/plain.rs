//! The judge of messages at a server of which only texts are known.
//!
//! A text says who sent which message to whom, and when it was due. So loss, repetition, order and
//! change show at any server. What such a server may keep has no place here: there are no sequences,
//! receipts, pages of history or positions to compare.
//!
//! A server owes a message to a device whose session was open from the sending on. It owes nothing to
//! a session that broke meanwhile: what comes then all the same is accepted.

mod pending;

use std::sync::Arc;

use super::evidence::{EventKind, Evidence, Violation};
use super::findings::{Findings, Judge};
use super::ledger::Departure;
use super::origin::{Origin, Recognizer};
use super::roster::Roster;
use super::scene::{NOBODY, Scene};
use super::sessions::Sessions;
use crate::clock::{Nanos, SECOND};
use crate::membership::Memberships;
use crate::population::Part;
use crate::schedule::Arrival;
use crate::schedule::text::Texts;
use crate::stats::Counters;
use pending::{Fate, Pending, Waits};

/// The time after which a session counts as open where the server does not say that it is.
const SETTLED_IN: Nanos = SECOND;

/// The time between two looks for messages that nothing can decide any more.
const SWEEP: Nanos = SECOND;

/// Checks the messages that one thread's users send and receive, by their texts alone.
#[derive(Debug)]
pub(crate) struct PlainChecker {
    roster: Roster,
    sessions: Sessions,
    recognizer: Recognizer,
    pending: Pending,
    /// The number of messages sent, by conversation.
    sent: Vec<u32>,
    /// The highest number of a message that came, by inbox.
    came: Vec<u32>,
    /// Whether the server acknowledges messages.
    acknowledges: bool,
    swept: Nanos,
    /// Whether everything is judged. What comes then is too late to count.
    over: bool,
    evidence: Evidence,
    counters: Counters,
}

impl PlainChecker {
    /// Makes a checker for a thread's part of the population, with these texts and without groups.
    /// `acknowledges`: the server acknowledges messages.
    pub(crate) fn new(
        part: Part,
        members: Arc<Memberships>,
        texts: Texts,
        acknowledges: bool,
    ) -> Self {
        let roster = Roster::new(part, members);
        Self {
            sessions: Sessions::new(roster.part().devices() as usize),
            recognizer: Recognizer::new(texts),
            pending: Pending::default(),
            sent: vec![0; roster.conversations() as usize],
            came: vec![0; roster.inboxes()],
            acknowledges,
            swept: 0,
            over: false,
            evidence: Evidence::default(),
            counters: Counters::default(),
            roster,
        }
    }

    fn scene(&mut self, now: Nanos) -> Scene<'_> {
        Scene {
            now,
            roster: &self.roster,
            sessions: &self.sessions,
            evidence: &mut self.evidence,
            counters: &mut self.counters,
        }
    }

    /// Replaces `out` by the text of a message.
    pub(crate) fn write_text(&self, origin: Origin, out: &mut String) {
        self.recognizer.write_text(&self.roster, origin, out);
    }

    /// Returns the user that a stream's messages go to.
    pub(crate) fn recipient(&self, stream: u32) -> Option<u32> {
        let writer = self.roster.writer(stream)?;
        Some(self.roster.member(writer.conversation, 1 - writer.nth))
    }

    /// Returns the device that a stream's messages go to; `None` if its user is offline.
    fn destination(&self, stream: u32) -> Option<u32> {
        self.roster.devices(self.recipient(stream)?).next()
    }

    /// Opens a device's session: the device is owed the messages sent from now on, or a moment later
    /// where the server does not say that the session is open. `said`: it does.
    pub(crate) fn opened(&mut self, now: Nanos, device: u32, said: bool) {
        let from = if said { now } else { now + SETTLED_IN };
        self.sessions.open(from, device);
    }

    /// Returns whether a device has had its session since a time.
    fn is_there_since(&self, device: u32, since: Nanos) -> bool {
        self.sessions.is_open(device) && self.sessions.owed_since(device) <= since
    }

    /// Returns whether the recipient of a message has had its session since the sending.
    fn has_recipient(&self, fate: &Fate) -> bool {
        let device = self.destination(fate.stream);
        device.is_some_and(|device| self.is_there_since(device, fate.sent))
    }

    /// Returns what a pending message waits for.
    fn waits(&self, fate: &Fate) -> Waits {
        let sender = self.roster.sender(fate.stream);
        let same_session = self.is_there_since(sender, fate.sent);
        let owed = fate.owed && !fate.came && self.has_recipient(fate);
        Waits {
            answer: self.acknowledges && !fate.acked && same_session,
            arrival: owed && (fate.acked || same_session),
        }
    }

    /// Handles the acknowledgement of the message with this number. Returns when the message should
    /// have been sent; `None` if no acknowledgement was due.
    pub(crate) fn acknowledged(&mut self, now: Nanos, id: u32) -> Option<Nanos> {
        if self.over {
            return None;
        }
        self.counters.send_replies += 1;
        let Some(place) = self.pending.by_id(id) else {
            self.scene(now)
                .violation(Violation::ReplyUnexpected, None, || {
                    format!("an acknowledgement of message {id}, which is not under way")
                });
            return None;
        };
        let fate = self.pending.at(place);
        if fate.acked {
            let conversation = Some(fate.origin().conversation);
            self.scene(now)
                .violation(Violation::ReplyUnexpected, conversation, || {
                    format!("message {id} was acknowledged twice")
                });
            return None;
        }
        fate.acked = true;
        let (origin, intended) = (fate.origin(), fate.intended);
        self.counters.acknowledged += 1;
        self.scene(now)
            .remember(EventKind::Acknowledged, origin, 0, NOBODY);
        self.land(place);
        Some(intended)
    }

    /// Handles the refusal of the message with this number. Returns whether it is under way.
    pub(crate) fn refused(&mut self, now: Nanos, id: u32) -> bool {
        let Some(place) = self.pending.by_id(id) else {
            return false;
        };
        let fate = *self.pending.at(place);
        self.counters.rejected += 1;
        self.scene(now)
            .remember(EventKind::Refused, fate.origin(), 0, NOBODY);
        if fate.came {
            self.counters.unexpected += 1;
            let conversation = Some(fate.origin().conversation);
            self.scene(now)
                .violation(Violation::Unexpected, conversation, || {
                    "a refused message reached its recipient".into()
                });
        }
        self.pending.remove(place);
        true
    }

    /// Handles a text that reached a device. Returns when the message should have been sent; `None`
    /// if it was not due there.
    pub(crate) fn arrived(&mut self, now: Nanos, device: u32, text: &str) -> Option<Nanos> {
        if self.over {
            return None;
        }
        let Some(origin) = self.recognizer.recognize(&self.roster, text) else {
            self.counters.message_pushes += 1;
            self.counters.unexpected += 1;
            self.scene(now).violation(Violation::Unexpected, None, || {
                format!("a message nobody sent: {:?}", super::clip(text))
            });
            return None;
        };
        // Many servers send a message back to its sender, which is no delivery.
        if device == self.roster.sender(origin.stream) {
            return None;
        }
        self.counters.message_pushes += 1;
        self.scene(now)
            .remember(EventKind::Pushed, origin, 0, device);
        if self.destination(origin.stream) != Some(device) {
            self.counters.unexpected += 1;
            self.complain(
                now,
                Violation::Unexpected,
                origin,
                device,
                |name, number| format!("message {number} came to {name}, and is for another user"),
            );
            return None;
        }
        if !self.recognizer.is_exact(text) {
            self.counters.unexpected += 1;
            self.complain(now, Violation::TextChanged, origin, device, |_, number| {
                format!("message {number} has another text than the one that was sent")
            });
        }
        self.take(now, device, origin)
    }

    /// Judges order and number of a message that came to the device that it is for.
    fn take(&mut self, now: Nanos, device: u32, origin: Origin) -> Option<Nanos> {
        let inbox = self.roster.seat(origin.conversation, device)?.inbox;
        let place = self.pending.find(origin);
        let awaited = place.filter(|place| !self.pending.at(*place).came);
        let Some(place) = awaited else {
            self.judge_unawaited(now, device, origin);
            return None;
        };
        let last = self.came[inbox];
        self.came[inbox] = last.max(origin.counter);
        if origin.counter <= last {
            self.counters.reordered += 1;
            self.complain(now, Violation::Reordered, origin, device, |name, number| {
                format!("message {number} came to {name} behind message {last}")
            });
        }
        let fate = self.pending.at(place);
        fate.came = true;
        let intended = fate.intended;
        self.land(place);
        Some(intended)
    }

    /// Judges a message that came and was not waited for.
    fn judge_unawaited(&mut self, now: Nanos, device: u32, origin: Origin) {
        let sent = origin.counter <= self.sent[origin.conversation as usize];
        let away = !self.sessions.is_open(device);
        if sent && (away || origin.intended() < self.sessions.owed_since(device)) {
            // It came to a session that was ending, or the server kept it for one that was away:
            // nobody asked for that.
            return;
        }
        let violation = match sent {
            true => {
                self.counters.duplicated += 1;
                Violation::Duplicated
            }
            false => {
                self.counters.unexpected += 1;
                Violation::Unexpected
            }
        };
        self.complain(now, violation, origin, device, |name, number| match sent {
            true => format!("message {number} came to {name} twice"),
            false => format!("message {number} came to {name}, and was never sent"),
        });
    }

    /// Counts a violation that a device saw. `words` gets the names of the device and the message.
    fn complain(
        &mut self,
        now: Nanos,
        violation: Violation,
        origin: Origin,
        device: u32,
        words: impl FnOnce(&str, u32) -> String,
    ) {
        let scene = &mut self.scene(now);
        let roster = scene.roster;
        scene.violation_at(violation, origin.conversation, device, || {
            words(&roster.device_name(device), origin.counter)
        });
    }

    /// Ends a message of which nothing more is to come.
    fn land(&mut self, place: u32) {
        let fate = *self.pending.at(place);
        let answered = fate.acked || !self.acknowledges;
        if !answered || (fate.owed && !fate.came) {
            return;
        }
        self.pending.remove(place);
        match fate.came {
            true => self.counters.delivered += 1,
            false => self.counters.to_offline += 1,
        }
    }

    /// Returns whether everything that was sent is acknowledged and has come, as far as the server
    /// owes it.
    pub(crate) fn is_settled(&self) -> bool {
        let mut pending = self.pending.iter();
        !self.sessions.some_away() && pending.all(|fate| self.waits(fate).is_over())
    }

    /// Ends messages that nothing can decide any more.
    fn sweep(&mut self, now: Nanos) {
        if now < self.swept + SWEEP {
            return;
        }
        self.swept = now;
        for place in self.pending.places() {
            let fate = *self.pending.at(place);
            // One that may still come would look like a repetition then.
            let may_come = fate.owed && !fate.came && self.has_recipient(&fate);
            if self.waits(&fate).is_over() && !may_come {
                self.end(now, place);
            }
        }
    }

    /// Judges a message of which nothing more is waited for.
    fn end(&mut self, now: Nanos, place: u32) {
        let fate = *self.pending.at(place);
        let waits = self.waits(&fate);
        self.pending.remove(place);
        if waits.arrival && (fate.acked || !self.acknowledges) {
            self.counters.lost += 1;
            let origin = fate.origin();
            let device = self.destination(fate.stream).unwrap_or(NOBODY);
            let how = if fate.acked { "acknowledged" } else { "sent" };
            self.complain(now, Violation::Lost, origin, device, |name, number| {
                format!("message {number} was {how} and did not reach {name}")
            });
        } else if self.acknowledges && !fate.acked {
            self.counters.unknown += 1;
            self.counters.unknown_excused += u64::from(!waits.answer);
        } else {
            self.counters.undecided += 1;
        }
    }

    /// Notes that no session comes back any more.
    pub(crate) fn close(&mut self) {
        self.sessions.give_up();
    }
}

impl Judge for PlainChecker {
    fn roster(&self) -> &Roster {
        &self.roster
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn away(&mut self, _now: Nanos, device: u32, _by_run: bool) {
        self.sessions.leave(device);
    }

    fn gone(&mut self, _now: Nanos, device: u32) {
        self.sessions.end(device);
    }

    fn depart(&mut self, now: Nanos, arrival: Arrival, intended: Nanos) -> Option<Departure> {
        let conversation = self.roster.writer(arrival.stream)?.conversation;
        if !self.pending.has_room() {
            self.sweep(now);
        }
        if !self.pending.has_room() {
            return None;
        }
        let destination = self.destination(arrival.stream);
        let owed = destination.is_some_and(|device| self.is_there_since(device, now));
        let counter = &mut self.sent[conversation as usize];
        *counter += 1;
        let fate = Fate {
            intended,
            sent: now,
            conversation,
            stream: arrival.stream,
            counter: *counter,
            owed,
            acked: false,
            came: false,
        };
        let (place, origin) = (self.pending.push(fate), fate.origin());
        self.counters.attempted += 1;
        let sender = self.roster.sender(arrival.stream);
        self.scene(now).remember(EventKind::Sent, origin, 0, sender);
        let id = self.pending.id(place);
        self.land(place);
        Some(Departure { id, origin })
    }

    fn finish(&mut self, now: Nanos) {
        for place in self.pending.places() {
            self.end(now, place);
        }
        self.over = true;
    }

    fn into_findings(self) -> Findings {
        Findings::new(&self.roster, &self.evidence, self.counters)
    }
}

#[cfg(test)]
mod tests;
