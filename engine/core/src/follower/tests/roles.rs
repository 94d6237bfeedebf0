//! Nodes that change their roles.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::random::{Dice, history};
use super::world::{
    Followed, Node, Seat, Taken, batches, enter, give_number, incarnation, node, received,
};
use crate::exchange::{Command, CommandBatch, queue};
use crate::follower::Follower;
use crate::log::Local;
use crate::sequencer::{Ended, HandedOver, Sequencer};

/// Copies a batch of commands that have names.
fn copy(batch: &CommandBatch) -> Box<CommandBatch> {
    let mut copy = Box::<CommandBatch>::default();
    copy.bodies = batch.bodies.clone();
    for command in &batch.commands {
        copy.push(Command {
            reply_to: command.reply_to.clone(),
            body: command.body.clone(),
            user: command.user,
            conversation: command.conversation,
            members: command.members,
            names: command.names,
            action: command.action,
            read_at: command.read_at,
        });
    }
    copy
}

/// Returns a log for the nodes, which is handed over after `left` commits, and what it takes.
fn log(left: usize) -> (Box<Followed>, Taken) {
    let taken = Taken::default();
    let log = Followed {
        taken: Arc::clone(&taken),
        nodes: vec![incarnation(0), incarnation(1)],
        left,
    };
    (Box::new(log), taken)
}

/// Lets a follower take all that a log has taken.
fn follow(follower: &mut Follower, taken: &Taken) {
    for (transcript, told) in taken.lock().iter() {
        follower.take(transcript, told).unwrap();
    }
}

/// What the seats have at the end, for a message of failure.
struct End<'a> {
    number: u64,
    nodes: &'a [Node],
    seats: &'a [Seat],
}

impl End<'_> {
    /// Checks that all connections of a user know of the same records, each once and in order, and that each of
    /// `asked` commands of connections was answered once.
    fn check(&self, asked: &BTreeSet<u32>) {
        let number = self.number;
        let got = received(self.nodes, self.seats);
        let mut answered = BTreeMap::<u32, usize>::new();
        let mut known = HashMap::<&str, Vec<(usize, Vec<usize>)>>::new();
        for (seat, events) in got.iter().enumerate() {
            let mut records = Vec::new();
            for event in events {
                if let Some((outcome, id)) = event.rsplit_once(" of ") {
                    *answered.entry(id.parse().unwrap()).or_default() += 1;
                    let record = outcome.trim_end_matches(')').rsplit([' ', '(']).next();
                    if !outcome.starts_with("failed") && !outcome.starts_with("duplicate") {
                        records.extend(record.and_then(|word| word.parse::<usize>().ok()));
                    }
                } else if let Some(record) = event.strip_prefix("push ") {
                    records.push(record.parse().unwrap());
                }
            }
            assert!(
                records.is_sorted(),
                "history {number}, seat {seat}: {events:?}"
            );
            let once: BTreeSet<_> = records.iter().collect();
            assert_eq!(once.len(), records.len(), "history {number}, seat {seat}");
            let user = self.seats[seat].user;
            known.entry(user).or_default().push((seat, records));
        }
        for (user, seats) in known {
            let (first, records) = &seats[0];
            for (seat, others) in &seats[1..] {
                let at = format!("history {number}, {user}: seats {first} and {seat}");
                assert_eq!(records, others, "{at}");
            }
        }
        let found: BTreeSet<_> = answered.keys().copied().collect();
        assert_eq!(&found, asked, "history {number}: answered commands");
        assert!(
            answered.values().all(|times| *times == 1),
            "history {number}"
        );
    }
}

/// Plays a history in which the first node leads, and then the second one.
fn play(number: u64) {
    let history = history(number);
    let seats = &history.seats;
    let mut dice = Dice::new(number);
    let (first_log, first_taken) = log(1 + dice.below(3));
    let (first, leader) = node(2, first_log);
    let (second, parts) = node(2, Box::new(Local));
    enter(&first, &leader, 0, seats);
    enter(&second, &parts, 1, seats);
    let leader = Sequencer::new(leader).stand_still();
    let mut follower = Follower::new(HandedOver::of(parts), incarnation(1));

    let (to, commands) = queue();
    let asked = batches(&first.ids, seats, &history.asks);
    let mut forwarded = Vec::new();
    for (node, mut batch) in asked.batches {
        if node == 1 {
            assert!(follower.forward(&mut batch));
            forwarded.push(copy(&batch));
            give_number(&mut batch, 1);
        }
        to.try_send(batch).unwrap();
    }
    drop(to);
    let Ended::HandedOver(left) = leader.run(&commands).unwrap() else {
        panic!("history {number} is too short");
    };

    // The second node leads, and decides first what it forwarded.
    let (to, next_commands) = queue();
    follow(&mut follower, &first_taken);
    for mut batch in forwarded {
        follower.take_back(&mut batch);
        to.try_send(batch).unwrap();
    }
    assert_eq!(follower.waiting(), 0);
    let mut handed = follower.lead();
    let (second_log, second_taken) = log(usize::MAX);
    handed.parts.log = second_log;
    let leader = handed.go_on().stand_still();

    // The first node follows, and forwards what it did not decide.
    let mut follower = Follower::new(*left, incarnation(0));
    let mut rest = Vec::new();
    while let Some(batch) = follower.undecided(&commands) {
        rest.push(batch);
    }
    while let Some(batch) = commands.waiting() {
        rest.push(batch);
    }
    for mut batch in rest {
        assert!(follower.forward(&mut batch));
        give_number(&mut batch, 0);
        to.try_send(batch).unwrap();
    }
    drop(to);
    assert!(matches!(leader.run(&next_commands).unwrap(), Ended::Closed));
    follow(&mut follower, &second_taken);
    assert_eq!(follower.waiting(), 0, "history {number}");

    let end = End {
        number,
        nodes: &[first, second],
        seats,
    };
    end.check(&asked.ids);
    for call in asked.calls {
        let answered = call.wait(std::time::Duration::ZERO);
        assert!(answered.is_ok(), "history {number}: {answered:?}");
    }
}

#[test]
fn nodes_change_their_roles_and_every_command_is_answered_once() {
    (0..50).for_each(play);
}
