//! Sends whose session broke before their answer came.

use super::super::{Departure, Reading, Violation};
use super::{Bench, SHAPES, Shape};
use crate::clock::SECOND;

impl Bench {
    /// The first member's session breaks, by the run's own doing.
    fn breaks(&mut self) {
        self.away(self.sender(0), true);
    }

    fn comes_back(&mut self) {
        self.back(self.sender(0));
    }

    /// Returns the messages that are sent again now.
    fn again(&mut self) -> Vec<Departure> {
        let (now, sender) = (self.now, self.sender(0));
        std::iter::from_fn(|| self.checker.send_again(now, sender)).collect()
    }

    fn ids_again(&mut self) -> Vec<u32> {
        self.again().iter().map(|it| it.id).collect()
    }
}

/// The first member sends, with a key or without, and its session breaks and comes back.
fn broken(shape: Shape, keyed: bool) -> (Bench, Departure) {
    let mut bench = Bench::new(shape, &[]);
    bench.keyed = keyed;
    let sent = bench.send();
    bench.breaks();
    bench.comes_back();
    (bench, sent)
}

#[test]
fn whoever_was_pushed_it_tells_that_it_is_stored() {
    for shape in SHAPES {
        for pushed_before in [true, false] {
            let mut bench = Bench::new(shape, &[]);
            let sent = bench.send();
            if pushed_before {
                bench.push_all(sent, 1, &[]);
            }
            bench.breaks();
            if !pushed_before {
                bench.push_all(sent, 1, &[]);
            }
            bench.comes_back();
            assert!(bench.settled());
            bench.close();
            bench.history(&[(sent, 1)]);
            let counters = bench.check(&[]);
            assert_eq!(counters.delivered, 1);
            assert_eq!(counters.unknown_then_delivered, 1);
            assert_eq!((counters.acknowledged, counters.unknown), (0, 0));
        }
    }
}

#[test]
fn pushes_tell_that_it_is_stored_with_an_echo_or_without() {
    for shape in SHAPES {
        for echo in [false, true] {
            let (mut bench, sent) = broken(shape, false);
            assert!(bench.again().is_empty());
            bench.push_all(sent, 1, &[]);
            if echo {
                bench.push(bench.sender(0), sent, 1);
            }
            assert!(bench.settled());
            bench.close();
            bench.history(&[(sent, 1)]);
            let c = bench.check(&[]);
            let expected = (1, 1, 0);
            let found = (c.delivered, c.unknown_then_delivered, c.unknown);
            assert_eq!(found, expected);
        }
        // All but one device.
        let (mut bench, sent) = broken(shape, false);
        let [left_out, _] = bench.devices(1);
        bench.push(bench.sender(0), sent, 1);
        bench.push_all(sent, 1, &[left_out]);
        assert!(!bench.settled());
        bench.close();
        bench.history(&[(sent, 1)]);
        assert_eq!(bench.check(&[(Violation::Lost, 1)]).lost, 1);
        let detail = bench.evidence()[0]["detail"].to_string();
        assert!(detail.contains("stored, without an answer,"), "{detail}");
    }
}

#[test]
fn a_message_to_nobody_is_proven_by_catching_up_or_history_or_not_at_all() {
    for shape in SHAPES {
        let others = Bench::new(shape, &[]).others();
        for (echo, in_history) in [(true, true), (false, true), (false, false)] {
            // The sender's other device has no session either: it is gone.
            let mut bench = Bench::new(shape, &others);
            bench.gone(bench.other(0));
            let sent = bench.send();
            bench.breaks();
            bench.comes_back();
            if echo {
                bench.push(bench.sender(0), sent, 1);
            }
            assert_eq!(bench.settled(), echo);
            let (now, later) = (bench.now, bench.now + 10 * SECOND);
            assert!(echo || !bench.only_doubts(now));
            assert!(bench.only_doubts(later));
            bench.close();
            let page = [(sent, 1)];
            bench.history(&page[..usize::from(in_history)]);
            let counters = bench.check(&[]);
            assert_eq!(counters.unknown_then_delivered, u64::from(in_history));
            assert_eq!(counters.delivered, u64::from(in_history));
            assert_eq!(counters.unknown, u64::from(!in_history));
            assert_eq!(counters.unknown_excused, u64::from(!in_history));
        }
    }
}

