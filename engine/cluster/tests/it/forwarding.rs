//! Commands on their way to the leader, and answers on their way back.

use std::time::Duration;

use bytes::Bytes;
use trunkline_cluster::Incarnation;
use trunkline_cluster::envelope::{Answers, Batch};
use trunkline_cluster::forward::{
    FRESH, Held, Lane, MAX_ANSWERS, MAX_ANSWERS_OF_NODE, MAX_COMMAND, MAX_INCARNATIONS, NoRoom,
    NotAdded, RECEIPT, RESEND, Taking, Verdict, WINDOW, Waiting,
};

use crate::made::life;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn command(len: usize) -> Bytes {
    vec![1; len].into()
}

/// Adds a command that waits for long.
fn add(waiting: &mut Waiting, len: usize) -> Result<u64, NotAdded> {
    waiting.add(command(len), ms(1_000_000))
}

/// Begins an epoch whose leader is heard at once.
fn begin(waiting: &mut Waiting, epoch: u64) {
    assert!(waiting.begin(epoch, ms(0)).is_empty());
    waiting.heard(epoch, 1);
}

/// Judges a batch that has just been sent.
fn judge(taking: &mut Taking, epoch: u64, from: Incarnation, number: u64) -> Verdict {
    let batch = Batch {
        number,
        beat: 1,
        commands: Vec::new(),
    };
    taking.judge(epoch, from, &batch, Some(ms(1)), ms(0))
}

/// Returns all receipts to send now, by node.
fn receipts(taking: &mut Taking, now: Duration) -> Vec<(Incarnation, u64)> {
    let mut all = Vec::new();
    while let Some((_, to, number)) = taking.poll_receipt(now) {
        all.push((to, number));
    }
    all.sort_unstable();
    all
}

/// Returns all batches to send now: the number of each, and those of its commands.
fn batches(waiting: &mut Waiting, most: usize, now: Duration) -> Vec<(u64, Vec<u64>)> {
    let mut all = Vec::new();
    while let Some((
        _,
        Batch {
            number, commands, ..
        },
    )) = waiting.poll(most, now)
    {
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
    // Only the first one goes again, until it is confirmed: then all others do.
    assert_eq!(take(&mut lane, RESEND), [(2, "two")]);
    assert_eq!(lane.push("four"), Ok(4));
    assert_eq!(take(&mut lane, RESEND), []);
    assert_eq!(lane.wake(), Some(2 * RESEND));
    assert_eq!(take(&mut lane, 2 * RESEND), [(2, "two")]);
    lane.confirm(2);
    assert_eq!(lane.wake(), Some(ms(0)));
    let others = [(3, "three"), (4, "four")];
    assert_eq!(take(&mut lane, 2 * RESEND), others);
    assert_eq!(lane.last(), Some(4));
    lane.confirm(4);
    assert_eq!(lane.poll(ms(9000)), None);
    assert_eq!(lane.last(), None);
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
        assert_eq!(add(&mut waiting, 30), Ok(number));
    }
    assert_eq!(batches(&mut waiting, 100, ms(0)), []);
    assert_eq!(
        waiting.wake(),
        Some(ms(1_000_000)),
        "they are given up then"
    );
    begin(&mut waiting, 3);
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
    add(&mut waiting, 500).expect("room");
    add(&mut waiting, 1).expect("room");
    assert_eq!(
        batches(&mut waiting, 100, ms(10)),
        [(5, vec![8]), (6, vec![9])]
    );
    // Batches stay what they are when they go again, less what was answered.
    waiting.confirm(3, 2);
    waiting.confirm(2, 6);
    assert!(waiting.answered(5));
    let now = ms(10) + RESEND;
    assert_eq!(batches(&mut waiting, 100, now), [(3, vec![6])]);
    waiting.confirm(3, 3);
    let again = [(4, vec![7]), (5, vec![8]), (6, vec![9])];
    assert_eq!(batches(&mut waiting, 100, now), again);
}

#[test]
fn what_waits_is_bounded() {
    let mut waiting = Waiting::new(3, 100);
    assert_eq!(waiting.room(), 100);
    assert_eq!(add(&mut waiting, 101), Err(NotAdded::Full));
    for len in [60, 40] {
        add(&mut waiting, len).expect("room");
    }
    assert_eq!(
        (waiting.room(), add(&mut waiting, 1)),
        (0, Err(NotAdded::Full))
    );
    // The first one holds the place of those behind it.
    assert!(waiting.answered(2));
    assert_eq!(waiting.room(), 40);
    add(&mut waiting, 1).expect("room");
    assert_eq!(
        (waiting.room(), add(&mut waiting, 0)),
        (0, Err(NotAdded::Full))
    );
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
        add(&mut waiting, 1).expect("room");
    }
    for number in [2, 1, 3] {
        assert!(waiting.answered(number));
        assert!(!waiting.answered(number), "{number} twice");
    }
    for never in [0, 4, u64::MAX] {
        assert!(!waiting.answered(never));
    }
    assert_eq!(waiting.wake(), None, "nothing is left to be given up");
    assert_eq!(add(&mut waiting, 1), Ok(4));
}

