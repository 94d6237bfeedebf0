//! The single writer of durable state.
//!
//! 1. The sequencer takes commands in the order of their arrival. If more waits than one commit is
//!    to take, or something dear, they take turns by user (`intake`). A part decides each:
//!    `messages`, `receipts`, `membership` or `contacts`. The part looks at the conversations and
//!    groups in memory (`recent`) and at the store, and appends a record to the batch under
//!    construction (`batch`).
//! 2. One commit to the log makes the records of all these commands durable.
//! 3. The shards and callers learn the outcomes (`outbox`).
//!
//! A failed sync is final: the store refuses all later commands. The sequencer answers the commands
//! of that commit with "outcome unknown" and later ones with "storage unavailable"; reads continue.
//!
//! A commit that the store refuses for lack of a resource leaves no trace: the sequencer drops its
//! changes from memory and reads the states from the store again.
//!
//! A sequencer whose log is handed over ends (`ending`). It refuses the commands of the last commit, and gives its
//! parts back with the commands that it did not decide.

mod ahead;
mod asked;
mod authors;
mod batch;
mod blocks;
mod buckets;
mod contacts;
mod conversations;
mod counts;
mod departures;
mod ended;
mod ending;
mod erasures;
#[cfg(test)]
mod fixture;
mod groups;
mod inboxes;
mod intake;
mod keys;
mod membership;
mod mentions;
mod messages;
mod outbox;
mod pace;
mod parts;
mod pins;
mod positions;
mod price;
mod reactions;
mod receipts;
mod recent;
mod refused;
mod route;
mod series;
mod settings;
mod shares;
mod subject;
mod tallies;
#[cfg(test)]
mod tests;
mod time;

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::RecvTimeoutError;
use trunkline_storage::{Batch, CommitError};

use crate::clock::{Clock, Look};
use crate::cost::Cost;
use crate::event::Body;
use crate::exchange::{Action, CommandBatch, Commands};
use crate::hub::BlockChange;
use crate::log::LogError;
use crate::metrics::SequencerMetrics;
use crate::state::Acked;
use crate::told::Decision;
use crate::turns::Weights;
use asked::Asked;
use batch::{OpenBatch, TICK, is_final};
use contacts::ContactChange;
use conversations::Conversations;
use erasures::{BEING_ERASED, Erasures};
use groups::Groups;
use intake::Intake;
use membership::{GroupCommand, Membership};
use messages::{Edit, Messages, ReactionChange, SendTerms};
use pace::Pace;
use pins::PinChange;
use receipts::{Held, Receipt, Receipts};
use recent::Recent;
use refused::{
    CORRUPT, CommitFirst, DISK_FULL, HANDED_OVER, LOG_LOST, OUTCOME_UNKNOWN, Refused, STORE_SHORT,
    Stop,
};
use time::Time;

pub use conversations::MIN_CONVERSATIONS;
pub use departures::Departures;
#[cfg(test)]
pub(crate) use departures::tests::nobody as no_departures;
pub(crate) use ending::Left;
pub use ending::{Ended, HandedOver};
#[cfg(test)]
pub(crate) use fixture::{Caller, push_command};
pub(crate) use outbox::{Outbox, Published};
pub use parts::SequencerParts;
pub use price::probable;

/// The cost of the commands that one commit takes in the order of their arrival. What waits beyond it
/// takes turns.
const IN_ORDER: Cost = Cost::micros(1_000);

/// The cost of the commands that one commit takes in turns, at which it takes no more. The last
/// command may exceed it: a command is one decision.
const IN_TURNS: Cost = Cost::micros(500);

/// The cost of a commit that a command needs before its decision.
const COMMIT: Cost = Cost::micros(100);

