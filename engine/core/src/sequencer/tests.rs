//! Tests of the order in which the sequencer decides the commands of several users, and of its commits.

mod log;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use trunkline_storage::backend::sim::SimDisk;
use trunkline_storage::{Options, Position, Reader, Store, TimelineId};

use super::conversations::MIN_CONVERSATIONS;
use super::fixture::{Caller, push_command};
use super::{Sequencer, SequencerParts, departures};
use crate::clock::Clock;
use crate::cost::Cost;
use crate::directory::Directory;
use crate::event::Body;
use crate::exchange::{
    Action, Change, CommandBatch, Item, Mail, Mailbox, NoSleeper, ToSequencer, queue,
};
use crate::ids::{DeviceMark, Ids, NamespaceId};
use crate::log::{Local, Log};
use crate::messaging::Messaging;
use crate::metrics::SequencerMetrics;
use crate::turns::Weights;

const RULES: Messaging = Messaging {
    fanout_limit: 100,
    channel_stays: Duration::ZERO,
    receipt_fanout: 4,
    receipt_delay: Duration::ZERO,
    delivered_delay: Duration::ZERO,
    group_members: 1_000,
    members_add: false,
    recall_window: Duration::from_secs(60),
    edit_window: Duration::from_secs(60),
    most_ttl: Duration::from_secs(60),
    group_cache: 10_000,
    rewrites: false,
    message_bytes: 1 << 20,
};

/// The commands that wait when a sequencer begins.
struct Waiting {
    ids: Ids,
    sequencer: Sequencer,
    to: ToSequencer,
    commands: crate::exchange::Commands,
    mailbox: Arc<Mailbox>,
    store: Reader,
    metrics: Arc<SequencerMetrics>,
}

/// An answer: the number of the commit that it came with, and the cost of the command.
#[derive(Debug, Clone, Copy)]
struct Answered {
    commit: usize,
    user: TimelineId,
    id: u32,
    cost: Cost,
}

impl Waiting {
    fn new() -> Self {
        Self::with(Weights::default())
    }

    fn with(weights: Weights) -> Self {
        Self::made_of(weights, |_, _| Box::new(Local))
    }

    /// Makes a sequencer over a log, which may look at the store and at the mailbox of the shard.
    fn over(log: impl FnOnce(&Reader, &Arc<Mailbox>) -> Box<dyn Log>) -> Self {
        Self::made_of(Weights::default(), log)
    }

    fn made_of(weights: Weights, log: impl FnOnce(&Reader, &Arc<Mailbox>) -> Box<dyn Log>) -> Self {
        let options = Options {
            segment_bytes: 64 << 20,
            max_record_bytes: 1 << 20,
            reserve_bytes: 0,
            background: false,
            ..Options::default()
        };
        let disk = Arc::new(SimDisk::new(1));
        let opened = Store::open_with(disk, options, &mut |_| ()).unwrap();
        let ids = Ids(opened.reader.key());
        let mailbox = Arc::new(Mailbox::new(Box::new(NoSleeper)));
        let directory = Arc::new(Directory::new(Position::ZERO));
        directory.enter(ids.user("", "bob"), 0, DeviceMark([0; 4]));
        let metrics = Arc::<SequencerMetrics>::default();
        let store = opened.reader.clone();
        let mut sequencer = Sequencer::new(SequencerParts {
            writer: opened.writer,
            log: log(&store, &mailbox),
            store: opened.reader,
            conversation_cache: MIN_CONVERSATIONS,
            rules: RULES,
            departures: departures::tests::nobody(&directory),
            directory,
            mailboxes: vec![Arc::clone(&mailbox)],
            weights: Arc::new(weights),
            metrics: Arc::clone(&metrics),
        });
        // Time stands still: only costs end a commit, however slow the machine is.
        sequencer.passed = |_| Duration::ZERO;
        let (to, commands) = queue();
        Self {
            ids,
            sequencer,
            to,
            commands,
            mailbox,
            store,
            metrics,
        }
    }

    /// Lets the sequencer decide all commands, on this thread. The mail stays in the mailbox.
    fn run(self) {
        drop(self.to);
        self.sequencer.run(&self.commands).unwrap();
    }

    /// Puts a batch of a shard into the queue.
    fn put(&self, fill: impl FnOnce(&Ids, &mut CommandBatch)) {
        let mut batch = self.to.spare();
        fill(&self.ids, &mut batch);
        self.to.try_send(batch).unwrap();
    }

