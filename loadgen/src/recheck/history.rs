//! Judges the small history of a violation from its events alone, by rules of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// An event of a kept violation, as `violations.jsonl` has it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Event {
    pub(super) at_us: u64,
    pub(super) what: EventKind,
    pub(super) from: String,
    /// The number of the message among those of its sender to this recipient.
    pub(super) message: u32,
    /// The sequence of the message; 0 if it had none yet.
    pub(super) seq: u32,
    pub(super) device: Option<u32>,
}

/// The kind of an event of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventKind {
    Sent,
    Acknowledged,
    Refused,
    Pushed,
    History,
}

impl EventKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Acknowledged => "acknowledged",
            Self::Refused => "refused",
            Self::Pushed => "pushed",
            Self::History => "read back",
        }
    }
}

/// One message of the history.
#[derive(Debug, Default)]
struct Message {
    /// The device that sent it.
    sender: Option<u32>,
    sent: bool,
    refused: bool,
    acknowledged: bool,
    seqs: BTreeSet<u32>,
    /// The devices to which the message was pushed, in order.
    pushed: Vec<u32>,
    read: bool,
}

impl Message {
    /// Returns whether one of these devices never received the message.
    fn is_left_out(&self, devices: &BTreeMap<u32, u32>) -> bool {
        let due = |device: &&u32| self.sender != Some(**device);
        // Sent before the history begins, it may have been pushed before, too.
        let whole = self.sent && self.acknowledged;
        whole && { devices.keys() }
            .filter(due)
            .any(|it| !self.pushed.contains(it))
    }
}

/// Returns the violations that these events show, which are in the order of time. Other violations
/// may have happened: a history is cut to a few events, and events do not show every kind (a
/// changed text, a wrong receipt). In a group, every device that gets one message has to get all
/// others but its own.
pub(super) fn shown(events: &[Event], in_group: bool) -> BTreeSet<&'static str> {
    let mut messages: BTreeMap<(&str, u32), Message> = BTreeMap::new();
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    let mut kinds = BTreeSet::new();
    for event in events {
        let message = messages.entry((&event.from, event.message)).or_default();
        if event.seq != 0 {
            message.seqs.insert(event.seq);
        }
        match event.what {
            EventKind::Sent => {
                message.sent = true;
                message.sender = event.device;
            }
            EventKind::Acknowledged => message.acknowledged = true,
            EventKind::Refused => message.refused = true,
            EventKind::History => message.read = true,
            EventKind::Pushed => {
                let Some(device) = event.device else {
                    continue;
                };
                if message.pushed.contains(&device) {
                    kinds.insert("duplicated");
                }
                if message.refused || message.sender == Some(device) {
                    kinds.insert("unexpected");
                }
                let last = last.entry(device).or_default();
                if event.seq < *last {
                    kinds.insert("reordered");
                }
                *last = event.seq.max(*last);
                message.pushed.push(device);
            }
        }
    }
    kinds.extend(of_all(&messages));
    if in_group && messages.values().any(|message| message.is_left_out(&last)) {
        kinds.insert("lost");
    }
    kinds
}

