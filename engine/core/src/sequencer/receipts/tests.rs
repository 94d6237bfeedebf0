//! Tests of acknowledgements that share a commit.

use std::sync::Arc;
use std::time::Duration;

use trunkline_proto::ErrorCode;
use trunkline_storage::backend::sim::{Operation, SimDisk};
use trunkline_storage::{Options, Page, Position, Record, Store};

use super::super::batch::Moment;
use super::super::fixture::{AB, Caller, NOW, push_command};
use super::super::{Sequencer, SequencerParts, conversations::MIN_CONVERSATIONS, departures};
use crate::directory::Directory;
use crate::event::{Body, RecordKind, parts_for};
use crate::exchange::{
    Action, Change, CommandBatch, Committed, Item, Mail, Mailbox, NoSleeper, Outcome,
};
use crate::ids::{Ids, UserId};
use crate::log::Local;
use crate::messaging::Messaging;
use crate::metrics::SequencerMetrics;

mod together;

/// The milliseconds that read marks and delivered marks wait in a [`World::waiting`].
const READ: u64 = 100;
const DELIVERED: u64 = 1_000;

/// The rules of a [`World::new`].
const RULES: Messaging = Messaging {
    fanout_limit: 500,
    channel_stays: Duration::ZERO,
    receipt_fanout: 4,
    receipt_delay: Duration::ZERO,
    delivered_delay: Duration::ZERO,
    group_members: 100,
    members_add: false,
    recall_window: Duration::from_secs(60),
    edit_window: Duration::from_secs(60),
    most_ttl: Duration::from_secs(60),
    group_cache: 1_000,
    rewrites: false,
    message_bytes: 1 << 20,
};

/// The rules of a [`World::waiting`].
const WAITING: Messaging = Messaging {
    receipt_delay: Duration::from_millis(READ),
    delivered_delay: Duration::from_millis(DELIVERED),
    ..RULES
};

/// A sequencer without its thread, and its only shard's mailbox.
struct World {
    disk: SimDisk,
    sequencer: Sequencer,
    mailbox: Arc<Mailbox>,
    /// The monotonic time in milliseconds.
    passed: u64,
    ids: Ids,
    batch: CommandBatch,
    /// Users with another device than the one that acknowledges.
    others: Vec<UserId>,
}

/// One step of the shard for a commit: an answer, or a push to the connections of a user.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Answer(u32, Option<ErrorCode>),
    Push(&'static str, String),
}

impl World {
    /// Returns a world in which receipts do not wait.
    fn new() -> Self {
        Self::with(RULES)
    }

    /// Returns a world in which receipts wait for each other.
    fn waiting() -> Self {
        Self::with(WAITING)
    }

    fn with(rules: Messaging) -> Self {
        let disk = SimDisk::new(1);
        let options = Options {
            segment_bytes: 1 << 20,
            max_record_bytes: 1 << 16,
            reserve_bytes: 0,
            background: false,
            ..Options::default()
        };
        let opened = Store::open_with(Arc::new(disk.clone()), options, &mut |_| ()).unwrap();
        let mailbox = Arc::new(Mailbox::new(Box::new(NoSleeper)));
        let directory = Arc::new(Directory::new(Position::ZERO));
        let ids = Ids(opened.reader.key());
        for user in NAMES {
            let device = ids.device_mark(ids.user("", user), "phone");
            directory.enter(ids.user("", user), 0, device);
        }
        let mut sequencer = Sequencer::new(SequencerParts {
            writer: opened.writer,
            log: Box::new(Local),
            store: opened.reader,
            conversation_cache: MIN_CONVERSATIONS,
            rules,
            departures: departures::tests::nobody(&directory),
            directory,
            mailboxes: vec![Arc::clone(&mailbox)],
            weights: Arc::default(),
            metrics: Arc::new(SequencerMetrics::default()),
        });
        // Time stands still: only costs end a commit.
        sequencer.passed = |_| Duration::ZERO;
        Self {
            disk,
            sequencer,
            mailbox,
            passed: 0,
            ids,
            batch: CommandBatch::default(),
            others: Vec::new(),
        }
    }

    /// Adds a command of a user on a connection to the batch.
    fn ask(
        &mut self,
        (user, conn): (&str, u32),
        conversation: &str,
        action: Action,
        body: Body<'_>,
    ) {
        let caller = Caller { user, conn };
        push_command(
            &self.ids,
            &mut self.batch,
            caller,
            conversation,
            action,
            body,
        );
    }

    fn send(&mut self, who: (&str, u32), conversation: &str) {
        self.ask(
            who,
            conversation,
            Action::Send {
                key: None,
                names_media: false,
                has_extras: false,
            },
            Body::default(),
        );
    }

