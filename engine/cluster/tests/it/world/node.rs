//! A node in the world of the tests: what a gateway does, with a state that is a digest.

mod leading;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use trunkline_cluster::Incarnation;
use trunkline_cluster::chain::{Chain, Group, Mark, Skip, Step, Stop};
use trunkline_cluster::envelope::{
    Answers, Batch, Beat, Draft, Epoch, Hash, Malformed, Message, Receipt, Received, Rider, Sender,
    Standing, Telling,
};
use trunkline_cluster::forward::{Held, PATIENCE, Taking, Verdict, Waiting};
use trunkline_cluster::lease::{Act, Lease, Timing};

use super::content::{Content, NAMES};
use super::{CommandId, Shared};
use crate::made::life;

/// The time after which a node gives some commands up in the world: short, so that it happens.
const IMPATIENCE: Duration = super::ms(2400);

/// What a node has on its disk.
#[derive(Debug, Clone, Copy)]
struct Disk {
    mark: Mark,
    digest: u64,
    index: u64,
}

/// A group that the leader published and has not seen yet.
#[derive(Debug)]
struct Flight {
    index: u64,
    epoch: u64,
    tickets: HashSet<u64>,
    /// The answers that travel in it.
    rides: Vec<(Incarnation, u64)>,
}

/// Whether a command is refused in a state: it changes nothing then.
fn is_refused(digest: u64, (node, number): CommandId) -> bool {
    let hash = Hash::of(&[digest, node.number, number].map(u64::to_le_bytes).concat());
    hash.0[0].is_multiple_of(4)
}

pub(super) struct Node {
    at: usize,
    me: Incarnation,
    chain: Chain,
    lease: Lease,
    waiting: Waiting,
    held: Held,
    /// What this node leads with; `None` at others.
    taking: Option<Taking>,
    /// Commands that were taken and not decided.
    intake: VecDeque<CommandId>,
    flight: Option<Flight>,
    /// The publish of an epoch record.
    epoch_ticket: u64,
    epoch_sought: u64,
    /// The last answer of the servers to the question where the stream ends, with what this node had seen before it asked.
    asked_ends: (u64, u64),
    tickets: u64,
    digest: u64,
    index: u64,
    /// The last states on the disk, the oldest first.
    disks: VecDeque<Disk>,
    /// The commands of this life that are not answered.
    asked: HashSet<u64>,
    /// The number of the last command that was answered: they are answered in their order.
    last_answered: u64,
    leaves: bool,
    /// Whether the connection to the servers is a new one.
    pub(super) is_new_connection: bool,
    pub(super) paused: Duration,
}

impl Node {
    pub(super) fn start(at: usize, shared: &mut Shared) -> Self {
        let me = life(NAMES[at], shared.random.next());
        let seed = shared.random.next();
        Self {
            at,
            me,
            chain: Chain::new(),
            lease: Lease::new(me, (0, None), Timing::USUAL, seed, shared.now),
            waiting: Waiting::new(200, 1 << 20),
            held: Held::default(),
            taking: None,
            intake: VecDeque::new(),
            flight: None,
            epoch_ticket: 0,
            epoch_sought: 0,
            asked_ends: (0, 0),
            tickets: 0,
            digest: 0,
            index: 0,
            disks: VecDeque::new(),
            asked: HashSet::new(),
            last_answered: 0,
            leaves: false,
            is_new_connection: false,
            paused: Duration::ZERO,
        }
    }

    /// Dies, and begins again with what was on the disk some time ago.
    pub(super) fn restart(&mut self, shared: &mut Shared) {
        let mut next = Self::start(self.at, shared);
        next.paused = shared.now + super::ms(shared.random.below(1500));
        next.disks.clone_from(&self.disks);
        next.is_new_connection = true;
        let back = shared.random.below(4) as usize;
        next.disks.truncate(self.disks.len().saturating_sub(back));
        if let Some(disk) = next.disks.back().copied() {
            let mark = (disk.mark.epoch, disk.mark.author);
            next.lease = Lease::new(
                next.me,
                mark,
                Timing::USUAL,
                shared.random.next(),
                shared.now,
            );
            let mark = Mark::read(&disk.mark.write()).expect("a whole mark");
            assert_eq!(mark, disk.mark);
            next.chain = Chain::resume(mark);
            if mark.epoch > 0 {
                assert!(next.waiting.begin(mark.epoch, shared.now).is_empty());
                assert!(next.held.begin(mark.epoch, 0).is_empty());
            }
            (next.digest, next.index) = (disk.digest, disk.index);
        }
        *self = next;
    }

