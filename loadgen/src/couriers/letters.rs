//! The messages of couriers: who writes to whom and when, what the texts say, and what came of them.

use std::collections::BTreeSet;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::{Nanos, SECOND};
use crate::stats::{empty, sparse};

/// The time between two messages of a courier.
pub(crate) const EVERY: Nanos = SECOND / 20;

/// The most messages that a courier remembers as not answered, and those that it remembers as missing from
/// each other courier. What is beyond that is not checked.
pub(crate) const OPEN_MAX: usize = 1_024;

/// The most agents of a run.
pub(crate) const AGENTS_MAX: u32 = 64;

/// The bytes of a text.
const TEXT: usize = 120;

/// The place of an agent among those of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Seat {
    pub(crate) place: u32,
    /// The number of agents.
    pub(crate) of: u32,
}

impl Seat {
    /// Returns whether it is the place of a possible run.
    pub(crate) fn is_sound(self) -> bool {
        self.of <= AGENTS_MAX && self.place < self.of
    }

    /// Returns whether there is somebody to write to.
    pub(crate) fn has_others(self) -> bool {
        self.of > 1
    }

    /// Returns the number of other agents.
    pub(crate) fn others(self) -> u32 {
        self.of.saturating_sub(1).max(1)
    }

    /// Returns the place of the agent that gets the message with this number.
    pub(crate) fn recipient(self, number: u32) -> u32 {
        (self.place + 1 + number % self.others()) % self.of.max(1)
    }

    /// Returns the number of the first message that the courier in this place gets from another one. Every
    /// message with [`Self::others`] numbers more is for this place too.
    pub(crate) fn first_from(self, sender: u32) -> u32 {
        (self.place + self.of - sender + self.of - 1) % self.of.max(1)
    }
}

/// Returns the name of the user that is the courier of the agent in a place.
pub(crate) fn user(run: &str, place: u32) -> String {
    format!("{run}.courier{place}")
}

/// A message of a courier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    /// The places of sender and recipient.
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// Numbers count all messages of a courier, from 0.
    pub(crate) number: u32,
    /// When it should have been sent, on the sender's clock of the run.
    pub(crate) intended: Nanos,
    /// The sender writes no more to this recipient. Such a message has no part in the latencies, as the
    /// load is over.
    pub(crate) last: bool,
}

impl Letter {
    /// Returns the text of the message.
    pub(crate) fn text(self, run: &str) -> String {
        let Self {
            from, to, number, ..
        } = self;
        let kind = if self.last { "last" } else { "next" };
        let mut text = format!("{run}.{kind}.{from}.{to}.{number}.{}:", self.intended);
        while text.len() < TEXT {
            text.push('x');
        }
        text
    }

    /// Returns the message that a text belongs to; `None` if no courier of the run wrote it.
    pub(crate) fn read(run: &str, text: &str) -> Option<Self> {
        let (head, _) = text.strip_prefix(run)?.strip_prefix('.')?.split_once(':')?;
        let mut parts = head.split('.');
        let last = match parts.next()? {
            "last" => true,
            "next" => false,
            _ => return None,
        };
        let mut number = || parts.next()?.parse::<u64>().ok();
        let mut small = || u32::try_from(number()?).ok();
        let letter = Self {
            from: small()?,
            to: small()?,
            number: small()?,
            intended: number()?,
            last,
        };
        parts.next().is_none().then_some(letter)
    }
}

/// What a courier got from another one.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Inbox {
    /// Messages that came, each counted once.
    pub(crate) came: u64,
    /// The first number that did not come and has no later one that came.
    pub(crate) next: u32,
    /// The numbers before that which did not come, at most [`OPEN_MAX`].
    pub(crate) missing: BTreeSet<u32>,
    /// Numbers that did not come and were forgotten, because there were more.
    pub(crate) forgotten: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    /// Messages with another text than the one that was sent.
    pub(crate) changed: u64,
    /// The sender has said that it writes no more.
    pub(crate) is_over: bool,
    /// The times from the intended sending to the arrival, in microseconds, each on the clock of its
    /// agent. A time below zero counts as zero.
    #[serde(with = "sparse")]
    pub(crate) latencies: Histogram<u64>,
}

impl Inbox {
    /// Makes the empty inbox of the courier in a place for what comes from another one.
    pub(crate) fn new(seat: Seat, sender: u32) -> Self {
        Self {
            came: 0,
            next: seat.first_from(sender),
            missing: BTreeSet::new(),
            forgotten: 0,
            duplicated: 0,
            reordered: 0,
            changed: 0,
            is_over: false,
            latencies: empty(),
        }
    }

