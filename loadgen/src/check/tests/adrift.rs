//! Sends whose session broke before the answer.

use trunkline_proto::message::SendReply;

use super::super::{Departure, Kind, Reading};
use super::{Bench, STREAM};
use crate::clock::SECOND;
use crate::schedule::Arrival;

/// The device that the bench sends from, and the sender's other one.
const SENDER: u32 = 0;
const OTHER: u32 = 1;

impl Bench {
    fn send_keyed(&mut self) -> Departure {
        self.now += 1_000_000;
        let arrival = Arrival {
            stream: STREAM,
            keyed: true,
        };
        let sent = self.checker.depart(self.now, arrival, self.now, SENDER);
        sent.expect("there is room")
    }

    fn breaks(&mut self) {
        self.checker.away(SENDER, true);
    }

    fn comes_back(&mut self) {
        self.now += 1_000_000;
        self.checker.back(self.now, SENDER);
    }

    /// What is sent again now.
    fn again(&mut self) -> Vec<Departure> {
        let all = std::iter::from_fn(|| self.checker.send_again(SENDER));
        let all = all.map(|again| Departure {
            id: again.id,
            origin: again.origin,
        });
        all.collect()
    }

    fn ack_as(&mut self, sent: Departure, seq: u64, duplicate: bool) {
        let reply = SendReply {
            conversation: self.conversation().into(),
            seq,
            pos: "p".into(),
            time: 1,
            duplicate,
        };
        self.checker.acknowledged(self.now, sent.id, &reply);
    }
}

#[test]
fn whoever_was_pushed_it_tells_that_it_is_stored() {
    for pushed_before in [true, false] {
        let mut bench = Bench::new(&[]);
        let sent = bench.send();
        if pushed_before {
            bench.push_all(sent, 1);
        }
        bench.breaks();
        if !pushed_before {
            bench.push_all(sent, 1);
        }
        bench.comes_back();
        assert!(bench.checker.settled());
        bench.close();
        bench.history(&[(sent, 1)]);
        let counters = bench.check(&[]);
        assert_eq!(counters.delivered, 1);
        assert_eq!(counters.unknown_then_delivered, 1);
        assert_eq!((counters.acknowledged, counters.unknown), (0, 0));
    }
}

#[test]
fn a_message_to_nobody_is_proven_by_catching_up_or_history_or_not_at_all() {
    let contact = Bench::new(&[]).contact;
    for (echo, in_history) in [(true, true), (false, true), (false, false)] {
        // The sender's other device has none either: it is gone.
        let mut bench = Bench::new(&[contact]);
        bench.checker.gone(OTHER);
        let sent = bench.send();
        bench.breaks();
        bench.comes_back();
        if echo {
            bench.push(SENDER, sent, 1);
        }
        assert_eq!(bench.checker.settled(), echo);
        let (now, later) = (bench.now, bench.now + 10 * SECOND);
        assert!(echo || !bench.checker.only_doubts(now));
        assert!(bench.checker.only_doubts(later));
        bench.close();
        let page = [(sent, 1)];
        bench.history(&page[..usize::from(in_history)]);
        let counters = bench.check(&[]);
        assert_eq!(counters.unknown_then_delivered, u64::from(in_history));
        assert_eq!(counters.delivered, u64::from(in_history));
        assert_eq!(counters.unknown, u64::from(!in_history));
        assert_eq!(counters.unknown_excused, u64::from(!in_history));
    }
}

#[test]
fn a_key_is_sent_again_once_for_each_break() {
    for duplicate in [true, false] {
        let mut bench = Bench::new(&[]);
        let (one, two) = (bench.send_keyed(), bench.send());
        let three = bench.send_keyed();
        assert!(bench.again().is_empty());
        bench.breaks();
        bench.comes_back();
        let again = bench.again();
        let ids: Vec<_> = again.iter().map(|it| it.id).collect();
        assert_eq!(ids, [one.id, three.id]);
        assert_eq!(again[0].origin, one.origin);
        assert!(bench.again().is_empty());
        bench.ack_as(one, 1, duplicate);
        // Once more for what is still without an answer.
        bench.breaks();
        bench.comes_back();
        let ids: Vec<_> = bench.again().iter().map(|it| it.id).collect();
        assert_eq!(ids, [three.id]);
        bench.ack_as(three, 3, duplicate);
        for (seq, sent) in [(1, one), (2, two), (3, three)] {
            bench.push_all(sent, seq);
        }
        assert!(bench.checker.settled());
        bench.close();
        bench.history(&[(one, 1), (two, 2), (three, 3)]);
        let counters = bench.check(&[]);
        assert_eq!((counters.resent, counters.delivered), (3, 3));
        assert_eq!(counters.duplicates_answered, u64::from(duplicate) * 2);
        assert_eq!(counters.unknown_then_delivered, 1);
    }
}

#[test]
fn a_duplicate_of_what_was_never_stored_is_a_loss() {
    let mut bench = Bench::new(&[]);
    let sent = bench.send_keyed();
    bench.breaks();
    bench.comes_back();
    assert_eq!(bench.again().len(), 1);
    bench.ack_as(sent, 1, true);
    bench.close();
    bench.history(&[]);
    let counters = bench.check(&[(Kind::Lost, 1), (Kind::HistoryMissing, 1)]);
    assert_eq!((counters.acknowledged, counters.lost), (1, 1));
}

#[test]
fn who_sent_once_is_not_told_of_a_duplicate() {
    let mut bench = Bench::new(&[]);
    let sent = bench.send_keyed();
    bench.push_all(sent, 1);
    bench.ack_as(sent, 1, true);
    bench.check(&[(Kind::ReplyUnexpected, 1)]);
}