#[test]
fn an_epoch_sends_again_what_is_not_answered() {
    let mut waiting = Waiting::new(100, 1000);
    begin(&mut waiting, 1);
    for _ in 0..5 {
        add(&mut waiting, 1).expect("room");
    }
    assert_eq!(batches(&mut waiting, 100, ms(0)).len(), 1);
    // The leader has them, and a group answers two.
    waiting.confirm(1, 1);
    assert_eq!(batches(&mut waiting, 100, ms(5000)), []);
    assert!(waiting.answered(1) && waiting.answered(4));
    begin(&mut waiting, 2);
    assert_eq!(
        batches(&mut waiting, 20, ms(5000)),
        [(1, vec![2]), (2, vec![3]), (3, vec![5])]
    );
    // A receipt of the epoch before says nothing of this one.
    waiting.confirm(1, 3);
    assert_eq!(batches(&mut waiting, 20, ms(5000) + RESEND).len(), 1);
    waiting.confirm(2, 3);
    assert_eq!(batches(&mut waiting, 20, ms(9000)), []);
}

#[test]
fn a_command_that_is_given_up_before_it_was_sent_is_not_sent() {
    let mut waiting = Waiting::new(100, 1000);
    for _ in 0..3 {
        add(&mut waiting, 1).expect("room");
    }
    assert!(waiting.answered(1) && waiting.answered(3));
    begin(&mut waiting, 1);
    assert_eq!(batches(&mut waiting, 100, ms(0)), [(1, vec![2])]);
    assert!(waiting.answered(2));
    assert_eq!(batches(&mut waiting, 100, ms(0)), []);
    add(&mut waiting, 1).expect("room");
    assert_eq!(batches(&mut waiting, 100, ms(0)), [(2, vec![4])]);
}

