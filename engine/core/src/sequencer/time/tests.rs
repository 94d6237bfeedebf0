//! Tests of the sequencer with leaping clocks: expiry, idempotency and the times that clients see.

use std::sync::Arc;

use trunkline_proto::{Encoding, ErrorCode};
use trunkline_storage::backend::sim::SimDisk;
use trunkline_storage::{Options, Page, Position, ReadError, Reader, Store};

use super::*;
use crate::directory::Directory;
use crate::event::{self, Body, BodyNames};
use crate::exchange::{
    Action, Command, CommandBatch, ConnRef, Members, Outcome, ReplyConn, ReplyTo,
};
use crate::ids::Side;
use crate::log::Local;
use crate::messaging::Messaging;
use crate::sequencer::MIN_CONVERSATIONS;
use crate::sequencer::asked::Asked;
use crate::sequencer::{Sequencer, SequencerParts, departures};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// The time at which the tests begin: 2026, in time since 1970.
const NOW: Duration = Duration::from_millis(1_767_225_600_000);
const CONVERSATION: &str = "u:alice:bob";

/// A gateway's sequencer, the clocks that it looks at, and its disk.
struct World {
    disk: SimDisk,
    sequencer: Option<Sequencer>,
    store: Option<Reader>,
    passed: Duration,
    system: Duration,
    sent: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            disk: SimDisk::new(1),
            sequencer: None,
            store: None,
            passed: Duration::ZERO,
            system: NOW,
            sent: 0,
        };
        world.start();
        world
    }

    /// Starts a sequencer, also after an end, with the clocks of this world.
    fn start(&mut self) {
        let days = |days: u32| Some(DAY * days);
        let options = Options {
            segment_bytes: 64 << 10,
            max_record_bytes: 16 << 10,
            reserve_bytes: 0,
            background: false,
            runs: true,
            key_life: days(1),
            sync_life: days(30),
            message_life: days(90),
            ..Options::default()
        };
        let opened = Store::open_with(Arc::new(self.disk.clone()), options, &mut |_| ());
        let opened = opened.unwrap();
        let rules = Messaging {
            fanout_limit: 500,
            channel_stays: Duration::ZERO,
            receipt_fanout: 4,
            receipt_delay: Duration::ZERO,
            delivered_delay: Duration::ZERO,
            group_members: 100,
            members_add: false,
            recall_window: DAY,
            edit_window: DAY,
            most_ttl: DAY,
            group_cache: 1_000,
            rewrites: false,
            message_bytes: 1 << 20,
        };
        let directory = Arc::new(Directory::new(Position::ZERO));
        let mut sequencer = Sequencer::new(SequencerParts {
            writer: opened.writer,
            log: Box::new(Local),
            store: opened.reader.clone(),
            conversation_cache: MIN_CONVERSATIONS,
            rules,
            departures: departures::tests::nobody(&directory),
            directory,
            mailboxes: Vec::new(),
            weights: Arc::default(),
            metrics: Arc::default(),
        });
        let look = Look {
            passed: self.passed,
            system: self.system,
        };
        sequencer.time.begin(&opened.reader, look);
        self.sequencer = Some(sequencer);
        self.store = Some(opened.reader);
        self.run(SECOND, SECOND);
    }

    /// Ends the sequencer as SIGKILL does.
    fn kill(&mut self) {
        self.sequencer = None;
        self.store = None;
    }

    /// Ends the sequencer in order.
    fn stop(&mut self) {
        let sequencer = self.sequencer.as_mut().unwrap();
        sequencer.time.mark(&mut sequencer.batch);
        sequencer.commit_batch();
        self.kill();
    }

    fn store(&self) -> &Reader {
        self.store.as_ref().unwrap()
    }

    /// Lets time pass as the sequencer sees it, which looks every so often.
    fn run(&mut self, time: Duration, every: Duration) {
        let sequencer = self.sequencer.as_mut().unwrap();
        let end = self.passed + time;
        while self.passed < end {
            self.passed += every;
            self.system += every;
            sequencer.look(Look {
                passed: self.passed,
                system: self.system,
            });
            sequencer.commit();
        }
    }

    fn ask(&mut self, action: Action, body: Body<'_>) -> Result<Outcome, ErrorCode> {
        let sequencer = self.sequencer.as_mut().unwrap();
        let ids = *sequencer.batch.ids();
        let mut bodies = Vec::new();
        let body = Body {
            conversation: CONVERSATION,
            user: "alice",
            ..body
        };
        body.write(&mut bodies);
        let command = Command {
            reply_to: ReplyTo::Conn(ReplyConn {
                shard: 0,
                encoding: Encoding::Json,
                conn: ConnRef {
                    slot: 0,
                    generation: 0,
                },
                id: 1,
            }),
            user: ids.user("", "alice"),
            conversation: ids.direct("", "alice", "bob"),
            members: Members::Direct {
                other: ids.user("", "bob"),
                side: Side::Lesser,
            },
            body: 0..bodies.len(),
            names: BodyNames::of(&body),
            action,
            read_at: 0,
        };
        let mut batch = CommandBatch::default();
        batch.bodies = bodies;
        batch.push(command);
        // What it decides waits for the commit.
        let command = &batch.commands[0];
        let decided = sequencer.decide(Asked {
            command,
            body: &batch.bodies,
        });
        sequencer.commit_batch();
        match decided {
            Ok(Some(decision)) => Ok(decision.outcome),
            Ok(None) => panic!("nothing waits here"),
            Err(refused) => match refused.outcome() {
                Outcome::Failed(code, _) => Err(code),
                other => panic!("{other:?}"),
            },
        }
    }

    fn send(&mut self, number: u64) -> Outcome {
        let text = format!("{number} {}", "x".repeat(4_000));
        let key = self.store().key();
        let key = Ids(key).key("", "alice", &number.to_string());
        let body = Body {
            text: Some(&text),
            ..Body::default()
        };
        self.ask(
            Action::Send {
                key: Some(key),
                names_media: false,
                has_extras: false,
            },
            body,
        )
        .unwrap()
    }

    /// Sends new messages, each with a key.
    fn send_new(&mut self, count: u64) {
        for _ in 0..count {
            self.sent += 1;
            let outcome = self.send(self.sent);
            assert!(matches!(outcome, Outcome::Sent(_)), "{outcome:?}");
        }
    }

    fn conversation(&self) -> TimelineId {
        Ids(self.store().key()).direct("", "alice", "bob")
    }

    /// Checks that no message, key or position has expired, and that a recall is in time.
    fn all_is_there(&mut self) {
        assert_eq!(self.store().first_seq(self.conversation()).unwrap(), 1);
        for number in 1..=self.sent {
            let outcome = self.send(number);
            assert!(matches!(outcome, Outcome::Duplicate(_)), "{outcome:?}");
        }
        self.synced().unwrap();
        let seq = self.sent;
        let body = Body {
            seq,
            ..Body::default()
        };
        let recalled = self.ask(Action::Recall { seq }, body);
        assert!(matches!(recalled, Ok(Outcome::Done(..))), "{recalled:?}");
    }

    /// Catches up as Bob from the beginning.
    ///
    /// # Errors
    /// The beginning has expired.
    fn synced(&self) -> Result<(), ReadError> {
        let mut page = Page::default();
        let bob = Ids(self.store().key()).user("", "bob");
        let until = Position(u64::MAX);
        let read = self
            .store()
            .sync(bob, Position::ZERO, until, 10_000, &mut page);
        read.map(|_| ())
    }

    /// Returns the times of all messages as clients see them, in order.
    fn times(&self) -> Vec<u64> {
        let mut times = Vec::new();
        for seq in 1..=self.sent {
            let mut page = Page::default();
            if self
                .store()
                .get(self.conversation(), seq, &mut page)
                .unwrap()
            {
                let record = page.records().next().unwrap();
                times.push(Body::read(record.body).unwrap().happened(&record));
            }
        }
        times
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

#[test]
fn a_moment_in_another_time_deletes_nothing() {
    for by in [25 * HOUR, 40 * DAY, 100 * DAY, 20_000 * DAY] {
        let mut world = World::new();
        world.send_new(50);
        world.run(10 * SECOND, SECOND);
        for lasts in [SECOND / 3, 30 * SECOND] {
            world.system += by;
            world.run(lasts, SECOND / 3);
            world.send_new(40);
            world.run(SECOND, SECOND / 3);
            world.system -= by;
            world.run(SECOND, SECOND / 3);
            world.send_new(10);
        }
        world.run(MINUTE, SECOND);
        world.all_is_there();
        let times = world.times();
        assert!(times.is_sorted());
        let (first, last) = (times[0], times[times.len() - 1]);
        assert!(first >= millis(NOW) && last < millis(world.system));
        // Also after a crash.
        world.kill();
        world.start();
        world.all_is_there();
    }
}

#[test]
fn restarts_in_another_time_delete_nothing() {
    for crash in [true, false] {
        let mut world = World::new();
        world.send_new(150);
        world.run(2 * MINUTE, SECOND);
        world.send_new(150);
        for _ in 0..5 {
            if crash {
                world.kill()
            } else {
                world.stop()
            }
            world.system += 100 * DAY;
            world.start();
            world.run(20 * SECOND, SECOND);
            world.all_is_there();
            if crash {
                world.kill()
            } else {
                world.stop()
            }
            world.system -= 100 * DAY;
            world.start();
            world.run(20 * SECOND, SECOND);
            world.all_is_there();
        }
        let now = millis(world.system);
        world.send_new(1);
        let last = world.times().pop().unwrap();
        assert!(last <= now && last + 60_000 > now, "{last} at {now}");
    }
}

#[test]
fn a_leap_for_good_moves_what_clients_see_and_not_what_expires() {
    let mut world = World::new();
    world.send_new(100);
    world.system += 100 * DAY;
    world.run(2 * MINUTE, SECOND);
    world.send_new(100);
    let now = millis(world.system);
    assert_eq!(world.times()[199], now, "in the record's body");
    world.all_is_there();
    world.kill();
    world.start();
    world.run(2 * MINUTE, SECOND);
    world.all_is_there();
    assert_eq!(world.times()[199], now);
    // The recall keeps the time of the message.
    assert!(world.times().is_sorted());
}

#[test]
fn what_is_old_expires_also_after_the_gateway_was_stopped() {
    let mut world = World::new();
    world.send_new(40);
    // Passed while it ran: keys.
    world.run(26 * HOUR, 10 * SECOND);
    world.send_new(40);
    world.run(6 * HOUR, 10 * SECOND);
    assert!(matches!(world.send(1), Outcome::Sent(_)), "its key is old");
    world.synced().unwrap();
    // Passed while it was stopped: positions first, then messages.
    for (days, messages) in [(40, true), (100, false)] {
        world.stop();
        world.system += days * DAY;
        world.start();
        world.send_new(40);
        world.run(50 * SECOND, SECOND);
        assert_eq!(world.store().first_seq(world.conversation()).unwrap(), 1);
        world.run(days * DAY / 19, SECOND);
        let gone = world.synced();
        assert!(matches!(gone, Err(ReadError::Expired { .. })), "{gone:?}");
        let first = world.store().first_seq(world.conversation()).unwrap();
        assert_eq!(first == 1, messages);
    }
}

#[test]
fn a_mark_is_stored_each_minute_with_what_is_stored_anyway() {
    let mut world = World::new();
    let mark = |world: &World| {
        let key = Ids(world.store().key()).clock();
        let bytes = world.store().state(key).unwrap();
        bytes.and_then(|bytes| Mark::read(&bytes))
    };
    world.send_new(1);
    world.run(10 * MINUTE, SECOND);
    assert_eq!(mark(&world), None, "nothing is stored for its sake");
    world.send_new(1);
    world.run(SECOND, SECOND);
    let stored = |world: &World| mark(world).map(|mark| mark.steady);
    assert_eq!(stored(&world), None, "the commit was before");
    let sequencer = world.sequencer.as_mut().unwrap();
    sequencer.time.mark(&mut sequencer.batch);
    sequencer.commit_batch();
    assert_eq!(stored(&world), Some(millis(world.system)));
    assert_eq!(event::with_time(b"", 1).len(), 3);
}

/// A node of a cluster in which nothing is stored has an old time in its store. Its clock is right, and the follower that it
/// was had the right time too.
#[test]
fn an_old_time_in_the_store_of_a_node_is_not_told_of() {
    let disk = SimDisk::new(1);
    let opened = Store::open_with(Arc::new(disk), Options::default(), &mut |_| ()).unwrap();
    let ids = Ids(opened.reader.key());
    let mut writer = opened.writer;
    let clock = Clock::new(crate::clock::system());
    let now = clock.look().system;
    let old = (now - DAY).as_millis() as u64;
    let mark = Mark {
        steady: old,
        wire: old,
        added: old,
    };
    writer.set_state(ids.clock(), &mark.bytes()).unwrap();
    writer.commit().unwrap();
    let start = |least| Time::start(&opened.reader, &ids, &clock, least).is_far_behind();
    assert!(start(None), "a gateway that was off");
    assert!(!start(Some((now, now))));
}
