//! Each lie of a server is a violation of its own, and what nobody promises is none.

use super::*;
use crate::membership::tests::none;
use crate::population::tests::population;
use crate::scenario::Payload;
use crate::units::Bytes;

/// A run with six users, all online.
struct Bench {
    checker: PlainChecker,
    now: Nanos,
}

/// A message of the bench, as it was sent.
struct Sent {
    id: u32,
    text: String,
    /// The device that it is for.
    to: u32,
}

const STREAM: u32 = 0;

impl Bench {
    fn new(acknowledges: bool) -> Self {
        let part = population(6, 1_000, 2).part(0, 1);
        let texts = Texts::new(part.run(), 1, &Payload::Const { bytes: Bytes(80) });
        let members = none(&part).into();
        let mut bench = Self {
            checker: PlainChecker::new(part, members, texts, acknowledges),
            now: SECOND,
        };
        for device in 0..6 {
            bench.checker.opened(0, device, true);
        }
        bench
    }

    fn send(&mut self) -> Sent {
        self.send_in(STREAM)
    }

    fn send_in(&mut self, stream: u32) -> Sent {
        self.now += 1_000_000;
        let arrival = Arrival {
            stream,
            keyed: false,
        };
        let departure = self.checker.depart(self.now, arrival, self.now).unwrap();
        let mut text = String::new();
        self.checker.write_text(departure.origin, &mut text);
        Sent {
            id: departure.id,
            text,
            to: self.checker.destination(stream).unwrap(),
        }
    }

    fn ack(&mut self, sent: &Sent) -> bool {
        self.checker.acknowledged(self.now, sent.id).is_some()
    }

    fn arrive(&mut self, sent: &Sent) -> bool {
        self.checker
            .arrived(self.now, sent.to, &sent.text)
            .is_some()
    }

    /// Ends the run: the counters, and the names of the violations.
    fn end(mut self) -> (Counters, Vec<&'static str>) {
        self.checker.close();
        self.checker.finish(self.now);
        let violations = self.checker.violations().keys();
        let names = violations.map(|it| it.name()).collect();
        (*self.checker.counters(), names)
    }
}

#[test]
fn what_comes_once_and_in_order_is_delivered() {
    for acknowledges in [true, false] {
        let mut bench = Bench::new(acknowledges);
        for _ in 0..10 {
            let sent = bench.send();
            assert!(!bench.checker.is_settled());
            if acknowledges {
                assert!(bench.ack(&sent));
            }
            assert!(bench.arrive(&sent));
            assert!(bench.checker.is_settled());
        }
        let (counters, violations) = bench.end();
        assert_eq!((counters.delivered, counters.message_pushes), (10, 10));
        assert_eq!(violations, [""; 0]);
    }
}

#[test]
fn each_lie_is_a_violation() {
    for acknowledges in [true, false] {
        let lie = |lie: &dyn Fn(&mut Bench)| {
            let mut bench = Bench::new(acknowledges);
            lie(&mut bench);
            bench.end().1
        };
        let ack = |bench: &mut Bench, sent: &Sent| {
            if acknowledges {
                bench.ack(sent);
            }
        };
        let lost = lie(&|bench| {
            let sent = bench.send();
            ack(bench, &sent);
        });
        assert_eq!(lost, ["lost"]);
        let twice = lie(&|bench| {
            let sent = bench.send();
            ack(bench, &sent);
            assert!(bench.arrive(&sent));
            assert!(!bench.arrive(&sent));
        });
        assert_eq!(twice, ["duplicated"]);
        let swapped = lie(&|bench| {
            let (one, other) = (bench.send(), bench.send());
            ack(bench, &one);
            ack(bench, &other);
            assert!(bench.arrive(&other) && bench.arrive(&one));
        });
        assert_eq!(swapped, ["reordered"]);
        let changed = lie(&|bench| {
            let mut sent = bench.send();
            ack(bench, &sent);
            let last = sent.text.pop();
            sent.text.push(if last == Some('x') { 'y' } else { 'x' });
            bench.arrive(&sent);
        });
        assert_eq!(changed, ["text-changed"]);
        let astray = lie(&|bench| {
            let sent = bench.send();
            ack(bench, &sent);
            assert!(bench.arrive(&sent));
            let other =
                (0..6).find(|it| *it != sent.to && *it != bench.checker.roster.sender(STREAM));
            bench.checker.arrived(bench.now, other.unwrap(), &sent.text);
        });
        assert_eq!(astray, ["unexpected"]);
        let invented = lie(&|bench| {
            bench.checker.arrived(bench.now, 0, "hello");
        });
        assert_eq!(invented, ["unexpected"]);
    }
}

#[test]
fn an_echo_to_the_sender_is_nothing() {
    let mut bench = Bench::new(false);
    let sent = bench.send();
    let sender = bench.checker.roster.sender(STREAM);
    assert_eq!(bench.checker.arrived(bench.now, sender, &sent.text), None);
    assert!(bench.arrive(&sent));
    let (counters, violations) = bench.end();
    assert_eq!((counters.message_pushes, violations.len()), (1, 0));
}

