//! Tests of a gap: the events of `sync` in every order with the pushed events.

use super::super::{Via, Violation};
use super::{Bench, SHAPES};

/// One step at a device: how a message came, and its number, from 1.
type Step = (Via, usize);

/// Three messages are pushed to everybody but a member's first device, which gets `steps`.
#[track_caller]
fn check(steps: &[Step], violations: &[(Violation, u64)], recovered: u64) {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let device = bench.devices(1)[0];
        let sent = [bench.send(), bench.send(), bench.send()];
        for (seq, message) in (1..).zip(sent) {
            bench.deliver(message, seq, &[device]);
        }
        for (via, number) in steps {
            bench.come(*via, device, sent[number - 1], *number as u64);
        }
        bench.close();
        bench.history(&[(sent[0], 1), (sent[1], 2), (sent[2], 3)]);
        let counters = bench.check(violations);
        assert_eq!(counters.recovered, recovered, "{steps:?}, {shape:?}");
    }
}

#[test]
fn fetched_and_pushed_is_not_twice() {
    use Via::{Push, Sync};
    for (steps, recovered) in [
        // The last was pushed behind the gap before the answer came, and is in it.
        (&[(Push, 1), (Push, 3), (Sync, 2), (Sync, 3)][..], 1),
        // The answer was ahead of the pushes behind the gap.
        (&[(Push, 1), (Sync, 2), (Sync, 3), (Push, 3)], 2),
        // Everything twice in answers, as pages that overlap would have it.
        (&[(Sync, 1), (Sync, 2), (Sync, 1), (Sync, 3), (Sync, 3)], 3),
        (&[(Push, 1), (Push, 2), (Push, 3), (Sync, 2)], 0),
        // Fetched, pushed and fetched again.
        (&[(Sync, 1), (Sync, 2), (Sync, 3), (Push, 3), (Sync, 3)], 3),
    ] {
        check(steps, &[], recovered);
    }
}

#[test]
fn a_gap_excuses_nothing_else() {
    use Via::{Push, Sync};
    let (lost, twice) = ([(Violation::Lost, 1)], [(Violation::Duplicated, 1)]);
    // Neither pushed nor fetched.
    check(&[(Push, 1), (Push, 3)], &lost, 0);
    check(&[(Push, 1), (Sync, 3), (Push, 3)], &lost, 1);
    // Pushed twice, also where it was fetched as well.
    check(&[(Push, 1), (Push, 2), (Push, 2), (Push, 3)], &twice, 0);
    check(
        &[(Push, 1), (Sync, 2), (Sync, 3), (Push, 3), (Push, 3)],
        &twice,
        2,
    );
}
