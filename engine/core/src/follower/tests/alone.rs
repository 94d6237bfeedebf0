//! A follower without a leader: what it refuses, and what it answers itself.

use std::sync::Arc;
use std::time::Duration;

use trunkline_proto::Encoding;
use trunkline_proto::ErrorCode;
use trunkline_storage::{ApplyError, CommitError, Draft, Position, ReadError, TimelineId};

use super::watch::conn;
use super::world::{Node, incarnation, node};
use crate::clock::Mark;
use crate::event::Body;
use crate::event::MOST_TOLD;
use crate::exchange::{
    Action, Call, CallAnswer, CommandBatch, Done, Item, Mail, Outcome, Remote, ReplyConn, ReplyTo,
};
use crate::follower::rosters::LoadError;
use crate::follower::{FollowError, Follower};
use crate::log::Local;
use crate::sequencer::{Caller, HandedOver, push_command};
use crate::told::{
    Audience, Decided, Decision, HeardError, PartRecipients, QueuedPart, Told, VERSION,
};

fn follower() -> (Node, Follower) {
    let (node, parts) = node(1, Box::new(Local));
    let follower = Follower::new(HandedOver::of(parts), incarnation(1));
    (node, follower)
}

/// Times far from that of this machine.
const TOMORROW: u64 = 4_000_000_000_000;
const YESTERDAY: u64 = 1_000_000_000_000;

/// Returns the transcript of a batch with one record, and what it told: the record answers these commands of the
/// follower.
fn commit(answers: &[u64]) -> (Vec<u8>, Vec<u8>) {
    commit_with(answers, 0, 0)
}

/// Returns such a commit whose commands have a position that lies `off` bytes behind the record, and a part of a receipt
/// for `readers` other users.
fn commit_with(answers: &[u64], off: u64, readers: u128) -> (Vec<u8>, Vec<u8>) {
    let (_, mut parts) = node(1, Box::new(Local));
    let draft = Draft {
        timeline: TimelineId(9),
        ..Draft::default()
    };
    let record = parts.writer.append_next(&draft).unwrap();
    let position = Position(record.0 + off);
    let (mut transcript, mut bytes) = (Vec::new(), Vec::new());
    parts.writer.transcribe(&mut transcript);
    let decided = answers.iter().map(|&number| Decided {
        reply_to: ReplyTo::Remote(Remote::new(0, number)),
        user: TimelineId(7),
        read_at: 0,
        decision: Decision::done(Done::Pin, position, Audience::Nobody),
    });
    let part = |readers| QueuedPart {
        after: 0,
        recipients: PartRecipients {
            position: record,
            part: 0,
            reader: None,
            device: None,
            others: (0..readers).map(TimelineId).collect(),
            acks: 0..0,
        },
    };
    let parts_told: Vec<_> = (readers > 0).then(|| part(readers)).into_iter().collect();
    let told = Told {
        parts: &parts_told,
        decided: &decided.collect::<Vec<_>>(),
        steady: TOMORROW,
        ahead: 5,
        ..Told::default()
    };
    told.write(&parts.writer, &[incarnation(1)], &mut bytes);
    (transcript, bytes)
}

/// Returns a batch with a command of a connection and one of a call, and the call's other end.
fn batch(node: &Node) -> (CommandBatch, crate::exchange::Pending) {
    let mut batch = CommandBatch::default();
    let (call, pending) = Call::new();
    let conn = ReplyTo::Conn(ReplyConn {
        shard: 0,
        encoding: Encoding::Json,
        conn: conn(0),
        id: 1,
    });
    for reply_to in [conn, ReplyTo::Call(call)] {
        let caller = Caller {
            user: "ada",
            conn: 0,
        };
        let action = Action::Recall { seq: 1 };
        push_command(
            &node.ids,
            &mut batch,
            caller,
            "u:ada:bob",
            action,
            Body::default(),
        );
        batch.commands.last_mut().unwrap().reply_to = reply_to;
    }
    (batch, pending)
}