    /// Lets the sequencer decide all commands. Returns the answers in order.
    fn decide(self) -> Vec<Answered> {
        let Self {
            sequencer,
            to,
            commands,
            mailbox,
            ..
        } = self;
        drop(to);
        let sequencer = std::thread::spawn(move || {
            let ended = sequencer.run(&commands);
            // Nothing that was decided takes room any more.
            assert!(commands.is_empty());
            ended
        });
        let (mut answers, mut commit) = (Vec::new(), 0);
        loop {
            let ended = sequencer.is_finished();
            while let Some(mail) = mailbox.take() {
                let Mail::Committed(committed) = mail else {
                    panic!("{mail:?}");
                };
                for item in &committed.items.list {
                    if let Item::Reply { user, id, cost, .. } = *item {
                        answers.push(Answered {
                            commit,
                            user,
                            id,
                            cost,
                        });
                    }
                }
                commit += 1;
            }
            if ended {
                break;
            }
            std::thread::yield_now();
        }
        sequencer.join().unwrap().unwrap();
        answers
    }
}

/// Adds the creation of a group of 50 members.
fn create(ids: &Ids, batch: &mut CommandBatch, user: &str, number: usize) {
    let members: Vec<_> = (0..50).map(|n| format!("member{n}")).collect();
    let body = Body {
        members: members.iter().map(String::as_str).collect(),
        ..Body::default()
    };
    let action = Action::Group(Change::Create { all_history: false });
    let group = format!("g:{user}{number}");
    push_command(ids, batch, Caller { user, conn: 1 }, &group, action, body);
}

fn send(ids: &Ids, batch: &mut CommandBatch, user: &str, text: &str) {
    let other = if user < "zoe" { "zoe" } else { "adam" };
    let (lesser, greater) = if user < other {
        (user, other)
    } else {
        (other, user)
    };
    let body = Body {
        text: Some(text),
        ..Body::default()
    };
    let conversation = format!("u:{lesser}:{greater}");
    let action = Action::Send {
        key: None,
        names_media: false,
        has_extras: false,
    };
    let caller = Caller { user, conn: 2 };
    push_command(ids, batch, caller, &conversation, action, body);
}

#[test]
fn a_message_does_not_wait_for_what_another_user_asked_before() {
    let waiting = Waiting::new();
    for batch in 0..20 {
        waiting.put(|ids, commands| {
            for number in 0..100 {
                create(ids, commands, "alice", batch * 100 + number);
            }
        });
    }
    waiting.put(|ids, commands| send(ids, commands, "bob", "hi"));
    let bob = waiting.ids.user("", "bob");
    let (ids, metrics) = (waiting.ids, Arc::clone(&waiting.metrics));
    let answers = waiting.decide();
    assert_eq!(answers.len(), 2_001);
    let of_bob = answers.iter().find(|answer| answer.user == bob).unwrap();
    assert_eq!(of_bob.commit, 0, "a user with nothing queued goes first");
    let last = answers.last().unwrap().commit;
    assert!(last > 200, "{last} commits: each takes a few changes");
    let of_alice = |answer: &&Answered| answer.user == ids.user("", "alice");
    let of_alice: Vec<_> = answers.iter().filter(of_alice).collect();
    let ids_of_alice: Vec<_> = of_alice.iter().map(|answer| answer.id).collect();
    let expected: Vec<_> = (0..20).flat_map(|_| 1..=100).collect();
    assert_eq!(ids_of_alice, expected, "the order of a user is kept");
    let cost = of_alice[5].cost;
    assert!(cost > of_bob.cost.times(10), "{cost:?} {:?}", of_bob.cost);
    assert_eq!((metrics.turns.get(), metrics.waiting.get()), (2_001, 0));
}

#[test]
fn long_messages_take_turns_with_short_ones() {
    let waiting = Waiting::new();
    waiting.put(|ids, commands| {
        for _ in 0..200 {
            send(ids, commands, "alice", &"x".repeat(60_000));
        }
    });
    waiting.put(|ids, commands| {
        for _ in 0..100 {
            send(ids, commands, "bob", "hi");
        }
    });
    let bob = waiting.ids.user("", "bob");
    let answers = waiting.decide();
    let of_bob = answers.iter().filter(|answer| answer.user == bob);
    let last = of_bob.map(|answer| answer.commit).max().unwrap();
    assert!(last <= 3, "{last} commits for 100 short messages");
    let all = answers.last().unwrap().commit;
    assert!(all >= 60, "{all} commits for 12 MB");
}

#[test]
fn what_is_small_is_decided_in_the_order_of_its_arrival() {
    let waiting = Waiting::new();
    let users: Vec<_> = (0..100).map(|n| format!("user{n}")).collect();
    for _ in 0..2 {
        waiting.put(|ids, commands| {
            for user in &users {
                send(ids, commands, user, "hi");
            }
        });
    }
    let (ids, metrics) = (waiting.ids, Arc::clone(&waiting.metrics));
    let answers = waiting.decide();
    let order: Vec<_> = answers.iter().map(|answer| answer.user).collect();
    let expected = users.iter().chain(&users).map(|user| ids.user("", user));
    assert_eq!(order, expected.collect::<Vec<_>>());
    assert!(answers.iter().all(|answer| answer.commit == 0));
    assert_eq!(metrics.turns.get(), 0, "nothing waited for a turn");
}