#[test]
fn what_is_refused_the_second_time_may_be_stored_all_the_same() {
    for stored in [true, false] {
        let mut bench = Bench::new(&[]);
        let sent = bench.send_keyed();
        bench.breaks();
        bench.comes_back();
        assert_eq!(bench.again().len(), 1);
        bench.checker.refused(bench.now, sent.id);
        if stored {
            bench.push_all(sent, 1);
        }
        bench.close();
        let page = [(sent, 1)];
        bench.history(&page[..usize::from(stored)]);
        let counters = bench.check(&[]);
        assert_eq!(counters.unknown_then_delivered, u64::from(stored));
        assert_eq!(counters.unknown, u64::from(!stored));
    }
}

#[test]
fn own_messages_come_behind_a_reconnect_and_only_there() {
    let (twice, unasked) = (Kind::Duplicated, Kind::Unexpected);
    // How often the sender is told before its session breaks and behind that.
    for (before, behind, violations) in [
        (0, 0, &[][..]),
        (0, 1, &[]),
        (0, 2, &[(twice, 1)]),
        (1, 0, &[(unasked, 1)]),
        (1, 1, &[(twice, 1), (unasked, 1)]),
    ] {
        let mut bench = Bench::new(&[]);
        let sent = bench.send();
        bench.ack(sent, 1);
        for _ in 0..before {
            bench.push(SENDER, sent, 1);
        }
        bench.breaks();
        bench.push_all(sent, 1);
        bench.comes_back();
        for _ in 0..behind {
            bench.push(SENDER, sent, 1);
        }
        bench.close();
        bench.history(&[(sent, 1)]);
        bench.check(violations);
    }
}

#[test]
fn other_sequences_behind_a_reconnect_are_seen() {
    let mut bench = Bench::new(&[]);
    let sent = bench.send();
    bench.push_all(sent, 1);
    let later = bench.send();
    bench.breaks();
    bench.comes_back();
    bench.push(SENDER, later, 3);
    bench.push_all(later, 2);
    bench.close();
    bench.check(&[(Kind::SequenceDiffers, 1), (Kind::SequenceMissing, 1)]);
}

#[test]
fn what_is_stored_is_owed_to_those_who_are_there_answered_or_not() {
    for pushed in [true, false] {
        let mut bench = Bench::new(&[]);
        let sent = bench.send();
        bench.breaks();
        bench.comes_back();
        if pushed {
            bench.push(OTHER, sent, 1);
        }
        bench.close();
        bench.history(&[(sent, 1)]);
        assert_eq!(bench.checker.still_owed(), !pushed);
        let counters = bench.check(&[(Kind::Lost, 1)]);
        assert_eq!(counters.lost, 1);
    }
    // What comes while history is read is in time.
    let mut bench = Bench::new(&[]);
    let sent = bench.send();
    bench.breaks();
    bench.comes_back();
    bench.close();
    bench.history(&[(sent, 1)]);
    bench.push_all(sent, 1);
    assert!(!bench.checker.still_owed());
    let counters = bench.check(&[]);
    assert_eq!(counters.delivered, 1);
    assert_eq!(counters.unknown_then_delivered, 1);
}

#[test]
fn a_conversation_that_nobody_knows_may_be_one_of_what_was_never_stored() {
    for (stored, violations) in [
        (false, &[][..]),
        (true, &[(Kind::Lost, 1), (Kind::HistoryMissing, 1)]),
    ] {
        let mut bench = Bench::new(&[]);
        let sent = bench.send_keyed();
        if stored {
            bench.ack(sent, 1);
        } else {
            bench.breaks();
        }
        bench.close();
        let conversation = bench.checker.part.conversation(STREAM);
        let reading = Reading::new(conversation);
        bench.checker.not_known(bench.now, &reading, "102");
        let counters = bench.check(violations);
        assert_eq!(counters.unknown, u64::from(!stored));
        assert_eq!(counters.conversations_read, u64::from(!stored));
    }
}

#[test]
fn a_doubt_excuses_no_other_message() {
    // Two are answered, the third is adrift and was never stored.
    for (lost, violations) in [
        (None, &[][..]),
        (Some(1), &[(Kind::HistoryMissing, 1)]),
        (Some(0), &[(Kind::HistoryMissing, 2)]),
    ] {
        let mut bench = Bench::new(&[]);
        let mut sent: Vec<_> = (1..=2)
            .map(|seq| {
                let sent = bench.send();
                bench.ack(sent, seq);
                bench.push_all(sent, seq);
                (sent, seq)
            })
            .collect();
        bench.send();
        bench.breaks();
        bench.comes_back();
        bench.close();
        if let Some(at) = lost {
            sent.remove(at);
        }
        bench.history(&sent);
        let counters = bench.check(violations);
        assert_eq!((counters.unknown, counters.delivered), (1, 2));
    }
}

#[test]
fn who_never_comes_back_sends_nothing_again() {
    let mut bench = Bench::new(&[]);
    let (sent, never) = (bench.send_keyed(), bench.send_keyed());
    bench.breaks();
    bench.push_all(sent, 1);
    bench.checker.gone(SENDER);
    assert!(bench.again().is_empty());
    bench.close();
    bench.history(&[(sent, 1)]);
    assert_eq!(never.origin.counter, 2);
    let counters = bench.check(&[]);
    assert_eq!((counters.delivered, counters.unknown), (1, 1));
    assert_eq!(counters.unknown_excused, 1);
}