#[test]
fn what_cannot_be_followed_changes_nothing() {
    let (node, mut follower) = follower();
    let (transcript, told) = commit(&[]);
    let later = follower.take(&transcript, &[VERSION + 1]).unwrap_err();
    assert!(
        matches!(later, FollowError::Told(HeardError::Version(_))),
        "{later}"
    );
    let damaged = follower.take(&transcript, &told[..2]).unwrap_err();
    assert!(
        matches!(damaged, FollowError::Told(HeardError::Form)),
        "{damaged}"
    );
    let other = follower.take(b"another", &told).unwrap_err();
    assert!(matches!(other, FollowError::Apply(_)), "{other}");
    assert_eq!(node.store.head(), Position::ZERO);
    follower.take(&transcript, &told).unwrap();
    let head = node.store.head();
    assert_ne!(head, Position::ZERO);
    // A commit that is there already changes nothing either.
    follower.take(&transcript, &told).unwrap();
    assert_eq!(node.store.head(), head);
}

#[test]
fn the_time_is_that_of_the_records() {
    let (_node, mut follower) = follower();
    let (transcript, told) = commit(&[]);
    follower.take(&transcript, &told).unwrap();
    let clock = &follower.left.hub().clock;
    let hour = 3_600_000;
    assert!((TOMORROW..TOMORROW + hour).contains(&clock.steady()));
    assert!((TOMORROW + 5..TOMORROW + hour).contains(&clock.now()));
}

/// A node starts beside a clock that is wrong by years: messages must neither vanish nor come back.
#[test]
fn a_node_that_starts_shows_the_time_of_its_store() {
    let (node, mut parts) = node(1, Box::new(Local));
    let mark = Mark {
        steady: YESTERDAY,
        wire: YESTERDAY + 7_000,
        added: YESTERDAY,
    };
    let key = node.ids.clock();
    parts.writer.set_state(key, &mark.bytes()).unwrap();
    parts.writer.commit().unwrap();
    let follower = Follower::new(HandedOver::of(parts), incarnation(1));
    let clock = &follower.left.hub().clock;
    let hour = 3_600_000;
    assert!((YESTERDAY..YESTERDAY + hour).contains(&clock.steady()));
    assert!((YESTERDAY + 7_000..YESTERDAY + hour).contains(&clock.now()));
    // It goes on from there when the role changes.
    let follower = Follower::new(follower.lead(), incarnation(1));
    let clock = &follower.left.hub().clock;
    assert!((YESTERDAY..YESTERDAY + hour).contains(&clock.steady()));
}

#[test]
fn what_does_not_fit_to_the_records_is_said_and_nobody_waits_for_ever() {
    let (node, mut follower) = follower();
    let (mut batch, pending) = batch(&node);
    assert!(follower.forward(&mut batch));
    let (transcript, mut told) = commit(&[1, 1 << 20]);
    // The user of the second command becomes a place in a fan-out that has none.
    let id = [&[0][..], &7_u128.to_le_bytes()].concat();
    let at = told.windows(id.len()).rposition(|window| window == id);
    let at = at.expect("the id of the user");
    told.splice(at..at + id.len(), [9]);
    let misfit = follower.take(&transcript, &told).unwrap_err();
    assert!(matches!(misfit, FollowError::Misfit), "{misfit}");
    let answered = pending.wait(Duration::ZERO).unwrap();
    let failed = matches!(
        answered.answer,
        CallAnswer::Failed((ErrorCode::StorageUnavailable, _))
    );
    assert!(failed, "{answered:?}");
    assert!(follower.is_waiting(0) && !follower.is_waiting(1));
}

#[test]
fn a_misfit_leaves_nobody_without_an_answer_and_raises_the_head() {
    let (node, mut follower) = follower();
    let (mut first, first_call) = batch(&node);
    let (mut second, second_call) = batch(&node);
    assert!(follower.forward(&mut first) && follower.forward(&mut second));
    let (transcript, mut told) = commit(&[0, 1, 3]);
    // The user of the second of three commands becomes a place in a fan-out that has none.
    let id = [&[0][..], &7_u128.to_le_bytes()].concat();
    let windows = told.windows(id.len()).enumerate();
    let at = windows.filter(|(_, window)| *window == id).nth(1);
    let (at, _) = at.expect("the id of the user");
    told.splice(at..at + id.len(), [9]);
    let misfit = follower.take(&transcript, &told).unwrap_err();
    assert!(matches!(misfit, FollowError::Misfit), "{misfit}");
    for call in [first_call, second_call] {
        let answered = call.wait(Duration::ZERO).unwrap();
        assert!(matches!(answered.answer, CallAnswer::Failed(_)));
    }
    assert!(follower.is_waiting(2) && follower.waiting() == 1);
    let next = follower.next_position();
    let head = follower.lead().parts.directory.head();
    assert!(head > Position::ZERO && head < next, "{head:?}");
}

