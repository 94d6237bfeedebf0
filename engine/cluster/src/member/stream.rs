//! What a node does with the records of the stream, with outcomes of its own, and with messages of other nodes.

use std::time::Duration;

use trunkline_core::follower::FollowError;
use trunkline_storage::CommitError;

use super::log::{Offer, Verdict};
use super::node::{Flight, Node};
use super::roles::Role;
use crate::chain::{Group, Step};
use crate::envelope::{Draft, Message, Received};
use crate::nats::{Heard, Lane, Outcome, RECORD_MAX, Said};
use crate::node::Incarnation;

/// The most records that a node looks at in a turn.
const RECORDS: usize = 256;

/// The most messages that a node takes in a turn.
const MESSAGES: usize = 1_024;

impl Node {
    /// Looks at the records that have come.
    pub(super) fn look_at_stream(&mut self, now: Duration) -> Result<(), CommitError> {
        if let Some(group) = self.hindrance.due(now) {
            self.take_group(&group, now)?;
        }
        for _ in 0..RECORDS {
            if self.hindrance.holds() {
                return Ok(());
            }
            let Some(heard) = self.tail.take() else {
                if self.chain.is_proved() {
                    self.lease.proved(now);
                }
                return Ok(());
            };
            if self.is_stopped {
                continue;
            }
            let (sequence, bytes) = match heard {
                Heard::Record { sequence, bytes } => (sequence, bytes),
                Heard::Stopped(stop) => {
                    self.halt(&stop.to_string())?;
                    continue;
                }
            };
            match self.chain.take(sequence, &bytes) {
                Ok(Step::Genesis(genesis)) => {
                    if genesis != self.genesis {
                        self.halt("the stream begins with another record than the file cluster-genesis: the stream was made anew. Restore it; or remove this node's folder, to follow the stream as it is")?;
                    }
                }
                Ok(Step::Epoch { epoch, author }) => self.begin(epoch, author, now)?,
                Ok(Step::Group(group)) => self.take_group(&group, now)?,
                Ok(Step::Part) => self.lease.progressed(now),
                Ok(Step::Known) => {}
                Ok(Step::Prove | Step::Missing { .. }) => self.read_again(),
                Ok(Step::Skipped(skip)) => {
                    tracing::debug!(sequence, ?skip, "a record of the stream does not count");
                }
                Err(stop) => self.halt(&stop.to_string())?,
            }
        }
        // There may be more.
        self.rest();
        Ok(())
    }

    /// Stops for good. What is on its way is given up: whether it is in the log is not known.
    pub(super) fn halt(&mut self, why: &str) -> Result<(), CommitError> {
        self.stop(why);
        self.give_up_flight();
        self.follow()
    }

    /// Begins an epoch.
    fn begin(&mut self, epoch: u64, author: Incarnation, now: Duration) -> Result<(), CommitError> {
        // Nothing that was published before and has not come is in the log, or ever will be.
        self.give_back();
        self.follow()?;
        self.lease.begins(epoch, author, now);
        self.epoch_ticket = None;
        let Role::Follows(follower, _) = &self.role else {
            return Ok(());
        };
        self.units.begin(epoch, follower);
        if author == self.me && self.lease.leads(now) {
            self.lead(epoch);
        }
        Ok(())
    }

    fn take_group(&mut self, group: &Group, now: Duration) -> Result<(), CommitError> {
        let mark = *self.chain.mark().expect("a group follows a genesis");
        match &mut self.role {
            Role::Leads => {
                let is_own = |flight: &mut Flight| {
                    (flight.epoch, flight.index) == (group.epoch, group.index)
                };
                if self.flight.take_if(is_own).is_none() {
                    return self.halt("a group of this node came that it did not wait for: start the gateway again");
                }
                self.lease.seen(now);
                self.sequencing.tell(Verdict::Counts(mark));
            }
            Role::Follows(follower, _) => match follower.take(&group.transcript, &group.told) {
                Ok(()) => self.units.settle(follower),
                Err(error @ FollowError::Misfit) => {
                    self.units.settle(follower);
                    tracing::error!(%error, group = group.index, "the sessions of this node end: clients come back, and catch up");
                    self.endings.begin();
                }
                Err(error) if error.passes() => {
                    self.hindrance.hold(group, &error, now);
                    return Ok(());
                }
                Err(error) => {
                    let index = group.index;
                    return self.halt(&format!(
                        "group {index} of the log cannot be taken: {error}"
                    ));
                }
            },
            Role::Changes => {}
        }
        self.numbers.groups += 1;
        Ok(())
    }

