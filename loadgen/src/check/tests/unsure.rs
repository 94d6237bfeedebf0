//! Sends that were answered with "it is not known whether this was stored".

use super::super::Violation;
use super::{Bench, SHAPES};

impl Bench {
    fn unsure(&mut self, sent: super::super::Departure) {
        self.checker.unsure(self.now, sent.id, true);
    }
}

#[test]
fn a_send_with_a_key_goes_again_and_is_answered_then() {
    for shape in SHAPES {
        // Whether the first attempt was stored, so that the second is a duplicate.
        for duplicate in [false, true] {
            let mut bench = Bench::new(shape, &[]);
            let sent = bench.send_keyed();
            bench.unsure(sent);
            bench.unsure(sent);
            assert!(!bench.settled());
            let (now, sender) = (bench.now, bench.sender(0));
            let again = bench.checker.send_again(now, sender).map(|it| it.id);
            assert_eq!(again, Some(sent.id));
            assert!(bench.checker.send_again(now, sender).is_none(), "once");
            bench.push_all(sent, 1, &[]);
            bench.ack_as(sent, 1, duplicate);
            assert!(bench.settled());
            bench.close();
            bench.history(&[(sent, 1)]);
            let c = bench.check(&[]);
            assert_eq!((c.delivered, c.unsure, c.resent), (1, 2, 1));
            assert_eq!((c.rejected, c.unknown), (0, 0));
        }
    }
}

#[test]
fn of_a_send_without_a_key_pushes_and_history_tell() {
    for shape in SHAPES {
        for (pushed, in_history) in [(true, true), (false, true), (false, false)] {
            let mut bench = Bench::new(shape, &[]);
            let sent = bench.send();
            bench.unsure(sent);
            let (now, sender) = (bench.now, bench.sender(0));
            assert!(bench.checker.send_again(now, sender).is_none());
            if pushed {
                bench.push_all(sent, 1, &[]);
            }
            bench.close();
            // A message that no device got and history holds is lost at each of them: it is stored.
            let page = [(sent, 1)];
            bench.history(&page[..usize::from(in_history)]);
            let c = match (pushed, in_history) {
                (false, true) => bench.check(&[(Violation::Lost, 1)]),
                _ => bench.check(&[]),
            };
            assert_eq!(c.delivered, u64::from(pushed));
            assert_eq!(c.unknown, u64::from(!in_history));
            // The run broke the gateway itself.
            assert_eq!(c.unknown_excused, c.unknown);
        }
    }
}

#[test]
fn its_sender_may_be_pushed_it_too() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let sent = bench.send();
        bench.unsure(sent);
        bench.push(bench.sender(0), sent, 1);
        bench.push_all(sent, 1, &[]);
        assert!(bench.settled());
        bench.close();
        bench.history(&[(sent, 1)]);
        assert_eq!(bench.check(&[]).unknown_then_delivered, 1);
    }
}

#[test]
fn after_an_acknowledgement_it_is_a_lie() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let sent = bench.send();
        bench.ack(sent, 1);
        bench.unsure(sent);
        bench.push_all(sent, 1, &[]);
        bench.close();
        bench.history(&[(sent, 1)]);
        bench.check(&[(Violation::ReplyUnexpected, 1)]);
    }
}

#[test]
fn what_goes_again_may_stand_behind_what_was_sent_meanwhile_once() {
    for shape in SHAPES {
        for twice in [false, true] {
            let mut bench = Bench::new(shape, &[]);
            let (first, second) = (bench.send_keyed(), bench.send_keyed());
            bench.unsure(first);
            bench.deliver(second, 1, &[]);
            let (now, sender) = (bench.now, bench.sender(0));
            assert!(bench.checker.send_again(now, sender).is_some());
            bench.deliver(first, 2, &[]);
            bench.close();
            let page = [(second, 1), (first, 2), (first, 3)];
            bench.history(&page[..2 + usize::from(twice)]);
            match twice {
                false => bench.check(&[]),
                true => bench.check(&[(Violation::HistoryMissing, 1)]),
            };
        }
    }
}
