//! After a gap: what `sync` brings, in every order against what is pushed.

use trunkline_proto::message::Receipt;

use super::super::{Departure, Kind, Via};
use super::Bench;

impl Bench {
    fn sync(&mut self, device: u32, sent: Departure, seq: u64) {
        let message = self.message(sent, seq);
        self.checker.pushed(self.now, device, &message, Via::Sync);
    }

    /// A receipt of the contact for the sender's second device.
    fn receipt(&mut self, (delivered, read): (u64, u64), via: Via) {
        let (mut user, conversation) = (String::new(), self.conversation());
        self.checker.part.write_user(self.contact, &mut user);
        let receipt = Receipt {
            conversation: conversation.into(),
            user: user.into(),
            delivered,
            read,
            time: 1,
        };
        self.checker.receipt(self.now, 1, &receipt, via);
    }
}

/// One step at a device: how it came, and which of the messages, from 1.
type Step = (Via, usize);

/// Three messages are pushed to everybody but the contact's first device, which gets `steps`.
#[track_caller]
fn check(steps: &[Step], violations: &[(Kind, u64)], recovered: u64) {
    let mut bench = Bench::new(&[]);
    let device = bench.contact * 2;
    let sent: Vec<_> = (0..3).map(|_| bench.send()).collect();
    for (seq, message) in (1..).zip(&sent) {
        bench.ack(*message, seq);
        bench.push(device + 1, *message, seq);
        bench.push(1, *message, seq);
    }
    for (via, number) in steps {
        let (message, seq) = (sent[number - 1], *number as u64);
        match via {
            Via::Push => bench.push(device, message, seq),
            Via::Sync => bench.sync(device, message, seq),
        }
    }
    bench.close();
    bench.history(&[(sent[0], 1), (sent[1], 2), (sent[2], 3)]);
    let counters = bench.check(violations);
    assert_eq!(counters.recovered, recovered, "{steps:?}");
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
    ] {
        check(steps, &[], recovered);
    }
}

#[test]
fn a_gap_excuses_nothing_else() {
    use Via::{Push, Sync};
    let (lost, twice) = ([(Kind::Lost, 1)], [(Kind::Duplicated, 1)]);
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

#[test]
fn receipts_may_come_behind_the_answer_that_told_of_them() {
    use Via::{Push, Sync};
    for (steps, kinds) in [
        (&[(Push, (1, 0)), (Sync, (2, 2))][..], &[][..]),
        (&[(Sync, (2, 2)), (Push, (2, 0)), (Push, (2, 2))], &[]),
        (&[(Push, (2, 2)), (Sync, (1, 0))], &[]),
        // The pushes have caught up with the answer: nothing is excused any more.
        (
            &[
                (Sync, (2, 0)),
                (Push, (2, 2)),
                (Push, (2, 0)),
                (Push, (2, 2)),
            ],
            &[Kind::ReceiptWrong],
        ),
    ] {
        let mut bench = Bench::new(&[]);
        for seq in 1..=2 {
            let sent = bench.send();
            bench.ack(sent, seq);
            bench.push_all(sent, seq);
        }
        let back = bench.checker.part.stream(bench.contact, 1);
        bench.checker.acknowledge(back, true).expect("news");
        bench.checker.gone(0);
        for (via, marks) in steps {
            bench.receipt(*marks, *via);
        }
        bench.close();
        let found: Vec<_> = bench.checker.violations().keys().copied().collect();
        assert_eq!(found, kinds, "{steps:?}");
    }
}
