//! Sessions that end and come back.

use super::super::Kind;
use super::Bench;

/// Messages 1 and 3 are sent while the contact's first device is there, 2 while it is away; it gets
/// those of `before` until it leaves and those of `behind` when it is back.
#[track_caller]
fn check(before: &[usize], behind: &[usize], violations: &[(Kind, u64)]) {
    let mut bench = Bench::new(&[]);
    let device = bench.contact * 2;
    let mut sent = Vec::new();
    for seq in 1..=3 {
        if seq == 2 {
            let there = before.iter().filter(|number| **number == 1);
            there.for_each(|_| bench.push(device, sent[0], 1));
            bench.checker.away(device, true);
        }
        if seq == 3 {
            bench.now += 1;
            bench.checker.back(bench.now, device);
        }
        assert!(bench.checker.owed(device));
        let message = bench.send();
        bench.ack(message, seq);
        bench.push(device + 1, message, seq);
        bench.push(1, message, seq);
        sent.push(message);
    }
    for number in behind {
        bench.push(device, sent[number - 1], *number as u64);
    }
    let settled = bench.checker.settled();
    bench.close();
    bench.history(&[(sent[0], 1), (sent[1], 2), (sent[2], 3)]);
    let counters = bench.check(violations);
    let lost = violations.iter().find(|(kind, _)| *kind == Kind::Lost);
    assert_eq!(settled, lost.is_none(), "{before:?} {behind:?}");
    assert_eq!(counters.lost, lost.map_or(0, |(_, count)| *count));
    assert_eq!(counters.delivered, 3 - counters.lost);
}

#[test]
fn what_was_missed_is_owed_once_and_in_order() {
    check(&[1], &[2, 3], &[]);
    // Pushed as the session ended: nobody heard it.
    check(&[], &[1, 2, 3], &[]);
    check(&[1], &[3], &[(Kind::Lost, 1)]);
    check(&[], &[2, 3], &[(Kind::Lost, 1)]);
    check(&[1], &[1, 2, 3], &[(Kind::Duplicated, 1)]);
    check(&[1], &[2, 2, 3], &[(Kind::Duplicated, 1)]);
    check(&[1], &[3, 2], &[(Kind::Reordered, 1)]);
}

#[test]
fn who_is_away_is_waited_for_and_who_never_comes_back_is_not_accused_over() {
    for (comes_back, in_history, violations) in [
        (true, true, &[][..]),
        (false, true, &[]),
        (false, false, &[(Kind::Lost, 1), (Kind::HistoryMissing, 1)]),
    ] {
        let mut bench = Bench::new(&[]);
        let device = bench.contact * 2;
        bench.checker.away(device, true);
        let sent = bench.send();
        bench.ack(sent, 1);
        bench.push(device + 1, sent, 1);
        bench.push(1, sent, 1);
        assert!(!bench.checker.settled());
        if comes_back {
            bench.now += 1;
            bench.checker.back(bench.now, device);
            bench.push(device, sent, 1);
            assert!(bench.checker.settled());
        }
        bench.close();
        // Who has not come back by then never does.
        assert_eq!(bench.checker.owed(device), comes_back);
        let page = [(sent, 1)];
        bench.history(&page[..usize::from(in_history)]);
        let counters = bench.check(violations);
        let found = u64::from(in_history && !comes_back);
        assert_eq!(counters.recovered, found);
        assert_eq!(counters.delivered, u64::from(comes_back));
    }
}

#[test]
fn nobody_there_waits_while_a_session_with_nothing_owed_is_away() {
    let mut bench = Bench::new(&[]);
    bench.checker.away(0, true);
    assert!(!bench.checker.settled());
    bench.checker.gone(0);
    assert!(bench.checker.settled());
    assert!(!bench.checker.owed(0));
    bench.check(&[]);
}

#[test]
fn a_session_that_begins_anew_is_owed_nothing_of_before() {
    for in_history in [true, false] {
        let mut bench = Bench::new(&[]);
        let device = bench.contact * 2;
        bench.checker.away(device, true);
        let missed = bench.send();
        bench.now += 1;
        bench.checker.opened(bench.now, device);
        let live = bench.send();
        for (seq, message) in [(1, missed), (2, live)] {
            bench.ack(message, seq);
            bench.push(device + 1, message, seq);
            bench.push(1, message, seq);
        }
        bench.push(device, live, 2);
        bench.close();
        // It is looked for in history instead.
        assert_eq!(bench.checker.counters.lost, 0);
        let page = [(missed, 1), (live, 2)];
        let missing = [(Kind::Lost, 1), (Kind::HistoryMissing, 2)];
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
