//! The violations, with the events around them, in bounded memory.

use std::collections::BTreeMap;

use serde::de::IntoDeserializer;
use serde::de::value::Error;
use serde::{Deserialize, Serialize};

use super::roster::Roster;
use super::scene::NOBODY;
use crate::clock::Nanos;
use crate::foreign::quoted;

/// A way in which a gateway broke its promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Violation {
    /// A stored message was not pushed to a device that was there.
    Lost,
    /// A message was pushed twice to one device.
    Duplicated,
    /// A message was pushed after a later message of its conversation.
    Reordered,
    /// A message was pushed that was never sent, was refused, or belongs to another user.
    Unexpected,
    /// A message was pushed with another text than it was sent with.
    TextChanged,
    /// Acknowledgement and pushes of one message name different sequences.
    SequenceDiffers,
    /// One sequence was given to two messages.
    SequenceReused,
    /// A sequence was given to no message.
    SequenceMissing,
    /// A push or an answer names the wrong conversation or sender.
    WrongConversation,
    /// A receipt went back, or reports more than was acknowledged.
    ReceiptWrong,
    /// The last receipt never arrived.
    ReceiptMissing,
    /// History lacks a message that was acknowledged.
    HistoryMissing,
    /// History has another message than was acknowledged.
    HistoryDiffers,
    /// An answer was not asked for, or its content is impossible.
    ReplyUnexpected,
    /// The gateway's own counters differ from the counts of the load generator.
    MetricsDisagree,
}

impl Violation {
    /// Returns the violation with this name in reports.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let name: serde::de::value::StrDeserializer<'_, Error> = name.into_deserializer();
        Self::deserialize(name).ok()
    }

    /// Returns the line on a violation, with the events before it.
    pub(super) fn line(
        self,
        at: Nanos,
        conversation: Option<&str>,
        detail: &str,
        events: &[serde_json::Value],
    ) -> String {
        let line = serde_json::json!({
            "at_us": at / 1_000,
            "kind": self.name(),
            "conversation": conversation,
            "detail": detail,
            "events": events,
        });
        format!("{line}\n")
    }

    /// Returns the violation's name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Unexpected => "unexpected",
            Self::TextChanged => "text-changed",
            Self::SequenceDiffers => "sequence-differs",
            Self::SequenceReused => "sequence-reused",
            Self::SequenceMissing => "sequence-missing",
            Self::WrongConversation => "wrong-conversation",
            Self::ReceiptWrong => "receipt-wrong",
            Self::ReceiptMissing => "receipt-missing",
            Self::HistoryMissing => "history-missing",
            Self::HistoryDiffers => "history-differs",
            Self::ReplyUnexpected => "reply-unexpected",
            Self::MetricsDisagree => "metrics-disagree",
        }
    }
}

/// The most violations of one kind and thread whose details are kept. All violations are counted.
const DETAILED: usize = 20;
/// The number of events that a thread remembers.
const REMEMBERED: usize = 1 << 14;
/// The most events that are kept for one violation.
const AROUND: usize = 50;

/// The kind of an event of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventKind {
    /// The client sent the message.
    Sent,
    /// The gateway acknowledged the message.
    Acknowledged,
    /// The gateway refused the message.
    Refused,
    /// The gateway pushed the message.
    Pushed,
    /// A page of history had the message.
    History,
}

/// One remembered event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) at: Nanos,
    pub(super) kind: EventKind,
    pub(super) conversation: u32,
    /// The stream of the member that wrote the message.
    pub(super) stream: u32,
    /// The message's number in the conversation.
    pub(super) counter: u32,
    /// The sequence that the gateway named; 0 where it named none.
    pub(super) seq: u32,
    /// The device concerned; [`NOBODY`] if there is none.
    pub(super) device: u32,
}

impl Event {
    fn line(&self, roster: &Roster) -> serde_json::Value {
        let mut from = String::new();
        { roster.part() }.write_user(roster.user(self.stream), &mut from);
        serde_json::json!({
            "at_us": self.at / 1_000,
            "what": self.kind,
            "from": from,
            "message": self.counter,
            "seq": self.seq,
            "device": (self.device != NOBODY).then_some(self.device),
        })
    }
}

