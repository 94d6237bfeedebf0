//! The checker fed directly: what real sockets bring about by chance is made here on purpose.
//!
//! Almost every test runs in a pair and in a group.

mod content;
mod devices;
mod gaps;
mod orphans;
mod receipts;
mod sessions;
mod unsure;

use trunkline_proto::message::{HistoryReply, Message, SendReply};

use super::{Checker, Departure, Judge, Reading, Via, Violation};
use crate::membership::Memberships;
use crate::membership::tests::wanted;
use crate::population::tests::population;
use crate::scenario::Payload;
use crate::schedule::Arrival;
use crate::schedule::text::Texts;
use crate::stats::Counters;
use crate::units::Bytes;

/// In which conversation a test's messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// In the conversation of user 0 and its first contact.
    Pair,
    /// In the first of two groups with this many members each.
    Group(u32),
}

const SHAPES: [Shape; 2] = [Shape::Pair, Shape::Group(5)];

/// Users with two devices each, some of them in the conversation of a test.
struct Bench {
    checker: Checker,
    now: u64,
    shape: Shape,
    conversation: u32,
    /// Whether messages carry an idempotency key.
    keyed: bool,
}

impl Bench {
    /// Makes a bench in which all devices except `offline` are connected.
    fn new(shape: Shape, offline: &[u32]) -> Self {
        let size = match shape {
            Shape::Pair => 5,
            Shape::Group(size) => size,
        };
        let part = population(2 * size, 2000, 2).part(0, 1);
        let wanted = wanted(1.0, &format!("const({size})"), &[]);
        let members = Memberships::new(&part, &wanted, 1);
        let texts = Texts::new("t1", 1, &Payload::Const { bytes: Bytes(120) });
        let checker = Checker::new(part, members.into(), texts);
        let mut bench = Self {
            conversation: match shape {
                Shape::Pair => checker.roster().part().conversation(0),
                Shape::Group(_) => checker.roster().conversation_of(0),
            },
            checker,
            now: 1_000_000,
            shape,
            keyed: false,
        };
        for device in (0..4 * size).filter(|device| !offline.contains(device)) {
            bench.checker.opened(0, device);
        }
        bench
    }

    fn size(&self) -> u32 {
        self.checker.roster().size(self.conversation)
    }

    fn stream(&self, nth: u32) -> u32 {
        self.checker.roster().stream(self.conversation, nth)
    }

    /// Returns the devices of the nth member.
    fn devices(&self, nth: u32) -> [u32; 2] {
        let user = self.checker.roster().member(self.conversation, nth);
        [user * 2, user * 2 + 1]
    }

    /// Returns the device that the nth member sends from.
    fn sender(&self, nth: u32) -> u32 {
        self.checker.roster().sender(self.stream(nth))
    }

    /// Returns the nth member's device that it does not send from.
    fn other(&self, nth: u32) -> u32 {
        self.sender(nth) ^ 1
    }

    /// Returns the devices that a message of the nth member is owed to.
    fn owed(&self, nth: u32) -> Vec<u32> {
        let all = (0..self.size()).flat_map(|nth| self.devices(nth));
        all.filter(|device| *device != self.sender(nth)).collect()
    }

    /// Returns the devices of all members but the first.
    fn others(&self) -> Vec<u32> {
        (1..self.size()).flat_map(|nth| self.devices(nth)).collect()
    }

    /// Returns a device of a user that is no member.
    fn outsider(&self) -> u32 {
        let roster = self.checker.roster();
        let mut users = 0..roster.part().users();
        let user = users.find(|user| roster.nth(self.conversation, *user).is_none());
        user.expect("not all are members") * 2 + 1
    }

    /// The nth member sends.
    fn send_from(&mut self, nth: u32) -> Departure {
        self.now += 1_000_000;
        let arrival = Arrival {
            stream: self.stream(nth),
            keyed: self.keyed,
        };
        let sent = self.checker.depart(self.now, arrival, self.now);
        sent.expect("there is room")
    }

    /// The first member sends.
    fn send(&mut self) -> Departure {
        self.send_from(0)
    }