#[test]
fn a_leader_takes_each_batch_once_and_in_order() {
    let mut taking = Taking::new(5);
    let (a, b) = (life("a", 1), life("b", 1));
    let check = |taking: &mut Taking, (epoch, from, number), wanted| {
        assert_eq!(
            judge(taking, epoch, from, number),
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
        receipts(&mut taking, RECEIPT),
        [(a, 3), (second, 1), (b, 1)]
    );
    for number in 0..MAX_INCARNATIONS as u64 - 3 {
        check(&mut taking, (5, life("c", number), 1), Verdict::Take);
    }
    check(&mut taking, (5, life("d", 1), 1), Verdict::Renew);
    check(&mut taking, (5, b, 2), Verdict::Take);
}

#[test]
fn a_batch_that_may_be_old_is_not_taken() {
    let mut taking = Taking::new(5);
    let from = life("a", 1);
    let batch = Batch {
        number: 1,
        beat: 7,
        commands: Vec::new(),
    };
    for age in [None, Some(FRESH), Some(ms(9000))] {
        let verdict = taking.judge(5, from, &batch, age, ms(0));
        assert_eq!(verdict, Verdict::Ignore, "{age:?}");
    }
    let age = Some(FRESH - ms(1));
    assert_eq!(taking.judge(5, from, &batch, age, ms(0)), Verdict::Take);
    assert_eq!(receipts(&mut taking, RECEIPT), [(from, 1)]);
    // The receipt goes again, however old the batch is, and at once.
    let known = taking.judge(5, from, &batch, None, RECEIPT);
    assert_eq!(known, Verdict::Known);
    assert_eq!(receipts(&mut taking, RECEIPT), [(from, 1)]);
}

#[test]
fn one_receipt_serves_several_batches() {
    let mut taking = Taking::new(5);
    let from = life("a", 1);
    assert_eq!(taking.wake(), None);
    for number in 1..=3 {
        judge(&mut taking, 5, from, number);
    }
    assert_eq!(taking.wake(), Some(RECEIPT));
    assert_eq!(receipts(&mut taking, RECEIPT - ms(1)), []);
    assert_eq!(receipts(&mut taking, RECEIPT), [(from, 3)]);
    assert_eq!(
        (taking.wake(), receipts(&mut taking, RECEIPT)),
        (None, vec![])
    );
    // A node that sends quickly gets one long before it has no room for more.
    let mut sent = 3;
    while receipts(&mut taking, ms(0)).is_empty() {
        sent += 1;
        assert!(sent < 3 + WINDOW as u64 / 2);
        judge(&mut taking, 5, from, sent);
    }
    assert!(sent > 3 + 4);
}

#[test]
fn a_command_that_nobody_answers_is_given_up() {
    let mut waiting = Waiting::new(100, 1000);
    for until in [2700, 2900, 2800] {
        waiting.add(command(1), ms(until)).expect("room");
    }
    assert_eq!(waiting.wake(), Some(ms(2700)));
    begin(&mut waiting, 1);
    waiting.heard(1, 9);
    // Heartbeats of another epoch, and those that come late, say nothing new.
    waiting.heard(2, 70);
    waiting.heard(1, 3);
    let (_, batch) = waiting.poll(100, ms(1450)).expect("a batch");
    assert_eq!((batch.beat, batch.commands.len()), (9, 3));
    // It goes again without the commands that could come too late.
    let again = ms(1450) + RESEND;
    assert_eq!(batches(&mut waiting, 100, again), [(1, vec![2, 3])]);
    assert!(waiting.expire(ms(2699)).is_empty());
    assert_eq!(waiting.expire(ms(2700)), [1]);
    assert_eq!(waiting.wake(), Some(ms(2800)).min(Some(again + RESEND)));
    assert_eq!(waiting.expire(ms(5000)), [2, 3]);
    assert!(waiting.is_empty() && waiting.expire(ms(9000)).is_empty());
    assert_eq!(batches(&mut waiting, 100, ms(5000)), [(1, vec![])]);
}

#[test]
fn a_command_that_later_ones_overtook_goes_to_no_later_leader() {
    let mut waiting = Waiting::new(100, 1000);
    for until in [2000, 4000] {
        waiting.add(command(1), ms(until)).expect("room");
    }
    begin(&mut waiting, 1);
    let now = ms(1000);
    assert_eq!(batches(&mut waiting, 100, now), [(1, vec![2])]);
    // The later one is answered: the first one must not be decided behind it.
    assert!(waiting.answered(2));
    assert_eq!(waiting.begin(2, now), [1]);
    waiting.heard(2, 1);
    assert_eq!(batches(&mut waiting, 100, now), []);
}

#[test]
fn nothing_goes_to_a_leader_that_was_not_heard() {
    let mut waiting = Waiting::new(100, 1000);
    add(&mut waiting, 1).expect("room");
    begin(&mut waiting, 1);
    assert_eq!(batches(&mut waiting, 100, ms(0)).len(), 1);
    assert!(waiting.begin(2, ms(0)).is_empty());
    assert_eq!(batches(&mut waiting, 100, ms(0)), []);
    assert_eq!(waiting.wake(), Some(ms(1_000_000)), "it is given up then");
    waiting.heard(2, 1);
    assert_eq!(waiting.wake(), Some(ms(0)));
    assert_eq!(batches(&mut waiting, 100, ms(0)).len(), 1);
}

#[test]
fn a_command_that_no_message_can_carry_is_refused() {
    let mut waiting = Waiting::new(100, 1 << 24);
    let too_long = add(&mut waiting, MAX_COMMAND + 1);
    assert_eq!(too_long, Err(NotAdded::TooLong));
    assert_eq!(add(&mut waiting, MAX_COMMAND), Ok(1));
}

#[test]
fn answers_without_room_go_with_the_next_group() {
    let mut taking = Taking::new(5);
    let (a, b) = (life("a", 1), life("b", 2));
    let one = |node| [(node, command(1))];
    assert_eq!(taking.answer(0, &one(a)), Err(NoRoom), "it asked nothing");
    for node in [a, b] {
        assert_eq!(judge(&mut taking, 5, node, 1), Verdict::Take);
    }
    for after in 0..WINDOW as u64 {
        assert_eq!(taking.answer(after, &one(a)), Ok(()));
    }
    // All or nothing.
    let both = [(b, command(1)), (a, command(1))];
    assert_eq!(taking.answer(99, &both), Err(NoRoom));
    assert_eq!(taking.riders(Some(&[b])), (Vec::new(), Vec::new()));
    assert_eq!(taking.answer(99, &one(b)), Ok(()));
    let (riders, last) = taking.riders(Some(&[a]));
    let numbers: Vec<_> = riders.iter().map(|it| (it.to, it.number)).collect();
    let expected: Vec<_> = (1..=WINDOW as u64).map(|number| (1, number)).collect();
    assert_eq!(numbers, expected);
    assert_eq!(last, [(a, WINDOW as u64)]);
    assert_eq!(taking.riders(None).0.len(), WINDOW + 1);
    // Receipts of another epoch say nothing.
    taking.confirm(4, a, 64);
    assert_eq!(taking.answer(99, &one(a)), Err(NoRoom));
    // The group counts.
    taking.confirm(5, a, 64);
    assert_eq!(taking.answer(99, &one(a)), Ok(()));
    assert_eq!(taking.riders(Some(&[a])).1, [(a, 65)]);
}

#[test]
fn answers_that_wait_are_bounded() {
    let mut taking = Taking::new(5);
    let half = MAX_ANSWERS_OF_NODE / 2 - 64;
    let nodes = MAX_ANSWERS / MAX_ANSWERS_OF_NODE;
    let lives: Vec<_> = (0..=nodes as u64).map(|number| life("a", number)).collect();
    for node in &lives {
        judge(&mut taking, 5, *node, 1);
    }
    let answer =
        |taking: &mut Taking, node: Incarnation, len| taking.answer(7, &[(node, command(len))]);
    for node in &lives[..nodes] {
        assert_eq!(answer(&mut taking, *node, half), Ok(()));
        assert_eq!(answer(&mut taking, *node, half), Ok(()));
        assert_eq!(answer(&mut taking, *node, 0), Err(NoRoom));
    }
    assert_eq!(answer(&mut taking, lives[nodes], 0), Err(NoRoom));
    taking.confirm(5, lives[0], 1);
    assert_eq!(answer(&mut taking, lives[nodes], half), Ok(()));
    assert_eq!(answer(&mut taking, lives[0], 0), Err(NoRoom));
}

#[test]
fn answers_that_travelled_in_a_group_are_not_handed_out_twice() {
    let mut taking = Taking::new(5);
    let node = life("b", 9);
    judge(&mut taking, 5, node, 1);
    for byte in [b"x", b"y", b"z"] {
        let answers = [(node, Bytes::from_static(byte))];
        taking.answer(7, &answers).expect("room");
    }
    let mut sent = Vec::new();
    while let Some((5, _, answers)) = taking.poll(ms(0)) {
        sent.push(answers);
    }
    let mut held = Held::default();
    assert!(held.begin(5, 0).is_empty());
    held.add(5, &sent[0]);
    assert!(held.poll(7).is_some());
    // The second one came and waits for its group, the third one did not come.
    held.add(5, &sent[1]);
    let (riders, _) = taking.riders(Some(&[node]));
    let new: Vec<_> = riders.iter().map(|it| held.rides(it.number)).collect();
    assert_eq!(new, [false, true, true]);
    assert_eq!(held.poll(99), None);
    assert_eq!(held.add(5, &sent[2]), Some(3), "known");
    assert!(held.rides(0) && held.rides(0), "without a number");
    let later = Answers {
        number: 4,
        ..sent[0].clone()
    };
    held.add(5, &later);
    assert!(held.poll(7).is_some());
}

#[test]
fn answers_hold_after_their_group_and_in_their_epoch() {
    let mut taking = Taking::new(5);
    let node = life("b", 9);
    judge(&mut taking, 5, node, 1);
    for (after, byte) in [(7, b"x"), (7, b"y"), (9, b"z")] {
        let answers = [(node, Bytes::from_static(byte))];
        taking.answer(after, &answers).expect("room");
    }
    let mut sent = Vec::new();
    while let Some((epoch, to, answers)) = taking.poll(ms(0)) {
        assert_eq!((epoch, to, answers.to), (5, node, 9));
        sent.push(answers);
    }
    assert_eq!(receipts(&mut taking, RECEIPT).len(), 1);
    assert_eq!(taking.wake(), Some(RESEND));
    let mut held = Held::default();
    // The node has not taken the epoch's record yet.
    assert_eq!(held.add(5, &sent[0]), None);
    assert_eq!(held.poll(99), None);
    assert!(held.begin(5, 99).is_empty());
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
    // What waits for a group of an epoch that ended never holds. What holds and was not handed out is.
    for (number, after) in [(4, 8), (5, 11)] {
        let answers = Answers {
            number,
            after,
            ..sent[0].clone()
        };
        held.add(5, &answers);
    }
    assert_eq!(held.begin(6, 10), [Bytes::from_static(b"x")]);
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
