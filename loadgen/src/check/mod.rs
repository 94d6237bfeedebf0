//! The judge of one thread: every message's story, from sending to the last device and history.
//!
//! The checker does no I/O: it takes the events of a run and counts violations. A pair of contacts
//! is a group of two, and the same rules judge both. Each part owns its state:
//!
//! | part | what it knows |
//! |---|---|
//! | `roster` | the members of each conversation |
//! | `sessions` | which devices are connected, away or gone |
//! | `ledger` | the fate of each message: `flights` under way, owed to sets of `seats`, and the state of each conversation (`conversations`, `sequences`) |
//! | `origin` | which message a text belongs to, and the text that it must have |
//! | `pushes` | the last message of each device in each conversation |
//! | `receipts` | the acknowledgements, and the receipts that other members got |
//! | `history` | the conversations that are being read back |
//! | `plain` | a judge of its own, for servers of which only texts are known |
//! | `evidence` | violations, with the events before them |
//!
//! Memory is bounded by the population (a few words per conversation, and per device in each of its
//! conversations) and by the messages under way, not by the length of the run.

mod conversations;
mod evidence;
mod findings;
mod flights;
mod history;
mod ledger;
mod origin;
mod plain;
mod pushes;
mod receipts;
mod roster;
mod scene;
mod seats;
mod sequences;
mod sessions;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use trunkline_proto::message::{HistoryReply, Message, Receipt, SendReply};

use crate::clock::Nanos;
use crate::membership::Memberships;
use crate::population::Part;
use crate::schedule::Arrival;
use crate::schedule::text::Texts;
use crate::stats::Counters;

use evidence::Evidence;
use history::History;
use ledger::Ledger;
use origin::Recognizer;
use pushes::Inboxes;
use receipts::Receipts;
use scene::Scene;
use sessions::Sessions;

pub(crate) use evidence::Violation;
pub(crate) use findings::{Findings, Judge};
pub(crate) use history::Reading;
pub(crate) use ledger::Departure;
pub(crate) use origin::Origin;
pub(crate) use plain::PlainChecker;
pub(crate) use pushes::{Landing, Via};
pub(crate) use receipts::Marks;
pub(crate) use roster::Roster;

/// The most members of a conversation whose pushes are remembered as evidence. The pushes to all
/// members of a large group would exceed the memory for events.
const WITNESSES: u32 = 16;

/// Checks the messages that one thread's users send and receive.
#[derive(Debug)]
pub(crate) struct Checker {
    roster: Roster,
    sessions: Sessions,
    ledger: Ledger,
    recognizer: Recognizer,
    inboxes: Inboxes,
    receipts: Receipts,
    history: History,
    evidence: Evidence,
    counters: Counters,
}

/// Makes the [`Scene`] of an event from a checker's fields, and leaves its other parts free to act
/// in it.
macro_rules! scene {
    ($checker:ident, $now:expr) => {
        Scene {
            now: $now,
            roster: &$checker.roster,
            sessions: &$checker.sessions,
            evidence: &mut $checker.evidence,
            counters: &mut $checker.counters,
        }
    };
}

impl Judge for Checker {
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

    fn away(&mut self, now: Nanos, device: u32, by_run: bool) {
        self.sessions.leave(device);
        self.ledger
            .orphan(&mut scene!(self, now), device, by_run, true);
    }

    fn gone(&mut self, now: Nanos, device: u32) {
        self.ledger.attend(&self.roster, device, false);
        self.sessions.end(device);
        self.ledger
            .orphan(&mut scene!(self, now), device, false, false);
    }

    fn depart(&mut self, now: Nanos, arrival: Arrival, intended: Nanos) -> Option<Departure> {
        self.ledger
            .depart(&mut scene!(self, now), arrival, intended)
    }

    fn finish(&mut self, now: Nanos) {
        self.ledger.finish(&mut scene!(self, now));
    }

    fn into_findings(self) -> Findings {
        Findings::new(&self.roster, &self.evidence, self.counters)
    }
}

impl Checker {
    /// Makes a checker for a thread's part of the population, with these groups and texts.
    pub(crate) fn new(part: Part, members: Arc<Memberships>, texts: Texts) -> Self {
        let roster = Roster::new(part, members);
        Self {
            sessions: Sessions::new(roster.part().devices() as usize),
            ledger: Ledger::new(&roster),
            recognizer: Recognizer::new(texts),
            inboxes: Inboxes::new(&roster),
            receipts: Receipts::new(&roster),
            history: History::default(),
            evidence: Evidence::default(),
            counters: Counters::default(),
            roster,
        }
    }

    /// Replaces `out` by the text of a message.
    pub(crate) fn write_text(&self, origin: Origin, out: &mut String) {
        self.recognizer.write_text(&self.roster, origin, out);
    }

    /// Replaces `out` by the idempotency key of a message.
    pub(crate) fn write_key(&self, origin: Origin, out: &mut String) {
        self.recognizer.write_key(&self.roster, origin, out);
    }

    /// Opens a device's session. The device is owed the messages sent from now on. If it was away,
    /// history must hold the messages that it was owed before.
    pub(crate) fn opened(&mut self, now: Nanos, device: u32) {
        if self.sessions.is_away(device) {
            self.ledger.lapse(&self.roster, device);
        }
        self.ledger.attend(&self.roster, device, true);
        self.sessions.open(now, device);
        self.receipts.opened(&self.roster, device);
    }

    /// Notes that a device's session is open again, and that the missed messages come next.
    pub(crate) fn back(&mut self, now: Nanos, device: u32) {
        self.sessions.come_back(now, device);
    }