    /// Publishes a batch of the own sequencer as the next group. Returns whether it is on its way.
    pub(super) fn publish(&mut self, offer: &Offer, now: Duration) -> bool {
        let (Some(link), Some(mark)) = (self.chain.link(), self.chain.mark()) else {
            return false;
        };
        let index = mark.index + 1;
        let draft = Draft {
            link,
            epoch: mark.epoch,
            index,
            ahead: offer.ahead,
            transcript: &offer.transcript,
            told: &offer.told,
        };
        let parts = match draft.cut(RECORD_MAX) {
            Ok(parts) => parts,
            Err(error) => {
                tracing::error!(%error, "a commit is refused");
                return false;
            }
        };
        let mut flight = Flight {
            epoch: mark.epoch,
            index,
            parts: parts.into(),
            after: link.after,
            ticket: 0,
        };
        let Some(first) = flight.parts.pop_front() else {
            return false;
        };
        let Ok(ticket) = self.publisher.publish(flight.after, first) else {
            // The answer to an earlier record is still awaited.
            return false;
        };
        flight.ticket = ticket;
        self.flight = Some(flight);
        self.lease.published(now);
        self.numbers.published += 1;
        true
    }

    /// Looks at what became of the records that this node has published.
    pub(super) fn look_at_outcomes(&mut self, now: Duration) {
        while let Some(published) = self.publisher.take() {
            let is_it = |(_, ticket): &mut (u64, u64)| *ticket == published.number;
            let epoch = self.epoch_ticket.take_if(is_it);
            let flight = self.flight.as_mut();
            let flight = flight.filter(|flight| flight.ticket == published.number);
            match published.outcome {
                Outcome::Stored { .. } => {
                    let Some(flight) = flight.filter(|_| !published.is_late) else {
                        continue;
                    };
                    match flight.parts.pop_front() {
                        None => self.lease.acknowledged(now),
                        Some(part) => {
                            flight.after += 1;
                            match self.publisher.publish(flight.after, part) {
                                Ok(ticket) => {
                                    flight.ticket = ticket;
                                    self.lease.progressed(now);
                                }
                                Err(_) => self.lease.group_refused(now),
                            }
                        }
                    }
                }
                outcome if epoch.is_some() || flight.is_some() => {
                    self.numbers.rejected += 1;
                    tracing::debug!(?outcome, "a record was not taken");
                    match epoch {
                        // The lease knows how long it waits for an answer.
                        _ if outcome == Outcome::Silence => {}
                        Some((epoch, _)) => self.lease.epoch_refused(epoch, now),
                        None => self.lease.group_refused(now),
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes the messages of other nodes.
    pub(super) fn look_at_lanes(&mut self, now: Duration) {
        for _ in 0..MESSAGES {
            let Some(said) = self.lanes.take() else {
                return;
            };
            let Said::Message { lane, bytes, .. } = said else {
                // What was lost goes again.
                continue;
            };
            if lane == Lane::Orders {
                self.take_order(&bytes);
                continue;
            }
            let Ok(Received { from, message }) = Received::read(&bytes) else {
                continue;
            };
            if self.chain.mark().is_none_or(|mark| mark.log != from.log) {
                continue;
            }
            if self.is_stopped {
                // Orders reach nodes that have stopped too, and go on from there.
                if let Message::Beat(_) = message {
                    self.note(from.node, now);
                }
                continue;
            }
            match message {
                Message::Beat(beat) => {
                    self.lease.heard(from.node, from.epoch, &beat, now);
                    self.note(from.node, now);
                }
                Message::Batch(batch) => self.take_batch(from, &batch, now),
                Message::BatchesCame(receipt)
                    if receipt.to == self.me.number
                        && self.lease.epoch() == (from.epoch, Some(from.node)) =>
                {
                    self.units.confirm(from.epoch, receipt.number);
                }
                Message::BatchesCame(_) | Message::Answers(_) | Message::AnswersCame(_) => {}
            }
        }
        self.rest();
    }
}
