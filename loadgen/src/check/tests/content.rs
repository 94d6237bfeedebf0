//! What messages, answers and history say.

use trunkline_proto::message::{HistoryReply, Message, SendReply};

use super::super::{Departure, Judge, Reading, Via, Violation};
use super::{Bench, SHAPES};

#[test]
fn lies_have_their_names() {
    type Lie = fn(&mut Bench, Departure);
    let cases: &[(Lie, Violation)] = &[
        (|b, m| b.ack(m, 9), Violation::SequenceDiffers),
        (
            |b, m| {
                b.ack(m, 1);
                b.ack(m, 1);
            },
            Violation::ReplyUnexpected,
        ),
        (
            |b, m| {
                b.ack(m, 1);
                b.refuse(m);
            },
            Violation::ReplyUnexpected,
        ),
        (
            |b, m| b.checker.refused(b.now, m.id ^ 0x0100_0000),
            Violation::ReplyUnexpected,
        ),
        (|b, m| b.refuse(m), Violation::Unexpected),
        (|b, m| b.push(b.sender(0), m, 1), Violation::Unexpected),
        (|b, m| b.push(b.outsider(), m, 1), Violation::Unexpected),
    ];
    for shape in SHAPES {
        for (i, (lie, violation)) in cases.iter().enumerate() {
            let mut bench = Bench::new(shape, &[]);
            let sent = bench.send();
            bench.push(bench.devices(1)[0], sent, 1);
            lie(&mut bench, sent);
            assert_eq!(bench.found(), [(*violation, 1)], "case {i}, {shape:?}");
        }
    }
}

#[test]
fn a_changed_message_is_noticed() {
    type Change = fn(&Bench, &mut Message<'static>);
    let cases: [(Change, Violation); 6] = [
        (
            |_, message| {
                let text = message.text.as_deref().expect("a text");
                message.text = Some(format!("{}#", &text[..text.len() - 1]).into());
            },
            Violation::TextChanged,
        ),
        (
            |bench, message| message.from = bench.user_name(1).into(),
            Violation::WrongConversation,
        ),
        (
            |_, message| message.from = "t1.0".into(),
            Violation::WrongConversation,
        ),
        (
            |_, message| message.conversation = "g:t1.g1".into(),
            Violation::WrongConversation,
        ),
        (
            |_, message| message.conversation = "u:t1.000000008:t1.000000009".into(),
            Violation::WrongConversation,
        ),
        (
            |_, message| message.conversation = "u:a:b".into(),
            Violation::WrongConversation,
        ),
    ];
    for shape in SHAPES {
        for (change, violation) in cases {
            // Whether it was the last message that the checker saw makes no difference.
            for last in [true, false] {
                let mut bench = Bench::new(shape, &[]);
                let (sent, other) = (bench.send(), bench.send());
                bench.ack(sent, 1);
                bench.ack(other, 2);
                let [device, next] = bench.devices(1);
                bench.push_all(sent, 1, &[device]);
                if !last {
                    bench.push(next, other, 2);
                }
                let mut message = bench.message(sent, 1);
                change(&bench, &mut message);
                bench.checker.pushed(bench.now, device, &message, Via::Push);
                let but = [next];
                bench.push_all(other, 2, if last { &[] } else { &but });
                assert!(bench.settled(), "it arrived all the same");
                let counters = bench.check(&[(violation, 1)]);
                assert_eq!(counters.delivered, 2);
                let text = u64::from(violation == Violation::TextChanged);
                assert_eq!(counters.unexpected, text);
                assert_eq!(bench.evidence()[0]["conversation"], bench.id());
            }
        }
    }
}

#[test]
fn what_nobody_sent_is_unexpected() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let sent = bench.send();
        bench.deliver(sent, 1, &[]);
        let mut never = sent;
        never.origin.counter = 2;
        let device = bench.devices(1)[0];
        bench.push(device, never, 2);
        for text in [Some("nobody sent this".into()), None] {
            let mut message = bench.message(sent, 2);
            message.text = text;
            bench.checker.pushed(bench.now, device, &message, Via::Push);
        }
        let counters = bench.check(&[(Violation::Unexpected, 3)]);
        assert_eq!(counters.unexpected, 3);
    }
}