/// Decides commands one after another, stores their records, and tells the shards.
pub struct Sequencer {
    intake: Intake,
    batch: OpenBatch,
    pace: Pace,
    /// Returns the time since the clock began.
    passed: fn(&Clock) -> Duration,
    /// Whether commands wait for the next commit.
    others_wait: bool,
    /// Whether more receipts are due than the last commit took.
    receipts_wait: bool,
    /// Whether there are more expired messages to clear.
    expired_wait: bool,
    recent: Recent,
    messages: Messages,
    receipts: Receipts,
    membership: Membership,
    departures: Departures,
    erasures: Erasures,
    outbox: Outbox,
    /// The changes of blocks in the batch under construction.
    blocking: Vec<BlockChange>,
    time: Time,
    /// The maximum number of conversations in memory, as it was set.
    conversation_cache: usize,
    weights: Arc<Weights>,
    metrics: Arc<SequencerMetrics>,
}

impl Sequencer {
    /// Returns a sequencer that continues from the state in the store.
    pub fn new(parts: SequencerParts) -> Self {
        Self::begin(parts, None)
    }

    /// Continues from the state in the store, and from the steady time and the wire time `least` if they are later than those of
    /// store and clock.
    fn begin(parts: SequencerParts, least: Option<(Duration, Duration)>) -> Self {
        let SequencerParts {
            writer,
            log,
            store,
            conversation_cache,
            rules,
            directory,
            departures,
            mailboxes,
            weights,
            metrics,
        } = parts;
        let conversations = Conversations::new(store.clone(), conversation_cache);
        let work = log.work();
        let batch = OpenBatch::new(writer, log, store);
        let blocks = Arc::clone(&departures.hub().blocks);
        blocks.load(batch.store(), batch.ids());
        Self {
            intake: Intake::new(*batch.ids(), Arc::clone(&weights)),
            pace: Pace::new(work),
            passed: Clock::passed,
            others_wait: false,
            receipts_wait: false,
            expired_wait: false,
            time: Time::start(batch.store(), batch.ids(), departures.clock(), least),
            recent: Recent::new(conversations, Groups::new(rules.group_cache), blocks),
            messages: Messages::new(&rules, Arc::clone(&metrics)),
            receipts: Receipts::new(&rules, Arc::clone(&metrics)),
            membership: Membership::new(rules),
            departures,
            erasures: Erasures::load(&batch),
            outbox: Outbox::new(directory, mailboxes, Arc::clone(&metrics)),
            blocking: Vec::new(),
            batch,
            conversation_cache,
            weights,
            metrics,
        }
    }

    /// Decides commands until the last sender of `commands` is gone, then closes the log. Ends earlier if the
    /// log is handed over.
    ///
    /// # Errors
    /// The store failed, now or earlier.
    pub fn run(mut self, commands: &Commands) -> Result<Ended, CommitError> {
        loop {
            if self.batch.is_handed_over() {
                commands.release(self.intake.drop_foreign());
                return Ok(self.hand_over());
            }
            let next = commands.next(self.rest());
            let look = self.departures.clock().look();
            self.look(look);
            self.pace.begin(look.passed);
            if commands.hurries() {
                self.receipts.hurry();
            }
            match next {
                Ok(first) => self.take(first, commands),
                Err(RecvTimeoutError::Disconnected) if self.intake.is_empty() => break,
                Err(_) => {}
            }
            while self.takes_more()
                && let Some(next) = commands.waiting()
            {
                self.take(next, commands);
            }
            if self.intake.has_commands() {
                commands.release(self.turn());
            }
            self.store_positions();
            self.others_wait = self.intake.has_commands() || !commands.is_empty();
            self.departures
                .store(&mut self.batch, look.passed, self.others_wait);
            self.clear_expired();
            self.commit();
            self.recent.age(self.batch.moment().passed);
        }
        self.close()
    }

    /// Advances all times to a look at the clocks.
    fn look(&mut self, look: Look) {
        let moment = self.time.look(look, &self.metrics);
        let clock = self.departures.clock();
        clock.set(self.time.wire(), look.passed);
        // The look is finer than a millisecond: no reader may be ahead of the records.
        clock.set_steady(Duration::from_millis(moment.steady), look.passed);
        self.batch.set_moment(moment);
    }

