//! The checker fed directly: what real sockets bring about by chance is made here on purpose.

mod adrift;
mod content;
mod gaps;
mod receipts;
mod sessions;

use trunkline_proto::message::{HistoryReply, Message, SendReply};

use super::{Checker, Departure, Kind, NOBODY, Via};
use crate::membership::tests::none;
use crate::population::tests::population;
use crate::scenario::Payload;
use crate::schedule::Arrival;
use crate::schedule::text::Texts;
use crate::units::Bytes;

/// A checker whose users all have two devices; messages go from user 0 to its first contact.
struct Bench {
    checker: Checker,
    now: u64,
    /// The recipient.
    contact: u32,
}

/// The stream that messages are sent in.
const STREAM: u32 = 0;

impl Bench {
    /// Five users, all connected but those named.
    fn new(offline: &[u32]) -> Self {
        let part = population(5, 2000, 2).part(0, 1);
        let members = none(&part).into();
        let texts = Texts::new("t1", 1, &Payload::Const { bytes: Bytes(120) });
        let mut bench = Self {
            contact: part.contact(0, 0),
            checker: Checker::new(part, members, texts),
            now: 1_000_000,
        };
        for device in (0..10).filter(|device| !offline.contains(&(device / 2))) {
            bench.checker.opened(0, device);
        }
        bench
    }

    /// User 0 sends from its first device.
    fn send(&mut self) -> Departure {
        self.now += 1_000_000;
        let arrival = Arrival {
            stream: STREAM,
            keyed: false,
        };
        let sent = self.checker.depart(self.now, arrival, self.now, 0);
        sent.expect("there is room")
    }

    fn conversation(&self) -> String {
        let mut name = String::new();
        self.checker
            .part
            .write_conversation(0, self.contact, &mut name);
        name
    }

    fn ack(&mut self, sent: Departure, seq: u64) {
        let reply = SendReply {
            conversation: self.conversation().into(),
            seq,
            pos: "p".into(),
            time: 1,
            duplicate: false,
        };
        self.checker.acknowledged(self.now, sent.id, &reply);
    }

    fn message(&self, sent: Departure, seq: u64) -> Message<'static> {
        let part = &self.checker.part;
        let (mut text, mut from) = (String::new(), String::new());
        self.checker.texts.write(part, sent.origin, &mut text);
        part.write_user(0, &mut from);
        Message {
            conversation: self.conversation().into(),
            seq,
            from: from.into(),
            device: "d0".into(),
            time: 1,
            text: Some(text.into()),
            ..Message::default()
        }
    }

    fn push(&mut self, device: u32, sent: Departure, seq: u64) {
        let message = self.message(sent, seq);
        self.checker.pushed(self.now, device, &message, Via::Push);
    }

    /// Pushes to everybody who is owed it: the contact's devices and the sender's other one.
    fn push_all(&mut self, sent: Departure, seq: u64) {
        for device in [self.contact * 2, self.contact * 2 + 1, 1] {
            self.push(device, sent, seq);
        }
    }

    fn history(&mut self, messages: &[(Departure, u64)]) {
        let mut reading = super::Reading::new(self.checker.part.conversation(STREAM));
        let page = HistoryReply {
            messages: messages
                .iter()
                .map(|(m, seq)| self.message(*m, *seq))
                .collect(),
            first: 1,
            last: messages.last().map_or(0, |(_, seq)| *seq),
            more: false,
        };
        assert!(!self.checker.read_back(self.now, &mut reading, &page));
        self.checker.read_whole(self.now, &reading);
    }

    /// Everything ends; what was found.
    #[track_caller]
    fn check(mut self, violations: &[(Kind, u64)]) -> crate::stats::Counters {
        self.checker.finish(self.now);
        let found: Vec<_> = self
            .checker
            .violations()
            .iter()
            .map(|(k, n)| (*k, *n))
            .collect();
        assert_eq!(found, violations);
        let c = self.checker.counters;
        let fates = c.delivered + c.recovered + c.lost + c.unknown + c.rejected + c.unproven;
        assert_eq!(c.attempted, fates, "every message has one fate: {c:?}");
        assert_eq!(self.checker.flights.len(), 0);
        c
    }

    fn close(&mut self) {
        self.checker.close(self.now);
    }
}

#[test]
fn answers_and_pushes_come_in_any_order() {
    let mut bench = Bench::new(&[]);
    let (one, two) = (bench.send(), bench.send());
    bench.push_all(one, 1);
    bench.ack(two, 2);
    assert!(!bench.checker.settled());
    bench.ack(one, 1);
    bench.push_all(two, 2);
    assert!(bench.checker.settled());
    bench.close();
    bench.history(&[(one, 1), (two, 2)]);
    let counters = bench.check(&[]);
    assert_eq!((counters.delivered, counters.messages_read), (2, 2));
}

