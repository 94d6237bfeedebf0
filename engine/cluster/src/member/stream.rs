//! What a node does with the records of the stream, with outcomes of its own, and with messages of other nodes.

use std::time::Duration;

use trunkline_core::follower::FollowError;
use trunkline_storage::CommitError;

use super::log::{Offer, Verdict};
use super::node::{Flight, Node};
use super::roles::Role;
use crate::chain::{Group, Step};
use crate::envelope::{Draft, Message, Received, Standing, Telling};
use crate::forward::{FRESH, PATIENCE};
use crate::nats::{Heard, Lane, NotTaken, Outcome, RECORD_MAX, Said};
use crate::node::Incarnation;

/// The most records that a node looks at in a turn.
const RECORDS: usize = 256;

/// The most messages that a node takes in a turn.
const MESSAGES: usize = 1_024;

/// What became of a batch that was to be published.
enum Published {
    /// It is on its way.
    Yes,
    /// The answer to an earlier record is still awaited: publish it after that.
    Later,
    /// It cannot be in the log. The reason is a sentence.
    Refused(String),
    /// This node has to begin a new epoch.
    No,
}

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
                    self.note_stored();
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
        self.note_stored();
        self.lease.begins(epoch, author, now);
        self.epoch_ticket = None;
        let index = self.applied();
        for answers in self.held.begin(epoch, index) {
            self.hear_answers(&answers);
        }
        let Role::Follows(follower, _) = &mut self.role else {
            return Ok(());
        };
        self.units.begin(epoch, follower, now);
        if author == self.me && self.is_ahead_of_log() {
            return self.halt("the store has more than the log: the stream lost its end, or was restored from an old copy, and what it lost is in this store. Restore the stream whole; or remove this node's folder, to follow the stream as it is");
        }
        if author == self.me && self.lease.leads(now) {
            self.lead(epoch);
        }
        Ok(())
    }

    /// Returns whether the store of this node, which follows and has taken the whole log, has more than the log. What it would
    /// decide as the leader would have another place in the stores of the other nodes.
    fn is_ahead_of_log(&self) -> bool {
        let (Role::Follows(follower, _), Some(mark)) = (&self.role, self.chain.mark()) else {
            return false;
        };
        match mark.end {
            Some(end) => follower.next_position() != end,
            None => mark.index == 0 && follower.head().0 != self.genesis.from,
        }
    }

    fn take_group(&mut self, group: &Group, now: Duration) -> Result<(), CommitError> {
        let mark = *self.chain.mark().expect("a group follows a genesis");
        match &mut self.role {
            Role::Leads => {
                let is_own = |flight: &mut Flight| {
                    (flight.epoch, flight.index) == (group.epoch, group.index)
                };
                let Some(flight) = self.flight.take_if(is_own) else {
                    return self.halt("a group of this node came that it did not wait for: start the gateway again");
                };
                if let Some(intake) = &mut self.intake {
                    intake.counts(group.epoch, &flight.rides);
                }
                self.lease.seen(now);
                self.inherited = None;
                self.sequencing.tell(Verdict::Counts(mark));
            }
            Role::Follows(..) => {
                if !self.hear_group(group, now)? {
                    return Ok(());
                }
            }
            Role::Changes => {}
        }
        self.numbers.groups += 1;
        self.numbers.group_bytes += (group.transcript.len() + group.told.len()) as u64;
        // The sequencer of a leader notes it when it has committed.
        if matches!(self.role, Role::Follows(..)) {
            self.note_stored();
        }
        Ok(())
    }

    /// Notes that the store has all up to the mark of the chain.
    fn note_stored(&self) {
        if let Some(mark) = self.chain.mark()
            && !self.hindrance.holds()
        {
            self.status.stored(*mark);
        }
    }

    /// Takes a group as a follower: first the answers that travel in it, for they were decided before. Returns whether the
    /// store has it.
    fn hear_group(&mut self, group: &Group, now: Duration) -> Result<bool, CommitError> {
        let index = group.index;
        let Ok(telling) = Telling::read(&group.told) else {
            self.halt(&format!(
                "what group {index} of the log tells cannot be read: run the same version of the gateway on all nodes"
            ))?;
            return Ok(false);
        };
        let me = self.me.number;
        for rider in telling.riders.iter().filter(|rider| rider.to == me) {
            if self.held.rides(rider.number) {
                self.hear_answers(&rider.bytes);
            }
        }
        let Role::Follows(follower, _) = &mut self.role else {
            return Ok(false);
        };
        let is_empty = group.transcript.is_empty() && telling.own.is_empty();
        let taken = match is_empty {
            true => Ok(()),
            false => follower.take(&group.transcript, &telling.own),
        };
        match taken {
            Ok(()) => {}
            Err(error @ FollowError::Misfit) => {
                tracing::error!(%error, group = index, "the sessions of this node end: clients come back, and catch up");
                self.endings.begin();
            }
            Err(error) if error.passes() => {
                self.hindrance.hold(group, &error, now);
                return Ok(false);
            }
            Err(error) => {
                self.halt(&format!(
                    "group {index} of the log cannot be taken: {error}"
                ))?;
                return Ok(false);
            }
        }
        if !group.transcript.is_empty()
            && let Some(end) = follower.log_end()
        {
            self.chain.stored(end);
        }
        self.units.settle(follower);
        self.hand_out_after_group();
        Ok(true)
    }

    /// Lets the own sequencer go on, or publishes its batch.
    ///
    /// A batch that stores nothing needs no group while this node knows that it leads. Otherwise a group proves it: at the
    /// smaller side of cut servers none comes into the log, and nobody gets an answer from an old state.
    pub(super) fn decide(&mut self, offer: Offer, now: Duration) {
        let mark = self.chain.mark().copied();
        if offer.transcript.is_empty()
            && self.lease.may_answer(now)
            && let (Some(mark), Some(intake)) = (mark, &mut self.intake)
            && intake.answer(mark.index, &offer)
        {
            self.sequencing.tell(Verdict::Counts(mark));
            return;
        }
        match self.publish(&offer, now) {
            Published::Yes => {}
            Published::Later => self.offer = Some(offer),
            Published::Refused(why) => self.sequencing.tell(Verdict::Refused(why)),
            Published::No => {
                self.sequencing.tell(Verdict::HandedOver);
                self.lease.group_refused(now);
            }
        }
    }

    /// Publishes a batch of the own sequencer as the next group.
    fn publish(&mut self, offer: &Offer, now: Duration) -> Published {
        let (Some(link), Some(mark), Some(intake)) =
            (self.chain.link(), self.chain.mark(), &self.intake)
        else {
            return Published::No;
        };
        let (riders, rides) = intake.riders(offer);
        let index = mark.index + 1;
        let draft = Draft {
            link,
            epoch: mark.epoch,
            index,
            ahead: offer.ahead,
            transcript: &offer.transcript,
            told: &Telling::write(&riders, &offer.told),
        };
        let parts = match draft.cut(RECORD_MAX) {
            Ok(parts) => parts,
            Err(error) => {
                tracing::error!(%error, "a commit is refused");
                return Published::Refused(error.to_string());
            }
        };
        let mut flight = Flight {
            epoch: mark.epoch,
            index,
            until: self.inherited.unwrap_or(now + PATIENCE).max(now + FRESH),
            parts: parts.into(),
            after: link.after,
            is_due: false,
            ticket: 0,
            rides,
        };
        let Some(first) = flight.parts.pop_front() else {
            return Published::No;
        };
        match self.publisher.publish(flight.after, first) {
            Ok(ticket) => flight.ticket = ticket,
            Err(NotTaken::Busy) => return Published::Later,
            Err(NotTaken::TooLong(_) | NotTaken::Ended) => return Published::No,
        }
        self.flight = Some(flight);
        self.lease.published(now);
        self.numbers.published += 1;
        Published::Yes
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
                    match flight.parts.is_empty() {
                        true => self.lease.acknowledged(now),
                        false => {
                            flight.is_due = true;
                            self.lease.progressed(now);
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
        self.publish_part(now);
    }

    /// Publishes the next part of the group that is on its way, if it is due and there is room.
    fn publish_part(&mut self, now: Duration) {
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.is_due) else {
            return;
        };
        let Some(part) = flight.parts.front() else {
            return;
        };
        match self.publisher.publish(flight.after + 1, part.clone()) {
            Ok(ticket) => {
                flight.parts.pop_front();
                flight.after += 1;
                flight.ticket = ticket;
                flight.is_due = false;
            }
            // The outcome of an earlier record wakes the node, and the lease knows how long it waits.
            Err(NotTaken::Busy) => {}
            Err(NotTaken::TooLong(_) | NotTaken::Ended) => {
                flight.is_due = false;
                self.lease.group_refused(now);
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
            let Some(log) = self.chain.mark().map(|mark| mark.log) else {
                continue;
            };
            match Received::read_for(log, &bytes) {
                Ok(received) => self.take_message(received, now),
                Err(error) => tracing::debug!(%error, "a message of another node is dropped"),
            }
        }
        self.rest();
    }

    fn take_message(&mut self, received: Received, now: Duration) {
        let Received { from, message } = received;
        if self.is_stopped {
            // Orders reach nodes that have stopped too, and go on from there.
            if let Message::Beat(beat) = message {
                self.others.note(from.node, beat, now);
            }
            return;
        }
        let is_for_me = |to: u64| to == self.me.number;
        // The stream may have lost an epoch, and another node began one with the same number.
        let leads = self.lease.epoch() == (from.epoch, Some(from.node));
        match message {
            Message::Beat(beat) => {
                self.lease.heard(from.node, from.epoch, &beat, now);
                self.others.note(from.node, beat, now);
                if leads && beat.standing == Standing::Leads {
                    self.led = Some(now);
                    self.is_new = false;
                    self.units.heard(from.epoch, beat.number);
                }
            }
            Message::Batch(batch) => self.take_batch(from, &batch, now),
            Message::BatchesCame(receipt) if is_for_me(receipt.to) && leads => {
                self.units.confirm(from.epoch, receipt.number);
            }
            Message::Answers(answers) if is_for_me(answers.to) && leads => {
                self.take_answers(from, &answers);
            }
            Message::AnswersCame(receipt) if is_for_me(receipt.to) => {
                self.take_receipt(from, receipt.number);
            }
            Message::StepDown(order)
                if is_for_me(order.to) && from.epoch == self.lease.epoch().0 =>
            {
                self.ordered_down = from.epoch;
            }
            Message::BatchesCame(_)
            | Message::Answers(_)
            | Message::AnswersCame(_)
            | Message::StepDown(_) => {}
        }
    }
}