    /// Begins again without anything on the disk: the node's history is not the stream's.
    fn stop(&mut self, stop: Stop, shared: &mut Shared) {
        assert!(shared.lost_its_end, "{}: {stop}", self.me);
        assert!(
            matches!(stop, Stop::Other { .. } | Stop::Shorter { .. }),
            "{stop}"
        );
        shared.tally.stops += 1;
        self.disks.clear();
        self.restart(shared);
    }

    /// Whether something that this node published may still land.
    pub(super) fn is_publishing(&self) -> bool {
        self.taking.is_some() || self.flight.is_some() || self.epoch_ticket != 0
    }

    pub(super) fn step_down(&mut self, shared: &mut Shared) {
        if self.flight.is_some() {
            self.leaves = true;
        } else if let Some(act) = self.lease.step_down(shared.now) {
            self.taking = None;
            self.intake.clear();
            self.act(act, shared);
        }
    }

    pub(super) fn ask(&mut self, shared: &mut Shared) {
        for _ in 0..=shared.random.below(3) {
            let bytes = vec![7; 20 + shared.random.below(300) as usize];
            let is_impatient = shared.random.chance(15);
            let patience = if is_impatient { IMPATIENCE } else { PATIENCE };
            if let Ok(number) = self.waiting.add(bytes.into(), shared.now + patience) {
                self.asked.insert(number);
            }
        }
    }

    /// Looks at a few records of the stream.
    pub(super) fn look(&mut self, shared: &mut Shared) {
        let last = shared.stream.len() as u64;
        let (asked, seen) = std::mem::replace(&mut self.asked_ends, (last, self.chain.furthest()));
        if self.is_new_connection {
            self.is_new_connection = false;
            self.chain.prove();
        } else if let Err(stop) = self.chain.compare_ends(1, asked, seen) {
            return self.stop(stop, shared);
        }
        for _ in 0..=shared.random.below(12) {
            // Sometimes a record comes that was looked at before.
            let sequence = self.chain.next() - u64::from(shared.random.chance(5));
            let Some(record) = shared.stream.get(sequence.max(1) as usize - 1) else {
                break;
            };
            let record = record.clone();
            let step = match self.chain.take(sequence.max(1), &record) {
                Ok(step) => step,
                Err(stop) => return self.stop(stop, shared),
            };
            match step {
                Step::Genesis(_) | Step::Known => {}
                Step::Prove => shared.tally.proved += 1,
                Step::Missing { next } => panic!("{next} was not given"),
                Step::Part => {
                    shared.tally.parted += 1;
                    self.lease.progressed(shared.now);
                }
                Step::Skipped(skip) => {
                    shared.tally.skipped += 1;
                    shared.tally.late += u64::from(skip == Skip::Late);
                }
                Step::Epoch { epoch, author } => self.begin(epoch, author, shared),
                Step::Group(group) => {
                    assert_eq!(group.index, self.index + 1);
                    self.digest = shared.take(group.index, group.epoch, &group.transcript);
                    self.index = group.index;
                    self.hear_group(&group, shared);
                }
            }
            if shared.random.chance(30) {
                self.save();
            }
        }
        if self.chain.is_proved() {
            self.lease.proved(shared.now);
        }
    }

    fn save(&mut self) {
        let Some(mark) = self.chain.mark().copied() else {
            return;
        };
        self.disks.push_back(Disk {
            mark,
            digest: self.digest,
            index: self.index,
        });
        if self.disks.len() > 5 {
            self.disks.pop_front();
        }
    }

    fn begin(&mut self, epoch: u64, author: Incarnation, shared: &mut Shared) {
        shared.tally.epochs += 1;
        shared.tally.again += self.waiting.len() as u64;
        self.flight = None;
        self.intake.clear();
        shared.begins(epoch);
        let (epoch_before, _) = self.lease.epoch();
        self.lease.begins(epoch, author, shared.now);
        self.taking = (author == self.me).then(|| Taking::new(epoch));
        for bytes in self.held.begin(epoch, self.index) {
            self.refusals(&bytes, epoch_before, shared);
        }
        let over = self.waiting.begin(epoch, shared.now);
        self.give_up(over, shared);
    }

