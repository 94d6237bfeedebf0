//! Commands on their way between the nodes: those of the own clients to the leader, and those of other nodes to the own
//! sequencer.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use trunkline_core::exchange::{CommandBatch, ReplyTo, ToSequencer};
use trunkline_core::told;

use super::node::Node;
use super::roles::Role;
use super::sequencing::Sequencing;
use crate::envelope::{Batch, Message, Receipt, Sender};
use crate::forward::{Taking, Verdict};
use crate::nats::Lane;
use crate::node::Incarnation;

/// The batches beyond the queue of commands at which a leader takes no more.
const OVERFLOW: usize = 256;

/// The commands of other nodes at a node that leads.
#[derive(Debug)]
pub(super) struct Intake {
    taking: Taking,
    /// The numbers of the lives of nodes, in this epoch. 0 is this one.
    lives: HashMap<Incarnation, u16>,
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
            lives: HashMap::new(),
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
        let next = self.lives.len() as u16 + 1;
        *self.lives.entry(node).or_insert_with(|| {
            let mut nodes = sequencing.shared.nodes.lock();
            nodes.push(told::Incarnation(node.number));
            next
        })
    }
}

impl Node {
    /// Forwards the commands of the own clients, and lets the queue have those of others.
    pub(super) fn forward(&mut self, now: Duration) {
        if let Some(intake) = &mut self.intake {
            intake.fill_queue(&self.to);
        }
        let Role::Follows(follower, commands) = &mut self.role else {
            return;
        };
        self.units.go_on(follower);
        while self.units.has_room()
            && let Some(mut batch) = commands.waiting()
        {
            drop_foreign(&mut batch);
            self.units.add(batch, follower);
        }
        if self.is_stopped {
            self.units.give_up(follower);
            return;
        }
        let leader = self.lease.epoch().1;
        while let Some((_, batch)) = self.units.poll(now) {
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
        let verdict = intake.taking.judge(from.epoch, from.node, batch.number);
        let number = intake.taking.taken(from.node);
        match verdict {
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
            Verdict::Known => {}
            Verdict::Ignore => return,
            Verdict::Renew => return self.lease.renew(now),
        }
        intake.fill_queue(&self.to);
        let receipt = Receipt {
            to: from.node.number,
            number,
        };
        self.say(
            Lane::Answers,
            Some(from.node),
            Message::BatchesCame(receipt),
        );
    }
}

/// Removes the commands of other nodes, which will give them to the next leader.
pub(super) fn drop_foreign(batch: &mut CommandBatch) {
    let is_own = |reply_to: &ReplyTo| !matches!(reply_to, ReplyTo::Remote(_));
    batch.commands.retain(|command| is_own(&command.reply_to));
}
