//! What messages in groups say, and their sequences.

use trunkline_proto::message::HistoryReply;

use super::super::super::{Kind, Reading, Via};
use super::{Bench, GROUP};

/// A message is pushed to everybody, to one device with a change; what is found.
#[track_caller]
fn changed(change: impl Fn(&mut trunkline_proto::message::Message<'static>), kind: Kind) {
    // Whether it was the last that the checker saw makes no difference.
    for last in [true, false] {
        let mut bench = Bench::new(&[]);
        let sent = bench.send();
        let other = bench.send();
        bench.ack(sent, 1);
        bench.ack(other, 2);
        let device = bench.devices(GROUP, 1)[0];
        bench.push_all(sent, 1, &[device]);
        if !last {
            let [own, _] = bench.devices(GROUP, 4);
            bench.push(own, other, 2);
        }
        let mut message = bench.message(sent, 1);
        change(&mut message);
        bench.checker.pushed(bench.now, device, &message, Via::Push);
        let but = [bench.devices(GROUP, 4)[0]];
        bench.push_all(other, 2, if last { &[] } else { &but });
        assert!(bench.checker.settled(), "it arrived all the same");
        let counters = bench.check(&[(kind, 1)]);
        assert_eq!(counters.delivered, 2);
        let text = u64::from(kind == Kind::TextChanged);
        assert_eq!(counters.unexpected, text);
        assert_eq!(bench.evidence()[0]["conversation"], bench.conversation());
    }
}

#[test]
fn a_changed_message_is_noticed() {
    changed(
        |message| {
            let text = message.text.as_deref().expect("a text");
            message.text = Some(format!("{}#", &text[..text.len() - 1]).into());
        },
        Kind::TextChanged,
    );
    changed(
        |message| message.from = "t1.000000009".into(),
        Kind::WrongConversation,
    );
    changed(
        |message| message.conversation = "g:t1.g1".into(),
        Kind::WrongConversation,
    );
    changed(
        |message| message.conversation = "u:t1.000000000:t1.000000001".into(),
        Kind::WrongConversation,
    );
}

#[test]
fn what_nobody_sent_is_unexpected() {
    let mut bench = Bench::new(&[]);
    let sent = bench.send();
    bench.ack(sent, 1);
    bench.push_all(sent, 1, &[]);
    let mut never = sent;
    never.origin.counter = 2;
    bench.push(bench.devices(GROUP, 1)[0], never, 2);
    let mut message = bench.message(sent, 2);
    message.text = Some("hello".into());
    bench.checker.pushed(bench.now, 0, &message, Via::Push);
    let counters = bench.check(&[(Kind::Unexpected, 2)]);
    assert_eq!(counters.unexpected, 2);
}

#[test]
fn sequences_belong_to_one_message_each() {
    // Two messages with these sequences in the answer and in pushes; what is found.
    for (acks, pushes, found) in [
        ([1, 2], [1, 2], &[][..]),
        (
            [1, 1],
            [1, 1],
            &[(Kind::Reordered, 9), (Kind::SequenceReused, 1)],
        ),
        ([1, 3], [1, 3], &[(Kind::SequenceMissing, 1)]),
        (
            [1, 4],
            [1, 2],
            &[(Kind::SequenceDiffers, 1), (Kind::SequenceMissing, 1)],
        ),
        ([1, 0], [1, 2], &[(Kind::SequenceDiffers, 1)]),
    ] {
        // Which of the two comes first makes no difference.
        for answer_first in [true, false] {
            let mut bench = Bench::new(&[]);
            let (one, two) = (bench.send(), bench.send());
            for (i, sent) in [one, two].into_iter().enumerate() {
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

#[test]
fn answers_come_once_and_say_what_is() {
    let mut bench = Bench::new(&[]);
    let sent = bench.send();
    let reply = bench.reply(1);
    let wrong = trunkline_proto::message::SendReply {
        conversation: "g:t1.g1".into(),
        duplicate: true,
        ..bench.reply(1)
    };
    assert!(
        bench
            .checker
            .acknowledged(bench.now, sent.id, &wrong)
            .is_some()
    );
    assert_eq!(bench.checker.acknowledged(bench.now, sent.id, &reply), None);
    bench.checker.refused(bench.now, sent.id);
    bench.push_all(sent, 1, &[]);
    // By now it is over.
    assert_eq!(bench.checker.acknowledged(bench.now, sent.id, &reply), None);
    bench.checker.refused(bench.now, sent.id);
    bench.check(&[(Kind::WrongConversation, 1), (Kind::ReplyUnexpected, 5)]);
}

#[test]
fn a_refused_message_is_pushed_to_nobody() {
    for pushed in [false, true] {
        let mut bench = Bench::new(&[]);
        let sent = bench.send();
        if pushed {
            bench.push(bench.devices(GROUP, 1)[1], sent, 1);
        }
        bench.checker.refused(bench.now, sent.id);
        assert!(bench.checker.settled());
        let unexpected = [(Kind::Unexpected, 1)];
        let counters = bench.check(if pushed { &unexpected } else { &[] });
        assert_eq!((counters.rejected, counters.delivered), (1, 0));
        assert!(
            !bench
                .checker
                .has_messages(bench.checker.part.conversations() as u32)
        );
    }
}

#[test]
fn history_holds_exactly_what_was_acknowledged() {
    let messages = |order: &[usize]| {
        let mut bench = Bench::new(&[]);
        let sent = [bench.send(), bench.send_from(1), bench.send()];
        for (seq, sent) in (1..).zip(sent) {
            bench.ack(sent, seq);
            bench.push_all(sent, seq, &[]);
        }
        bench.close();
        let page: Vec<_> = (1..).zip(order).map(|(seq, at)| (sent[*at], seq)).collect();
        bench.history(&page);
        bench
    };
    messages(&[0, 1, 2]).check(&[]);
    // Two of different senders, or of the same, in another order.
    messages(&[1, 0, 2]).check(&[(Kind::HistoryMissing, 1)]);
    messages(&[2, 1, 0]).check(&[(Kind::HistoryMissing, 1), (Kind::HistoryDiffers, 1)]);
    messages(&[0, 1]).check(&[(Kind::HistoryMissing, 1)]);
    messages(&[0, 1, 2, 2]).check(&[(Kind::HistoryMissing, 1), (Kind::HistoryDiffers, 1)]);
}

#[test]
fn pages_lead_on_without_a_gap_and_with_the_right_texts() {
    let mut bench = Bench::new(&[]);
    let sent = [bench.send(), bench.send_from(1), bench.send()];
    for (seq, sent) in (1..).zip(sent) {
        bench.ack(sent, seq);
        bench.push_all(sent, seq, &[]);
    }
    bench.close();
    let group = bench.checker.part.conversations() as u32 + GROUP;
    let mut reading = Reading::new(group);
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
    let mut again = Reading::new(group);
    let mut wrong = page(&bench, 0);
    wrong.messages[0].text = Some("hello".into());
    bench.checker.read_back(bench.now, &mut again, &wrong);
    let mut wrong = page(&bench, 2);
    wrong.messages[0].from = "t1.000000000x".into();
    bench.checker.read_back(bench.now, &mut again, &wrong);
    bench.checker.not_readable(bench.now, &again, "no");
    bench.check(&[
        (Kind::WrongConversation, 1),
        // A page that begins behind a gap, and one that was refused.
        (Kind::HistoryMissing, 2),
        (Kind::HistoryDiffers, 1),
    ]);
}
