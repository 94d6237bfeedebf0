//! What went wrong, with the events around it, bounded.

use std::io::Write;

use serde::Serialize;

use crate::clock::Nanos;
use crate::foreign::quoted;
use crate::population::Part;

/// A way in which a gateway broke its promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Acknowledged and never pushed to a device that was there.
    Lost,
    /// Pushed twice to one device.
    Duplicated,
    /// Pushed after a later message of the conversation.
    Reordered,
    /// Nobody sent it, or not to this user, or it had been refused.
    Unexpected,
    /// Pushed with another text than it was sent with.
    TextChanged,
    /// The acknowledgement and the push name different sequences.
    SequenceDiffers,
    /// One sequence was given to two messages.
    SequenceReused,
    /// A sequence was given to no message.
    SequenceMissing,
    /// A push names the wrong conversation or sender.
    WrongConversation,
    /// A receipt's watermark went back, or beyond the conversation.
    ReceiptWrong,
    /// The last receipt never arrived.
    ReceiptMissing,
    /// History lacks a message that was acknowledged.
    HistoryMissing,
    /// History has another message than was acknowledged.
    HistoryDiffers,
    /// An answer that was not asked for, or says what cannot be.
    ReplyUnexpected,
    /// The gateway's own counters say something else.
    MetricsDisagree,
}

impl Kind {
    /// The kind's name in reports.
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

/// Most violations of one kind and thread that are kept with their details; all are counted.
const DETAILED: usize = 20;
/// Events that a thread remembers.
const REMEMBERED: usize = 1 << 14;
/// Most events kept for one violation.
const AROUND: usize = 50;

/// What happened to a message, as far as evidence needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    /// The client sent it.
    Sent,
    /// The gateway acknowledged it.
    Acknowledged,
    /// The gateway refused it.
    Refused,
    /// The gateway pushed it.
    Pushed,
    /// It was read from history.
    History,
}

/// One remembered event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) at: Nanos,
    pub(super) what: What,
    pub(super) conversation: u32,
    /// Who wrote to whom; in a group, who wrote.
    pub(super) stream: u32,
    pub(super) counter: u32,
    pub(super) seq: u32,
    /// The device concerned; `u32::MAX` where none is.
    pub(super) device: u32,
}

impl Event {
    fn line(&self, part: &Part) -> serde_json::Value {
        let mut from = String::new();
        let in_group = self.conversation as usize >= part.conversations();
        let user = match in_group {
            true => self.stream,
            false => part.stream_parts(self.stream).0,
        };
        part.write_user(user, &mut from);
        serde_json::json!({
            "at_us": self.at / 1_000,
            "what": self.what,
            "from": from,
            "message": self.counter,
            "seq": self.seq,
            "device": (self.device != u32::MAX).then_some(self.device),
        })
    }
}

/// A violation with what was seen of its conversation before it.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) at: Nanos,
    pub(super) kind: Kind,
    pub(super) conversation: Option<u32>,
    pub(super) detail: String,
    pub(super) events: Vec<Event>,
}

/// Counts violations, keeps the first of each kind, and remembers the latest events.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    counts: std::collections::BTreeMap<Kind, u64>,
    findings: Vec<Finding>,
    ring: Vec<Event>,
    next: usize,
}

impl Evidence {
    /// Remembers an event; the oldest makes room.
    pub(super) fn remember(&mut self, event: Event) {
        if self.ring.len() < REMEMBERED {
            self.ring.push(event);
        } else {
            self.ring[self.next] = event;
        }
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// Counts a violation; `detail` is made only for those that are kept.
    pub(super) fn violation(
        &mut self,
        at: Nanos,
        kind: Kind,
        conversation: Option<u32>,
        detail: impl FnOnce() -> String,
    ) {
        self.violation_of(at, kind, conversation, |_| true, detail);
    }

    /// The same, with those events of the conversation that it is `about`.
    pub(super) fn violation_of(
        &mut self,
        at: Nanos,
        kind: Kind,
        conversation: Option<u32>,
        about: impl Fn(&Event) -> bool,
        detail: impl FnOnce() -> String,
    ) {
        let count = self.counts.entry(kind).or_default();
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
            kind,
            conversation,
            detail: quoted(&detail()),
            events,
        });
    }

    /// How often each kind happened.
    pub(super) fn counts(&self) -> &std::collections::BTreeMap<Kind, u64> {
        &self.counts
    }

    /// The violations kept behind the first `told`, a sentence each.
    pub(super) fn sentences(&self, told: &mut usize) -> impl Iterator<Item = String> {
        let new = self.findings.get(*told..).unwrap_or_default();
        *told = self.findings.len();
        new.iter()
            .map(|finding| format!("{}: {}", finding.kind.name(), finding.detail))
    }

    /// Writes the violations kept as JSON lines, each with the events around it; `name` appends a
    /// conversation's id.
    pub(super) fn write(
        &self,
        part: &Part,
        name: impl Fn(u32, &mut String),
        out: &mut dyn Write,
    ) -> std::io::Result<()> {
        for finding in &self.findings {
            let name = finding.conversation.map(|conversation| {
                let mut id = String::new();
                name(conversation, &mut id);
                id
            });
            let events: Vec<_> = finding.events.iter().map(|e| e.line(part)).collect();
            let line = serde_json::json!({
                "at_us": finding.at / 1_000,
                "kind": finding.kind.name(),
                "conversation": name,
                "detail": finding.detail,
                "events": events,
            });
            writeln!(out, "{line}")?;
        }
        Ok(())
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
                what: What::Sent,
                conversation: i % 2,
                stream: 0,
                counter: i,
                seq: 0,
                device: 0,
            });
        }
        for _ in 0..1000 {
            evidence.violation(1, Kind::Lost, Some(1), || "gone".into());
        }
        assert_eq!(evidence.counts()[&Kind::Lost], 1000);
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
}
