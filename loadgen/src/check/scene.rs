//! What every part of the checker sees and writes while it handles one event.

use super::evidence::{Event, EventKind, Evidence, Violation};
use super::origin::Origin;
use super::roster::Roster;
use super::sessions::Sessions;
use crate::clock::Nanos;
use crate::stats::Counters;

/// No device.
pub(super) const NOBODY: u32 = u32::MAX;

/// Members up to which all events of a conversation are evidence: those of a pair. In a larger
/// group only the pushes to the devices concerned are kept with a violation.
const SMALL: u32 = 2;

/// One moment of a run: when it is, who is there, and where violations are noted.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) now: Nanos,
    pub(super) roster: &'a Roster,
    pub(super) sessions: &'a Sessions,
    pub(super) evidence: &'a mut Evidence,
    pub(super) counters: &'a mut Counters,
}

impl Scene<'_> {
    /// Remembers what happened to a message, as evidence for a later violation. `seq` is 0 and
    /// `device` is [`NOBODY`] where there is none.
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

    /// Counts a violation; `detail` says in words what is wrong.
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

    /// Counts a violation that devices missed a message for: `about` tells whether an event
    /// belongs to it. In a pair all events do.
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
