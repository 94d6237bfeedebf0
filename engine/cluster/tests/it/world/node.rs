//! A node in the world of the tests: what a gateway does, with a state that is a digest.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use trunkline_cluster::Incarnation;
use trunkline_cluster::chain::{Chain, Mark, Skip, Step, Stop};
use trunkline_cluster::envelope::{
    Answers, Batch, Beat, Draft, Epoch, Message, Receipt, Received, Sender,
};
use trunkline_cluster::forward::{Held, Taking, Verdict, Waiting};
use trunkline_cluster::lease::{Act, Lease, Timing};

use super::content::{Content, NAMES};
use super::{CommandId, Shared};
use crate::made::life;

/// The commands whose number divides by this are refused: they change nothing.
const REFUSED: u64 = 5;

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
    tickets: HashSet<u64>,
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
    /// When a heartbeat of each life of a node was heard last.
    heard: HashMap<Incarnation, Duration>,
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
            heard: HashMap::new(),
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
                next.waiting.begin(mark.epoch);
                next.held.begin(mark.epoch);
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
            if let Ok(number) = self.waiting.add(bytes.into()) {
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
                    assert_eq!(
                        Content::read(&group.transcript),
                        Content::read(&group.told.slice(1..))
                    );
                    self.answer(&Content::read(&group.transcript), shared);
                    if self
                        .flight
                        .take_if(|flight| flight.index == group.index)
                        .is_some()
                    {
                        self.lease.seen(shared.now);
                    }
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
        self.lease.begins(epoch, author, shared.now);
        self.taking = (author == self.me).then(|| Taking::new(epoch));
        self.waiting.begin(epoch);
        self.held.begin(epoch);
    }

    /// Hands out the answers to commands of this life.
    fn answer(&mut self, content: &Content, shared: &mut Shared) {
        for (node, number) in &content.commands {
            if *node == self.me && self.waiting.answered(*number) {
                assert!(self.asked.remove(number), "{number} is answered twice");
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
        if let Some(taking) = &mut self.taking {
            let is_dead = |heard: &&Duration| shared.now.saturating_sub(**heard) > super::ms(800);
            for (node, _) in self.heard.iter().filter(|(_, heard)| is_dead(heard)) {
                taking.give_up(*node);
            }
        }
        self.decide(shared);
        while let Some((after, bytes)) = self.held.poll(self.index) {
            self.refusals(&bytes, shared);
            self.send_leader(
                |to| Message::AnswersCame(Receipt { to, number: after }),
                shared,
            );
        }
        while let Some((epoch, batch)) = self.waiting.poll(700, shared.now) {
            assert_eq!(epoch, self.lease.epoch().0);
            self.send_leader(|_| Message::Batch(batch), shared);
        }
        while let Some((to, answers)) = self
            .taking
            .as_mut()
            .and_then(|taking| taking.poll(shared.now))
        {
            self.send(to, Message::Answers(answers), shared);
        }
    }

    /// Hands out answers that are in no group.
    fn refusals(&mut self, bytes: &Bytes, shared: &mut Shared) {
        let (after, bytes) = bytes.split_at(8);
        let after = u64::from_le_bytes(after.try_into().expect("eight bytes"));
        let content = Content::read(&Bytes::copy_from_slice(bytes));
        assert_eq!(
            content.epoch,
            self.lease.epoch().0,
            "answers of another epoch"
        );
        assert!(after <= self.index, "an answer came before its group");
        // A leader whose history the stream lost stops with its next look, and may answer until then.
        assert!(
            shared.lost_its_end || content.digest == shared.truth.digest(after),
            "an answer of another history"
        );
        shared.tally.refused += content.commands.len() as u64;
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

    /// Decides what waits, if this node leads and nothing is on its way.
    fn decide(&mut self, shared: &mut Shared) {
        let leads = self.lease.leads(shared.now) && self.flight.is_none() && !self.leaves;
        if !leads || self.intake.is_empty() || !self.chain.is_proved() {
            return;
        }
        let count = 1 + shared.random.below(60) as usize;
        let taken: Vec<_> = self.intake.drain(..count.min(self.intake.len())).collect();
        let (refused, stored): (Vec<_>, Vec<_>) = taken
            .into_iter()
            .partition(|(_, number)| number % REFUSED == 0);
        let refused_only = stored.is_empty();
        for command in refused {
            let content = Content {
                digest: self.digest,
                epoch: self.lease.epoch().0,
                commands: vec![command],
            };
            let bytes = [&self.index.to_le_bytes()[..], &content.write()].concat();
            let taking = self.taking.as_mut().expect("a leader takes");
            // A node that is given up asks again in the next epoch.
            let _ = taking.answer(command.0, self.index, bytes.into());
        }
        if !refused_only {
            self.publish_group(stored, shared);
        }
    }

    fn publish_group(&mut self, commands: Vec<CommandId>, shared: &mut Shared) {
        let content = Content {
            digest: self.digest,
            epoch: self.lease.epoch().0,
            commands,
        };
        let mark = self.chain.mark().expect("a leader has taken its epoch");
        let link = self.chain.link().expect("a leader has looked at its mark");
        let transcript = content.write();
        let told = [&[9], &transcript[..]].concat();
        let index = mark.index + 1;
        let messages = Draft {
            link,
            epoch: mark.epoch,
            index,
            ahead: 0,
            transcript: &transcript,
            told: &told,
        }
        .cut(512)
        .expect("a short group");
        let mut flight = Flight {
            index,
            tickets: HashSet::new(),
        };
        for (at, message) in messages.into_iter().enumerate() {
            self.tickets += 1;
            flight.tickets.insert(self.tickets);
            let after = link.after + at as u64;
            shared.publish(self.at, self.me.number, self.tickets, message, after);
        }
        self.flight = Some(flight);
        self.lease.published(shared.now);
    }

    fn send_leader(&mut self, message: impl FnOnce(u64) -> Message, shared: &mut Shared) {
        if let Some(leader) = self.lease.epoch().1 {
            self.send(leader, message(leader.number), shared);
        }
    }

    fn send(&self, to: Incarnation, message: Message, shared: &mut Shared) {
        let Some(mark) = self.chain.mark() else {
            return;
        };
        let received = Received {
            from: Sender {
                log: mark.log,
                epoch: self.lease.epoch().0,
                node: self.me,
            },
            message,
        };
        let at = NAMES.iter().position(|name| *name == to.node.as_str());
        shared.send(self.at, at.expect("one of the nodes"), &received.write());
    }

    /// Takes a message of a node.
    pub(super) fn comes(&mut self, message: &Bytes, shared: &mut Shared) {
        let Received { from, message } = Received::read(message).expect("a message");
        let to_me = |to: u64| to == self.me.number;
        // The stream may have lost an epoch, and another node began one with the same number.
        let leads = self.lease.epoch() == (from.epoch, Some(from.node));
        match message {
            Message::Beat(beat) => {
                self.lease.heard(from.node, from.epoch, &beat, shared.now);
                self.heard.insert(from.node, shared.now);
                if self
                    .taking
                    .as_ref()
                    .is_some_and(|taking| taking.is_given_up(from.node))
                {
                    shared.tally.renewed += 1;
                    self.lease.renew(shared.now);
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
            Message::Answers(_) | Message::BatchesCame(_) | Message::AnswersCame(_) => {}
        }
    }

    fn batch(&mut self, from: Sender, batch: Batch, shared: &mut Shared) {
        let Some(taking) = &mut self.taking else {
            return;
        };
        match taking.judge(from.epoch, from.node, batch.number) {
            Verdict::Take => {
                let commands = batch.commands.into_iter();
                self.intake
                    .extend(commands.map(|command| (from.node, command.number)));
            }
            Verdict::Known => {}
            Verdict::Ignore => return,
            Verdict::Renew => {
                self.lease.renew(shared.now);
                return;
            }
        }
        let number = taking.taken(from.node);
        let receipt = Receipt {
            to: from.node.number,
            number,
        };
        self.send(from.node, Message::BatchesCame(receipt), shared);
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
