//! A node that follows: it takes the commits of the log that another node decides, and tells its own users.
//!
//! For each commit, in the order of the log:
//!
//! 1. The node reads what the commit told, and the members of the large groups in it as they were before.
//! 2. It applies the records to its own store, at the same positions ([`Writer::apply`]).
//! 3. It raises the head of its directory, and lists the records for its own shards by the same rules as the sequencer
//!    (`Outbox`). It answers the commands that it forwarded itself, of connections and of calls. Nobody else can.
//!
//! Its shards and callers put their commands into the queue as ever. [`Follower::forward`] names those of a batch, so
//! that the batch can go to the leader, and keeps who waits for the answers.
//!
//! A node changes its role with the same writer, directory and mailboxes: [`Follower::new`] takes what a sequencer has
//! left, and [`Follower::lead`] gives it back to become one.
//!
//! While a node follows it does not store last-seen times. Each node knows who left which node, the leader stores it, and
//! the others forget it once the log has it.

mod forwarded;
mod rosters;
#[cfg(test)]
mod tests;
mod texts;
mod time;
mod walk;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;
use trunkline_proto::ErrorCode;
use trunkline_storage::{
    AppendError, ApplyError, Batch, CommitError, Position, ReadError, Reader, Record, Writer,
};

use crate::cost::Cost;
use crate::event::LAST_SEEN;
use crate::exchange::{Command, CommandBatch, Commands, Failure, Outcome, Remote, ReplyTo};
use crate::ids::{Ids, UserId};
use crate::sequencer::{HandedOver, Left, Outbox, Published};
use crate::state::{self, LastSeen};
use crate::told::{
    Audience, By, Decision, Entry, Heard, HeardAudience, HeardError, HeardOutcome, HeardUser,
    Incarnation, MembersAndGone, PartRecipients,
};
use forwarded::{Forwarded, Waits};
use rosters::{LoadError, Rosters};
use texts::Texts;
use time::LogTime;
use walk::Walk;

/// The reason why a node cannot follow the log.
#[derive(Debug)]
pub enum FollowError {
    /// What the commit told cannot be read. Nothing of the commit is in the store.
    Told(HeardError),
    /// The store could not be read. Nothing of the commit is in the store.
    Read(ReadError),
    /// A value in the store has a form that this version does not know. Nothing of the commit is in the store: start the
    /// version of the gateway that the leader has.
    Unknown,
    /// The store did not take the records. [`Writer::apply`] says what may be in the store.
    Apply(ApplyError),
    /// The records are in the store, but what the commit told does not fit to them. The users of the node may miss
    /// events: end their sessions.
    Misfit,
}

impl FollowError {
    /// Returns whether the reason may pass by itself: a disk without room, missing descriptors or memory. Nothing of the
    /// commit is in the store, unless it was there before: take it again.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Read(error) => !error.is_damage(),
            Self::Apply(ApplyError::Commit(error)) => !error.is_final(),
            Self::Apply(ApplyError::Append(error)) => match error {
                AppendError::Full
                | AppendError::Short { .. }
                | AppendError::Lost { .. }
                | AppendError::Behind { .. } => true,
                AppendError::Unreadable(error) => !error.is_damage(),
                _ => false,
            },
            _ => false,
        }
    }
}

impl fmt::Display for FollowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(error) => error.fmt(f),
            Self::Read(error) => write!(f, "the members of a group could not be read: {error}"),
            Self::Unknown => f.write_str(
                "a later version of the gateway wrote the members of a group: start the version that the leader has on this node",
            ),
            Self::Apply(error) => write!(f, "the store did not take a commit of the leader: {error}"),
            Self::Misfit => f.write_str(
                "what a commit of the leader told does not fit to its records: run the same version of the gateway on all nodes",
            ),
        }
    }
}

impl std::error::Error for FollowError {}

impl From<HeardError> for FollowError {
    fn from(error: HeardError) -> Self {
        Self::Told(error)
    }
}

impl From<ApplyError> for FollowError {
    fn from(error: ApplyError) -> Self {
        Self::Apply(error)
    }
}

impl From<LoadError> for FollowError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Read(error) => Self::Read(error),
            LoadError::Unknown => Self::Unknown,
        }
    }
}