    /// The first member sends with an idempotency key.
    fn send_keyed(&mut self) -> Departure {
        let keyed = std::mem::replace(&mut self.keyed, true);
        let sent = self.send();
        self.keyed = keyed;
        sent
    }

    fn id(&self) -> String {
        let mut name = String::new();
        { self.checker.roster() }.write_conversation(self.conversation, &mut name);
        name
    }

    fn user_name(&self, nth: u32) -> String {
        let mut name = String::new();
        let roster = self.checker.roster();
        let user = roster.member(self.conversation, nth);
        roster.part().write_user(user, &mut name);
        name
    }

    fn reply(&self, seq: u64) -> SendReply<'static> {
        SendReply {
            conversation: self.id().into(),
            seq,
            pos: "p".into(),
            time: 1,
            duplicate: false,
        }
    }

    fn ack_as(&mut self, sent: Departure, seq: u64, duplicate: bool) {
        let reply = SendReply {
            duplicate,
            ..self.reply(seq)
        };
        self.checker.acknowledged(self.now, sent.id, &reply);
    }

    fn ack(&mut self, sent: Departure, seq: u64) {
        self.ack_as(sent, seq, false);
    }

    fn refuse(&mut self, sent: Departure) {
        self.checker.refused(self.now, sent.id);
    }

    fn message(&self, sent: Departure, seq: u64) -> Message<'static> {
        let roster = self.checker.roster();
        let (mut text, mut from) = (String::new(), String::new());
        self.checker.write_text(sent.origin, &mut text);
        let user = roster.user(sent.origin.stream);
        roster.part().write_user(user, &mut from);
        Message {
            conversation: self.id().into(),
            seq,
            from: from.into(),
            device: "d0".into(),
            time: 1,
            text: Some(text.into()),
            ..Message::default()
        }
    }

    fn come(&mut self, via: Via, device: u32, sent: Departure, seq: u64) {
        let message = self.message(sent, seq);
        self.checker.pushed(self.now, device, &message, via);
    }

    fn push(&mut self, device: u32, sent: Departure, seq: u64) {
        self.come(Via::Push, device, sent, seq);
    }

    /// Pushes to all devices that are owed the message but some.
    fn push_all(&mut self, sent: Departure, seq: u64, but: &[u32]) {
        let writer = self.checker.roster().writer(sent.origin.stream);
        for device in self.owed(writer.expect("a member").nth) {
            if !but.contains(&device) {
                self.push(device, sent, seq);
            }
        }
    }

    /// Acknowledges a message and pushes it to all but some.
    fn deliver(&mut self, sent: Departure, seq: u64, but: &[u32]) {
        self.ack(sent, seq);
        self.push_all(sent, seq, but);
    }

    fn away(&mut self, device: u32, by_run: bool) {
        self.checker.away(self.now, device, by_run);
    }

    fn back(&mut self, device: u32) {
        self.now += 1_000_000;
        self.checker.back(self.now, device);
    }

    fn gone(&mut self, device: u32) {
        self.checker.gone(self.now, device);
    }

    fn settled(&mut self) -> bool {
        self.checker.settled(self.now)
    }

    fn only_doubts(&mut self, at: u64) -> bool {
        self.checker.only_doubts(at)
    }

    fn history(&mut self, messages: &[(Departure, u64)]) {
        let mut reading = Reading::new(self.conversation);
        let messages_read = messages.iter();
        let page = HistoryReply {
            messages: messages_read
                .map(|(sent, seq)| self.message(*sent, *seq))
                .collect(),
            first: 1,
            last: messages.last().map_or(0, |(_, seq)| *seq),
            more: false,
        };
        assert!(!self.checker.read_back(self.now, &mut reading, &page));
        self.checker.read_whole(self.now, &reading);
    }

    fn close(&mut self) {
        self.checker.close(self.now);
    }

    fn found(&self) -> Vec<(Violation, u64)> {
        let found = self.checker.violations().iter();
        found
            .map(|(violation, count)| (*violation, *count))
            .collect()
    }

    fn kinds(&self) -> Vec<Violation> {
        self.checker.violations().keys().copied().collect()
    }

    /// Ends the run, and checks that it found exactly these violations. Returns the counters.
    #[track_caller]
    fn check(&mut self, violations: &[(Violation, u64)]) -> Counters {
        self.checker.finish(self.now);
        assert_eq!(self.found(), violations, "{:?}", self.shape);
        let c = *self.checker.counters();
        let fates = c.delivered + c.recovered + c.lost + c.unknown + c.rejected + c.unproven;
        assert_eq!(c.attempted, fates, "every message has one fate: {c:?}");
        let in_group = self.shape != Shape::Pair;
        assert_eq!(c.group_messages, c.attempted * u64::from(in_group));
        assert_eq!(self.checker.ledger.under_way(), 0);
        c
    }

    /// Returns the evidence of the violations, one value for each.
    fn evidence(&self) -> Vec<serde_json::Value> {
        let text = self.checker.evidence().lines(self.checker.roster());
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("JSON")
    }

    fn device_name(&self, device: u32) -> String {
        self.checker.roster().device_name(device)
    }
}

