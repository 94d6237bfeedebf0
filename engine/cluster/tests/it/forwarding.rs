//! Commands on their way to the leader, and answers on their way back.

use std::time::Duration;

use bytes::Bytes;
use trunkline_cluster::envelope::{Answers, Batch};
use trunkline_cluster::forward::{
    Full, GivenUp, Held, Lane, MAX_INCARNATIONS, RESEND, Taking, Verdict, WINDOW, Waiting,
};

use crate::made::life;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn command(len: usize) -> Bytes {
    vec![1; len].into()
}

/// Returns all batches to send now: the number of each, and those of its commands.
fn batches(waiting: &mut Waiting, most: usize, now: Duration) -> Vec<(u64, Vec<u64>)> {
    let mut all = Vec::new();
    while let Some((_, Batch { number, commands })) = waiting.poll(most, now) {
        let numbers = commands.into_iter().map(|command| command.number);
        all.push((number, numbers.collect()));
    }
    all
}

#[test]
fn lanes_send_again_what_is_not_confirmed() {
    let mut lane = Lane::default();
    assert_eq!(lane.poll(ms(0)), None);
    assert_eq!(lane.wake(), None);
    for item in ["one", "two", "three"] {
        lane.push(item).expect("room");
    }
    assert_eq!(lane.wake(), Some(ms(0)));
    let take = |lane: &mut Lane<&'static str>, now| {
        let mut all = Vec::new();
        while let Some((number, item)) = lane.poll(now) {
            all.push((number, *item));
        }
        all
    };
    assert_eq!(
        take(&mut lane, ms(0)),
        [(1, "one"), (2, "two"), (3, "three")]
    );
    assert_eq!(lane.wake(), Some(RESEND));
    assert_eq!(take(&mut lane, RESEND - ms(1)), []);
    // Receipts for what was never sent confirm nothing.
    lane.confirm(4);
    lane.confirm(u64::MAX);
    lane.confirm(1);
    lane.confirm(1);
    assert_eq!(take(&mut lane, RESEND), [(2, "two"), (3, "three")]);
    assert_eq!(lane.push("four"), Ok(4));
    assert_eq!(take(&mut lane, RESEND), [(4, "four")]);
    lane.confirm(4);
    assert_eq!(lane.poll(ms(9000)), None);
    assert_eq!(lane.wake(), None);
    for _ in 0..WINDOW {
        lane.push("more").expect("room");
    }
    assert_eq!(lane.push("too many"), Err("too many"));
    assert_eq!(lane.items().count(), WINDOW);
}

#[test]
fn commands_wait_for_an_epoch_and_go_in_batches() {
    let mut waiting = Waiting::new(100, 1000);
    for number in 1..=7 {
        assert_eq!(waiting.add(command(30)), Ok(number));
    }
    assert_eq!(batches(&mut waiting, 100, ms(0)), []);
    assert_eq!(waiting.wake(), None);
    waiting.begin(3);
    assert_eq!(waiting.wake(), Some(ms(0)));
    let sent = batches(&mut waiting, 100, ms(0));
    assert_eq!(
        sent,
        [
            (1, vec![1, 2]),
            (2, vec![3, 4]),
            (3, vec![5, 6]),
            (4, vec![7])
        ]
    );
    assert_eq!(waiting.wake(), Some(RESEND));
    // A command that is longer than a batch goes alone.
    waiting.add(command(500)).expect("room");
    waiting.add(command(1)).expect("room");
    assert_eq!(
        batches(&mut waiting, 100, ms(10)),
        [(5, vec![8]), (6, vec![9])]
    );
    // Batches stay what they are when they go again, less what was answered.
    waiting.confirm(3, 2);
    waiting.confirm(2, 6);
    assert!(waiting.answered(5));
    let again = [(3, vec![6]), (4, vec![7]), (5, vec![8]), (6, vec![9])];
    assert_eq!(batches(&mut waiting, 100, RESEND), again);
}