#[test]
fn each_device_is_owed_each_message() {
    for missing in 0..3 {
        let mut bench = Bench::new(&[]);
        let sent = bench.send();
        bench.ack(sent, 1);
        let devices = [bench.contact * 2, bench.contact * 2 + 1, 1];
        for (_, device) in devices
            .into_iter()
            .enumerate()
            .filter(|(i, _)| *i != missing)
        {
            bench.push(device, sent, 1);
        }
        assert!(!bench.checker.settled());
        bench.close();
        bench.history(&[(sent, 1)]);
        // History does not make up for a session that was there.
        let counters = bench.check(&[(Kind::Lost, 1)]);
        assert_eq!((counters.lost, counters.recovered), (1, 0));
    }
}

#[test]
fn who_is_offline_is_owed_nothing() {
    let contact = Bench::new(&[]).contact;
    let mut bench = Bench::new(&[contact]);
    let sent = bench.send();
    bench.push(1, sent, 1);
    bench.ack(sent, 1);
    bench.close();
    let counters = bench.check(&[]);
    assert_eq!((counters.to_offline, counters.delivered), (1, 1));
}

#[test]
fn order_is_kept_per_device() {
    let mut bench = Bench::new(&[]);
    let (one, two) = (bench.send(), bench.send());
    bench.ack(one, 1);
    bench.ack(two, 2);
    bench.push(1, one, 1);
    for device in [bench.contact * 2, bench.contact * 2 + 1, 1] {
        bench.push(device, two, 2);
    }
    // Too late for both of the contact's devices, and twice for one.
    bench.push(bench.contact * 2, one, 1);
    bench.push(bench.contact * 2 + 1, one, 1);
    bench.push(bench.contact * 2, one, 1);
    let counters = bench.check(&[(Kind::Duplicated, 1), (Kind::Reordered, 2)]);
    assert_eq!((counters.reordered, counters.duplicated), (2, 1));
}

#[test]
fn a_message_of_a_session_that_ended_is_looked_for_in_history() {
    for (read, in_history, violations) in [
        (true, true, &[][..]),
        (true, false, &[(Kind::Lost, 1), (Kind::HistoryMissing, 1)]),
        // Nobody could look: nobody is accused.
        (false, false, &[]),
    ] {
        let mut bench = Bench::new(&[]);
        let sent = bench.send();
        let first = bench.contact * 2;
        bench.ack(sent, 1);
        bench.push(first, sent, 1);
        bench.push(1, sent, 1);
        bench.checker.gone(first + 1);
        bench.close();
        if read {
            let page = [(sent, 1)];
            bench.history(&page[..usize::from(in_history)]);
        }
        let counters = bench.check(violations);
        assert_eq!(counters.recovered, u64::from(in_history));
        assert_eq!(counters.unproven, u64::from(!read));
        assert_eq!(counters.delivered, 0);
    }
}

#[test]
fn an_answer_that_never_came_is_no_violation_whatever_comes_later() {
    // What happens after the time for answers is over, and what is then still unknown.
    type Late = fn(&mut Bench, Departure);
    let cases: [(Late, u64, u64); 5] = [
        (|_, _| {}, 1, 0),
        (|bench, sent| bench.history(&[(sent, 1)]), 1, 1),
        (|bench, sent| bench.push_all(sent, 1), 1, 0),
        (
            |bench, sent| {
                bench.push_all(sent, 1);
                bench.ack(sent, 1);
            },
            0,
            0,
        ),
        (
            |bench, sent| bench.checker.refused(bench.now, sent.id),
            0,
            0,
        ),
    ];
    for (late, unknown, recovered) in cases {
        let mut bench = Bench::new(&[]);
        let sent = bench.send();
        bench.close();
        assert_eq!(bench.checker.counters.unknown, 1);
        late(&mut bench, sent);
        bench.checker.finish(bench.now);
        assert_eq!(bench.checker.violations().len(), 0);
        let counters = bench.checker.counters;
        assert_eq!((counters.unknown, counters.recovered), (unknown, recovered));
        assert_eq!(counters.lost + counters.unexpected + counters.duplicated, 0);
    }
}

#[test]
fn a_session_that_was_being_opened_may_get_a_message_or_not() {
    for gets in [0, 1, 2] {
        let contact = Bench::new(&[]).contact;
        let mut bench = Bench::new(&[contact]);
        let sent = bench.send();
        bench.checker.opened(bench.now + 1, contact * 2);
        for _ in 0..gets {
            bench.push(contact * 2, sent, 1);
        }
        bench.push(1, sent, 1);
        bench.ack(sent, 1);
        bench.close();
        // Twice is too much for anybody.
        let twice = [(Kind::Duplicated, 1)];
        bench.check(if gets == 2 { &twice } else { &[] });
    }
}

#[test]
fn departures_know_their_device() {
    let mut bench = Bench::new(&[]);
    let sent = bench.send();
    assert_ne!(sent.id, NOBODY);
    assert!(
        bench
            .checker
            .has_messages(bench.checker.part.conversation(STREAM))
    );
    assert_eq!(sent.origin.counter, 1);
    bench.checker.refused(bench.now, sent.id);
    assert!(
        !bench
            .checker
            .has_messages(bench.checker.part.conversation(STREAM))
    );
    assert_eq!(bench.check(&[]).rejected, 1);
}
