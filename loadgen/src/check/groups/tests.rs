//! The checker fed directly with what goes on in groups.

mod adrift;
mod content;
mod receipts;
mod sessions;

use trunkline_proto::message::{HistoryReply, Message, SendReply};

use super::super::{Checker, Kind, Reading, Via};
use super::{GroupDeparture, group_sender};
use crate::membership::Memberships;
use crate::membership::tests::wanted;
use crate::population::tests::population;
use crate::scenario::Payload;
use crate::schedule::text::Texts;
use crate::stats::Counters;
use crate::units::Bytes;

/// Ten users with two devices each, in two groups of five.
struct Bench {
    checker: Checker,
    now: u64,
    /// Whether messages carry an idempotency key.
    keyed: bool,
}

/// The group that messages are sent in, by its first member.
const GROUP: u32 = 0;

impl Bench {
    /// All are connected but the devices named.
    fn new(offline: &[u32]) -> Self {
        Self::of(5, offline)
    }

    /// The same with groups of another size.
    fn of(size: u32, offline: &[u32]) -> Self {
        let part = population(2 * size, 2000, 2).part(0, 1);
        let wanted = wanted(1.0, &format!("const({size})"), &[]);
        let members = Memberships::new(&part, &wanted, 1).into();
        let texts = Texts::new("t1", 1, &Payload::Const { bytes: Bytes(120) });
        let mut bench = Self {
            checker: Checker::new(part, members, texts),
            now: 1_000_000,
            keyed: false,
        };
        for device in (0..4 * size).filter(|device| !offline.contains(device)) {
            bench.checker.opened(0, device);
        }
        bench
    }

    /// The devices of a group's nth member.
    fn devices(&self, group: u32, nth: u32) -> [u32; 2] {
        let user = self.checker.members().member(group, nth);
        [user * 2, user * 2 + 1]
    }

    /// The device that the nth member sends from.
    fn sender(&self, nth: u32) -> u32 {
        let members = self.checker.members();
        group_sender(&self.checker.part, members, members.membership(GROUP, nth))
    }

    /// The devices that a message of the nth member is owed to.
    fn owed(&self, nth: u32) -> Vec<u32> {
        let size = self.checker.members().size(GROUP);
        let all = (0..size).flat_map(|nth| self.devices(GROUP, nth));
        all.filter(|device| *device != self.sender(nth)).collect()
    }

    /// The nth member sends.
    fn send_from(&mut self, nth: u32) -> GroupDeparture {
        self.now += 1_000_000;
        let (membership, device) = (
            self.checker.members().membership(GROUP, nth),
            self.sender(nth),
        );
        let sent =
            self.checker
                .depart_in_group(self.now, (membership, self.keyed), self.now, device);
        sent.expect("there is room")
    }

    fn send(&mut self) -> GroupDeparture {
        self.send_from(0)
    }

    fn conversation(&self) -> String {
        let mut name = "g:".to_owned();
        self.checker.members().write_name(GROUP, &mut name);
        name
    }

    fn reply(&self, seq: u64) -> SendReply<'static> {
        SendReply {
            conversation: self.conversation().into(),
            seq,
            pos: "p".into(),
            time: 1,
            duplicate: false,
        }
    }

    fn ack(&mut self, sent: GroupDeparture, seq: u64) {
        let reply = self.reply(seq);
        self.checker.acknowledged(self.now, sent.id, &reply);
    }

    fn message(&self, sent: GroupDeparture, seq: u64) -> Message<'static> {
        let checker = &self.checker;
        let (mut text, mut from) = (String::new(), String::new());
        let members = checker.members();
        checker
            .texts
            .write_in_group(&checker.part, members, sent.origin, &mut text);
        checker.part.write_user(sent.origin.user, &mut from);
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

    fn push(&mut self, device: u32, sent: GroupDeparture, seq: u64) {
        let message = self.message(sent, seq);
        self.checker.pushed(self.now, device, &message, Via::Push);
    }

    /// Pushes to all of these devices but some.
    fn push_all(&mut self, sent: GroupDeparture, seq: u64, but: &[u32]) {
        let nth = self.checker.members().nth(GROUP, sent.origin.user);
        for device in self.owed(nth.expect("a member")) {
            if !but.contains(&device) {
                self.push(device, sent, seq);
            }
        }
    }

    fn history(&mut self, messages: &[(GroupDeparture, u64)]) {
        let first = self.checker.part.conversations() as u32;
        let mut reading = Reading::new(first + GROUP);
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

    fn close(&mut self) {
        self.checker.close(self.now);
    }

    /// Everything ends; what was found.
    #[track_caller]
    fn check(&mut self, violations: &[(Kind, u64)]) -> Counters {
        self.checker.finish(self.now);
        let found = self.checker.violations().iter();
        let found: Vec<_> = found.map(|(kind, count)| (*kind, *count)).collect();
        assert_eq!(found, violations);
        let c = self.checker.counters;
        let fates = c.delivered + c.recovered + c.lost + c.unknown + c.rejected + c.unproven;
        assert_eq!(c.attempted, fates, "every message has one fate: {c:?}");
        assert_eq!(c.attempted, c.group_messages);
        assert_eq!(self.checker.groups.flights.len(), 0);
        c
    }

    /// What was kept of violations, a line each.
    fn evidence(&self) -> Vec<serde_json::Value> {
        let mut out = Vec::new();
        self.checker.write_evidence(&mut out).expect("memory");
        let text = String::from_utf8(out).expect("text");
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("JSON")
    }
}