#[test]
fn what_waits_is_bounded() {
    let mut waiting = Waiting::new(3, 100);
    assert_eq!(waiting.room(), 100);
    assert_eq!(waiting.add(command(101)), Err(Full));
    for len in [60, 40] {
        waiting.add(command(len)).expect("room");
    }
    assert_eq!((waiting.room(), waiting.add(command(1))), (0, Err(Full)));
    // The first one holds the place of those behind it.
    assert!(waiting.answered(2));
    assert_eq!(waiting.room(), 40);
    waiting.add(command(1)).expect("room");
    assert_eq!((waiting.room(), waiting.add(command(0))), (0, Err(Full)));
    assert_eq!(waiting.len(), 2);
    assert!(waiting.answered(1));
    assert_eq!(waiting.room(), 99);
    assert!(waiting.answered(3));
    assert!(waiting.is_empty());
}

#[test]
fn a_command_is_answered_once() {
    let mut waiting = Waiting::new(100, 1000);
    for _ in 0..3 {
        waiting.add(command(1)).expect("room");
    }
    for number in [2, 1, 3] {
        assert!(waiting.answered(number));
        assert!(!waiting.answered(number), "{number} twice");
    }
    for never in [0, 4, u64::MAX] {
        assert!(!waiting.answered(never));
    }
    assert_eq!(waiting.add(command(1)), Ok(4));
}

#[test]
fn an_epoch_sends_again_what_is_not_answered() {
    let mut waiting = Waiting::new(100, 1000);
    waiting.begin(1);
    for _ in 0..5 {
        waiting.add(command(1)).expect("room");
    }
    assert_eq!(batches(&mut waiting, 100, ms(0)).len(), 1);
    // The leader has them, and a group answers two.
    waiting.confirm(1, 1);
    assert_eq!(batches(&mut waiting, 100, ms(5000)), []);
    assert!(waiting.answered(1) && waiting.answered(4));
    waiting.begin(2);
    assert_eq!(
        batches(&mut waiting, 20, ms(5000)),
        [(1, vec![2]), (2, vec![3]), (3, vec![5])]
    );
    // A receipt of the epoch before says nothing of this one.
    waiting.confirm(1, 3);
    assert_eq!(batches(&mut waiting, 20, ms(5000) + RESEND).len(), 3);
    waiting.confirm(2, 3);
    assert_eq!(batches(&mut waiting, 20, ms(9000)), []);
}

#[test]
fn a_command_that_is_given_up_before_it_was_sent_is_not_sent() {
    let mut waiting = Waiting::new(100, 1000);
    for _ in 0..3 {
        waiting.add(command(1)).expect("room");
    }
    assert!(waiting.answered(1) && waiting.answered(3));
    waiting.begin(1);
    assert_eq!(batches(&mut waiting, 100, ms(0)), [(1, vec![2])]);
    assert!(waiting.answered(2));
    assert_eq!(batches(&mut waiting, 100, ms(0)), []);
    waiting.add(command(1)).expect("room");
    assert_eq!(batches(&mut waiting, 100, ms(0)), [(2, vec![4])]);
}

#[test]
fn a_leader_takes_each_batch_once_and_in_order() {
    let mut taking = Taking::new(5);
    let (a, b) = (life("a", 1), life("b", 1));
    let check = |taking: &mut Taking, (epoch, from, number), wanted| {
        assert_eq!(
            taking.judge(epoch, from, number),
            wanted,
            "{epoch} {from} {number}"
        );
    };
    check(&mut taking, (4, a, 1), Verdict::Ignore);
    check(&mut taking, (6, a, 1), Verdict::Ignore);
    check(&mut taking, (5, a, 2), Verdict::Ignore);
    check(&mut taking, (5, a, 1), Verdict::Take);
    check(&mut taking, (5, a, 1), Verdict::Known);
    check(&mut taking, (5, a, 0), Verdict::Known);
    check(&mut taking, (5, a, 3), Verdict::Ignore);
    check(&mut taking, (5, a, 2), Verdict::Take);
    check(&mut taking, (5, b, 1), Verdict::Take);
    // Another life of a node has numbers of its own, and that of before stays known.
    let second = life("a", 2);
    check(&mut taking, (5, second, 1), Verdict::Take);
    check(&mut taking, (5, a, 1), Verdict::Known);
    check(&mut taking, (5, a, 3), Verdict::Take);
    assert_eq!(
        (
            taking.taken(a),
            taking.taken(second),
            taking.taken(life("c", 1))
        ),
        (3, 1, 0)
    );
    for number in 0..MAX_INCARNATIONS as u64 - 3 {
        check(&mut taking, (5, life("c", number), 1), Verdict::Take);
    }
    check(&mut taking, (5, life("d", 1), 1), Verdict::Renew);
    check(&mut taking, (5, b, 2), Verdict::Take);
}