/// The answer to a forwarded command of which the node will not learn what became.
const UNKNOWN: Failure = (
    ErrorCode::StorageUnavailable,
    "the leader of the cluster changed, or did not answer in time: whether this was stored is not known; send it again with the same key",
);

/// The answer to a command that no message between nodes can carry.
const TOO_LONG: Failure = (
    ErrorCode::LimitExceeded,
    "the command is longer than a node of a cluster can pass on: send less at a time",
);

/// A node that follows the log of another one. It is the only writer of its store.
pub struct Follower {
    node: Incarnation,
    /// What a sequencer would go on with, without what is below.
    left: Left,
    writer: Writer,
    store: Reader,
    outbox: Outbox,
    rosters: Rosters,
    forwarded: Forwarded,
    texts: Texts,
    time: LogTime,
    /// The stripe of waiting last-seen times that is looked at next.
    stripe: usize,
}

impl Follower {
    /// Returns the follower with the parts that a sequencer has left, or that one would begin with
    /// ([`HandedOver::of`]). `node` is this run of the node, as other nodes name it in what they tell.
    #[must_use]
    pub fn new(handed_over: HandedOver, node: Incarnation) -> Self {
        let is_first = handed_over.is_first();
        let (left, mut writer, store, outbox) = handed_over.into_left();
        let ids = Ids(store.key());
        let hub = left.hub();
        hub.blocks.load(&store, &ids);
        let time = if is_first {
            LogTime::start(&store, &ids, &hub.clock, &mut writer)
        } else {
            LogTime::of(&hub.clock)
        };
        Self {
            node,
            time,
            rosters: Rosters::new(ids),
            forwarded: Forwarded::from(hub.next_forwarded.load(Ordering::Relaxed)),
            texts: Texts::default(),
            left,
            writer,
            store,
            outbox,
            stripe: 0,
        }
    }

    /// Returns what a sequencer needs to go on: this node decides from now on. Take the commands that were forwarded
    /// and not answered back before ([`take_back`](Self::take_back)), take the [`undecided`](Self::undecided) ones too, and let the sequencer decide them; those that are
    /// not taken back are answered with 115.
    #[must_use]
    pub fn lead(mut self) -> HandedOver {
        self.give_up();
        let hub = self.left.hub();
        hub.next_forwarded
            .store(self.forwarded.next(), Ordering::Relaxed);
        let times = (self.time.steady(), self.time.wire());
        HandedOver::from_left((self.left, self.writer, self.store, self.outbox), times)
    }

    /// Returns commands that the sequencer before did not decide, in batches, and the positions that wait; `None` when
    /// there are no more. Forward them before later ones. `commands` is the queue that they came from: they take no
    /// room in it any more.
    pub fn undecided(&mut self, commands: &Commands) -> Option<Box<CommandBatch>> {
        let (batch, bytes) = self.left.undecided()?;
        commands.release(bytes);
        Some(batch)
    }

    /// Names the commands of a batch for the leader: each has the number of [`Remote::number`] from now on, and the
    /// follower keeps who waits for its answer. A command that was named before keeps its name. Commands of
    /// other nodes and those that have been answered are no longer in the batch: other nodes forward theirs themselves.
    ///
    /// Returns whether there was room. Without room nothing changes: forward the batch later.
    #[must_use]
    pub fn forward(&mut self, batch: &mut CommandBatch) -> bool {
        self.forwarded.enter(batch)
    }

    /// Takes a batch back that was forwarded, because this node will decide it itself. Commands that have been answered
    /// are no longer in it, nor are those of other nodes.
    pub fn take_back(&mut self, batch: &mut CommandBatch) {
        self.forwarded.take_back(batch);
    }

    /// Returns whether a forwarded command has no answer yet.
    #[must_use]
    pub fn is_waiting(&self, number: u64) -> bool {
        self.forwarded.is_waiting(number)
    }