#[test]
fn sequences_are_without_gaps_and_unique() {
    for shape in SHAPES {
        for (seqs, violation) in [
            ([1, 3], Violation::SequenceMissing),
            ([2, 3], Violation::SequenceMissing),
            ([1, 1], Violation::SequenceReused),
            ([0, 1], Violation::SequenceDiffers),
        ] {
            let all: Vec<_> = (0..20).collect();
            let mut bench = Bench::new(shape, &all);
            for seq in seqs {
                let sent = bench.send();
                bench.ack(sent, seq);
            }
            bench.close();
            let kinds = bench.kinds();
            assert!(kinds.contains(&violation), "{seqs:?}: {kinds:?}");
        }
    }
}

#[test]
fn a_send_without_an_answer_may_have_the_missing_sequence() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let [one, _, three] = [bench.send(), bench.send(), bench.send()];
        bench.deliver(one, 1, &[]);
        bench.deliver(three, 3, &[]);
        bench.close();
        let counters = bench.check(&[]);
        assert_eq!((counters.delivered, counters.unknown), (2, 1));
    }
}

#[test]
fn sequences_belong_to_one_message_each() {
    for shape in SHAPES {
        let all = Bench::new(shape, &[]).owed(0).len() as u64;
        // Two messages with these sequences in the answer and in pushes; what is found.
        for (acks, pushes, found) in [
            ([1, 2], [1, 2], &[][..]),
            (
                [1, 1],
                [1, 1],
                &[(Violation::Reordered, all), (Violation::SequenceReused, 1)],
            ),
            ([1, 3], [1, 3], &[(Violation::SequenceMissing, 1)]),
            (
                [1, 4],
                [1, 2],
                &[
                    (Violation::SequenceDiffers, 1),
                    (Violation::SequenceMissing, 1),
                ],
            ),
            ([1, 0], [1, 2], &[(Violation::SequenceDiffers, 1)]),
        ] {
            // Which of the two comes first makes no difference.
            for answer_first in [true, false] {
                let mut bench = Bench::new(shape, &[]);
                let both = [bench.send(), bench.send()];
                for (i, sent) in both.into_iter().enumerate() {
                    if answer_first {
                        bench.ack(sent, acks[i]);
                    }
                    bench.push_all(sent, pushes[i], &[]);
                    if !answer_first {
                        bench.ack(sent, acks[i]);
                    }
                }
                bench.close();
                bench.check(found);
            }
        }
    }
}

#[test]
fn answers_come_once_and_say_what_is() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let sent = bench.send();
        let reply = bench.reply(1);
        let wrong = SendReply {
            conversation: "g:t1.g1".into(),
            duplicate: true,
            ..bench.reply(1)
        };
        let answer = |bench: &mut Bench, reply: &SendReply<'_>| {
            bench.checker.acknowledged(bench.now, sent.id, reply)
        };
        assert!(answer(&mut bench, &wrong).is_some());
        assert_eq!(answer(&mut bench, &reply), None);
        bench.refuse(sent);
        bench.push_all(sent, 1, &[]);
        // By now it is over.
        assert_eq!(answer(&mut bench, &reply), None);
        bench.refuse(sent);
        bench.check(&[
            (Violation::WrongConversation, 1),
            (Violation::ReplyUnexpected, 5),
        ]);
    }
}

#[test]
fn a_refused_message_is_pushed_to_nobody() {
    for shape in SHAPES {
        for pushed in [false, true] {
            let mut bench = Bench::new(shape, &[]);
            let sent = bench.send();
            if pushed {
                bench.push(bench.devices(1)[1], sent, 1);
            }
            bench.refuse(sent);
            assert!(bench.settled());
            let unexpected = [(Violation::Unexpected, 1)];
            let counters = bench.check(if pushed { &unexpected } else { &[] });
            assert_eq!((counters.rejected, counters.delivered), (1, 0));
            assert!(!bench.checker.has_messages(bench.conversation));
        }
    }
}