#[test]
fn acknowledgements_are_for_one_message_each() {
    let mut bench = Bench::new(true);
    let sent = bench.send();
    assert!(bench.ack(&sent) && !bench.ack(&sent));
    assert!(bench.arrive(&sent));
    assert_eq!(bench.checker.acknowledged(bench.now, 77), None);
    // Another message in the same place has another number.
    let again = bench.send();
    assert_ne!(again.id, sent.id);
    let silent = bench.end();
    assert_eq!(silent.1, ["reply-unexpected"]);
    assert_eq!((silent.0.unknown, silent.0.unknown_excused), (1, 0));
}

#[test]
fn a_refused_message_is_not_owed() {
    let mut bench = Bench::new(true);
    let sent = bench.send();
    assert!(bench.checker.refused(bench.now, sent.id));
    assert!(!bench.checker.refused(bench.now, sent.id));
    assert!(bench.checker.is_settled());
    let (counters, violations) = bench.end();
    assert_eq!((counters.rejected, violations.len()), (1, 0));
}

#[test]
fn nothing_is_owed_to_a_session_that_broke() {
    let mut bench = Bench::new(true);
    let sent = bench.send();
    bench.ack(&sent);
    bench.checker.away(bench.now, sent.to, true);
    let to_nobody = bench.send();
    bench.ack(&to_nobody);
    bench.now += 1_000_000;
    bench.checker.opened(bench.now, sent.to, true);
    assert!(bench.checker.is_settled());
    // A server may keep messages for a session all the same.
    assert!(bench.arrive(&sent) && !bench.arrive(&to_nobody));
    let after = bench.send();
    bench.ack(&after);
    let (counters, violations) = bench.end();
    assert_eq!(violations, ["lost"], "only the message after the return");
    assert_eq!((counters.to_offline, counters.delivered), (1, 1));
}

#[test]
fn what_comes_before_a_session_is_open_again_is_no_repetition() {
    let mut bench = Bench::new(true);
    bench.checker.away(bench.now, 0, true);
    let device = bench.checker.destination(STREAM).unwrap();
    bench.checker.away(bench.now, device, true);
    let sent = bench.send();
    // The answer to the sender comes before the message, and both before the answer to the recipient.
    assert!(bench.ack(&sent) && !bench.arrive(&sent));
    bench.now += 1_000_000;
    bench.checker.opened(bench.now, device, true);
    let (counters, violations) = bench.end();
    assert_eq!((counters.to_offline, violations), (1, vec![]));
}

#[test]
fn a_message_on_a_session_that_broke_may_be_unknown() {
    for acknowledges in [true, false] {
        let mut bench = Bench::new(acknowledges);
        bench.send();
        let sender = bench.checker.roster.sender(STREAM);
        bench.checker.away(bench.now, sender, true);
        bench.checker.opened(bench.now + 1, sender, true);
        assert!(bench.checker.is_settled());
        let (counters, violations) = bench.end();
        assert_eq!(violations, [""; 0]);
        assert_eq!(counters.unknown, u64::from(acknowledges));
        assert_eq!(counters.unknown_excused, u64::from(acknowledges));
        assert_eq!(counters.undecided, u64::from(!acknowledges));
    }
}

#[test]
fn a_session_that_is_not_confirmed_is_owed_a_moment_later() {
    let mut bench = Bench::new(false);
    let to = bench.checker.destination(STREAM).unwrap();
    bench.checker.away(bench.now, to, true);
    bench.checker.opened(bench.now, to, false);
    bench.send();
    assert!(bench.checker.is_settled(), "too early to be owed");
    bench.now += SETTLED_IN;
    bench.send();
    assert_eq!(bench.end().1, ["lost"]);
}

#[test]
fn nothing_counts_when_all_is_judged() {
    let mut bench = Bench::new(true);
    let sent = bench.send();
    bench.ack(&sent);
    bench.checker.close();
    bench.checker.finish(bench.now);
    assert!(!bench.arrive(&sent) && !bench.ack(&sent));
    let violations = bench.checker.violations().keys();
    assert_eq!(violations.map(|it| it.name()).collect::<Vec<_>>(), ["lost"]);
}

#[test]
fn a_look_ends_only_what_cannot_come_any_more() {
    let mut bench = Bench::new(true);
    let (came, may_come) = (bench.send(), bench.send());
    bench.arrive(&came);
    let sender = bench.checker.roster.sender(STREAM);
    bench.checker.away(bench.now, sender, true);
    bench.checker.opened(bench.now + 1, sender, true);
    bench.checker.sweep(bench.now + SWEEP);
    assert!(bench.arrive(&may_come), "it is no repetition");
    let (counters, violations) = bench.end();
    assert_eq!((counters.unknown, violations.len()), (2, 0));
}