    /// Returns how long the sequencer may wait for a command before other work is due.
    fn rest(&self) -> Duration {
        if !self.intake.is_empty() || self.receipts_wait || self.expired_wait {
            return Duration::ZERO;
        }
        let now = self.batch.moment().passed;
        let rest = TICK.min(self.departures.rest(Duration::from_millis(now)));
        let due = self.receipts.next_due();
        due.map_or(rest, |due| {
            rest.min(Duration::from_millis(due.saturating_sub(now)))
        })
    }

    /// Returns whether the commit under construction takes no more commands.
    fn is_full(&self) -> bool {
        self.batch.is_full() || self.receipts.is_full() || self.batch.is_given_back()
    }

    /// Returns whether the commit under construction may take another batch of commands. While
    /// commands take turns, a batch costs no more than moving it to them, and only the clock counts.
    fn takes_more(&self) -> bool {
        if self.intake.has_commands() {
            !self.pace.is_late()
        } else {
            !self.pace.is_over(IN_ORDER) && !self.is_full()
        }
    }

    /// Takes a batch of commands: decides them in order, or lets them wait for their turns.
    fn take(&mut self, mut batch: Box<CommandBatch>, commands: &Commands) {
        self.intake.add_positions(&mut batch.positions);
        let decided = if self.intake.has_commands() || batch.is_uneven() {
            0
        } else {
            self.decide_in_order(&batch)
        };
        if decided < batch.commands.len() {
            let bytes = self.intake.queue(&mut batch, decided);
            commands.hold(bytes);
            self.look_at_pace();
        }
        commands.give_back(batch);
    }

    /// Decides commands of a batch in order, until the commit under construction takes no more.
    /// Returns how many it decided.
    fn decide_in_order(&mut self, batch: &CommandBatch) -> usize {
        for (number, command) in batch.commands.iter().enumerate() {
            if self.pace.is_over(IN_ORDER) || self.is_full() {
                return number;
            }
            let body = &batch.bodies[command.body.clone()];
            self.answer(Asked { command, body });
        }
        batch.commands.len()
    }

    /// Decides commands whose turn it is, until the commit under construction takes no more. Returns
    /// the bytes that they took while they waited.
    fn turn(&mut self) -> usize {
        let mut bytes = 0;
        self.pace.begin_turns(self.now());
        while !self.pace.is_over(IN_TURNS)
            && !self.is_full()
            && let Some(entry) = self.intake.next()
        {
            bytes += entry.bytes;
            let cost = self.answer(entry.item.asked());
            self.intake.charge(entry.flow.user, cost.minus(entry.cost));
            self.metrics.turns.one();
        }
        self.metrics.waiting.set(self.intake.len() as u64);
        bytes
    }

    /// Returns the time since the clock began.
    fn now(&self) -> Duration {
        (self.passed)(self.departures.clock())
    }

    /// Looks at the clock for the commit under construction.
    #[cold]
    fn look_at_pace(&mut self) {
        let now = self.now();
        self.pace.look(now);
    }

    /// Stores some of the positions that wait.
    fn store_positions(&mut self) {
        let some = self.intake.take_positions();
        if !some.is_empty() {
            positions::keep(&mut self.batch, &some);
            self.spend_work();
        }
    }

    /// Removes the content of some messages that have expired.
    fn clear_expired(&mut self) {
        self.expired_wait = false;
        if self.messages.is_clearing_due(&self.batch) && !self.is_full() {
            let (batch, recent) = (&mut self.batch, &mut self.recent);
            self.expired_wait = self.messages.clear_expired(batch, recent);
            self.spend_work();
        }
    }

    /// Adds to the cost of the commit what was read and stored since the last call.
    fn spend_work(&mut self) {
        self.pace.spend(price::decided(self.batch.take_work()));
    }