    /// Takes a message that came at this time. `step` is the difference between the numbers of two messages.
    pub(crate) fn take(&mut self, letter: Letter, now: Nanos, step: u32) {
        if letter.number < self.next {
            if !self.missing.remove(&letter.number) {
                self.duplicated += 1;
                return;
            }
            self.reordered += 1;
        } else {
            for number in (self.next..letter.number).step_by(step as usize) {
                if self.missing.len() >= OPEN_MAX {
                    self.forgotten += 1;
                } else {
                    self.missing.insert(number);
                }
            }
            self.next = letter.number.saturating_add(step);
        }
        self.came += 1;
        self.is_over |= letter.last;
        if !letter.last {
            let took = now.saturating_sub(letter.intended).div_ceil(1_000);
            self.latencies.saturating_record(took);
        }
    }

    /// Returns whether everything has come that its sender wrote.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_over && self.missing.is_empty() && self.forgotten == 0
    }
}

/// What a courier did and saw.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct CourierReport {
    pub(crate) seat: Seat,
    /// The time since which the session is open.
    pub(crate) opened: Option<Nanos>,
    /// The time at which the courier was done, or its session ended.
    pub(crate) ended: Nanos,
    /// When the first message should have been sent. Each further one follows [`EVERY`] later.
    pub(crate) began: Nanos,
    /// The number of messages sent.
    pub(crate) sent: u32,
    pub(crate) acknowledged: u64,
    /// The numbers of messages that were refused, or not acknowledged, at most [`OPEN_MAX`].
    pub(crate) unanswered: BTreeSet<u32>,
    /// The number of those that were refused, and why the first one was.
    pub(crate) refused: u64,
    pub(crate) refusal: Option<String>,
    /// What came from each agent, by its place. That of the own place stays empty.
    pub(crate) inboxes: Vec<Inbox>,
    /// Messages that no courier wrote, or that are for another one.
    pub(crate) unexpected: u64,
    /// Why the session was not open to the end.
    pub(crate) trouble: Option<String>,
}

impl CourierReport {
    /// Makes the report of a courier that has done nothing yet.
    pub(crate) fn new(seat: Seat) -> Self {
        Self {
            seat,
            opened: None,
            ended: 0,
            began: 0,
            sent: 0,
            acknowledged: 0,
            unanswered: BTreeSet::new(),
            refused: 0,
            refusal: None,
            inboxes: (0..seat.of)
                .map(|sender| Inbox::new(seat, sender))
                .collect(),
            unexpected: 0,
            trouble: None,
        }
    }

    /// Returns whether it is that of the courier in this place, and can be compared with the others.
    pub(crate) fn is_sound(&self, seat: Seat) -> bool {
        self.seat == seat && self.inboxes.len() == seat.of as usize
    }

    /// Takes the refusal of a message.
    pub(crate) fn refuse(&mut self, number: u32, why: String) {
        if self.unanswered.contains(&number) {
            self.refused += 1;
            self.refusal.get_or_insert(why);
        }
    }

    /// Takes a text that came.
    pub(crate) fn take(&mut self, run: &str, text: &str, now: Nanos) {
        let Some(letter) = Letter::read(run, text) else {
            self.unexpected += 1;
            return;
        };
        let Seat { place, of } = self.seat;
        if letter.from == place {
            // Many servers send a message back to its sender, which is no delivery.
            return;
        }
        let of_sender = Seat {
            place: letter.from,
            of,
        };
        let due = letter.to == place && of_sender.recipient(letter.number) == place;
        match self.inboxes.get_mut(letter.from as usize) {
            Some(inbox) if due => {
                inbox.changed += u64::from(letter.text(run) != text);
                inbox.take(letter, now, self.seat.others());
            }
            _ => self.unexpected += 1,
        }
    }