#[test]
fn a_position_without_a_record_does_not_fit() {
    let (_node, mut follower) = follower();
    let (transcript, told) = commit_with(&[5], 8, 0);
    let misfit = follower.take(&transcript, &told).unwrap_err();
    assert!(matches!(misfit, FollowError::Misfit), "{misfit}");
}

#[test]
fn a_part_has_no_more_users_than_a_receipt() {
    let (_node, mut follower) = follower();
    let (transcript, told) = commit_with(&[], 0, MOST_TOLD as u128 + 1);
    let damaged = follower.take(&transcript, &told).unwrap_err();
    let is_form = matches!(damaged, FollowError::Told(HeardError::Form));
    assert!(is_form, "{damaged}");
    let (transcript, told) = commit_with(&[], 0, MOST_TOLD as u128);
    follower.take(&transcript, &told).unwrap();
}

#[test]
fn a_value_of_a_later_version_is_no_misfit() {
    let error = FollowError::from(LoadError::Unknown);
    assert!(matches!(error, FollowError::Unknown) && !error.passes());
}

#[test]
fn a_disk_without_room_may_pass_and_a_store_that_failed_does_not() {
    let refused = |full| CommitError::Refused {
        full,
        reason: "the test says so".into(),
    };
    let poisoned = || CommitError::Poisoned {
        reason: "the test says so".into(),
    };
    let of_commit = |error| FollowError::from(ApplyError::from(error));
    assert!(of_commit(refused(true)).passes() && of_commit(refused(false)).passes());
    assert!(!of_commit(poisoned()).passes());
    let read = |error| {
        FollowError::Read(ReadError::Io {
            file: "log".into(),
            source: std::io::Error::from_raw_os_error(error),
        })
    };
    let (no_descriptor, io_error) = (24, 5);
    assert!(read(no_descriptor).passes() && !read(io_error).passes());
    assert!(!FollowError::from(ApplyError::Form).passes());
    assert!(!FollowError::Misfit.passes());
}

#[test]
fn numbers_go_on_when_the_role_changes() {
    let (node, mut follower) = follower();
    assert!(follower.forward(&mut batch(&node).0));
    let mut follower = Follower::new(follower.lead(), incarnation(1));
    assert!(follower.forward(&mut batch(&node).0));
    assert!(!follower.is_waiting(0) && !follower.is_waiting(1));
    assert!(follower.is_waiting(2) && follower.is_waiting(3));
}

#[test]
fn what_nobody_will_answer_is_answered() {
    let (node, mut follower) = follower();
    let (mut batch, pending) = batch(&node);
    let marks = Action::Ack {
        delivered: 1,
        read: 0,
    };
    (batch.commands[0].action, batch.commands[0].read_at) = (marks, 55);
    assert!(follower.forward(&mut batch));
    assert_eq!(follower.waiting(), 2);
    // The same batch goes to the next leader under the same names.
    let names: Vec<_> = batch
        .commands
        .iter()
        .map(|one| format!("{:?}", one.reply_to))
        .collect();
    assert!(follower.forward(&mut batch));
    assert_eq!(follower.waiting(), 2);
    let again: Vec<_> = batch
        .commands
        .iter()
        .map(|one| format!("{:?}", one.reply_to))
        .collect();
    assert_eq!(names, again);
    let _ = follower.lead();
    let answered = pending.wait(Duration::ZERO).unwrap();
    let CallAnswer::Failed((code, text)) = answered.answer else {
        panic!("{answered:?}");
    };
    assert_eq!(code, ErrorCode::StorageUnavailable);
    assert!(text.contains("is not known"), "{text}");
    let Some(Mail::Committed(committed)) = node.mailboxes[0].take() else {
        panic!("the connection has an answer");
    };
    let [
        Item::Reply {
            outcome, read_at, ..
        },
    ] = committed.items.list[..]
    else {
        panic!("{committed:?}");
    };
    assert!(matches!(
        outcome,
        Outcome::NotAcked(ErrorCode::StorageUnavailable, _)
    ));
    assert_eq!(read_at, 0, "acknowledgements are not timed");
}