#[test]
fn answers_and_pushes_come_in_any_order() {
    let mut bench = Bench::new(&[]);
    let (one, two, three) = (bench.send(), bench.send_from(3), bench.send());
    bench.push_all(one, 1, &[]);
    bench.ack(two, 2);
    assert!(!bench.checker.settled());
    bench.ack(one, 1);
    bench.ack(three, 3);
    bench.push_all(two, 2, &[]);
    bench.push_all(three, 3, &[]);
    assert!(bench.checker.settled());
    bench.close();
    bench.history(&[(one, 1), (two, 2), (three, 3)]);
    let c = bench.check(&[]);
    assert_eq!((c.delivered, c.messages_read), (3, 3));
    assert_eq!((c.group_pushes, c.message_pushes), (27, 27));
}

#[test]
fn each_device_of_each_member_is_owed_each_message() {
    for left_out in Bench::new(&[]).owed(0) {
        let mut bench = Bench::new(&[]);
        let (whole, sent) = (bench.send(), bench.send());
        for (seq, sent, but) in [(1, whole, &[][..]), (2, sent, &[left_out])] {
            bench.ack(sent, seq);
            bench.push_all(sent, seq, but);
        }
        assert!(!bench.checker.settled());
        bench.close();
        bench.history(&[(whole, 1), (sent, 2)]);
        // History does not make up for a session that was there.
        let counters = bench.check(&[(Kind::Lost, 1)]);
        assert_eq!((counters.lost, counters.delivered), (1, 1));
        // Group, message and device are named, and the events are about that device.
        let [line] = &bench.evidence()[..] else {
            panic!("one violation")
        };
        assert_eq!(line["conversation"], bench.conversation());
        let detail = line["detail"].as_str().expect("words");
        let name = bench.checker.device_name(left_out);
        assert!(detail.contains("message 2 (sequence 2)"), "{detail}");
        assert!(
            detail.ends_with(&format!("1 device(s): {name}")),
            "{detail}"
        );
        let pushes = line["events"].as_array().expect("a list").iter();
        let of = |device: u32| move |e: &&serde_json::Value| e["device"] == device;
        assert_eq!(pushes.clone().filter(of(left_out)).count(), 1, "{line}");
        assert!(pushes.count() <= 7, "{line}");
    }
}

#[test]
fn each_device_is_owed_it_once_and_in_order() {
    let mut bench = Bench::new(&[]);
    let [first, second] = bench.devices(GROUP, 2);
    let (one, two) = (bench.send(), bench.send());
    bench.ack(one, 1);
    bench.ack(two, 2);
    bench.push_all(one, 1, &[first]);
    bench.push_all(two, 2, &[]);
    // Too late for one, twice for the other.
    bench.push(first, one, 1);
    bench.push(second, two, 2);
    bench.push(second, one, 1);
    assert!(bench.checker.settled());
    let counters = bench.check(&[(Kind::Duplicated, 2), (Kind::Reordered, 1)]);
    assert_eq!((counters.reordered, counters.duplicated), (1, 2));
    for line in bench.evidence() {
        let device = if line["kind"] == "reordered" {
            first
        } else {
            second
        };
        let detail = line["detail"].as_str().expect("words");
        let name = bench.checker.device_name(device);
        assert!(detail.contains(&name), "{detail}");
    }
}

#[test]
fn who_is_no_member_is_told_nothing() {
    let mut bench = Bench::new(&[]);
    let sent = bench.send();
    bench.ack(sent, 1);
    let outsider = bench.devices(1, 0)[1];
    bench.push(outsider, sent, 1);
    assert!(!bench.checker.settled(), "nobody else had it for that");
    bench.push_all(sent, 1, &[]);
    // Nor is the device that sent it, though its user is one.
    let sender = bench.sender(0);
    let next = bench.send();
    bench.ack(next, 2);
    bench.push(sender, next, 2);
    bench.push_all(next, 2, &[]);
    let counters = bench.check(&[(Kind::Unexpected, 2)]);
    assert_eq!((counters.unexpected, counters.delivered), (2, 2));
    let detail = bench.evidence()[0]["detail"].to_string();
    assert!(detail.contains("and is no member"), "{detail}");
}

#[test]
fn who_is_offline_is_owed_nothing() {
    let all: Vec<_> = (1..5)
        .flat_map(|nth| Bench::new(&[]).devices(GROUP, nth))
        .collect();
    for (offline, alone) in [(&all[..1], 0), (&all[..], 1)] {
        let mut bench = Bench::new(offline);
        let sent = bench.send();
        bench.push_all(sent, 1, offline);
        bench.ack(sent, 1);
        assert!(bench.checker.settled());
        let counters = bench.check(&[]);
        assert_eq!((counters.to_offline, counters.delivered), (alone, 1));
    }
}

#[test]
fn large_groups_name_some_and_keep_little() {
    let mut bench = Bench::of(500, &[]);
    let sent = bench.send();
    bench.ack(sent, 1);
    let missing: Vec<_> = (300..400)
        .flat_map(|nth| bench.devices(GROUP, nth))
        .collect();
    bench.push_all(sent, 1, &missing);
    bench.close();
    let counters = bench.check(&[(Kind::Lost, 1)]);
    assert_eq!(counters.group_pushes, 999 - 200);
    let line = &bench.evidence()[0];
    let detail = line["detail"].as_str().expect("words");
    assert!(detail.contains("did not reach 200 device(s): "), "{detail}");
    assert_eq!(detail.matches("/d").count(), 8, "{detail}");
    // Sent, acknowledged, and that somebody got it.
    let events = line["events"].as_array().expect("a list");
    assert_eq!(events.len(), 3, "{line}");
}