    fn ack(&mut self, who: (&str, u32), conversation: &str, delivered: u64, read: u64) {
        let action = Action::Ack { delivered, read };
        self.ask(who, conversation, action, Body::default());
    }

    /// Decides the waiting commands, in one commit unless they are many. Returns the steps of the shard.
    fn commit(&mut self) -> Vec<Seen> {
        let mut batch = std::mem::take(&mut self.batch);
        self.sequencer.batch.set_moment(Moment {
            wire: NOW + self.passed,
            steady: NOW + self.passed,
            passed: self.passed,
        });
        let decided = self.sequencer.decide_in_order(&batch);
        self.sequencer.intake.queue(&mut batch, decided);
        self.sequencer.commit_all();
        while self.sequencer.intake.has_commands() {
            self.sequencer.pace.begin(self.sequencer.now());
            self.sequencer.turn();
            self.sequencer.commit_all();
        }
        self.sequencer.pace.begin(self.sequencer.now());
        let mut told = Vec::new();
        while let Some(mail) = self.mailbox.take() {
            let Mail::Committed(Committed { batch, items, .. }) = mail else {
                panic!("{mail:?}");
            };
            for item in &items.list {
                let (users, position, part) = match *item {
                    Item::Reply { id, outcome, .. } => {
                        told.push(Seen::Answer(id, refusal(outcome)));
                        continue;
                    }
                    Item::Deliver { user, position } => (vec![user], position, 0),
                    Item::Part {
                        user,
                        position,
                        part,
                        except,
                    } => {
                        if except.is_some() && !self.others.contains(&user) {
                            // The only device of the user is the one that acknowledged.
                            continue;
                        }
                        (vec![user], position, part)
                    }
                    Item::Spread {
                        ref users,
                        position,
                    } => (items.users[users.clone()].to_vec(), position, 0),
                };
                for user in users {
                    let name = NAMES
                        .into_iter()
                        .find(|name| self.ids.user("", name) == user);
                    told.push(push(name.unwrap(), &says(&batch.record_at(position), part)));
                }
            }
            let mut last = Position::ZERO;
            for record in batch.records() {
                assert!(record.position > last);
                last = record.position;
            }
        }
        told
    }

    /// Returns the receipts that a user gets when catching up, with their positions.
    fn synced(&self, user: &str, since: Position) -> Vec<(Position, String)> {
        let (store, user) = (self.sequencer.batch.store(), self.ids.user("", user));
        let (mut page, mut found) = (Page::default(), Vec::new());
        let more = store.sync(user, since, store.head(), 500, &mut page);
        assert!(!more.unwrap());
        for record in page.records() {
            if RecordKind::of(&record) == Some(RecordKind::Receipt) {
                let parts = parts_for(&record, user, since);
                let places = parts.clone();
                found.extend(
                    parts.map(|part| (places.position(record.position, part), says(&record, part))),
                );
            }
        }
        found
    }

    fn receipts(&self) -> u64 {
        self.sequencer.metrics.receipts.get()
    }
}

const NAMES: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];

fn refusal(outcome: Outcome) -> Option<ErrorCode> {
    match outcome {
        Outcome::Failed(code, _) | Outcome::NotAcked(code, _) => Some(code),
        _ => None,
    }
}

fn says(record: &Record<'_>, part: usize) -> String {
    let body = Body::read(record.body).unwrap();
    match RecordKind::of(record).unwrap() {
        RecordKind::Message => format!("message {}", record.seq),
        RecordKind::Receipt => {
            let part = body.parts().nth(part).unwrap();
            format!("{} {} {}", part.user, part.delivered, part.read)
        }
        other => other.name().to_owned(),
    }
}

fn answer(id: u32) -> Seen {
    Seen::Answer(id, None)
}

fn push(user: &'static str, says: &str) -> Seen {
    Seen::Push(user, says.to_owned())
}

#[test]
fn acks_of_one_connection_become_one_receipt_behind_the_messages() {
    let mut world = World::new();
    world.send(("alice", 1), AB);
    world.ack(("bob", 2), AB, 1, 0);
    world.send(("alice", 1), AB);
    world.ack(("bob", 2), AB, 2, 0);
    // An acknowledgement covers only the messages that exist at its time.
    world.ack(("bob", 2), AB, 99, 1);
    world.send(("alice", 1), AB);
    world.ack(("bob", 2), AB, 0, 0);
    let expected = [
        answer(1),
        push("bob", "message 1"),
        answer(3),
        push("bob", "message 2"),
        answer(6),
        push("bob", "message 3"),
        push("alice", "bob 2 1"),
        answer(2),
        answer(4),
        answer(5),
        answer(7),
    ];
    assert_eq!(world.commit(), expected);
    assert_eq!(world.receipts(), 1);
    // The next commit continues from these marks.
    world.ack(("bob", 2), AB, 2, 1);
    world.ack(("bob", 2), AB, 3, 0);
    assert_eq!(
        world.commit(),
        [answer(1), push("alice", "bob 3 1"), answer(2)],
        "the first says nothing new"
    );
    assert_eq!(world.receipts(), 2);
}