#[test]
fn history_tells_what_no_push_does() {
    for shape in SHAPES {
        for (in_history, there) in [(false, true), (true, true), (true, false)] {
            let (mut bench, sent) = broken(shape, false);
            if !there {
                let owed = bench.owed(0);
                owed.into_iter().for_each(|device| bench.gone(device));
            }
            bench.close();
            let page = [(sent, 1)];
            bench.history(&page[..usize::from(in_history)]);
            let now = bench.now;
            assert_eq!(bench.checker.still_owed(now), in_history && there);
            // A connected device that did not get the message has lost it. A device that is away
            // has not.
            let lost = u64::from(in_history && there);
            let violations = [(Violation::Lost, 1)];
            let c = bench.check(&violations[..lost as usize]);
            let unknown = u64::from(!in_history);
            let found = (c.unknown, c.unknown_excused, c.lost);
            assert_eq!(found, (unknown, unknown, lost));
            assert_eq!(c.recovered, u64::from(!there));
        }
    }
}

#[test]
fn a_key_is_sent_again_once_for_each_break() {
    for shape in SHAPES {
        for duplicate in [true, false] {
            let mut bench = Bench::new(shape, &[]);
            let (one, two) = (bench.send_keyed(), bench.send());
            let three = bench.send_keyed();
            assert!(bench.again().is_empty());
            bench.breaks();
            bench.comes_back();
            let again = bench.again();
            let ids: Vec<_> = again.iter().map(|it| it.id).collect();
            assert_eq!(ids, [one.id, three.id]);
            assert_eq!(again[0].origin, one.origin);
            assert!(bench.again().is_empty());
            bench.ack_as(one, 1, duplicate);
            // Once more for what is still without an answer.
            bench.breaks();
            bench.comes_back();
            assert_eq!(bench.ids_again(), [three.id]);
            bench.ack_as(three, 3, duplicate);
            for (seq, sent) in [(1, one), (2, two), (3, three)] {
                bench.push_all(sent, seq, &[]);
            }
            assert!(bench.settled());
            bench.close();
            bench.history(&[(one, 1), (two, 2), (three, 3)]);
            let counters = bench.check(&[]);
            assert_eq!((counters.resent, counters.delivered), (3, 3));
            assert_eq!(counters.duplicates_answered, u64::from(duplicate) * 2);
            assert_eq!(counters.unknown_then_delivered, 1);
        }
    }
}

#[test]
fn what_is_sent_again_is_answered_however_often_it_is_sent() {
    for shape in SHAPES {
        for duplicate in [true, false] {
            let (mut bench, sent) = broken(shape, true);
            for _ in 0..2 {
                let again = bench.again();
                let [again] = &again[..] else {
                    panic!("it may not be stored")
                };
                assert_eq!((again.id, again.origin), (sent.id, sent.origin));
                bench.away(bench.sender(0), false);
                bench.comes_back();
            }
            assert_eq!(bench.again().len(), 1);
            bench.push_all(sent, 1, &[]);
            assert!(!bench.settled(), "it will be answered");
            bench.ack_as(sent, 1, duplicate);
            assert!(bench.settled());
            bench.close();
            bench.history(&[(sent, 1)]);
            let c = bench.check(&[]);
            let expected = (1, 3, u64::from(duplicate));
            assert_eq!((c.delivered, c.resent, c.duplicates_answered), expected);
        }
    }
}

#[test]
fn what_is_sent_again_keeps_its_order() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        bench.keyed = true;
        let done = bench.send();
        let second = bench.send();
        // The first one's place is free for the third.
        bench.deliver(done, 1, &[]);
        let third = bench.send();
        bench.breaks();
        bench.comes_back();
        let again: Vec<_> = bench.again().iter().map(|it| it.origin).collect();
        assert_eq!(again, [second.origin, third.origin]);
    }
}

#[test]
fn a_duplicate_of_what_was_never_stored_is_a_loss() {
    for shape in SHAPES {
        let (mut bench, sent) = broken(shape, true);
        assert_eq!(bench.again().len(), 1);
        bench.ack_as(sent, 1, true);
        bench.close();
        bench.history(&[]);
        let counters = bench.check(&[(Violation::Lost, 1), (Violation::HistoryMissing, 1)]);
        assert_eq!((counters.acknowledged, counters.lost), (1, 1));
    }
}