#[test]
fn a_node_that_does_not_confirm_answers_is_not_served() {
    let mut taking = Taking::new(5);
    let (a, b) = (life("a", 1), life("b", 1));
    assert_eq!(taking.answer(a, 0, command(1)), Err(GivenUp));
    for node in [a, b] {
        assert_eq!(taking.judge(5, node, 1), Verdict::Take);
    }
    for after in 0..WINDOW as u64 {
        assert_eq!(taking.answer(a, after, command(1)), Ok(()));
    }
    assert_eq!(taking.judge(5, a, 2), Verdict::Ignore);
    assert_eq!(taking.judge(5, b, 2), Verdict::Take);
    taking.confirm(4, a, 5);
    assert_eq!(taking.judge(5, a, 2), Verdict::Ignore);
    taking.confirm(5, a, 1);
    assert_eq!(taking.judge(5, a, 2), Verdict::Take);
    // It is given up when answers to what was taken find no room.
    assert_eq!(taking.answer(a, 99, command(1)), Ok(()));
    assert_eq!(taking.answer(a, 99, command(1)), Err(GivenUp));
    assert_eq!(taking.poll(ms(0)), None);
    assert_eq!(taking.judge(5, a, 2), Verdict::Known);
    assert_eq!(taking.judge(5, a, 3), Verdict::Renew);
    // A node whose heartbeats ended, and which comes back.
    assert!(taking.is_given_up(a) && !taking.is_given_up(b) && !taking.is_given_up(life("c", 1)));
    taking.give_up(b);
    assert!(taking.is_given_up(b));
    assert_eq!(taking.answer(b, 99, command(1)), Err(GivenUp));
    assert_eq!(taking.judge(5, b, 3), Verdict::Renew);
}

#[test]
fn answers_hold_after_their_group_and_in_their_epoch() {
    let mut taking = Taking::new(5);
    let node = life("b", 9);
    taking.judge(5, node, 1);
    for (after, byte) in [(7, b"x"), (7, b"y"), (9, b"z")] {
        taking
            .answer(node, after, Bytes::from_static(byte))
            .expect("room");
    }
    let mut sent = Vec::new();
    while let Some((to, answers)) = taking.poll(ms(0)) {
        assert_eq!((to, answers.to), (node, 9));
        sent.push(answers);
    }
    assert_eq!(taking.wake(), Some(RESEND));
    let mut held = Held::default();
    // The node has not taken the epoch's record yet.
    assert_eq!(held.add(5, &sent[0]), None);
    assert_eq!(held.poll(99), None);
    held.begin(5);
    held.add(5, &sent[1]);
    assert_eq!(held.poll(99), None, "the first one is missing");
    for answers in [&sent[0], &sent[0], &sent[2], &sent[1], &sent[2]] {
        assert_eq!(held.add(5, answers), None);
    }
    held.add(
        4,
        &Answers {
            number: 4,
            ..sent[0].clone()
        },
    );
    let take = |held: &mut Held, index| held.poll(index).map(|(number, bytes)| (number, bytes[0]));
    assert_eq!(take(&mut held, 6), None);
    assert_eq!(take(&mut held, 7), Some((1, b'x')));
    assert_eq!(take(&mut held, 7), Some((2, b'y')));
    assert_eq!(take(&mut held, 8), None);
    // The receipt was lost: it goes again, and the answers do not count twice.
    assert_eq!(held.add(5, &sent[0]), Some(2));
    assert_eq!(take(&mut held, 9), Some((3, b'z')));
    assert_eq!(take(&mut held, 9), None);
    // What waits for a group of an epoch that ended never holds.
    held.add(
        5,
        &Answers {
            number: 4,
            ..sent[0].clone()
        },
    );
    held.begin(6);
    assert_eq!(take(&mut held, 99), None);
    assert_eq!(held.add(6, &sent[0]), None);
    assert_eq!(take(&mut held, 7), Some((1, b'x')));
    for number in 2..100 {
        held.add(
            6,
            &Answers {
                number,
                ..sent[0].clone()
            },
        );
    }
    let mut count = 0;
    while held.poll(99).is_some() {
        count += 1;
    }
    assert_eq!(count, WINDOW);
}
