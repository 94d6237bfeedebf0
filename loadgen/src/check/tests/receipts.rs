//! Receipts.

use trunkline_proto::message::Receipt;

use super::super::{Kind, Via};
use super::Bench;

#[test]
fn receipts_go_forward_to_the_last() {
    // (delivered, read) pushed to the sender's second device, of 2 delivered and read.
    for (pushed, kinds) in [
        (&[(1, 0), (2, 2)][..], &[][..]),
        (
            &[(2, 2), (2, 1)],
            &[Kind::ReceiptWrong, Kind::ReceiptMissing],
        ),
        (&[(3, 0), (2, 2)], &[Kind::ReceiptWrong]),
        (&[(2, 1)], &[Kind::ReceiptMissing]),
        (&[], &[Kind::ReceiptMissing]),
    ] {
        let mut bench = Bench::new(&[]);
        for seq in 1..=2 {
            let sent = bench.send();
            bench.ack(sent, seq);
            bench.push_all(sent, seq);
        }
        let back = bench.checker.part.stream(bench.contact, 1);
        let marks = bench
            .checker
            .acknowledge(back, true)
            .expect("something to say");
        assert_eq!((marks.delivered, marks.read), (2, 2));
        assert_eq!(bench.checker.acknowledge(back, true), None);
        bench.checker.gone(0);
        let (mut user, conversation) = (String::new(), bench.conversation());
        bench.checker.part.write_user(bench.contact, &mut user);
        for (delivered, read) in pushed {
            let receipt = Receipt {
                conversation: (&*conversation).into(),
                user: (&*user).into(),
                delivered: *delivered,
                read: *read,
                time: 1,
            };
            bench.checker.receipt(bench.now, 1, &receipt, Via::Push);
        }
        bench.close();
        let found: Vec<_> = bench.checker.violations().keys().copied().collect();
        // One kind may follow from another: a receipt beyond the truth is also taken back.
        assert_eq!(found, kinds, "{pushed:?}");
    }
}

#[test]
fn receipts_said_before_a_session_opened_are_not_owed_to_it() {
    let contact = Bench::new(&[]).contact;
    let mut bench = Bench::new(&[0]);
    bench.checker.opened(bench.now, 0);
    let sent = bench.send();
    bench.ack(sent, 1);
    bench.push(contact * 2, sent, 1);
    bench.push(contact * 2 + 1, sent, 1);
    let back = bench.checker.part.stream(contact, 1);
    assert!(bench.checker.acknowledge(back, true).is_some());
    bench.checker.gone(0);
    bench.checker.opened(bench.now, 1);
    assert!(bench.checker.settled());
    bench.close();
    bench.check(&[]);
}