    /// Decides a command and answers it, unless the answer has to wait. Returns the cost.
    fn answer(&mut self, command: Asked<'_>) -> Cost {
        let before = self.pace.spent();
        self.batch.touch(1);
        let is_ack = matches!(command.action, Action::Ack { .. });
        let decision = self.decide(command);
        self.spend_work();
        if self.pace.wants_look() {
            self.look_at_pace();
        }
        let mut decision = match decision {
            Ok(Some(decision)) => decision,
            Ok(None) => return self.pace.spent().minus(before),
            Err(refused) if is_ack => Decision::private(refused.outcome().of_ack()),
            Err(refused) => Decision::private(refused.outcome()),
        };
        let members = decision.audience.len();
        self.batch.tell(members);
        self.pace.spend(price::routed(members));
        let cost = self.pace.spent().minus(before);
        decision.cost += cost;
        decision.bytes = if is_ack { 0 } else { command.body.len() as u32 };
        let reply_to = command.reply_to.clone();
        let (user, read_at) = (command.user, command.read_at);
        self.outbox.answer(reply_to, user, read_at, decision);
        cost
    }

    /// Decides a command. Returns `None` for an acknowledgement that waits.
    ///
    /// # Errors
    /// The command is refused and changes nothing.
    fn decide(&mut self, command: Asked<'_>) -> Result<Option<Decision>, Refused> {
        if self.erasures.forbid(command) {
            return Err(BEING_ERASED);
        }
        let (batch, recent) = (&mut self.batch, &mut self.recent);
        let decision = match command.action {
            Action::Send {
                key,
                names_media,
                has_extras,
            } => {
                let terms = SendTerms {
                    key,
                    names_media,
                    has_extras,
                };
                self.about_message(|messages, batch, recent| {
                    messages.send(batch, recent, command, terms)
                })
            }
            Action::Ack { delivered, read } => {
                let acked = Acked { delivered, read };
                return self.receipts.ack(batch, recent, command, acked);
            }
            Action::Recall { seq } => self.about_message(|messages, batch, recent| {
                messages.recall(batch, recent, command, seq)
            }),
            Action::Edit { seq, names_media } => self.about_message(|messages, batch, recent| {
                messages.edit(batch, recent, command, Edit { seq, names_media })
            }),
            Action::Delete { seq } => self.messages.delete(batch, recent, command, seq),
            Action::React { seq, remove } => {
                let change = ReactionChange { seq, remove };
                self.messages.react(batch, recent, command, change)
            }
            Action::Group(change) => {
                let body = Body::read(command.body).ok_or(CORRUPT)?;
                self.change_group(GroupCommand {
                    command,
                    body: &body,
                    change,
                })
            }
            Action::Contacts { added, watch } => {
                contacts::change(batch, command, ContactChange { added, watch })
            }
            Action::Pin { seq, remove } => {
                let change = PinChange { seq, remove };
                self.messages.pin(batch, recent, command, change)
            }
            Action::Settings => settings::change(batch, recent, command),
            Action::Block { remove } => self.change_block(command, remove),
            Action::Erase(step) => self.erase(command, step),
        };
        decision.map(Some)
    }

    /// Begins or ends a block. Shards are told of it with the commit.
    fn change_block(&mut self, command: Asked<'_>, remove: bool) -> Result<Decision, Refused> {
        let filter = Arc::clone(self.recent.blocks());
        let decided = blocks::change(&mut self.batch, &filter, command, remove)?;
        self.blocking.extend(decided.change);
        Ok(decided.decision)
    }

    /// Decides a command about a message, and commits the batch before if the decision needs that.
    fn about_message(
        &mut self,
        decide: impl Fn(&mut Messages, &mut OpenBatch, &mut Recent) -> Result<Decision, Stop>,
    ) -> Result<Decision, Refused> {
        loop {
            match decide(&mut self.messages, &mut self.batch, &mut self.recent) {
                Ok(decision) => return Ok(decision),
                Err(Stop::Refused(refused)) => return Err(refused),
                Err(Stop::CommitFirst) => self.commit_first(),
            }
        }
    }

