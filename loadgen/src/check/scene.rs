//! The scene: the data that every part of the checker reads and writes while it handles one event.

use super::evidence::{Event, EventKind, Evidence, Violation};
use super::origin::Origin;
use super::roster::Roster;
use super::sessions::Sessions;
use crate::clock::Nanos;
use crate::stats::Counters;

/// The value that stands for no device.
pub(super) const NOBODY: u32 = u32::MAX;

/// The most members with which all events of a conversation are evidence. In a larger group a
/// violation keeps only the pushes to the devices concerned.
const SMALL: u32 = 2;

/// One moment of a run: its time, the connected devices, and the list of violations.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) now: Nanos,
    pub(super) roster: &'a Roster,
    pub(super) sessions: &'a Sessions,
    pub(super) evidence: &'a mut Evidence,
    pub(super) counters: &'a mut Counters,
}

impl Scene<'_> {
    /// Remembers an event of a message as evidence for a later violation. `seq` is 0 if there is no
    /// sequence, and `device` is [`NOBODY`] if there is no device.
    pub(super) fn remember(&mut self, kind: EventKind, origin: Origin, seq: u32, device: u32) {
        self.evidence.remember(Event {
            at: self.now,
            kind,
            conversation: origin.conversation,
            stream: origin.stream,
            counter: origin.counter,
            seq,
            device,
        });
    }

    /// Counts a violation; `detail` describes it in words.
    pub(super) fn violation(
        &mut self,
        violation: Violation,
        conversation: Option<u32>,
        detail: impl FnOnce() -> String,
    ) {
        let now = self.now;
        let evidence = &mut *self.evidence;
        evidence.violation(now, violation, conversation, |_| true, detail);
    }

    /// Counts a violation that one device saw.
    pub(super) fn violation_at(
        &mut self,
        violation: Violation,
        conversation: u32,
        device: u32,
        detail: impl FnOnce() -> String,
    ) {
        let all = self.roster.size(conversation) <= SMALL;
        let about =
            |event: &Event| all || event.kind != EventKind::Pushed || event.device == device;
        let evidence = &mut *self.evidence;
        evidence.violation(self.now, violation, Some(conversation), about, detail);
    }

    /// Counts the violation that devices missed a message. `about` returns whether an event belongs
    /// to it; in a pair all events do.
    pub(super) fn violation_about(
        &mut self,
        violation: Violation,
        conversation: u32,
        about: impl Fn(&Event) -> bool,
        detail: impl FnOnce() -> String,
    ) {
        let all = self.roster.size(conversation) <= SMALL;
        let about = |event: &Event| all || about(event);
        let evidence = &mut *self.evidence;
        evidence.violation(self.now, violation, Some(conversation), about, detail);
    }

    /// Judges the id that the gateway gave to a conversation.
    pub(super) fn expect_name(&mut self, conversation: u32, said: &str) {
        let roster = self.roster;
        if !roster.is_called(conversation, said) {
            self.violation(Violation::WrongConversation, Some(conversation), || {
                let mut expected = String::new();
                roster.write_conversation(conversation, &mut expected);
                format!("conversation {said:?} instead of {expected:?}")
            });
        }
    }
}