#[test]
fn who_sent_once_is_not_told_of_a_duplicate() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let sent = bench.send_keyed();
        bench.push_all(sent, 1, &[]);
        bench.ack_as(sent, 1, true);
        bench.check(&[(Violation::ReplyUnexpected, 1)]);
    }
}

#[test]
fn what_is_refused_the_second_time_may_be_stored_all_the_same() {
    for shape in SHAPES {
        for stored in [true, false] {
            let (mut bench, sent) = broken(shape, true);
            assert_eq!(bench.again().len(), 1);
            bench.refuse(sent);
            if stored {
                bench.push_all(sent, 1, &[]);
            }
            bench.close();
            let page = [(sent, 1)];
            bench.history(&page[..usize::from(stored)]);
            let c = bench.check(&[]);
            assert_eq!(c.unknown_then_delivered, u64::from(stored));
            assert_eq!(c.unknown, u64::from(!stored));
            assert_eq!((c.rejected, c.command_errors), (0, 1));
            assert_eq!(c.delivered, u64::from(stored));
        }
    }
}

#[test]
fn own_messages_come_behind_a_reconnect_and_only_there() {
    let (twice, unasked) = (Violation::Duplicated, Violation::Unexpected);
    for shape in SHAPES {
        // How often the sender is told before its session breaks and behind that.
        for (before, behind, violations) in [
            (0, 0, &[][..]),
            (0, 1, &[]),
            (0, 2, &[(twice, 1)]),
            (1, 0, &[(unasked, 1)]),
            (1, 1, &[(twice, 1), (unasked, 1)]),
        ] {
            let mut bench = Bench::new(shape, &[]);
            let sender = bench.sender(0);
            let sent = bench.send();
            bench.ack(sent, 1);
            for _ in 0..before {
                bench.push(sender, sent, 1);
            }
            bench.breaks();
            bench.push_all(sent, 1, &[]);
            bench.comes_back();
            for _ in 0..behind {
                bench.push(sender, sent, 1);
            }
            bench.close();
            bench.history(&[(sent, 1)]);
            bench.check(violations);
        }
    }
}

#[test]
fn own_messages_come_in_order_and_once() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let sender = bench.sender(0);
        let both = [bench.send(), bench.send()];
        for (seq, sent) in (1..).zip(both) {
            bench.deliver(sent, seq, &[]);
        }
        bench.away(sender, false);
        bench.comes_back();
        for (seq, sent) in (1..).zip(both) {
            bench.push(sender, sent, seq);
        }
        // But once is enough.
        bench.push(sender, both[1], 2);
        assert!(bench.settled());
        bench.check(&[(Violation::Duplicated, 1)]);
    }
}

#[test]
fn messages_of_others_are_no_own_messages_behind_a_reconnect() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let [device, _] = bench.devices(1);
        bench.away(device, true);
        bench.back(device);
        let sent = bench.send();
        bench.deliver(sent, 1, &[]);
        // Once more, as if it were a later one.
        bench.push(device, sent, 2);
        bench.check(&[(Violation::Unexpected, 1)]);
    }
}

#[test]
fn other_sequences_behind_a_reconnect_are_seen() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let sent = bench.send();
        bench.push_all(sent, 1, &[]);
        let later = bench.send();
        bench.breaks();
        bench.comes_back();
        bench.push(bench.sender(0), later, 3);
        bench.push_all(later, 2, &[]);
        bench.close();
        bench.check(&[
            (Violation::SequenceDiffers, 1),
            (Violation::SequenceMissing, 1),
        ]);
    }
}

