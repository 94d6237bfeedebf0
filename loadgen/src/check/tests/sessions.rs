//! Sessions that end, come back or begin anew.

use super::super::{Judge, Violation};
use super::{Bench, SHAPES};

/// Sends messages 1 and 3 while a member's first device is connected, and message 2 while it is
/// away. The device gets the messages in `before` until it leaves, and the messages in `behind`
/// after it is back.
#[track_caller]
fn check(before: &[usize], behind: &[usize], violations: &[(Violation, u64)]) {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let [device, _] = bench.devices(1);
        let mut sent = Vec::new();
        for seq in 1..=3 {
            if seq == 2 {
                let there = before.iter().filter(|number| **number == 1);
                there.for_each(|_| bench.push(device, sent[0], 1));
                bench.away(device, true);
            }
            if seq == 3 {
                bench.back(device);
            }
            assert!(bench.checker.sessions.is_owed(device));
            let message = bench.send();
            bench.deliver(message, seq, &[device]);
            sent.push(message);
        }
        for number in behind {
            bench.push(device, sent[number - 1], *number as u64);
        }
        let settled = bench.settled();
        bench.close();
        bench.history(&[(sent[0], 1), (sent[1], 2), (sent[2], 3)]);
        let counters = bench.check(violations);
        let lost = { violations }
            .iter()
            .find(|(violation, _)| *violation == Violation::Lost);
        assert_eq!(settled, lost.is_none(), "{before:?} {behind:?}");
        assert_eq!(counters.lost, lost.map_or(0, |(_, count)| *count));
        assert_eq!(counters.delivered, 3 - counters.lost);
    }
}

#[test]
fn what_was_missed_is_owed_once_and_in_order() {
    check(&[1], &[2, 3], &[]);
    // The message was pushed as the session ended, and no device got it.
    check(&[], &[1, 2, 3], &[]);
    check(&[1], &[3], &[(Violation::Lost, 1)]);
    check(&[], &[2, 3], &[(Violation::Lost, 1)]);
    check(&[1], &[1, 2, 3], &[(Violation::Duplicated, 1)]);
    check(&[1], &[2, 2, 3], &[(Violation::Duplicated, 1)]);
    check(&[1], &[3, 2], &[(Violation::Reordered, 1)]);
}

#[test]
fn who_is_away_is_waited_for_and_who_never_comes_back_is_not_accused_over() {
    for (comes_back, in_history, violations) in [
        (true, true, &[][..]),
        (false, true, &[]),
        (
            false,
            false,
            &[(Violation::Lost, 1), (Violation::HistoryMissing, 1)],
        ),
    ] {
        for shape in SHAPES {
            let mut bench = Bench::new(shape, &[]);
            let [device, _] = bench.devices(1);
            bench.away(device, true);
            let sent = bench.send();
            bench.deliver(sent, 1, &[device]);
            assert!(!bench.settled());
            if comes_back {
                bench.back(device);
                bench.push(device, sent, 1);
                assert!(bench.settled());
            }
            bench.close();
            // A device that has not come back by then never does.
            assert_eq!(bench.checker.sessions.is_owed(device), comes_back);
            let page = [(sent, 1)];
            bench.history(&page[..usize::from(in_history)]);
            let counters = bench.check(violations);
            let found = u64::from(in_history && !comes_back);
            assert_eq!(counters.recovered, found);
            assert_eq!(counters.delivered, u64::from(comes_back));
        }
    }
}

#[test]
fn a_message_of_a_session_that_ended_is_looked_for_in_history() {
    for (read, in_history, violations) in [
        (true, true, &[][..]),
        (
            true,
            false,
            &[(Violation::Lost, 1), (Violation::HistoryMissing, 1)],
        ),
        // History could not be read, so there is no violation.
        (false, false, &[]),
    ] {
        for shape in SHAPES {
            for away in [true, false] {
                let mut bench = Bench::new(shape, &[]);
                let [_, device] = bench.devices(1);
                if away {
                    bench.away(device, false);
                }
                let sent = bench.send();
                bench.deliver(sent, 1, &[device]);
                if !away {
                    bench.gone(device);
                }
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
    }
}

#[test]
fn who_is_gone_is_owed_nothing_more() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let [device, _] = bench.devices(1);
        bench.gone(device);
        let sent = bench.send();
        bench.deliver(sent, 1, &[device]);
        assert!(bench.settled());
        assert_eq!(bench.check(&[]).delivered, 1);
    }
}

#[test]
fn nobody_there_waits_while_a_session_with_nothing_owed_is_away() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        bench.away(0, true);
        assert!(!bench.settled());
        bench.gone(0);
        assert!(bench.settled());
        assert!(!bench.checker.sessions.is_owed(0));
        bench.check(&[]);
    }
}

#[test]
fn a_session_that_begins_anew_is_owed_nothing_of_before() {
    for shape in SHAPES {
        for in_history in [true, false] {
            let mut bench = Bench::new(shape, &[]);
            let [device, _] = bench.devices(1);
            bench.away(device, true);
            let missed = bench.send();
            bench.now += 1;
            bench.checker.opened(bench.now, device);
            let live = bench.send();
            for (seq, message) in [(1, missed), (2, live)] {
                bench.deliver(message, seq, &[device]);
            }
            bench.push(device, live, 2);
            assert!(bench.settled(), "history is all that is left to ask");
            bench.close();
            // It is looked for in history instead.
            assert_eq!(bench.checker.counters().lost, 0);
            let page = [(missed, 1), (live, 2)];
            let missing = [(Violation::Lost, 1), (Violation::HistoryMissing, 2)];
            let (page, violations) = match in_history {
                true => (&page[..], &[][..]),
                false => (&page[1..], &missing[..]),
            };
            bench.history(page);
            let counters = bench.check(violations);
            assert_eq!(counters.recovered, u64::from(in_history));
            assert_eq!(counters.delivered, 1);
        }
    }
}

#[test]
fn a_session_that_was_being_opened_may_get_a_message_or_not() {
    for shape in SHAPES {
        // One device of the member is opened; its other one is there or not.
        for whole in [true, false] {
            for gets in [0, 1, 2] {
                let [device, other] = Bench::new(shape, &[]).devices(1);
                let offline = [device, other];
                let offline = &offline[..1 + usize::from(whole)];
                let mut bench = Bench::new(shape, offline);
                let sent = bench.send();
                bench.checker.opened(bench.now + 1, device);
                for _ in 0..gets {
                    bench.push(device, sent, 1);
                }
                bench.push_all(sent, 1, offline);
                bench.ack(sent, 1);
                bench.close();
                // Twice is too much for anybody.
                let twice = [(Violation::Duplicated, 1)];
                bench.check(if gets == 2 { &twice } else { &[] });
            }
        }
    }
}
