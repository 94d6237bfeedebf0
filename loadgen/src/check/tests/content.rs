//! What messages, answers and history say.

use trunkline_proto::message::Message;

use super::super::{Departure, Kind, Via};
use super::Bench;

#[test]
fn lies_have_their_names() {
    type Lie = fn(&mut Bench, Departure);
    let cases: &[(Lie, &[(Kind, u64)])] = &[
        (|b, m| b.ack(m, 9), &[(Kind::SequenceDiffers, 1)]),
        (
            |b, m| (b.ack(m, 1), b.ack(m, 1)).0,
            &[(Kind::ReplyUnexpected, 1)],
        ),
        (
            |b, m| {
                b.ack(m, 1);
                b.checker.refused(b.now, m.id);
            },
            &[(Kind::ReplyUnexpected, 1)],
        ),
        (
            |b, m| b.checker.refused(b.now, m.id ^ 0x0100_0000),
            &[(Kind::ReplyUnexpected, 1)],
        ),
        (
            |b, m| b.checker.refused(b.now, m.id),
            &[(Kind::Unexpected, 1)],
        ),
        (|b, m| b.push(0, m, 1), &[(Kind::Unexpected, 1)]),
        (|b, m| b.push(8, m, 1), &[(Kind::Unexpected, 1)]),
    ];
    for (i, (lie, kinds)) in cases.iter().enumerate() {
        let mut bench = Bench::new(&[]);
        let sent = bench.send();
        bench.push(bench.contact * 2, sent, 1);
        lie(&mut bench, sent);
        let found: Vec<_> = bench
            .checker
            .violations()
            .iter()
            .map(|(k, n)| (*k, *n))
            .collect();
        assert_eq!(found, *kinds, "case {i}");
    }
}

#[test]
fn changed_content_has_its_names() {
    type Change = fn(&mut Message<'static>);
    let cases: [(Change, Kind); 5] = [
        (|m| m.text = None, Kind::Unexpected),
        (
            |m| m.text = Some("nobody sent this".into()),
            Kind::Unexpected,
        ),
        (
            |m| {
                let text = m.text.take().expect("it has one");
                m.text = Some((text[..119].to_owned() + "#").into());
            },
            Kind::TextChanged,
        ),
        (|m| m.from = "t1.000000001".into(), Kind::WrongConversation),
        (|m| m.conversation = "u:a:b".into(), Kind::WrongConversation),
    ];
    for (change, kind) in cases {
        let mut bench = Bench::new(&[]);
        let sent = bench.send();
        let mut message = bench.message(sent, 1);
        change(&mut message);
        bench
            .checker
            .pushed(bench.now, bench.contact * 2, &message, Via::Push);
        let found: Vec<_> = bench
            .checker
            .violations()
            .iter()
            .map(|(k, n)| (*k, *n))
            .collect();
        assert_eq!(found, [(kind, 1)]);
    }
}

#[test]
fn sequences_are_without_gaps_and_unique() {
    for (seqs, kind) in [
        ([1, 3], Kind::SequenceMissing),
        ([2, 3], Kind::SequenceMissing),
        ([1, 1], Kind::SequenceReused),
        ([0, 1], Kind::SequenceDiffers),
    ] {
        let contact = Bench::new(&[]).contact;
        let mut bench = Bench::new(&[contact, 0]);
        for seq in seqs {
            let sent = bench.send();
            bench.ack(sent, seq);
        }
        bench.close();
        let kinds: Vec<_> = bench.checker.violations().keys().copied().collect();
        assert!(kinds.contains(&kind), "{seqs:?}: {kinds:?}");
    }
}

#[test]
fn history_holds_what_was_acknowledged_and_nothing_else() {
    for (seen, kind) in [
        (&[(0, 1)][..], Kind::HistoryMissing),
        (&[(1, 2)], Kind::HistoryMissing),
        (&[(0, 1), (1, 3)], Kind::HistoryMissing),
        (&[(1, 1), (0, 2)], Kind::HistoryDiffers),
        (&[(0, 1), (0, 2)], Kind::HistoryDiffers),
        (&[], Kind::HistoryMissing),
    ] {
        let mut bench = Bench::new(&[]);
        let sent = [bench.send(), bench.send()];
        for (message, seq) in sent.iter().zip(1..) {
            bench.ack(*message, seq);
            bench.push_all(*message, seq);
        }
        bench.close();
        let page: Vec<_> = seen
            .iter()
            .map(|(which, seq)| (sent[*which], *seq))
            .collect();
        bench.history(&page);
        let kinds: Vec<_> = bench.checker.violations().keys().copied().collect();
        assert!(kinds.contains(&kind), "{seen:?}: {kinds:?}");
    }
}