#[test]
fn answers_and_pushes_come_in_any_order() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let (one, two, three) = (bench.send(), bench.send_from(1), bench.send());
        bench.push_all(one, 1, &[]);
        bench.ack(two, 2);
        assert!(!bench.settled());
        bench.ack(one, 1);
        bench.ack(three, 3);
        bench.push_all(two, 2, &[]);
        bench.push_all(three, 3, &[]);
        assert!(bench.settled());
        bench.close();
        bench.history(&[(one, 1), (two, 2), (three, 3)]);
        let counters = bench.check(&[]);
        assert_eq!((counters.delivered, counters.messages_read), (3, 3));
        let pushes = 3 * bench.owed(0).len() as u64;
        let in_group = u64::from(shape != Shape::Pair);
        assert_eq!(counters.message_pushes, pushes);
        assert_eq!(counters.group_pushes, pushes * in_group);
    }
}

#[test]
fn departures_know_their_message() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let conversation = bench.conversation;
        assert!(!bench.checker.has_messages(conversation));
        let (sent, other) = (bench.send(), bench.send_from(1));
        assert_ne!(sent.id, other.id);
        assert_eq!((sent.origin.counter, other.origin.counter), (1, 2));
        assert_eq!(sent.origin.conversation, conversation);
        bench.refuse(sent);
        assert!(bench.checker.has_messages(conversation));
        bench.refuse(other);
        assert!(!bench.checker.has_messages(conversation));
        assert_eq!(bench.check(&[]).rejected, 2);
    }
}

#[test]
fn an_answer_that_never_came_is_no_violation_whatever_comes_later() {
    // What happens after the time for answers is over, and what is then still unknown.
    type Late = fn(&mut Bench, Departure);
    let cases: [(Late, u64, u64); 5] = [
        (|_, _| {}, 1, 0),
        (
            |bench, sent| {
                bench.history(&[(sent, 1)]);
                // Nobody waits for it after that, and it may come all the same.
                assert_eq!(bench.checker.ledger.under_way(), 1);
            },
            1,
            1,
        ),
        (|bench, sent| bench.push_all(sent, 1, &[]), 1, 0),
        (
            |bench, sent| {
                bench.push_all(sent, 1, &[]);
                bench.ack(sent, 1);
            },
            0,
            0,
        ),
        (|bench, sent| bench.refuse(sent), 0, 0),
    ];
    for shape in SHAPES {
        for (late, unknown, recovered) in cases {
            let mut bench = Bench::new(shape, &[]);
            let sent = bench.send();
            bench.close();
            assert_eq!(bench.checker.counters().unknown, 1);
            late(&mut bench, sent);
            bench.checker.finish(bench.now);
            assert_eq!(bench.checker.violations().len(), 0);
            let counters = bench.checker.counters();
            assert_eq!((counters.unknown, counters.recovered), (unknown, recovered));
            assert_eq!(counters.lost + counters.unexpected + counters.duplicated, 0);
        }
    }
}