/// Returns the answers to commands of the follower that store nothing, as of a time.
fn answers(numbers: &[u64], steady: u64) -> Vec<u8> {
    let (_, parts) = node(1, Box::new(Local));
    let decided = [(0, 1), (1, 0)].iter().flat_map(|&(node, off)| {
        numbers.iter().map(move |number| Decided {
            reply_to: ReplyTo::Remote(Remote::new(node, number + off)),
            user: TimelineId(7),
            read_at: 0,
            decision: Decision::private(Outcome::Failed(ErrorCode::Unknown, "no such message")),
        })
    });
    let told = Told {
        decided: &decided.collect::<Vec<_>>(),
        steady,
        ahead: 5,
        ..Told::default()
    };
    let mut bytes = Vec::new();
    let nodes = [incarnation(2), incarnation(1)];
    told.write_answers(&parts.writer, &nodes, 1, &mut bytes);
    bytes
}

#[test]
fn answers_without_a_commit_are_handed_out_and_leave_the_time_alone() {
    let (node, mut follower) = follower();
    let (mut asked, pending) = batch(&node);
    assert!(follower.forward(&mut asked));
    let (transcript, told) = commit(&[]);
    follower.take(&transcript, &told).unwrap();
    let hub = Arc::clone(follower.left.hub());
    let before = hub.clock.steady();
    follower
        .take_answers(&answers(&[1], TOMORROW - 3_600_000))
        .unwrap();
    assert!(hub.clock.steady() >= before);
    assert!(follower.is_waiting(0) && !follower.is_waiting(1));
    let answered = pending.wait(Duration::ZERO).unwrap();
    let CallAnswer::Failed((code, text)) = answered.answer else {
        panic!("{answered:?}");
    };
    assert_eq!((code, text), (ErrorCode::Unknown, "no such message"));
}

#[test]
fn what_waits_for_too_long_is_given_up_alone() {
    let (node, mut follower) = follower();
    let (mut batch, pending) = batch(&node);
    assert!(follower.forward(&mut batch));
    follower.give_up_late([1, 7]);
    assert!(follower.is_waiting(0) && !follower.is_waiting(1));
    let answered = pending.wait(Duration::ZERO).unwrap();
    let CallAnswer::Failed((code, _)) = answered.answer else {
        panic!("{answered:?}");
    };
    assert_eq!(code, ErrorCode::StorageUnavailable);
}

#[test]
fn commands_without_a_name_are_answered_where_they_are() {
    let (node, mut follower) = follower();
    let (mut long, pending) = batch(&node);
    let len = long.commands[1].body.len();
    follower.refuse_long(&mut long, len);
    assert_eq!(long.commands.len(), 2);
    long.bodies.extend([0; 9]);
    long.commands[1].body.end += 9;
    follower.refuse_long(&mut long, len);
    assert_eq!((long.commands.len(), follower.waiting()), (1, 0));
    let answered = pending.wait(Duration::ZERO).unwrap();
    let CallAnswer::Failed((code, text)) = answered.answer else {
        panic!("{answered:?}");
    };
    assert_eq!(code, ErrorCode::LimitExceeded);
    assert!(
        text.contains("too long") || text.contains("longer"),
        "{text}"
    );
    let (mut late, pending) = batch(&node);
    follower.give_up_batch(&mut late);
    assert!(late.commands.is_empty() && pending.wait(Duration::ZERO).is_ok());
}

#[test]
fn the_times_of_the_log_go_on_at_a_node_that_leads() {
    let (_node, mut follower) = follower();
    let (transcript, told) = commit(&[]);
    follower.take(&transcript, &told).unwrap();
    let hub = Arc::clone(follower.left.hub());
    assert!(hub.clock.now() >= TOMORROW + 5);
    let _sequencer = follower.lead().go_on();
    assert!(hub.clock.steady() >= TOMORROW);
    assert!(hub.clock.now() >= TOMORROW + 5);
}

#[test]
fn what_is_taken_back_has_its_receivers_again() {
    let (node, mut follower) = follower();
    let (mut batch, pending) = batch(&node);
    batch.commands[0].read_at = 55;
    assert!(follower.forward(&mut batch));
    assert!(follower.is_waiting(0) && follower.is_waiting(1));
    assert_eq!(batch.commands[0].read_at, 0);
    follower.take_back(&mut batch);
    assert_eq!((batch.commands.len(), follower.waiting()), (2, 0));
    assert_eq!(batch.commands[0].read_at, 55);
    assert!(batch.commands[0].reply_to.conn().is_some());
    // It has been answered meanwhile.
    assert!(follower.forward(&mut batch));
    follower.give_up();
    follower.take_back(&mut batch);
    assert!(batch.commands.is_empty());
    assert!(pending.wait(Duration::ZERO).is_ok());
    assert!(Arc::strong_count(&node.mailboxes[0]) > 1);
}