#[test]
fn acks_of_two_devices_are_one_receipt_for_both() {
    let mut world = World::new();
    world.send(("alice", 1), AB);
    world.send(("alice", 1), AB);
    world.commit();
    world.ack(("bob", 2), AB, 1, 0);
    world.ack(("bob", 3), AB, 1, 0);
    world.ack(("bob", 3), AB, 2, 0);
    world.ack(("bob", 3), AB, 2, 2);
    let expected = [
        push("bob", "bob 2 2"),
        push("alice", "bob 2 2"),
        answer(1),
        answer(2),
        answer(3),
        answer(4),
    ];
    assert_eq!(world.commit(), expected);
    assert_eq!(world.receipts(), 1);
}

#[test]
fn each_side_of_a_conversation_keeps_its_own_marks() {
    let mut world = World::new();
    for user in ["alice", "bob"] {
        world.send((user, 1), AB);
    }
    world.ack(("alice", 1), AB, 2, 0);
    world.ack(("bob", 2), AB, 2, 2);
    world.ack(("alice", 1), AB, 2, 1);
    let expected = [
        answer(1),
        push("bob", "message 1"),
        answer(2),
        push("alice", "message 2"),
        push("bob", "alice 2 1"),
        push("alice", "bob 2 2"),
        answer(3),
        answer(5),
        answer(4),
    ];
    assert_eq!(world.commit(), expected);
    assert_eq!(world.receipts(), 1);
    // An acknowledgement that moves no mark makes no receipt.
    world.ack(("alice", 1), AB, 2, 1);
    world.ack(("bob", 2), AB, 2, 2);
    assert_eq!(world.commit(), [answer(1), answer(2)]);
    assert_eq!(world.receipts(), 1);
}

#[test]
fn a_removed_member_was_a_member_at_the_acknowledgement() {
    let mut world = World::new();
    let create = Action::Group(Change::Create { all_history: true });
    let members = || Body {
        members: vec!["bob"],
        ..Body::default()
    };
    world.ask(("alice", 1), "g:eng", create, members());
    world.send(("alice", 1), "g:eng");
    world.commit();
    world.ack(("bob", 2), "g:eng", 1, 0);
    let remove = Action::Group(Change::Remove);
    world.ask(("alice", 1), "g:eng", remove, members());
    world.ack(("bob", 2), "g:eng", 1, 1);
    let expected = [
        push("alice", "bob 1 0"),
        answer(1),
        answer(2),
        push("bob", "group"),
        Seen::Answer(3, Some(ErrorCode::PermissionDenied)),
    ];
    assert_eq!(world.commit(), expected);
    // A member who comes back has the marks from before, and no others.
    world.ask(("alice", 1), "g:eng", Action::Group(Change::Add), members());
    world.send(("alice", 1), "g:eng");
    world.ack(("bob", 2), "g:eng", 2, 0);
    let told = world.commit();
    assert!(told.contains(&push("alice", "bob 2 0")), "{told:?}");
}

#[test]
fn a_failed_commit_answers_all_of_them() {
    let mut world = World::new();
    world.send(("alice", 1), AB);
    world.send(("alice", 1), AB);
    world.commit();
    world.disk.fail(Operation::Sync, 0);
    world.ack(("bob", 2), AB, 1, 0);
    world.ack(("bob", 2), AB, 2, 0);
    world.ack(("bob", 2), AB, 2, 0);
    world.ack(("bob", 3), AB, 2, 0);
    let mut unknown = world.commit();
    unknown.sort_by_key(|told| match told {
        Seen::Answer(id, _) => *id,
        Seen::Push(..) => 0,
    });
    let storage = Some(ErrorCode::StorageUnavailable);
    let expected = [1, 2, 3, 4].map(|id| Seen::Answer(id, storage));
    assert_eq!(unknown, expected);
    world.ack(("bob", 2), AB, 2, 0);
    assert!(
        matches!(world.commit()[..], [Seen::Answer(1, code)] if code == storage),
        "the store takes nothing any more"
    );
}