    /// Decides a change of a group. Stores the waiting receipts of the group before, because the
    /// change may end memberships and change recipients.
    fn change_group(&mut self, asked: GroupCommand<'_>) -> Result<Decision, Refused> {
        let (batch, recent) = (&self.batch, &mut self.recent);
        if let Some(decision) = self.membership.admit(batch, recent, asked)? {
            return Ok(decision);
        }
        if let Some(held) = self.receipts.take(asked.command.conversation) {
            self.store_receipts(&held);
        }
        let (batch, recent) = (&mut self.batch, &mut self.recent);
        self.membership.change(batch, recent, asked)
    }

    /// Puts receipts that are due into the batch, until it is full or they have cost their share of a
    /// commit. Returns whether more are due.
    fn store_due(&mut self) -> bool {
        let all = self.receipts.is_pressed();
        let before = self.pace.spent();
        loop {
            let spent = self.pace.spent().minus(before);
            if self.batch.is_full() || spent >= self.pace.share() {
                return true;
            }
            match self.receipts.pop(&self.batch, all) {
                Some(held) => self.store_receipts(&held),
                None => return false,
            }
            self.spend_work();
        }
    }

    /// Puts the receipts of one conversation into the batch, and commits before if they need that.
    fn store_receipts(&mut self, held: &Held) {
        self.batch.touch(held.len());
        for readers in held.receipts() {
            let receipt = Receipt { held, readers };
            while let Err(CommitFirst) =
                self.receipts
                    .store(&mut self.batch, &mut self.recent, &mut self.outbox, receipt)
            {
                self.commit_batch();
            }
        }
    }

    /// Commits the batch and some of the receipts that are due, and tells the shards.
    fn commit(&mut self) {
        self.receipts_wait = self.store_due();
        if self.batch.has_records() {
            self.time.mark(&mut self.batch);
        }
        if self.others_wait || self.receipts_wait {
            let began = self.now();
            self.commit_batch();
            self.pace.committed(self.now().saturating_sub(began));
        } else {
            self.commit_batch();
        }
        self.receipts.show();
    }

    /// Commits the batch and all receipts that are due, and tells the shards.
    fn commit_all(&mut self) {
        self.commit();
        while self.receipts_wait {
            self.commit();
        }
    }

    /// Commits the batch because the next decision needs that.
    fn commit_first(&mut self) {
        self.commit_batch();
        self.pace.spend(COMMIT);
    }

    /// Commits the batch and tells the shards.
    fn commit_batch(&mut self) {
        if self.outbox.is_empty() && self.batch.is_empty() {
            self.batch.restart();
            self.departures.committed();
            return;
        }
        let told = self.outbox.told(&self.blocking, self.batch.moment());
        let committed = self.batch.commit(told).unwrap_or_else(|error| {
            self.give_up(&error);
            self.tell_refusals(&error);
            Arc::new(Batch::default())
        });
        self.messages.clear();
        self.departures.committed();
        for change in self.blocking.drain(..) {
            let (store, ids) = (self.batch.store(), self.batch.ids());
            self.recent.blocks().sync(store, ids, change);
            self.departures.hub().block_changed(change);
        }
        self.outbox.publish(Published {
            batch: &committed,
            ahead: self.batch.moment().ahead(),
            epochs: self.batch.store().epochs(),
        });
        let held = self.recent.conversations() as u64;
        self.metrics.conversations.set(held);
    }

    /// Answers the commands of a failed commit, and drops what memory has of it.
    fn give_up(&mut self, error: &LogError) {
        self.outbox.refuse(match error {
            LogError::Commit(CommitError::Refused { full: true, .. }) => DISK_FULL,
            LogError::Commit(CommitError::Refused { full: false, .. }) => STORE_SHORT,
            LogError::Commit(_) => OUTCOME_UNKNOWN,
            LogError::HandedOver => HANDED_OVER,
            LogError::Unknown => LOG_LOST,
        });
        for change in self.blocking.drain(..) {
            let (store, ids) = (self.batch.store(), self.batch.ids());
            self.recent.blocks().sync(store, ids, change);
        }
        if !is_final(error) {
            self.recent.forget_all();
            self.messages.given_up();
            self.departures.given_up();
            self.erasures = Erasures::load(&self.batch);
        }
    }
}