#[test]
fn history_holds_what_was_acknowledged_and_nothing_else() {
    for shape in SHAPES {
        for (seen, violation) in [
            (&[(0, 1)][..], Violation::HistoryMissing),
            (&[(1, 2)], Violation::HistoryMissing),
            (&[(0, 1), (1, 3)], Violation::HistoryMissing),
            (&[(1, 1), (0, 2)], Violation::HistoryDiffers),
            (&[(0, 1), (0, 2)], Violation::HistoryDiffers),
            (&[], Violation::HistoryMissing),
        ] {
            let mut bench = Bench::new(shape, &[]);
            let sent = [bench.send(), bench.send()];
            for (message, seq) in sent.iter().zip(1..) {
                bench.deliver(*message, seq, &[]);
            }
            bench.close();
            let page = seen.iter().map(|(which, seq)| (sent[*which], *seq));
            bench.history(&page.collect::<Vec<_>>());
            let kinds = bench.kinds();
            assert!(kinds.contains(&violation), "{seen:?}: {kinds:?}");
        }
    }
}

#[test]
fn history_holds_exactly_what_was_acknowledged() {
    let (missing, differs) = (Violation::HistoryMissing, Violation::HistoryDiffers);
    for shape in SHAPES {
        for (order, found) in [
            (&[0, 1, 2][..], &[][..]),
            // Two of different senders, or of the same, in another order.
            (&[1, 0, 2], &[(missing, 1)]),
            (&[2, 1, 0], &[(missing, 1), (differs, 1)]),
            (&[0, 1], &[(missing, 1)]),
            (&[0, 1, 2, 2], &[(missing, 1), (differs, 1)]),
        ] {
            let mut bench = Bench::new(shape, &[]);
            let sent = [bench.send(), bench.send_from(1), bench.send()];
            for (seq, sent) in (1..).zip(sent) {
                bench.deliver(sent, seq, &[]);
            }
            bench.close();
            let page: Vec<_> = (1..).zip(order).map(|(seq, at)| (sent[*at], seq)).collect();
            bench.history(&page);
            bench.check(found);
        }
    }
}

#[test]
fn history_of_another_conversation_is_noticed() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let sent = bench.send();
        bench.deliver(sent, 1, &[]);
        bench.close();
        let next = (bench.conversation + 1) % bench.checker.roster().conversations();
        let page = HistoryReply {
            messages: vec![bench.message(sent, 1)],
            first: 1,
            last: 1,
            more: false,
        };
        let mut reading = Reading::new(next);
        bench.checker.read_back(bench.now, &mut reading, &page);
        bench.checker.read_whole(bench.now, &reading);
        bench.check(&[(Violation::HistoryDiffers, 1)]);
    }
}

#[test]
fn pages_lead_on_without_a_gap_and_with_the_right_texts() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let sent = [bench.send(), bench.send_from(1), bench.send()];
        for (seq, sent) in (1..).zip(sent) {
            bench.deliver(sent, seq, &[]);
        }
        bench.close();
        let mut reading = Reading::new(bench.conversation);
        let page = |bench: &Bench, from: usize| HistoryReply {
            messages: vec![bench.message(sent[from], from as u64 + 1)],
            first: 1,
            last: 3,
            more: false,
        };
        for from in 0..3 {
            let page = page(&bench, from);
            let more = bench.checker.read_back(bench.now, &mut reading, &page);
            assert_eq!(more, from < 2);
        }
        bench.checker.read_whole(bench.now, &reading);
        let mut again = Reading::new(bench.conversation);
        let mut wrong = page(&bench, 0);
        wrong.messages[0].text = Some("hello".into());
        bench.checker.read_back(bench.now, &mut again, &wrong);
        let mut wrong = page(&bench, 2);
        wrong.messages[0].from = "t1.000000000x".into();
        bench.checker.read_back(bench.now, &mut again, &wrong);
        bench.checker.not_readable(bench.now, &again, "no");
        bench.check(&[
            (Violation::WrongConversation, 1),
            // A page that begins after a gap, and a refused message.
            (Violation::HistoryMissing, 2),
            (Violation::HistoryDiffers, 1),
        ]);
    }
}
