//! Sends in groups whose session broke before their answer came.

use super::super::super::Kind;
use super::{Bench, GroupDeparture};

/// The first member sends, with a key or without, and its session breaks and comes back.
fn broken(keyed: bool) -> (Bench, GroupDeparture) {
    let mut bench = Bench::new(&[]);
    bench.keyed = keyed;
    let sent = bench.send();
    let sender = bench.sender(0);
    bench.checker.away(sender, true);
    bench.now += 1_000_000;
    bench.checker.back(bench.now, sender);
    (bench, sent)
}

#[test]
fn a_key_is_sent_again_once_for_each_break() {
    for duplicate in [true, false] {
        let (mut bench, sent) = broken(true);
        let sender = bench.sender(0);
        for _ in 0..2 {
            let again = bench.checker.send_again_in_group(sender);
            let again = again.expect("it may not be stored");
            assert_eq!((again.id, again.origin), (sent.id, sent.origin));
            assert!(bench.checker.send_again_in_group(sender).is_none());
            bench.checker.away(sender, false);
            bench.now += 1;
            bench.checker.back(bench.now, sender);
        }
        bench.checker.send_again_in_group(sender).expect("again");
        bench.push_all(sent, 1, &[]);
        assert!(!bench.checker.settled(), "it will be answered");
        let mut reply = bench.reply(1);
        reply.duplicate = duplicate;
        bench.checker.acknowledged(bench.now, sent.id, &reply);
        assert!(bench.checker.settled());
        bench.close();
        bench.history(&[(sent, 1)]);
        let c = bench.check(&[]);
        let expected = (1, 3, u64::from(duplicate));
        assert_eq!((c.delivered, c.resent, c.duplicates_answered), expected);
    }
}

#[test]
fn what_is_sent_again_keeps_its_order() {
    let mut bench = Bench::new(&[]);
    bench.keyed = true;
    let sender = bench.sender(0);
    let done = bench.send();
    let second = bench.send();
    // The first one's place is free for the third.
    bench.push_all(done, 1, &[]);
    let reply = bench.reply(1);
    bench.checker.acknowledged(bench.now, done.id, &reply);
    let third = bench.send();
    bench.checker.away(sender, true);
    bench.now += 1_000_000;
    bench.checker.back(bench.now, sender);
    let again = std::iter::from_fn(|| bench.checker.send_again_in_group(sender));
    let again: Vec<_> = again.map(|it| it.origin).collect();
    assert_eq!(again, [second.origin, third.origin]);
}

#[test]
fn pushes_tell_that_it_was_stored() {
    // All but the sender's own push, or that alone.
    for echo in [false, true] {
        let (mut bench, sent) = broken(false);
        let sender = bench.sender(0);
        assert!(bench.checker.send_again_in_group(sender).is_none());
        bench.push_all(sent, 1, &[]);
        if echo {
            bench.push(sender, sent, 1);
        }
        assert!(bench.checker.settled());
        bench.close();
        bench.history(&[(sent, 1)]);
        let c = bench.check(&[]);
        assert_eq!(
            (c.delivered, c.unknown_then_delivered, c.unknown),
            (1, 1, 0)
        );
    }
    let (mut bench, sent) = broken(false);
    let (sender, [other, _]) = (bench.sender(0), bench.devices(super::GROUP, 1));
    bench.push(sender, sent, 1);
    bench.push_all(sent, 1, &[other]);
    assert!(!bench.checker.settled());
    bench.close();
    bench.history(&[(sent, 1)]);
    assert_eq!(bench.check(&[(Kind::Lost, 1)]).lost, 1);
    let detail = bench.evidence()[0]["detail"].to_string();
    assert!(detail.contains("stored, without an answer,"), "{detail}");
}

#[test]
fn history_tells_what_no_push_does() {
    for (in_history, there) in [(false, true), (true, true), (true, false)] {
        let (mut bench, sent) = broken(false);
        if !there {
            let owed = bench.owed(0);
            owed.into_iter()
                .for_each(|device| bench.checker.gone(device));
        }
        bench.close();
        let page = [(sent, 1)];
        bench.history(&page[..usize::from(in_history)]);
        assert_eq!(bench.checker.still_owed(), in_history && there);
        // Who is there and was not told has lost it; who is gone has not.
        let lost = u64::from(in_history && there);
        let violations = [(Kind::Lost, 1)];
        let c = bench.check(&violations[..lost as usize]);
        let unknown = u64::from(!in_history);
        assert_eq!(
            (c.unknown, c.unknown_excused, c.lost),
            (unknown, unknown, lost)
        );
        assert_eq!(c.recovered, u64::from(!there));
    }
}

#[test]
fn doubts_are_all_that_is_left() {
    let (mut bench, sent) = broken(false);
    let late = bench.now + 10_000_000_000;
    assert!(bench.checker.only_doubts(late));
    bench.push(bench.devices(super::GROUP, 1)[0], sent, 1);
    assert!(
        !bench.checker.only_doubts(late),
        "now it is owed to the others"
    );
    bench.push_all(sent, 1, &[bench.devices(super::GROUP, 1)[0]]);
    assert!(bench.checker.only_doubts(late));
    let next = bench.send();
    bench.push_all(next, 2, &[]);
    assert!(!bench.checker.only_doubts(late), "it will be answered");
    bench.ack(next, 2);
    assert!(bench.checker.only_doubts(late));
}

#[test]
fn who_gives_up_sends_nothing_again() {
    let (mut bench, sent) = broken(true);
    bench.push_all(sent, 1, &[]);
    bench.close();
    assert!(bench.checker.send_again_in_group(bench.sender(0)).is_none());
    let c = bench.check(&[]);
    assert_eq!((c.unknown_then_delivered, c.resent), (1, 0));
}

#[test]
fn a_second_sending_that_is_refused_says_nothing_of_the_first() {
    let (mut bench, sent) = broken(true);
    let sender = bench.sender(0);
    bench.checker.send_again_in_group(sender).expect("again");
    bench.checker.refused(bench.now, sent.id);
    bench.push_all(sent, 1, &[]);
    bench.close();
    let c = bench.check(&[]);
    assert_eq!((c.rejected, c.delivered, c.command_errors), (0, 1, 1));
}