    /// Returns the number of forwarded commands without an answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.forwarded.len()
    }

    /// Answers all forwarded commands with 115: their outcome is not known.
    pub fn give_up(&mut self) {
        for waits in self.forwarded.drain() {
            self.outbox.answer_unknown(waits);
        }
        self.publish(&Arc::default(), self.time.ahead());
    }

    /// Answers some of the forwarded commands with 115: nobody has decided them in time, and their outcome is not known.
    /// Numbers without a command do nothing.
    pub fn give_up_late(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            if let Some(waits) = self.forwarded.take(number) {
                self.outbox.answer_unknown(waits);
            }
        }
        self.publish(&Arc::default(), self.time.ahead());
    }

    /// Removes the commands from a batch whose bodies have more than `most` bytes, and answers them with 106: they are too
    /// long for a message between nodes. Call it before [`forward`](Self::forward).
    pub fn refuse_long(&mut self, batch: &mut CommandBatch, most: usize) {
        self.fail_some(batch, TOO_LONG, |command| command.body.len() > most);
    }

    /// Removes all commands from a batch that was not forwarded, and answers them with 115.
    pub fn give_up_batch(&mut self, batch: &mut CommandBatch) {
        self.fail_some(batch, UNKNOWN, |_| true);
    }

    /// Removes some commands of this node from a batch, and answers them with an error.
    fn fail_some(
        &mut self,
        batch: &mut CommandBatch,
        failure: Failure,
        is_one: impl Fn(&Command) -> bool,
    ) {
        if !batch.commands.iter().any(&is_one) {
            return;
        }
        batch.commands.retain_mut(|command| {
            let stays = !is_one(command);
            if !stays && !matches!(command.reply_to, ReplyTo::Remote(_)) {
                let waits = Waits::of(command);
                self.outbox.answer_failed(waits, failure);
            }
            stays
        });
        self.publish(&Arc::default(), self.time.ahead());
    }

    /// Lets the time pass for the other threads and the store. Call it once a second while no commits come.
    pub fn tick(&mut self) {
        let hub = self.left.hub();
        self.time.go_on(hub.clock.passed());
        self.time.show(&hub.clock, &mut self.writer);
        self.stripe = hub.drop_returned(self.stripe);
    }

    /// Makes what was applied durable, before the process ends.
    ///
    /// # Errors
    /// [`Writer::sync`] names them.
    pub fn close(&mut self) -> Result<(), CommitError> {
        self.writer.sync()
    }

    /// Returns the position up to which the store has the log.
    #[must_use]
    pub const fn next_position(&self) -> Position {
        self.writer.next_position()
    }

    /// Returns where the log goes on behind the last commit with records that was [taken](Self::take); `None` before the
    /// first. If [`next_position`](Self::next_position) is another one, the store has more than the log.
    #[must_use]
    pub const fn log_end(&self) -> Option<Position> {
        self.writer.applied()
    }

    /// Returns the position of the last record of the store.
    #[must_use]
    pub fn head(&self) -> Position {
        self.store.head()
    }

    /// Takes the next commit of the log: the transcript of its records, which is empty for a commit without any, and
    /// what it told ([`Told::write`](crate::told::Told::write)).
    ///
    /// # Errors
    /// [`FollowError`] says why, and what to do. No record of the commit is told then. After [`FollowError::Misfit`] the
    /// commands of this node that the commit answered are answered with 115, and the head is that of the store: sessions
    /// that begin later miss nothing.
    pub fn take(&mut self, transcript: &[u8], told: &[u8]) -> Result<(), FollowError> {
        let heard = Heard::read(told)?;
        self.rosters.prepare(&self.store, &heard.groups)?;
        let before = self.writer.next_position();
        let batch = match transcript {
            [] => Arc::default(),
            transcript => self.writer.apply(transcript)?,
        };
        let hub = Arc::clone(self.left.hub());
        self.time
            .hear(heard.steady, heard.ahead, hub.clock.passed());
        self.time.show(&hub.clock, &mut self.writer);
        for &change in &heard.blocks {
            hub.blocks.sync(&self.store, &Ids(self.store.key()), change);
            hub.block_changed(change);
        }
        self.tell(&heard, &batch, before)
    }

    /// Takes answers that the leader gave to commands of this node without a commit
    /// ([`Told::write_answers`](crate::told::Told::write_answers)). They may be old: the time does not follow them.
    ///
    /// # Errors
    /// As those of [`take`](Self::take).
    pub fn take_answers(&mut self, told: &[u8]) -> Result<(), FollowError> {
        let heard = Heard::read(told)?;
        self.rosters.prepare(&self.store, &heard.groups)?;
        let before = self.writer.next_position();
        self.tell(&heard, &Arc::default(), before)
    }

    /// Tells all that a commit told. `before` is the position of the first record that the store did not have.
    fn tell(
        &mut self,
        heard: &Heard<'_>,
        batch: &Arc<Batch>,
        before: Position,
    ) -> Result<(), FollowError> {
        if let Err(misfit) = self.hear(heard, batch, before) {
            self.answer_rest(heard);
            self.outbox.fail(UNKNOWN);
            self.rosters.forget();
            // The head rises with the batch, so that sessions that begin now read its records.
            self.publish(batch, heard.ahead);
            return Err(misfit);
        }
        self.rosters.trim();
        self.publish(batch, heard.ahead);
        Ok(())
    }

    /// Answers the commands of this node among the decided ones that have no answer yet, because nobody knows what became
    /// of them.
    fn answer_rest(&mut self, heard: &Heard<'_>) {
        for entry in heard.entries() {
            if let Entry::Command { by, .. } = entry
                && let Some(waits) = self.receiver(by)
            {
                self.outbox.answer_unknown(waits);
            }
        }
    }

    /// Puts all that a commit told into the outbox. `before` is the position of the first record that the store did not have.
    fn hear(
        &mut self,
        heard: &Heard<'_>,
        batch: &Batch,
        before: Position,
    ) -> Result<(), FollowError> {
        let mut walk = Walk::new(batch, before);
        for entry in heard.entries() {
            match entry {
                Entry::Command {
                    position,
                    by,
                    user,
                    audience,
                    outcome,
                } => {
                    let record = self.record(&mut walk, position)?;
                    let outcome = self.outcome(outcome, record.as_ref(), position.is_some());
                    // What does not fit leaves the receiver where it is, for another answer.
                    let user = resolve(user, record.as_ref())?;
                    let audience = match &record {
                        Some(record) => self.audience(&audience, heard, record)?,
                        None => Audience::Nobody,
                    };
                    let to = self.receiver(by);
                    let Some(waits) = to.or_else(|| record.map(|_| nobody())) else {
                        continue;
                    };
                    let (outcome, read_at) = waits.taking(outcome);
                    let decision = Decision {
                        outcome,
                        audience,
                        cost: by.map_or(Cost::NONE, |by| by.cost),
                        bytes: by.map_or(0, |by| by.bytes),
                    };
                    self.outbox.answer(waits.reply_to, user, read_at, decision);
                }
                Entry::Part {
                    position,
                    part,
                    acked,
                    reader,
                    others,
                } => {
                    let Some(record) = self.record(&mut walk, Some(position))? else {
                        continue;
                    };
                    let own = acked.filter(|acked| acked.node == self.node);
                    let device = own.and_then(|own| self.forwarded.device(&own.numbers));
                    let resolve = |user| resolve(user, Some(&record));
                    let others: Result<SmallVec<_>, _> = others.into_iter().map(resolve).collect();
                    self.outbox.tell(PartRecipients {
                        position,
                        part,
                        reader: reader.map(resolve).transpose()?,
                        device,
                        others: others?,
                        acks: 0..0,
                    });
                }
            }
        }
        // What comes behind may change groups too.
        self.note_until(&mut walk, Position(u64::MAX))
    }

    /// Goes to a record of the batch, and notes what all records up to it change. Returns `None` if the store had the
    /// record before this batch: then nobody here gets it live.
    fn record<'b>(
        &mut self,
        walk: &mut Walk<'b>,
        position: Option<Position>,
    ) -> Result<Option<Record<'b>>, FollowError> {
        let Some(position) = position else {
            return Ok(None);
        };
        self.note_until(walk, position)?;
        walk.at(position).ok_or(FollowError::Misfit)
    }

    /// Notes what the records up to a position change.
    fn note_until(&mut self, walk: &mut Walk<'_>, position: Position) -> Result<(), FollowError> {
        while let Some(record) = walk.next_until(position) {
            let noted = self.rosters.note(&self.store, &record);
            noted.map_err(|_| FollowError::Misfit)?;
            if record.kind == LAST_SEEN {
                self.note_last_seen(&record);
            }
        }
        Ok(())
    }

    /// Forgets the last-seen times that the log has now.
    fn note_last_seen(&self, record: &Record<'_>) {
        for entry in record.states() {
            if let Some(LastSeen { time }) = state::decode(entry.value) {
                self.left.hub().last_seen_stored(entry.key, time);
            }
        }
    }

    /// Returns who waits here for the answer to a command.
    fn receiver(&mut self, by: Option<By>) -> Option<Waits> {
        let own = by.filter(|by| by.node == self.node)?;
        self.forwarded.take(own.number)
    }

    /// Returns an outcome as the shards take it.
    fn outcome(
        &mut self,
        heard: HeardOutcome<'_>,
        record: Option<&Record<'_>>,
        has_record: bool,
    ) -> Outcome {
        let position = record.map(|record| record.position);
        if has_record && position.is_none() {
            return Outcome::Failed(UNKNOWN.0, UNKNOWN.1);
        }
        match (heard, position) {
            (HeardOutcome::Sent, Some(position)) => Outcome::Sent(position),
            (HeardOutcome::Sent, None) => Outcome::Failed(UNKNOWN.0, UNKNOWN.1),
            (HeardOutcome::Done(done), position) => Outcome::Done(done, position),
            (HeardOutcome::Duplicate(place), _) => Outcome::Duplicate(place),
            (HeardOutcome::Made(key), _) => Outcome::Made(key),
            (HeardOutcome::Contacts { watch }, _) => Outcome::Contacts { watch },
            (HeardOutcome::Failed(code, text), _) => Outcome::Failed(code, self.texts.keep(text)),
            (HeardOutcome::NotAcked(code, text), _) => {
                Outcome::NotAcked(code, self.texts.keep(text))
            }
        }
    }

    /// Returns the users who receive a record live.
    fn audience(
        &mut self,
        heard: &HeardAudience,
        told: &Heard<'_>,
        record: &Record<'_>,
    ) -> Result<Audience, FollowError> {
        let mut members = |group: usize, seeing| {
            let (group, _) = told.groups.get(group).ok_or(FollowError::Misfit)?;
            Ok::<_, FollowError>(self.rosters.members(*group, seeing))
        };
        Ok(match heard {
            HeardAudience::Nobody => Audience::Nobody,
            HeardAudience::FanOut => Audience::Members(record.fanout.collect()),
            &HeardAudience::Channel(group, seeing) => {
                Audience::Channel(members(group, seeing)?, seeing)
            }
            &HeardAudience::ChannelAndFanOut(group) => {
                let before = record.fanout.len().saturating_sub(1);
                Audience::MembersAnd(Box::new(MembersAndGone {
                    members: members(group, 0)?,
                    gone: record.fanout.take(before).collect(),
                }))
            }
            HeardAudience::List(users) => Audience::Members(users.as_slice().into()),
        })
    }

    fn publish(&mut self, batch: &Arc<Batch>, ahead: u64) {
        self.outbox.publish(Published {
            batch,
            ahead,
            epochs: self.store.epochs(),
        });
    }
}