    /// Returns the first send of a device that must be repeated, now that its session is open
    /// again, in the order of sending. Returns each send once for each break of the session.
    pub(crate) fn send_again(&mut self, now: Nanos, device: u32) -> Option<Departure> {
        self.ledger.send_again(&mut scene!(self, now), device)
    }

    /// Handles the acknowledgement of a send. Returns when the message should have been sent;
    /// `None` if no such answer was due.
    pub(crate) fn acknowledged(
        &mut self,
        now: Nanos,
        id: u32,
        reply: &SendReply<'_>,
    ) -> Option<Nanos> {
        self.counters.send_replies += 1;
        self.ledger.acknowledged(&mut scene!(self, now), id, reply)
    }

    /// Handles the refusal of a send.
    pub(crate) fn refused(&mut self, now: Nanos, id: u32) {
        self.ledger.refused(&mut scene!(self, now), id);
    }

    /// Handles an answer that leaves open whether a send was stored. `by_run`: the run itself broke the
    /// gateway.
    pub(crate) fn unsure(&mut self, now: Nanos, id: u32, by_run: bool) {
        self.ledger.unsure(&mut scene!(self, now), id, by_run);
    }

    /// Handles a message that reached a device. Returns what it means for the client; `None` if the
    /// device should not have received it at all.
    pub(crate) fn pushed(
        &mut self,
        now: Nanos,
        device: u32,
        message: &Message<'_>,
        via: Via,
    ) -> Option<Landing> {
        let (ledger, recognizer) = (&mut self.ledger, &mut self.recognizer);
        let message = (message, via);
        { &mut self.inboxes }.arrive(&mut scene!(self, now), ledger, recognizer, device, message)
    }

    /// Returns the acknowledgement for a stream's member that received all its messages and, if
    /// `read`, read them. Returns `None` if it is already acknowledged.
    pub(crate) fn acknowledge(&mut self, now: Nanos, stream: u32, read: bool) -> Option<Marks> {
        let inboxes = &self.inboxes;
        { &mut self.receipts }.acknowledge(&mut scene!(self, now), inboxes, stream, read)
    }

    /// Returns the last acknowledgement of a stream's member, to be sent again; `None` if there was
    /// none.
    pub(crate) fn acknowledge_again(&mut self, now: Nanos, stream: u32) -> Option<Marks> {
        self.receipts
            .acknowledge_again(&mut scene!(self, now), stream)
    }

    /// Handles a receipt that reached a device.
    pub(crate) fn receipt(&mut self, now: Nanos, device: u32, receipt: &Receipt<'_>, via: Via) {
        let receipts = &mut self.receipts;
        receipts.arrive(&mut scene!(self, now), device, receipt, via);
    }

    /// Returns the time of the last receipt or acknowledgement in a group; 0 if there was none.
    pub(crate) fn last_group_receipt(&self) -> Nanos {
        self.receipts.last_in_group()
    }

    /// Returns whether everything that was sent is answered and delivered, receipts included,
    /// except what only history can settle.
    pub(crate) fn settled(&mut self, now: Nanos) -> bool {
        self.ledger.is_settled()
            && !self.sessions.some_away()
            && self.receipts.is_settled(&scene!(self, now))
    }

    /// Returns whether the checker waits only for the fate of sends whose session broke before
    /// their answer, and the time for that is over.
    pub(crate) fn only_doubts(&mut self, now: Nanos) -> bool {
        let scene = scene!(self, now);
        self.ledger.only_doubts(&scene) && self.receipts.is_settled(&scene)
    }

    /// Judges the messages under way when the wait is over. Nothing that comes later is a
    /// violation.
    pub(crate) fn close(&mut self, now: Nanos) {
        self.sessions.give_up();
        let scene = &mut scene!(self, now);
        self.ledger.close(scene);
        self.receipts.close(scene);
        if !self.sessions.some_gone() {
            self.ledger.expect_no_missing_sequences(scene);
        }
    }

    /// Returns whether history has shown messages that devices are still owed.
    pub(crate) fn still_owed(&mut self, now: Nanos) -> bool {
        self.ledger.still_owed(&scene!(self, now))
    }

    /// Returns whether anything was sent in a conversation and not refused.
    pub(crate) fn has_messages(&self, conversation: u32) -> bool {
        self.ledger.conversations().has_messages(conversation)
    }

    /// Compares a page of history with the acknowledged messages. Returns whether there are more
    /// pages.
    pub(crate) fn read_back(
        &mut self,
        now: Nanos,
        reading: &mut Reading,
        page: &HistoryReply<'_>,
    ) -> bool {
        let (ledger, recognizer) = (&mut self.ledger, &mut self.recognizer);
        { &mut self.history }.compare(&mut scene!(self, now), ledger, recognizer, reading, page)
    }

    /// Judges a conversation that has been read to its end.
    pub(crate) fn read_whole(&mut self, now: Nanos, reading: &Reading) {
        let ledger = &mut self.ledger;
        { &mut self.history }.finish(&mut scene!(self, now), ledger, reading);
    }

    /// Counts a conversation that no session could read, or whose pages never came.
    pub(crate) fn not_read(&mut self) {
        self.counters.conversations_unread += 1;
    }

    /// Judges the answer that the gateway does not know a conversation.
    pub(crate) fn not_known(&mut self, now: Nanos, reading: &Reading, why: &str) {
        let ledger = &mut self.ledger;
        { &mut self.history }.unknown(&mut scene!(self, now), ledger, reading, why);
    }

    /// Judges the gateway's refusal to show a conversation.
    pub(crate) fn not_readable(&mut self, now: Nanos, reading: &Reading, why: &str) {
        self.history
            .unreadable(&mut scene!(self, now), reading, why);
    }
}

/// Returns the first 80 characters of a text, for messages.
fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}
