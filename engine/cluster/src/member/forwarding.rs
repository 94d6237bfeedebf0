//! Commands on their way between the nodes: those of the own clients to the leader, and those of other nodes to the own
//! sequencer.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use trunkline_core::exchange::{CommandBatch, ReplyTo, ToSequencer};
use trunkline_core::told;

use super::log::Offer;
use super::node::Node;
use super::roles::Role;
use super::sequencing::Sequencing;
use crate::envelope::{Answers, Batch, Message, Receipt, Rider, Sender};
use crate::forward::{PATIENCE, Taking, Verdict};
use crate::nats::Lane;
use crate::node::Incarnation;

/// The time between two messages with commands to the leader: the commands that come in it go together. A message costs
/// servers and leader as much as some ten commands in it.
pub(super) const TURN: Duration = Duration::from_millis(1);

/// The batches beyond the queue of commands at which a leader takes no more.
const OVERFLOW: usize = 256;

/// The commands of other nodes at a node that leads.
#[derive(Debug)]
pub(super) struct Intake {
    taking: Taking,
    /// The numbers of the lives of nodes, in this epoch. 0 is this one.
    numbers: HashMap<Incarnation, u16>,
    /// The lives of nodes, by number.
    lives: Vec<Incarnation>,
    /// Batches that the queue of commands had no room for.
    overflow: VecDeque<Box<CommandBatch>>,
}

impl Intake {
    /// Returns what a leader begins its epoch with.
    pub(super) fn new(epoch: u64, me: Incarnation, sequencing: &Sequencing) -> Self {
        let mut nodes = sequencing.shared.nodes.lock();
        nodes.clear();
        nodes.push(told::Incarnation(me.number));
        Self {
            taking: Taking::new(epoch),
            numbers: HashMap::new(),
            lives: vec![me],
            overflow: VecDeque::new(),
        }
    }

    /// Returns whether batches wait for room in the queue of commands.
    pub(super) fn is_waiting(&self) -> bool {
        !self.overflow.is_empty()
    }

    /// Gives the own sequencer as many commands of other nodes as its queue has room for.
    fn fill_queue(&mut self, to: &ToSequencer) {
        while let Some(batch) = self.overflow.pop_front() {
            if let Err(batch) = to.try_send(batch) {
                self.overflow.push_front(batch);
                return;
            }
        }
    }

    /// Returns the number of a life of a node in this epoch.
    fn number_of(&mut self, node: Incarnation, sequencing: &Sequencing) -> u16 {
        // `Taking` takes no more lives than numbers.
        let next = self.lives.len() as u16;
        *self.numbers.entry(node).or_insert_with(|| {
            self.lives.push(node);
            let mut nodes = sequencing.shared.nodes.lock();
            nodes.push(told::Incarnation(node.number));
            next
        })
    }

    /// Returns when receipts or answers have to be sent; `None` if there are none.
    pub(super) fn wake(&self) -> Option<Duration> {
        self.taking.wake()
    }

    /// Sends the answers of a batch that stores nothing, without a group. Returns whether there was room for them.
    pub(super) fn answer(&mut self, after: u64, offer: &Offer) -> bool {
        let named = { offer.answers.iter() }
            .map(|(node, bytes)| Some((*self.lives.get(usize::from(*node))?, bytes.clone())));
        let Some(named) = named.collect::<Option<Vec<_>>>() else {
            return false;
        };
        self.taking.answer(after, &named).is_ok()
    }

    /// Returns the answers that have to travel in a group, and what to [confirm](Self::counts) once the group counts.
    pub(super) fn riders(&self, offer: &Offer) -> (Vec<Rider>, Vec<(Incarnation, u64)>) {
        let of = { offer.answers.iter() }.filter_map(|(node, bytes)| {
            let life = self.lives.get(usize::from(*node))?;
            Some((*life, bytes))
        });
        if !offer.transcript.is_empty() {
            let of: Vec<_> = of.map(|(life, _)| life).collect();
            return self.taking.riders(Some(&of));
        }
        // There is no room for answers, or this node does not know whether it leads: the group takes them all.
        let (mut riders, last) = self.taking.riders(None);
        let new = of.map(|(life, bytes)| Rider {
            to: life.number,
            number: 0,
            bytes: bytes.clone(),
        });
        riders.extend(new);
        (riders, last)
    }

    /// Notes that a group counts in which answers travelled.
    pub(super) fn counts(&mut self, epoch: u64, last: &[(Incarnation, u64)]) {
        for (node, number) in last {
            self.taking.confirm(epoch, *node, *number);
        }
    }
}

