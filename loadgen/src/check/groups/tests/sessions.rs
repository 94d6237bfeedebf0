//! Groups while sessions end, come back or begin anew, and while live pushes are left out.

use super::super::super::{Kind, Via};
use super::{Bench, GROUP};

/// Messages 1 and 3 are sent while a member's first device is there, 2 while it is away; it gets
/// those of `before` until it leaves and those of `behind` when it is back.
#[track_caller]
fn check(before: &[usize], behind: &[usize], violations: &[(Kind, u64)]) {
    let mut bench = Bench::new(&[]);
    let [device, _] = bench.devices(GROUP, 2);
    let mut sent = Vec::new();
    for seq in 1..=3 {
        if seq == 2 {
            let there = before.iter().filter(|number| **number == 1);
            there.for_each(|_| bench.push(device, sent[0], 1));
            bench.checker.away(device, false);
        }
        if seq == 3 {
            bench.now += 1;
            bench.checker.back(bench.now, device);
        }
        let message = bench.send();
        bench.ack(message, seq);
        bench.push_all(message, seq, &[device]);
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
fn who_does_not_come_back_is_looked_for_in_history() {
    for (read, in_history, violations) in [
        (true, true, &[][..]),
        (true, false, &[(Kind::Lost, 1), (Kind::HistoryMissing, 1)]),
        // Nobody could look: nobody is accused.
        (false, false, &[]),
    ] {
        for away in [true, false] {
            let mut bench = Bench::new(&[]);
            let [device, _] = bench.devices(GROUP, 2);
            if away {
                bench.checker.away(device, false);
            }
            let sent = bench.send();
            bench.ack(sent, 1);
            bench.push_all(sent, 1, &[device]);
            if !away {
                bench.checker.gone(device);
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

#[test]
fn who_is_gone_is_owed_nothing_more() {
    let mut bench = Bench::new(&[]);
    let [device, _] = bench.devices(GROUP, 2);
    bench.checker.gone(device);
    let sent = bench.send();
    bench.ack(sent, 1);
    bench.push_all(sent, 1, &[device]);
    assert_eq!(bench.check(&[]).delivered, 1);
}

#[test]
fn a_session_that_begins_anew_is_owed_nothing_of_before() {
    for in_history in [true, false] {
        let mut bench = Bench::new(&[]);
        let [device, _] = bench.devices(GROUP, 2);
        bench.checker.away(device, false);
        let missed = bench.send();
        bench.now += 1;
        bench.checker.opened(bench.now, device);
        let live = bench.send();
        for (seq, message) in [(1, missed), (2, live)] {
            bench.ack(message, seq);
            bench.push_all(message, seq, &[device]);
        }
        bench.push(device, live, 2);
        assert!(
            bench.checker.settled(),
            "history is all that is left to ask"
        );
        bench.close();
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

#[test]
fn its_own_messages_may_come_to_who_comes_back() {
    let mut bench = Bench::new(&[]);
    let sender = bench.sender(0);
    let (one, two) = (bench.send(), bench.send());
    for (seq, sent) in [(1, one), (2, two)] {
        bench.ack(sent, seq);
        bench.push_all(sent, seq, &[]);
    }
    bench.checker.away(sender, false);
    bench.now += 1_000_000;
    bench.checker.back(bench.now, sender);
    bench.push(sender, one, 1);
    bench.push(sender, two, 2);
    // But once is enough.
    bench.push(sender, two, 2);
    assert!(bench.checker.settled());
    bench.check(&[(Kind::Duplicated, 1)]);
}

#[test]
fn a_session_that_was_being_opened_may_get_a_message_or_not() {
    for gets in [0, 1, 2] {
        let device = Bench::new(&[]).devices(GROUP, 2)[0];
        let mut bench = Bench::new(&[device]);
        let sent = bench.send();
        bench.checker.opened(bench.now + 1, device);
        for _ in 0..gets {
            bench.push(device, sent, 1);
        }
        bench.push_all(sent, 1, &[device]);
        bench.ack(sent, 1);
        bench.close();
        // Twice is too much for anybody.
        let twice = [(Kind::Duplicated, 1)];
        bench.check(if gets == 2 { &twice } else { &[] });
    }
}

#[test]
fn an_answer_that_never_came_is_no_violation_whatever_comes_later() {
    type Late = fn(&mut Bench, super::GroupDeparture);
    let cases: [(Late, u64, u64); 5] = [
        (|_, _| {}, 1, 0),
        (
            |bench, sent| {
                bench.history(&[(sent, 1)]);
                // Behind that nobody waits for it, and it may come all the same.
                assert_eq!(bench.checker.groups.flights.len(), 1);
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
fn what_was_left_out_is_fetched_and_may_come_both_ways() {
    let mut bench = Bench::new(&[]);
    let [device, _] = bench.devices(GROUP, 2);
    let (one, two) = (bench.send(), bench.send());
    for (seq, sent) in [(1, one), (2, two)] {
        bench.ack(sent, seq);
        bench.push_all(sent, seq, &[device]);
    }
    let fetch = |bench: &mut Bench, sent, seq| {
        let message = bench.message(sent, seq);
        bench.checker.pushed(bench.now, device, &message, Via::Sync);
    };
    fetch(&mut bench, one, 1);
    fetch(&mut bench, two, 2);
    bench.push(device, two, 2);
    fetch(&mut bench, two, 2);
    assert!(bench.checker.settled());
    let counters = bench.check(&[]);
    assert_eq!((counters.recovered, counters.duplicated), (2, 0));
}