/// A violation, with the remembered events of its conversation.
#[derive(Debug)]
struct Finding {
    at: Nanos,
    violation: Violation,
    conversation: Option<u32>,
    detail: String,
    events: Vec<Event>,
}

/// Counts violations, keeps the first of each kind, and remembers the latest events.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    counts: BTreeMap<Violation, u64>,
    findings: Vec<Finding>,
    ring: Vec<Event>,
    next: usize,
}

impl Evidence {
    /// Remembers an event, in the place of the oldest one.
    pub(super) fn remember(&mut self, event: Event) {
        if self.ring.len() < REMEMBERED {
            self.ring.push(event);
        } else {
            self.ring[self.next] = event;
        }
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// Counts a violation. The remembered events of its conversation that `about` selects are kept
    /// with it. `detail` is called only for violations that are kept.
    pub(super) fn violation(
        &mut self,
        at: Nanos,
        violation: Violation,
        conversation: Option<u32>,
        about: impl Fn(&Event) -> bool,
        detail: impl FnOnce() -> String,
    ) {
        let count = self.counts.entry(violation).or_default();
        *count += 1;
        if *count as usize > DETAILED {
            return;
        }
        let (newer, older) = self.ring.split_at(self.next.min(self.ring.len()));
        let mut events: Vec<Event> = older
            .iter()
            .chain(newer)
            .filter(|event| Some(event.conversation) == conversation && about(event))
            .copied()
            .collect();
        events.drain(..events.len().saturating_sub(AROUND));
        self.findings.push(Finding {
            at,
            violation,
            conversation,
            detail: quoted(&detail()),
            events,
        });
    }

    /// Returns how often each violation happened.
    pub(super) fn counts(&self) -> &BTreeMap<Violation, u64> {
        &self.counts
    }

    /// Returns one sentence for each violation kept after the first `told`, and raises `told` to
    /// the number of all.
    pub(super) fn sentences(&self, told: &mut usize) -> impl Iterator<Item = String> {
        let new = self.findings.get(*told..).unwrap_or_default();
        *told = self.findings.len();
        new.iter()
            .map(|finding| format!("{}: {}", finding.violation.name(), finding.detail))
    }

    /// Returns the violations kept as JSON lines, each with the events around it.
    pub(super) fn lines(&self, roster: &Roster) -> String {
        let mut lines = String::new();
        for finding in &self.findings {
            let name = finding.conversation.map(|conversation| {
                let mut id = String::new();
                roster.write_conversation(conversation, &mut id);
                id
            });
            let events: Vec<_> = finding
                .events
                .iter()
                .map(|event| event.line(roster))
                .collect();
            let (at, detail) = (finding.at, &finding.detail);
            lines += &finding.violation.line(at, name.as_deref(), detail, &events);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_counts_are_not() {
        let mut evidence = Evidence::default();
        for i in 0..REMEMBERED as u32 + 7 {
            evidence.remember(Event {
                at: u64::from(i),
                kind: EventKind::Sent,
                conversation: i % 2,
                stream: 0,
                counter: i,
                seq: 0,
                device: 0,
            });
        }
        for _ in 0..1000 {
            evidence.violation(1, Violation::Lost, Some(1), |_| true, || "gone".into());
        }
        assert_eq!(evidence.counts()[&Violation::Lost], 1000);
        assert_eq!(evidence.findings.len(), DETAILED);
        let mut told = DETAILED - 1;
        assert_eq!(
            evidence.sentences(&mut told).collect::<Vec<_>>(),
            ["lost: gone"]
        );
        assert_eq!(evidence.sentences(&mut told).count(), 0);
        let events = &evidence.findings[0].events;
        assert_eq!(events.len(), AROUND);
        assert!(events.is_sorted_by_key(|event| event.at));
        assert!(events.iter().all(|event| event.conversation == 1));
        assert_eq!(events.last().unwrap().counter, REMEMBERED as u32 + 5);
    }

    #[test]
    fn a_name_is_that_of_one_violation() {
        for violation in [
            Violation::Lost,
            Violation::TextChanged,
            Violation::MetricsDisagree,
        ] {
            assert_eq!(Violation::named(violation.name()), Some(violation));
            let json = serde_json::to_value(violation).unwrap();
            assert_eq!(json, violation.name());
        }
        assert_eq!(Violation::named("found"), None);
    }
}