#[test]
fn many_small_batches_end_a_commit_too() {
    let waiting = Waiting::new();
    for user in 0..1_000 {
        waiting.put(|ids, commands| {
            for _ in 0..4 {
                send(ids, commands, &format!("user{user}"), "hi");
            }
        });
    }
    let answers = waiting.decide();
    let mut of_commit = HashMap::<_, usize>::new();
    for answer in &answers {
        *of_commit.entry(answer.commit).or_default() += 1;
    }
    assert_eq!(answers.len(), 4_000);
    let most = of_commit.values().max().unwrap();
    assert!((100..=800).contains(most), "{most} in a commit");
}

/// Returns a time a second later than at the last call of this thread, so that each look at the clock
/// finds the time of a commit used up.
fn rushing(_: &Clock) -> Duration {
    thread_local! {
        static SECONDS: Cell<u64> = const { Cell::new(1 << 32) };
    }
    SECONDS.set(SECONDS.get() + 1);
    Duration::from_secs(SECONDS.get())
}

#[test]
fn the_clock_ends_a_commit_that_costs_little() {
    let largest = |passed| {
        let mut waiting = Waiting::new();
        waiting.sequencer.passed = passed;
        for user in 0..100 {
            waiting.put(|ids, commands| send(ids, commands, &format!("user{user}"), "hi"));
        }
        waiting.put(|ids, commands| {
            for number in 0..10 {
                create(ids, commands, "alice", number);
            }
        });
        let ids = waiting.ids;
        let mut of_commit = HashMap::<_, [usize; 2]>::new();
        for answer in waiting.decide() {
            let kind = usize::from(answer.user == ids.user("", "alice"));
            of_commit.entry(answer.commit).or_default()[kind] += 1;
        }
        let most = |kind: usize| of_commit.values().map(|counts| counts[kind]).max();
        [most(0).unwrap(), most(1).unwrap()]
    };
    assert_eq!(largest(|_| Duration::ZERO)[0], 100);
    let [sends, changes] = largest(rushing);
    assert!((5..50).contains(&sends), "{sends} messages in a commit");
    assert_eq!(changes, 1, "changes of groups in a commit");
}

#[test]
fn a_recall_pays_for_the_commit_that_it_needs() {
    let waiting = Waiting::new();
    waiting.put(|ids, commands| {
        send(ids, commands, "alice", "hi");
        let caller = Caller {
            user: "alice",
            conn: 1,
        };
        let recall = Action::Recall { seq: 1 };
        let body = Body::default();
        push_command(ids, commands, caller, "u:alice:zoe", recall, body);
    });
    let answers = waiting.decide();
    let [sent, recalled] = answers[..] else {
        panic!("{answers:?}");
    };
    assert_eq!((sent.commit, recalled.commit), (0, 1));
    assert!(recalled.cost > sent.cost + super::COMMIT);
}

#[test]
fn namespaces_share_the_sequencer_by_weight() {
    let acme = |ids: &Ids| ids.namespace("acme");
    let probe = Waiting::new();
    let weights = Weights::new(1, [(acme(&probe.ids), 3)]);
    assert_ne!(acme(&probe.ids), NamespaceId::default());
    let waiting = Waiting::with(weights);
    assert_eq!(acme(&waiting.ids), acme(&probe.ids), "the same key");
    // A crowd without a namespace beside one user of acme, all with the same long messages.
    let text = "x".repeat(20_000);
    waiting.put(|ids, commands| {
        for user in 0..20 {
            for _ in 0..20 {
                send(ids, commands, &format!("user{user}"), &text);
            }
        }
        let start = commands.commands.len();
        for _ in 0..300 {
            send(ids, commands, "rich", &text);
        }
        for command in &mut commands.commands[start..] {
            move_to_namespace(&mut commands.bodies, command, "acme");
        }
    });
    let rich = waiting.ids.user("", "rich");
    let answers = waiting.decide();
    let of_rich = answers[..400].iter().filter(|answer| answer.user == rich);
    let count = of_rich.count();
    assert!(
        (280..=300).contains(&count),
        "{count} of 400 answers, of 300 expected"
    );
}

/// Writes the body of a command again, with a namespace. The ids stay as they are.
fn move_to_namespace(
    bodies: &mut Vec<u8>,
    command: &mut crate::exchange::Command,
    namespace: &str,
) {
    let old = bodies[command.body.clone()].to_vec();
    let body = Body::read(&old).unwrap();
    let body = Body { namespace, ..body };
    let start = bodies.len();
    body.write(bodies);
    command.body = start..bodies.len();
    command.names = crate::event::BodyNames::of(&body);
}