    /// Returns whether all that the other couriers wrote has come, and all that this one wrote is answered.
    pub(crate) fn is_whole(&self) -> bool {
        let others = self.inboxes.iter().zip(0..);
        self.unanswered.len() as u64 <= self.refused && { others }
            .all(|(inbox, place)| place == self.seat.place || inbox.is_whole())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(place: u32, of: u32) -> Seat {
        Seat { place, of }
    }

    #[test]
    fn each_courier_writes_to_all_others_in_turn() {
        for of in 2..6 {
            for place in 0..of {
                let sender = seat(place, of);
                let mut turn: Vec<_> = (0..of - 1).map(|n| sender.recipient(n)).collect();
                for (number, to) in (0..).zip(&turn) {
                    assert_eq!(seat(*to, of).first_from(place), number, "{place} of {of}");
                }
                assert_eq!(sender.recipient(of - 1), turn[0]);
                turn.push(place);
                turn.sort_unstable();
                assert_eq!(turn, (0..of).collect::<Vec<_>>());
            }
        }
        assert!(seat(0, 1).is_sound() && !seat(0, 1).has_others());
        assert!(!seat(2, 2).is_sound() && !seat(0, AGENTS_MAX + 1).is_sound());
    }

    #[test]
    fn a_text_says_who_wrote_what_to_whom_and_when() {
        let letter = Letter {
            from: 1,
            to: 0,
            number: 77,
            intended: 5_000_000_123,
            last: false,
        };
        for letter in [
            letter,
            Letter {
                last: true,
                ..letter
            },
        ] {
            let text = letter.text("t1");
            assert_eq!(text.len(), TEXT);
            assert_eq!(Letter::read("t1", &text), Some(letter));
            assert_eq!(Letter::read("t2", &text), None);
        }
        for bad in [
            "t1.next.1.0.77:",
            "t1.next.1.0.77.5.6:x",
            "t1.more.1.0.7.5:",
            "",
        ] {
            assert_eq!(Letter::read("t1", bad), None, "{bad}");
        }
    }

    /// Returns what the courier 0 of three has seen after these numbers of courier 1, whose clock is
    /// right and whose messages take 4 ms.
    fn after(numbers: &[u32]) -> CourierReport {
        let mut report = CourierReport::new(seat(0, 3));
        for number in numbers {
            let letter = Letter {
                from: 1,
                to: seat(1, 3).recipient(*number),
                number: *number,
                intended: u64::from(*number) * EVERY,
                last: *number == 9,
            };
            report.take("t1", &letter.text("t1"), letter.intended + 4_000_000);
        }
        report
    }

    #[test]
    fn what_comes_is_counted_once_in_order() {
        // Courier 1 writes to 2 and 0 in turn: 1, 3, 5 … are for courier 0.
        let all = after(&[1, 3, 5, 7, 9]);
        let inbox = &all.inboxes[1];
        assert_eq!((inbox.came, inbox.next), (5, 11));
        assert!(inbox.is_whole() && inbox.latencies.len() == 4);
        assert_eq!(inbox.latencies.value_at_quantile(0.5) / 10, 400);
        assert_eq!(
            (inbox.duplicated, inbox.reordered, all.unexpected),
            (0, 0, 0)
        );
        assert!(!all.is_whole(), "courier 2 has written nothing");

        let some = &after(&[1, 7, 3, 3, 7, 9]).inboxes[1];
        assert_eq!((some.reordered, some.duplicated), (1, 2));
        assert_eq!(some.missing, BTreeSet::from([5]));
        assert!(!some.is_whole());
        assert_eq!(after(&[2]).unexpected, 1, "number 2 is for courier 2");
    }

    #[test]
    fn a_changed_text_is_noticed_and_an_echo_is_none() {
        let mut report = CourierReport::new(seat(0, 2));
        let letter = Letter {
            from: 1,
            to: 0,
            number: 0,
            intended: 1,
            last: false,
        };
        let text = letter.text("t1").replace("xx", "xy");
        report.take("t1", &text, 5);
        assert_eq!(report.inboxes[1].changed, 1);
        let own = Letter {
            from: 0,
            to: 1,
            ..letter
        };
        report.take("t1", &own.text("t1"), 5);
        report.take("t1", "a text of nobody", 5);
        assert_eq!((report.unexpected, report.inboxes[0].came), (1, 0));
    }

    #[test]
    fn memory_has_a_bound() {
        let far = 2 * OPEN_MAX as u32 * 3 + 1;
        let inbox = &after(&[1, far]).inboxes[1];
        assert_eq!(inbox.missing.len(), OPEN_MAX);
        assert!(inbox.forgotten > 0 && !inbox.is_whole());
        assert_eq!(
            u64::from(far - 1) / 2 - 1,
            inbox.forgotten + OPEN_MAX as u64
        );
    }
}