/// Returns the violations that only all messages together show.
fn of_all(messages: &BTreeMap<(&str, u32), Message>) -> BTreeSet<&'static str> {
    let mut kinds = BTreeSet::new();
    let mut owners: BTreeMap<u32, u32> = BTreeMap::new();
    let mut most: BTreeMap<&str, usize> = BTreeMap::new();
    for ((from, _), message) in messages {
        if message.seqs.len() > 1 {
            kinds.insert("sequence-differs");
        }
        for seq in &message.seqs {
            *owners.entry(*seq).or_default() += 1;
        }
        let devices: BTreeSet<_> = message.pushed.iter().collect();
        let most = most.entry(from).or_default();
        *most = devices.len().max(*most);
        if !message.sent && message.refused && !message.pushed.is_empty() {
            kinds.insert("unexpected");
        }
    }
    if owners.values().any(|messages| *messages > 1) {
        kinds.insert("sequence-reused");
    }
    let ends = owners.keys().next().zip(owners.keys().next_back());
    if ends.is_some_and(|(first, last)| u64::from(last - first) + 1 > owners.len() as u64) {
        kinds.insert("sequence-missing");
    }
    let any_read = messages.values().any(|message| message.read);
    for ((from, _), message) in messages {
        let devices: BTreeSet<_> = message.pushed.iter().collect();
        // Sent before the history begins, it may have been pushed before, too.
        let whole = message.sent && message.acknowledged;
        if whole && devices.len() < most.get(from).copied().unwrap_or(0).max(1) {
            kinds.insert("lost");
        }
        if whole && any_read && !message.read {
            kinds.insert("history-missing");
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use EventKind::{Acknowledged, History, Pushed, Refused, Sent};

    /// An event: what happened, the sender, the message, its sequence and the device (0: none).
    type Row = (EventKind, &'static str, u32, u32, u32);

    fn check(events: &[Row], expected: &[&str]) {
        check_in(events, false, expected);
    }

    fn check_in(events: &[Row], in_group: bool, expected: &[&str]) {
        let events: Vec<_> = (1..)
            .zip(events)
            .map(|(at_us, &(what, from, message, seq, device))| Event {
                at_us,
                what,
                from: from.into(),
                message,
                seq,
                device: (device > 0).then_some(device),
            })
            .collect();
        let found: Vec<_> = shown(&events, in_group).into_iter().collect();
        assert_eq!(found, expected, "{events:?}");
    }

    #[test]
    fn a_good_history_shows_nothing() {
        check(
            &[
                (Sent, "ann", 1, 0, 1),
                (Acknowledged, "ann", 1, 1, 0),
                (Pushed, "ann", 1, 1, 2),
                (Sent, "bob", 1, 0, 2),
                (Pushed, "bob", 1, 2, 1),
                (Acknowledged, "bob", 1, 2, 0),
                (Sent, "ann", 2, 0, 1),
                (Refused, "ann", 2, 0, 0),
                (History, "ann", 1, 1, 0),
                (History, "bob", 1, 2, 0),
            ],
            &[],
        );
        check(&[], &[]);
    }

    #[test]
    fn each_broken_promise_shows() {
        let first = [
            (Sent, "ann", 1, 0, 1),
            (Acknowledged, "ann", 1, 1, 0),
            (Pushed, "ann", 1, 1, 2),
        ];
        let with = |more: &[Row]| [&first[..], more].concat();
        check(&with(&[(Pushed, "ann", 1, 1, 2)]), &["duplicated"]);
        check(&with(&[(Pushed, "ann", 1, 1, 1)]), &["unexpected"]);
        check(&with(&[(Pushed, "ann", 1, 2, 3)]), &["sequence-differs"]);
        let second = [(Sent, "ann", 2, 0, 1), (Acknowledged, "ann", 2, 2, 0)];
        check(&with(&second), &["lost"]);
        check(&second, &["lost"]);
        let reused = [(Pushed, "ann", 2, 1, 2), (Sent, "bob", 1, 0, 2)];
        check(&with(&reused), &["sequence-reused"]);
        check(&with(&[(Pushed, "bob", 1, 3, 1)]), &["sequence-missing"]);
        let swapped = [(Pushed, "ann", 3, 3, 2), (Pushed, "ann", 2, 2, 2)];
        check(&with(&swapped), &["reordered"]);
        let pushed = [
            second[0],
            second[1],
            (Pushed, "ann", 2, 2, 2),
            (History, "ann", 1, 1, 0),
        ];
        check(&with(&pushed), &["history-missing"]);
        let refused = [
            (Sent, "ann", 2, 0, 1),
            (Refused, "ann", 2, 0, 0),
            (Pushed, "ann", 2, 2, 2),
        ];
        check(&with(&refused), &["unexpected"]);
    }

    #[test]
    fn in_a_group_everybody_is_told_but_the_sender() {
        let events = [
            (Sent, "ann", 1, 0, 1),
            (Acknowledged, "ann", 1, 1, 0),
            (Pushed, "ann", 1, 1, 2),
            (Sent, "bob", 2, 0, 2),
            (Acknowledged, "bob", 2, 2, 0),
            (Pushed, "bob", 2, 2, 1),
            // Told of one of them, this device has missed the other.
            (Pushed, "bob", 2, 2, 3),
        ];
        check_in(&events[..6], true, &[]);
        check_in(&events, true, &["lost"]);
        check_in(&events, false, &[]);
        // The events lack the sending of the first message.
        check_in(&events[1..], true, &[]);
    }

    #[test]
    fn what_was_sent_before_the_history_begins_is_not_missed() {
        check(
            &[(Acknowledged, "ann", 7, 7, 0), (Pushed, "ann", 8, 8, 2)],
            &[],
        );
    }
}
