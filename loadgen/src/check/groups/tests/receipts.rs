//! Watermarks in groups.

use trunkline_proto::message::Receipt;

use super::super::super::{Kind, Via};
use super::{Bench, GROUP};
use crate::check::receipts::Marks;

impl Bench {
    /// The nth member's user acknowledges what came to it.
    fn acknowledge(&mut self, nth: u32, read: bool) -> Option<Marks> {
        let membership = self.checker.members().membership(GROUP, nth);
        self.checker
            .acknowledge_in_group(self.now, membership, read)
    }

    /// A device is told of the nth member's marks.
    fn receipt(&mut self, device: u32, nth: u32, (delivered, read): (u64, u64), via: Via) {
        let mut user = String::new();
        let member = self.checker.members().member(GROUP, nth);
        self.checker.part.write_user(member, &mut user);
        let receipt = Receipt {
            conversation: self.conversation().into(),
            user: user.into(),
            delivered,
            read,
            time: 1,
        };
        self.checker.receipt(self.now, device, &receipt, via);
    }

    /// Two messages that everybody gets and the second member reads.
    fn with_messages(size: u32) -> Self {
        let mut bench = Self::of(size, &[]);
        for seq in 1..=2 {
            let sent = bench.send();
            bench.ack(sent, seq);
            bench.push_all(sent, seq, &[]);
        }
        bench
    }
}

#[test]
fn what_came_to_a_user_is_acknowledged_once() {
    let mut bench = Bench::with_messages(5);
    let both = |delivered, read| Some(Marks { delivered, read });
    assert_eq!(bench.acknowledge(1, false), both(2, 0));
    assert_eq!(bench.acknowledge(1, false), None);
    assert_eq!(bench.acknowledge(1, true), both(2, 2));
    assert_eq!(bench.acknowledge(1, true), None);
    // The sender's other device got them, too.
    assert_eq!(bench.acknowledge(0, false), both(2, 0));
    assert_eq!(bench.check(&[]).receipts_sent, 3);
}

#[test]
fn receipts_are_true_and_never_go_back_and_nobody_is_owed_one() {
    let wrong = &[(Kind::ReceiptWrong, 1)][..];
    for (size, told, found) in [
        (5, &[][..], &[][..]),
        (5, &[(2, 0), (2, 2)], &[]),
        // Told again what is known already, or only the last of several.
        (5, &[(2, 0), (2, 0), (2, 2)], &[]),
        (5, &[(2, 2)], &[]),
        (5, &[(2, 2), (2, 0)], wrong),
        (5, &[(2, 0), (1, 0)], wrong),
        (5, &[(3, 0)], wrong),
        (5, &[(2, 3)], wrong),
        // Beyond the size in which all are told, only what cannot be is noticed.
        (20, &[(2, 2), (2, 0)], &[]),
        (20, &[(3, 2)], wrong),
    ] {
        let mut bench = Bench::with_messages(size);
        bench.acknowledge(1, false).expect("news");
        bench.acknowledge(1, true).expect("news");
        let [device, other] = bench.devices(GROUP, 3);
        for marks in told {
            bench.receipt(device, 1, *marks, Via::Push);
        }
        // Each device has its own story.
        bench.receipt(other, 1, (1, 0), Via::Push);
        assert!(bench.checker.settled());
        bench.close();
        bench.check(found);
    }
}

#[test]
fn what_was_fetched_may_be_told_again() {
    let mut bench = Bench::with_messages(5);
    bench.acknowledge(1, false).expect("news");
    let [device, _] = bench.devices(GROUP, 3);
    bench.receipt(device, 1, (2, 0), Via::Push);
    bench.receipt(device, 1, (1, 0), Via::Sync);
    bench.receipt(device, 1, (3, 0), Via::Sync);
    bench.check(&[(Kind::ReceiptWrong, 1)]);
}

#[test]
fn who_is_no_member_says_and_hears_nothing() {
    let mut bench = Bench::with_messages(5);
    bench.acknowledge(1, false).expect("news");
    let outsider = bench.devices(1, 0)[0];
    bench.receipt(outsider, 1, (2, 0), Via::Push);
    let [device, _] = bench.devices(GROUP, 3);
    let mut user = String::new();
    bench.checker.part.write_user(outsider / 2, &mut user);
    for (user, conversation) in [(&*user, &*bench.conversation()), ("t1.000000001", "g:eng")] {
        let receipt = Receipt {
            conversation: conversation.into(),
            user: user.into(),
            delivered: 0,
            read: 0,
            time: 1,
        };
        bench
            .checker
            .receipt(bench.now, device, &receipt, Via::Push);
    }
    bench.check(&[(Kind::ReceiptWrong, 3)]);
}