    /// Hands out what a group tells: first the answers that travel in it.
    fn hear_group(&mut self, group: &Group, shared: &mut Shared) {
        let telling = Telling::read(&group.told).expect("what a group tells");
        for rider in telling.riders {
            if rider.to == self.me.number && self.held.rides(rider.number) {
                shared.tally.rode += 1;
                self.refusals(&rider.bytes, group.epoch, shared);
            }
        }
        self.answer(&Content::read(&telling.own), shared);
        let is_own = |flight: &mut Flight| flight.index == group.index;
        if let Some(flight) = self.flight.take_if(is_own) {
            self.lease.seen(shared.now);
            if let Some(taking) = &mut self.taking {
                for (node, number) in flight.rides {
                    taking.confirm(flight.epoch, node, number);
                }
            }
        }
    }

    /// Hands out the answers to commands of this life.
    fn answer(&mut self, content: &Content, shared: &mut Shared) {
        for (node, number) in &content.commands {
            if *node == self.me && self.waiting.answered(*number) {
                assert!(self.asked.remove(number), "{number} is answered twice");
                assert!(*number > self.last_answered, "{number} out of order");
                self.last_answered = *number;
                shared.tally.answered += 1;
            }
        }
    }

    pub(super) fn acknowledged(&mut self, life: u64, ticket: u64, stored: bool, shared: &Shared) {
        if life != self.me.number {
            return;
        }
        if self.epoch_ticket == ticket {
            if !stored {
                self.lease.epoch_refused(self.epoch_sought, shared.now);
            }
            return;
        }
        let Some(flight) = &mut self.flight else {
            return;
        };
        if !flight.tickets.remove(&ticket) {
            return;
        }
        if !stored {
            self.lease.group_refused(shared.now);
        } else if flight.tickets.is_empty() {
            self.lease.acknowledged(shared.now);
        } else {
            self.lease.progressed(shared.now);
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, shared: &mut Shared) {
        while let Some(act) = self.lease.poll(shared.now) {
            self.act(act, shared);
        }
        if !self.lease.leads(shared.now) {
            // Nothing is decided in an epoch that this node has stopped leading.
            self.intake.clear();
            self.taking = None;
        }
        if self.leaves && self.flight.is_none() {
            self.leaves = false;
            self.step_down(shared);
        }
        let over = self.waiting.expire(shared.now);
        self.give_up(over, shared);
        self.decide(shared);
        while let Some((after, bytes)) = self.held.poll(self.index) {
            let (epoch, _) = self.lease.epoch();
            self.refusals(&bytes, epoch, shared);
            self.send_leader(
                |to| Message::AnswersCame(Receipt { to, number: after }),
                shared,
            );
        }
        while let Some((epoch, batch)) = self.waiting.poll(700, shared.now) {
            assert_eq!(epoch, self.lease.epoch().0);
            self.send_leader(|_| Message::Batch(batch), shared);
        }
        self.send_answers(shared);
    }

    /// Tells clients that nobody has answered their commands in time.
    fn give_up(&mut self, over: Vec<u64>, shared: &mut Shared) {
        for number in over {
            assert!(self.asked.remove(&number), "{number} is given up twice");
            shared.truth.given_up.insert((self.me, number));
            shared.tally.given_up += 1;
        }
    }

    /// Hands out answers that are in no group.
    fn refusals(&mut self, bytes: &Bytes, epoch: u64, shared: &mut Shared) {
        let (after, bytes) = bytes.split_at(8);
        let after = u64::from_le_bytes(after.try_into().expect("eight bytes"));
        let content = Content::read(&Bytes::copy_from_slice(bytes));
        assert_eq!(content.epoch, epoch, "answers of another epoch");
        assert!(after <= self.index, "an answer came before its group");
        // A leader whose history the stream lost stops with its next look, and may answer until then.
        assert!(
            shared.lost_its_end || content.digest == shared.truth.digest(after),
            "an answer of another history"
        );
        for command in &content.commands {
            if self.asked.contains(&command.1) {
                shared.tally.refused += 1;
                shared.truth.refused.insert(*command);
            }
        }
        self.answer(&content, shared);
    }

    fn act(&mut self, act: Act, shared: &mut Shared) {
        match act {
            Act::Beat(beat) => {
                let beat = Beat {
                    index: self.index,
                    ..beat
                };
                for name in NAMES {
                    self.send(life(name, 0), Message::Beat(beat), shared);
                }
            }
            Act::Prove => self.chain.prove(),
            Act::TakeOver { epoch } => {
                self.epoch_sought = epoch;
                let (Some(link), Some(mark)) = (self.chain.link(), self.chain.mark()) else {
                    return;
                };
                let record = Epoch {
                    link,
                    epoch,
                    index: mark.index,
                    author: self.me,
                };
                self.tickets += 1;
                self.epoch_ticket = self.tickets;
                shared.publish(
                    self.at,
                    self.me.number,
                    self.tickets,
                    record.write(),
                    link.after,
                );
            }
        }
    }

    fn send_leader(&mut self, message: impl FnOnce(u64) -> Message, shared: &mut Shared) {
        if let Some(leader) = self.lease.epoch().1 {
            self.send(leader, message(leader.number), shared);
        }
    }

    fn send(&self, to: Incarnation, message: Message, shared: &mut Shared) {
        let (epoch, _) = self.lease.epoch();
        self.send_in(epoch, to, message, shared);
    }

    fn send_in(&self, epoch: u64, to: Incarnation, message: Message, shared: &mut Shared) {
        let Some(mark) = self.chain.mark() else {
            return;
        };
        let received = Received {
            from: Sender {
                log: mark.log,
                epoch,
                node: self.me,
            },
            message,
        };
        let at = NAMES.iter().position(|name| *name == to.node.as_str());
        shared.send(self.at, at.expect("one of the nodes"), &received.write());
    }

    /// Takes a message of a node.
    pub(super) fn comes(&mut self, message: &Bytes, shared: &mut Shared) {
        let Some(mark) = self.chain.mark() else {
            return;
        };
        let Received { from, message } = match Received::read_for(mark.log, message) {
            Ok(received) => received,
            Err(Malformed::OtherLog(_)) => return,
            Err(error) => panic!("{error}"),
        };
        let to_me = |to: u64| to == self.me.number;
        // The stream may have lost an epoch, and another node began one with the same number.
        let leads = self.lease.epoch() == (from.epoch, Some(from.node));
        match message {
            Message::Beat(beat) => {
                self.lease.heard(from.node, from.epoch, &beat, shared.now);
                if leads && beat.standing == Standing::Leads {
                    self.waiting.heard(from.epoch, beat.number);
                }
            }
            Message::Batch(batch) => self.batch(from, batch, shared),
            Message::Answers(answers) if to_me(answers.to) && leads => {
                self.answers(from, &answers, shared)
            }
            Message::BatchesCame(receipt) if to_me(receipt.to) && leads => {
                self.waiting.confirm(from.epoch, receipt.number);
            }
            Message::AnswersCame(receipt) if to_me(receipt.to) => {
                if let Some(taking) = &mut self.taking {
                    taking.confirm(from.epoch, from.node, receipt.number);
                }
            }
            Message::Answers(_)
            | Message::BatchesCame(_)
            | Message::AnswersCame(_)
            | Message::StepDown(_) => {}
        }
    }

    fn answers(&mut self, from: Sender, answers: &Answers, shared: &mut Shared) {
        if let Some(number) = self.held.add(from.epoch, answers) {
            let to = from.node.number;
            self.send(
                from.node,
                Message::AnswersCame(Receipt { to, number }),
                shared,
            );
        }
    }

    pub(super) fn is_settled(&self, last: u64) -> bool {
        let has_all = self.chain.is_proved() && self.chain.next() == last + 1;
        self.waiting.is_empty() && has_all && self.flight.is_none()
    }

    /// Checks that everything that clients of this life asked is answered, and the node has all groups.
    pub(super) fn check_end(&self, shared: &Shared, groups: u64) {
        assert!(self.asked.is_empty(), "{:?}", self.asked);
        assert_eq!(self.index, groups);
        assert_eq!(self.digest, shared.truth.digest(groups));
    }

    pub(super) fn describe(&self) -> String {
        format!(
            "{} epoch {:?}, leads {}, index {}, next {}, waiting {}, intake {}, flight {}, skips {:?}",
            self.me,
            self.lease.epoch(),
            self.taking.is_some(),
            self.index,
            self.chain.next(),
            self.waiting.len(),
            self.intake.len(),
            self.flight.is_some(),
            self.chain.skips(),
        )
    }
}