impl Outbox {
    /// Answers a command with 115: what became of it is not known.
    fn answer_unknown(&mut self, waits: Waits) {
        self.answer_failed(waits, UNKNOWN);
    }

    /// Answers a command with an error.
    fn answer_failed(&mut self, waits: Waits, (code, text): Failure) {
        let failed = Outcome::Failed(code, text);
        let (outcome, read_at) = waits.taking(failed);
        // Only connections and calls wait, and neither needs the user of a failed command.
        let decision = Decision::private(outcome);
        self.answer(waits.reply_to, UserId::default(), read_at, decision);
    }
}

/// Returns the receiver of an answer that another node gives.
const fn nobody() -> Waits {
    Waits {
        reply_to: ReplyTo::Remote(Remote::new(Remote::OWN, 0)),
        read_at: 0,
        is_ack: false,
    }
}

/// Returns the id of a user.
fn resolve(user: HeardUser, record: Option<&Record<'_>>) -> Result<UserId, FollowError> {
    match (user, record) {
        (HeardUser::Id(user), _) => Ok(user),
        (HeardUser::Place(place), Some(record)) => {
            let mut fanout = record.fanout;
            fanout.nth(place).ok_or(FollowError::Misfit)
        }
        // The record was there before, and nobody gets it: any user will do.
        (HeardUser::Place(_), None) => Ok(UserId::default()),
    }
}
