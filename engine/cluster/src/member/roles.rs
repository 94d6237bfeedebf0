//! The roles of a node: from one to the other, and when.

use std::time::Duration;

use trunkline_core::exchange::Commands;
use trunkline_core::follower::Follower;
use trunkline_core::sequencer::Ended;
use trunkline_core::told;
use trunkline_storage::CommitError;

use super::forwarding::{Intake, drop_foreign};
use super::log::Verdict;
use super::node::{Flight, Node};
use crate::forward::{FRESH, PATIENCE};

/// The batches that the queue of commands holds at most.
const QUEUE: usize = 1_024;

/// What a node does.
pub(super) enum Role {
    Follows(Box<Follower>, Commands),
    Leads,
    /// Between two roles, within one call.
    Changes,
}

impl Node {
    /// Ends the own sequencer, and follows.
    pub(super) fn follow(&mut self) -> Result<(), CommitError> {
        let (ended, commands) = match self.role {
            Role::Leads => self.sequencing.end(&self.to),
            Role::Follows(..) | Role::Changes => return Ok(()),
        };
        self.follow_after(ended, commands)
    }

    pub(super) fn follow_after(
        &mut self,
        ended: Result<Ended, CommitError>,
        commands: Commands,
    ) -> Result<(), CommitError> {
        self.intake = None;
        self.is_leaving = false;
        let left = match ended? {
            Ended::HandedOver(left) => left,
            Ended::Closed => unreachable!("the node keeps a sender of the queue"),
        };
        let mut follower = Follower::new(*left, told::Incarnation(self.me.number));
        // The sequencer has committed each batch that counts.
        self.chain.stored(follower.next_position());
        let now = self.now();
        let until = now + PATIENCE;
        let inherited = self.inherited.take().unwrap_or(until);
        while let Some(batch) = follower.undecided(&commands) {
            // It takes some time to find another leader.
            self.units
                .add(batch, &mut follower, inherited.max(now + 2 * FRESH));
        }
        // What waits in the queue from other nodes comes again from them.
        while self.units.has_room()
            && let Some(mut batch) = commands.waiting()
        {
            drop_foreign(&mut batch);
            self.units.add(batch, &mut follower, until);
        }
        self.role = Role::Follows(Box::new(follower), commands);
        tracing::info!("this node follows");
        Ok(())
    }

    /// Lets the own sequencer decide from now on.
    pub(super) fn lead(&mut self, epoch: u64) {
        let Role::Follows(mut follower, commands) =
            std::mem::replace(&mut self.role, Role::Changes)
        else {
            unreachable!("a node follows before it leads");
        };
        self.inherited = self.units.soonest();
        let batches = self.units.take_back(&mut follower);
        let mut parts = follower.lead();
        for batch in batches {
            parts.decide_first(batch, &commands);
        }
        // Commands of other nodes that have waited since this node led before come again from them.
        for _ in 0..QUEUE {
            let Some(mut batch) = commands.waiting() else {
                break;
            };
            drop_foreign(&mut batch);
            parts.decide_first(batch, &commands);
        }
        self.intake = Some(Intake::new(epoch, self.me, &self.sequencing));
        self.sequencing.begin(parts, commands);
        self.role = Role::Leads;
        self.is_new = false;
        self.numbers.takeovers += 1;
        tracing::info!(epoch, "this node leads");
    }

    /// Gives the own sequencer its batch back: it is not in the log, and never will be.
    pub(super) fn give_back(&mut self) {
        let flight = self.flight.take();
        if flight.is_some() || self.offer.take().is_some() {
            self.inherited = flight.map(|flight| flight.until).or(self.inherited);
            self.sequencing.tell(Verdict::HandedOver);
        }
    }

    /// Gives the own sequencer its batch back when the node stops or ends. One that was published may be in the log.
    pub(super) fn give_up_flight(&mut self) {
        if let Some(flight) = self.flight.take() {
            self.inherited = Some(flight.until);
            self.sequencing.tell(Verdict::Unknown);
        }
        self.give_back();
    }

    /// Gives the lead up, and tells the others if this node `led`.
    pub(super) fn step_down(&mut self, now: Duration, led: bool) {
        self.ordered_down = 0;
        let last_beat = self.lease.step_down(now);
        if let Some(act) = last_beat.filter(|_| led) {
            tracing::info!("another node leads from now on");
            self.carry_out(act);
        }
    }

    /// Does what is due for the lease, and changes the role if the lease says so.
    pub(super) fn act(&mut self, now: Duration) -> Result<(), CommitError> {
        let is_open = self.flight.is_some() || self.offer.is_some();
        let led = matches!(self.role, Role::Leads);
        let is_ordered = self.ordered_down != 0 && self.ordered_down == self.lease.epoch().0;
        let leaves =
            led && (self.status.is_leaving() || is_ordered) && self.others.has_successor(now);
        if leaves && !self.is_leaving {
            // It still leads until what is decided is stored. What is not decided yet goes to the next leader.
            self.is_leaving = true;
            self.sequencing.ask_to_end(&self.to);
        }
        // What keeps a node from leading may begin at any time, so it is looked for before each attempt, too.
        if !is_open && self.hindrance.is_there() {
            self.step_down(now, led);
        }
        while let Some(act) = self.lease.poll(now) {
            self.carry_out(act);
        }
        // Nothing is decided in an epoch that this node has stopped leading. What is on its way counts or does not, and the
        // stream says which. If it says nothing for long, the clients must not wait.
        let gives_up = self.gives_up(now);
        let is_settled = |flight: &Flight| now >= flight.until || gives_up;
        if matches!(self.role, Role::Leads)
            && !self.lease.leads(now)
            && self.flight.as_ref().is_none_or(is_settled)
        {
            self.give_up_flight();
            self.follow()?;
        }
        Ok(())
    }
}