#[test]
fn what_is_stored_is_owed_to_those_who_are_there_answered_or_not() {
    for shape in SHAPES {
        for pushed in [true, false] {
            let (mut bench, sent) = broken(shape, false);
            if pushed {
                bench.push(bench.other(0), sent, 1);
            }
            bench.close();
            bench.history(&[(sent, 1)]);
            let now = bench.now;
            assert_eq!(bench.checker.still_owed(now), !pushed);
            let counters = bench.check(&[(Violation::Lost, 1)]);
            assert_eq!(counters.lost, 1);
        }
        // What comes while history is read is in time.
        let (mut bench, sent) = broken(shape, false);
        bench.close();
        bench.history(&[(sent, 1)]);
        bench.push_all(sent, 1, &[]);
        let now = bench.now;
        assert!(!bench.checker.still_owed(now));
        let counters = bench.check(&[]);
        assert_eq!(counters.delivered, 1);
        assert_eq!(counters.unknown_then_delivered, 1);
    }
}

#[test]
fn a_conversation_that_nobody_knows_may_be_a_pair_of_what_was_never_stored() {
    let (lost, missing) = (Violation::Lost, Violation::HistoryMissing);
    for (shape, stored, violations) in [
        (Shape::Pair, false, &[][..]),
        (Shape::Pair, true, &[(lost, 1), (missing, 1)]),
        // A group was made before the run.
        (Shape::Group(5), false, &[(missing, 1)]),
        (Shape::Group(5), true, &[(lost, 1), (missing, 1)]),
    ] {
        let mut bench = Bench::new(shape, &[]);
        let sent = bench.send_keyed();
        if stored {
            bench.ack(sent, 1);
        } else {
            bench.breaks();
        }
        bench.close();
        let reading = Reading::new(bench.conversation);
        bench.checker.not_known(bench.now, &reading, "102");
        let counters = bench.check(violations);
        assert_eq!(counters.unknown, u64::from(!stored));
        let read = u64::from(violations.is_empty());
        assert_eq!(counters.conversations_read, read);
    }
}

#[test]
fn a_doubt_excuses_no_other_message() {
    for shape in SHAPES {
        // Two are answered, the third is an orphan and was never stored.
        for (lost, violations) in [
            (None, &[][..]),
            (Some(1), &[(Violation::HistoryMissing, 1)]),
            (Some(0), &[(Violation::HistoryMissing, 2)]),
        ] {
            let mut bench = Bench::new(shape, &[]);
            let mut sent = Vec::new();
            for seq in 1..=2 {
                let message = bench.send();
                bench.deliver(message, seq, &[]);
                sent.push((message, seq));
            }
            bench.send();
            bench.breaks();
            bench.comes_back();
            bench.close();
            if let Some(at) = lost {
                sent.remove(at);
            }
            bench.history(&sent);
            let counters = bench.check(violations);
            assert_eq!((counters.unknown, counters.delivered), (1, 2));
        }
    }
}

#[test]
fn doubts_are_all_that_is_left() {
    for shape in SHAPES {
        let (mut bench, sent) = broken(shape, false);
        let late = bench.now + 10 * SECOND;
        assert!(bench.only_doubts(late));
        let [first, _] = bench.devices(1);
        bench.push(first, sent, 1);
        assert!(!bench.only_doubts(late), "now it is owed to the others");
        bench.push_all(sent, 1, &[first]);
        assert!(bench.only_doubts(late));
        let next = bench.send();
        bench.push_all(next, 2, &[]);
        assert!(!bench.only_doubts(late), "it will be answered");
        bench.ack(next, 2);
        assert!(bench.only_doubts(late));
    }
}

#[test]
fn who_never_comes_back_sends_nothing_again() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let (sent, never) = (bench.send_keyed(), bench.send_keyed());
        bench.breaks();
        bench.push_all(sent, 1, &[]);
        bench.gone(bench.sender(0));
        assert!(bench.again().is_empty());
        bench.close();
        bench.history(&[(sent, 1)]);
        assert_eq!(never.origin.counter, 2);
        let counters = bench.check(&[]);
        assert_eq!((counters.delivered, counters.unknown), (1, 1));
        assert_eq!(counters.unknown_excused, 1);
    }
}

#[test]
fn nothing_is_sent_again_once_the_run_is_over() {
    for shape in SHAPES {
        let (mut bench, sent) = broken(shape, true);
        bench.push_all(sent, 1, &[]);
        bench.close();
        assert!(bench.again().is_empty());
        let c = bench.check(&[]);
        assert_eq!((c.unknown_then_delivered, c.resent), (1, 0));
    }
}