impl Node {
    /// Forwards the commands of the own clients, and lets the queue have those of others.
    pub(super) fn forward(&mut self, now: Duration) {
        if let Some(intake) = &mut self.intake {
            intake.fill_queue(&self.to);
        }
        self.send_answers(now);
        let gives_up = self.gives_up(now);
        let Role::Follows(follower, commands) = &mut self.role else {
            return;
        };
        self.units.expire(now, follower);
        while self.units.has_room()
            && let Some(mut batch) = commands.waiting()
        {
            drop_foreign(&mut batch);
            if let Some(spent) = self.units.add(batch, follower, now + PATIENCE) {
                commands.give_back(spent);
            }
        }
        if self.is_stopped || gives_up {
            self.units.give_up(follower);
            return;
        }
        if now < self.forwarded + TURN {
            return;
        }
        self.units.go_on(follower);
        let leader = self.lease.epoch().1;
        while let Some((_, batch)) = self.units.poll(now) {
            self.forwarded = now;
            let bytes = batch.commands.iter().map(|it| it.bytes.len() as u64);
            self.numbers.forwarded_bytes += bytes.sum::<u64>();
            if leader.is_some() {
                self.say(Lane::Forward, leader, Message::Batch(batch));
            }
        }
        if let Role::Follows(follower, _) = &self.role {
            self.units.settle_positions(follower);
        }
    }

    /// Gives the commands of another node to the own sequencer, if this node leads.
    pub(super) fn take_batch(&mut self, from: Sender, batch: &Batch, now: Duration) {
        let leads = matches!(self.role, Role::Leads) && self.lease.leads(now);
        let has_queue_room = self.to.room() > 0;
        let Some(intake) = self.intake.as_mut().filter(|intake| {
            // What is ignored here comes again only after a while: it takes a queue that stays full to do so.
            leads && has_queue_room && intake.overflow.len() < OVERFLOW
        }) else {
            return;
        };
        let age = self.lease.age_of_beat(batch.beat, now);
        let taking = &mut intake.taking;
        match taking.judge(from.epoch, from.node, batch, age, now) {
            Verdict::Take => {
                let node = intake.number_of(from.node, &self.sequencing);
                for command in &batch.commands {
                    match CommandBatch::carried(&command.bytes, node) {
                        Some(batch) => intake.overflow.push_back(batch),
                        None => {
                            tracing::warn!(node = %from.node, "commands of a node cannot be read: run the same version of the gateway on all nodes");
                        }
                    }
                }
            }
            Verdict::Known | Verdict::Ignore => return,
            Verdict::Renew => return self.lease.renew(now),
        }
        intake.fill_queue(&self.to);
    }
}

impl Node {
    /// Sends receipts and answers that are in no group, if this node leads.
    fn send_answers(&mut self, now: Duration) {
        while let Some(intake) = &mut self.intake
            && let Some((_, to, number)) = intake.taking.poll_receipt(now)
        {
            let receipt = Receipt {
                to: to.number,
                number,
            };
            self.say(Lane::Answers, Some(to), Message::BatchesCame(receipt));
        }
        while let Some(intake) = &mut self.intake
            && let Some((_, to, answers)) = intake.taking.poll(now)
        {
            self.say(Lane::Answers, Some(to), Message::Answers(answers));
        }
    }

    /// Takes answers of the leader that are in no group.
    pub(super) fn take_answers(&mut self, from: Sender, answers: &Answers) {
        let known = self.held.add(from.epoch, answers);
        if let Some(number) = self.hand_out().or(known) {
            self.confirm_answers(from.node, number);
        }
    }

    /// Hands out the answers that hold after a group, and tells the leader.
    pub(super) fn hand_out_after_group(&mut self) {
        if let (Some(number), Some(leader)) = (self.hand_out(), self.lease.epoch().1) {
            self.confirm_answers(leader, number);
        }
    }

    fn confirm_answers(&mut self, leader: Incarnation, number: u64) {
        let to = leader.number;
        let receipt = Message::AnswersCame(Receipt { to, number });
        self.say(Lane::Answers, Some(leader), receipt);
    }

    /// Hands out the answers that hold. Returns the number of the last ones.
    fn hand_out(&mut self) -> Option<u64> {
        let (index, mut last) = (self.applied(), None);
        while let Some((number, bytes)) = self.held.poll(index) {
            self.hear_answers(&bytes);
            last = Some(number);
        }
        last
    }

    /// Takes the receipt of a node that has answers.
    pub(super) fn take_receipt(&mut self, from: Sender, number: u64) {
        if let Some(intake) = &mut self.intake {
            intake.taking.confirm(from.epoch, from.node, number);
        }
    }

    /// Gives the own clients answers of the leader. What cannot be read has no answer: its time will be over.
    pub(super) fn hear_answers(&mut self, answers: &[u8]) {
        let Role::Follows(follower, _) = &mut self.role else {
            return;
        };
        if let Err(error) = follower.take_answers(answers) {
            tracing::error!(%error, "answers of the leader cannot be taken: run the same version of the gateway on all nodes");
        }
        self.units.settle(follower);
    }
}

/// Removes the commands of other nodes, which will give them to the next leader.
pub(super) fn drop_foreign(batch: &mut CommandBatch) {
    let is_own = |reply_to: &ReplyTo| !matches!(reply_to, ReplyTo::Remote(_));
    batch.commands.retain(|command| is_own(&command.reply_to));
}
