//! Tests of receipts: acknowledged watermarks, and their pushes to other devices.

use trunkline_proto::message::Receipt;

use super::super::{Judge, Marks, Via, Violation};
use super::{Bench, SHAPES, Shape};

impl Bench {
    /// Lets the nth member's user acknowledge everything that came to it. Returns the
    /// acknowledgement.
    fn acknowledge(&mut self, nth: u32, read: bool) -> Option<Marks> {
        let stream = self.stream(nth);
        self.checker.acknowledge(self.now, stream, read)
    }

    /// A device is told of the second member's marks.
    fn receipt(&mut self, via: Via, device: u32, (delivered, read): (u64, u64)) {
        let receipt = Receipt {
            conversation: self.id().into(),
            user: self.user_name(1).into(),
            delivered,
            read,
            time: 1,
        };
        self.checker.receipt(self.now, device, &receipt, via);
    }

    /// Two messages of the first member that everybody gets.
    fn with_messages(shape: Shape) -> Self {
        let mut bench = Self::new(shape, &[]);
        for seq in 1..=2 {
            let sent = bench.send();
            bench.deliver(sent, seq, &[]);
        }
        bench
    }
}

#[test]
fn what_came_to_a_user_is_acknowledged_once() {
    for shape in SHAPES {
        let mut bench = Bench::with_messages(shape);
        let both = |delivered, read| Some(Marks { delivered, read });
        assert_eq!(bench.acknowledge(1, false), both(2, 0));
        assert_eq!(bench.acknowledge(1, false), None);
        assert_eq!(bench.acknowledge(1, true), both(2, 2));
        assert_eq!(bench.acknowledge(1, true), None);
        // The sender's other device got them, too.
        assert_eq!(bench.acknowledge(0, false), both(2, 0));
        let (now, streams) = (bench.now, [bench.stream(1), bench.stream(0)]);
        let again = streams.map(|stream| bench.checker.acknowledge_again(now, stream));
        assert_eq!(again, [both(2, 2), both(2, 0)]);
        assert_eq!(bench.check(&[]).receipts_sent, 5);
    }
}

#[test]
fn receipts_are_true_and_go_forward_and_in_a_pair_to_the_last() {
    let (wrong, missing) = (Violation::ReceiptWrong, Violation::ReceiptMissing);
    let (pair, group, large) = (Shape::Pair, Shape::Group(5), Shape::Group(20));
    // Delivered and read as told to one device, of 2 delivered and read.
    for (shapes, told, found) in [
        (&[pair, group, large][..], &[(1, 0), (2, 2)][..], &[][..]),
        // Told again what is known already, or only the last of several.
        (&[pair, group, large], &[(2, 0), (2, 0), (2, 2)], &[]),
        (&[pair, group, large], &[(2, 2)], &[]),
        (&[pair], &[(2, 2), (2, 1)], &[wrong, missing]),
        (&[group], &[(2, 2), (2, 1)], &[wrong]),
        (&[group], &[(2, 0), (1, 0)], &[wrong]),
        // In a group so large that members get no receipts of others, only impossible receipts are
        // noticed.
        (&[large], &[(2, 2), (2, 0)], &[]),
        // A receipt beyond the truth is also taken back.
        (&[pair, group], &[(3, 0), (2, 2)], &[wrong]),
        (&[group, large], &[(3, 2)], &[wrong]),
        (&[group, large], &[(2, 3)], &[wrong]),
        // In a group no device must get the last receipt.
        (&[pair], &[(2, 1)], &[missing]),
        (&[pair], &[], &[missing]),
        (&[group, large], &[(2, 1)], &[]),
        (&[group, large], &[], &[]),
    ] {
        for shape in shapes {
            let mut bench = Bench::with_messages(*shape);
            let marks = bench.acknowledge(1, true).expect("something to say");
            assert_eq!((marks.delivered, marks.read), (2, 2));
            assert_eq!(bench.acknowledge(1, true), None);
            let device = bench.other(0);
            bench.gone(bench.sender(0));
            for marks in told {
                bench.receipt(Via::Push, device, *marks);
            }
            assert_eq!(bench.settled(), !found.contains(&missing));
            bench.close();
            assert_eq!(bench.kinds(), found, "{told:?} in {shape:?}");
        }
    }
}

#[test]
fn each_device_is_told_for_itself() {
    for shape in SHAPES {
        let mut bench = Bench::with_messages(shape);
        bench.acknowledge(1, true).expect("news");
        let [device, other] = bench.devices(0);
        bench.receipt(Via::Push, device, (2, 2));
        bench.receipt(Via::Push, other, (1, 0));
        bench.check(&[]);
    }
}

#[test]
fn receipts_may_come_behind_the_answer_that_told_of_them() {
    use Via::{Push, Sync};
    for (steps, found) in [
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
            &[Violation::ReceiptWrong],
        ),
        // What is fetched has to be true.
        (
            &[(Push, (2, 2)), (Sync, (3, 0)), (Push, (2, 2))],
            &[Violation::ReceiptWrong],
        ),
    ] {
        for shape in SHAPES {
            let mut bench = Bench::with_messages(shape);
            bench.acknowledge(1, true).expect("news");
            let device = bench.other(0);
            bench.gone(bench.sender(0));
            for (via, marks) in steps {
                bench.receipt(*via, device, *marks);
            }
            bench.close();
            assert_eq!(bench.kinds(), found, "{steps:?} in {shape:?}");
        }
    }
}

#[test]
fn receipts_said_before_a_session_opened_are_not_owed_to_it() {
    for shape in SHAPES {
        let devices = Bench::new(shape, &[]).devices(0);
        let mut bench = Bench::new(shape, &devices);
        let [first, second] = [bench.sender(0), bench.other(0)];
        bench.checker.opened(bench.now, first);
        let sent = bench.send();
        bench.deliver(sent, 1, &[second]);
        assert!(bench.acknowledge(1, true).is_some());
        bench.gone(first);
        bench.checker.opened(bench.now, second);
        assert!(bench.settled());
        bench.close();
        bench.check(&[]);
    }
}

#[test]
fn who_is_no_member_says_and_hears_nothing() {
    for shape in SHAPES {
        let mut bench = Bench::with_messages(shape);
        bench.acknowledge(1, false).expect("news");
        let outsider = bench.outsider();
        bench.receipt(Via::Push, outsider, (2, 0));
        let device = bench.devices(0)[0];
        let mut user = String::new();
        { bench.checker.roster().part() }.write_user(outsider / 2, &mut user);
        for (user, conversation) in [
            (&*user, &*bench.id()),
            ("t1.000000001", "g:eng"),
            ("hello", &*bench.id()),
        ] {
            let receipt = Receipt {
                conversation: conversation.into(),
                user: user.into(),
                delivered: 0,
                read: 0,
                time: 1,
            };
            let now = bench.now;
            bench.checker.receipt(now, device, &receipt, Via::Push);
        }
        bench.check(&[(Violation::ReceiptWrong, 4)]);
    }
}
