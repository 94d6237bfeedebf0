//! The single writer of durable state.
//!
//! It takes the shards' commands in order and decides each against `conversations`, `groups`
//! and the other `states` of the store. It appends their records, makes all of them durable with
//! one commit, and only then tells the shards. A failed sync is final: the store refuses all later
//! commands. The sequencer answers the commands of that commit with "outcome unknown" and later
//! ones with "storage unavailable"; reads continue. A commit that the store refuses for lack of a
//! resource leaves no trace: the sequencer drops its changes from memory and reads the states from
//! the store again.

mod asked;
mod contacts;
mod conversations;
mod departures;
mod groups;
mod inboxes;
mod keys;
mod membership;
mod messages;
mod receipts;
mod refused;
mod route;
mod states;
mod subject;
mod tallies;
mod time;

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::RecvTimeoutError;
use trunkline_proto::ErrorCode;
use trunkline_storage::{
    AppendError, Batch, CommitError, Draft, Position, ReadError, Reader, StateEntry, TimelineId,
    Token, Writer,
};

use crate::clock::Look;
use crate::directory::Directory;
use crate::event;
use crate::exchange::{
    Action, Call, CallAnswer, CommandBatch, Commands, Committed, Failure, Item, Items, Mail,
    Mailbox, NOT_A_MEMBER as NO_MEMBER, Next, Outcome, ReplyTo,
};
use crate::ids::{Ids, UserId};
use crate::messaging::Messaging;
use crate::metrics::SequencerMetrics;
use crate::owned;
use crate::position::{self, Tokens};
use asked::Asked;
use conversations::Conversations;
use groups::Groups;
use keys::Keys;
use receipts::{Hold, Instant};
use refused::Refused;
use route::{Audience, PartRecipients};
use states::{Changes, States};
use time::Time;

pub use conversations::MIN_CONVERSATIONS;
pub use departures::Departures;

/// The number of bytes at which a commit takes no more commands.
const COMMIT_BYTES: usize = 1 << 20;

/// The number of commands at which a commit takes no more. Some commands add no bytes.
const COMMIT_COMMANDS: usize = 16_384;

/// The interval at which the sequencer passes the time to the store.
const TICK: Duration = Duration::from_secs(1);

const OUTCOME_UNKNOWN: Refused = Refused::new(
    ErrorCode::StorageUnavailable,
    "the store failed: whether this was stored is not known; send it again with the same key",
);

const DISK_FULL: Refused = Refused::new(
    ErrorCode::StorageFull,
    "the disk is full: nothing is stored until there is room",
);

const STORE_SHORT: Refused = Refused::new(
    ErrorCode::StorageUnavailable,
    "the store lacks something for now: nothing was stored; see /readyz",
);

const NO_CONVERSATION: Refused = Refused::new(ErrorCode::Unknown, "no such conversation");
const NOT_A_MEMBER: Refused = Refused::new(NO_MEMBER.0, NO_MEMBER.1);
const UNREADABLE: Failure = (
    ErrorCode::Internal,
    "what the store has of this is not of this version",
);
const CORRUPT: Refused = Refused::new(UNREADABLE.0, UNREADABLE.1);

/// Decides commands one after another, stores what comes of them, and tells the shards.
pub struct Sequencer {
    writer: Writer,
    ids: Ids,
    rules: Messaging,
    conversations: Conversations,
    groups: Groups,
    states: States,
    keys: Keys,
    departures: Departures,
    directory: Arc<Directory>,
    mailboxes: Vec<Arc<Mailbox>>,
    metrics: Arc<SequencerMetrics>,
    /// The decided commands of the batch under construction.
    decided: Vec<Decided>,
    /// The message that the batch under construction recalls. There is at most one: a recall starts
    /// a new batch.
    recalling: Option<(TimelineId, u64)>,
    /// Who is told of the receipts in it.
    told: Vec<PartRecipients>,
    /// The acknowledgements that are in no receipt yet.
    hold: Hold,
    /// The number of commands in the commit under construction, plus the conversations of its
    /// receipts. The commit touches at most this many conversations.
    touched: usize,
    time: Time,
    /// The wire time, which clients see, in milliseconds since 1970 UTC.
    now: u64,
    /// How far `now` is ahead of the time that records are stamped with, in milliseconds, modulo
    /// 2^64.
    ahead: u64,
    /// The monotonic time in milliseconds.
    at: Instant,
    /// The items of the commit for each shard.
    outgoing: Vec<Items>,
    scratch: Vec<u8>,
    /// The time that the sequencer last passed to the store, in milliseconds.
    ticked: u64,
}

/// A command with its outcome, waiting for the commit.
struct Decided {
    reply_to: ReplyTo,
    user: UserId,
    outcome: Outcome,
    audience: Audience,
}

impl Sequencer {
    /// A sequencer that writes with `writer` and tells the owners of these mailboxes.
    pub fn new(
        (writer, store): (Writer, &Reader),
        (most_conversations, rules): (usize, Messaging),
        (directory, departures): (Arc<Directory>, Departures),
        mailboxes: Vec<Arc<Mailbox>>,
        metrics: Arc<SequencerMetrics>,
    ) -> Self {
        let outgoing = mailboxes.iter().map(|_| Items::default()).collect();
        let ids = Ids(store.key());
        let time = Time::start(store, &ids, departures.clock());
        Self {
            writer,
            ids,
            conversations: Conversations::new(store.clone(), most_conversations),
            groups: Groups::new(ids, rules.group_cache),
            rules,
            states: States::new(store.clone()),
            keys: Keys::new(store.clone()),
            departures,
            directory,
            mailboxes,
            metrics,
            decided: Vec::new(),
            recalling: None,
            told: Vec::new(),
            hold: Hold::new(&rules),
            touched: 0,
            time,
            now: 0,
            ahead: 0,
            at: 0,
            outgoing,
            scratch: Vec::new(),
            ticked: 0,
        }
    }

    /// Decides commands until the last sender of `commands` is gone, then syncs the store.
    ///
    /// # Errors
    /// The store failed, now or earlier.
    pub fn run(mut self, commands: &Commands) -> Result<(), CommitError> {
        loop {
            let next = commands.next(self.rest());
            self.look();
            self.tick(self.stamp());
            if commands.hurries() {
                self.hold.hurry();
            }
            match next {
                Ok(first) => {
                    self.decide_all(&first);
                    commands.give_back(first);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while !self.is_full() {
                let Some(next) = commands.waiting() else {
                    break;
                };
                self.decide_all(&next);
                commands.give_back(next);
            }
            self.store_departures();
            self.commit();
        }
        // Nobody is left to be told.
        self.hold.hurry();
        self.commit();
        self.store_all_departures();
        self.time.mark(&mut self.writer);
        self.commit_batch();
        self.writer.sync()
    }

    /// Reads the clocks.
    fn look(&mut self) {
        let look = self.departures.clock().look();
        self.take(look);
    }

    fn take(&mut self, look: Look) {
        self.time.look(look, &self.metrics);
        self.departures.clock().set(self.time.wire(), look.passed);
        self.now = self.time.wire().as_millis() as u64;
        self.ahead = self.now.wrapping_sub(self.time.steady());
        self.at = look.passed.as_millis() as Instant;
    }

    /// Returns the time to stamp records with, in milliseconds since 1970 UTC.
    fn stamp(&self) -> u64 {
        self.now.wrapping_sub(self.ahead)
    }

    /// Returns how long the sequencer may wait for a command before other work is due.
    fn rest(&self) -> Duration {
        let rest = TICK.min(self.departures.rest());
        let due = self.hold.next_due();
        due.map_or(rest, |due| {
            rest.min(Duration::from_millis(due.saturating_sub(self.at)))
        })
    }

    /// Passes the time to the store at intervals, so that expired records are removed.
    fn tick(&mut self, now: u64) {
        if now.saturating_sub(self.ticked) >= TICK.as_millis() as u64 {
            self.ticked = now;
            self.writer.tick(now);
        }
    }

    /// Returns whether the commit under construction takes no more commands.
    fn is_full(&self) -> bool {
        self.writer.batch_bytes() >= COMMIT_BYTES
            || self.touched >= COMMIT_COMMANDS
            || self.hold.is_full()
    }

    /// Stores the positions that devices have reached.
    fn keep(&mut self, positions: &[(TimelineId, Position)]) {
        for &(key, reached) in positions {
            // Two connections of a device may tell it in any order. Without the store, or room
            // in it, the device is told once more what it knows.
            let epochs = self.states.store().epochs();
            let kept = self
                .states
                .get(key)
                .map(|value| position::kept(epochs, value.as_deref()));
            if kept.is_ok_and(|kept| kept < Some(reached)) {
                let value = position::keep(epochs, reached);
                if self.writer.set_state(key, &value).is_ok() {
                    self.states.enter(&mut vec![(key, value.to_vec())]);
                }
            }
        }
    }

    fn decide_all(&mut self, batch: &CommandBatch) {
        self.keep(&batch.positions);
        for command in &batch.commands {
            // A message can be recalled once it can be read: is it the caller's?
            let reads = matches!(command.action, Action::Recall { .. });
            if self.is_full() || (reads && !self.decided.is_empty()) {
                self.commit();
            }
            self.touched += 1;
            let body = &batch.bodies[command.body.clone()];
            let (outcome, audience) = match self.decide(Asked { command, body }) {
                Ok(Some(decided)) => decided,
                Ok(None) => continue,
                Err(refused) if matches!(command.action, Action::Ack { .. }) => {
                    (refused.outcome().of_ack(), Audience::Nobody)
                }
                Err(refused) => (refused.outcome(), Audience::Nobody),
            };
            self.decided.push(Decided {
                reply_to: command.reply_to.clone(),
                user: command.user,
                outcome,
                audience,
            });
        }
    }

    /// What becomes of a command, and who has to know; nothing yet for what waits for others.
    ///
    /// # Errors
    /// The command changes nothing because it fails.
    fn decide(&mut self, command: Asked<'_>) -> Result<Option<(Outcome, Audience)>, Refused> {
        let now = self.now;
        let decided = match command.action {
            Action::Send { key } => self.send(command, now, key),
            Action::Ack { delivered, read } => {
                return self.ack(command, (delivered, read));
            }
            Action::Recall { seq } => self.recall(command, now, seq),
            Action::Delete { seq } => self.delete(command, now, seq),
            Action::React { seq, remove } => self.react(command, now, (seq, remove)),
            Action::Group(change) => self.change_group(command, now, change),
            Action::Contacts { added, watch } => self.contacts(command, now, (added, watch)),
        };
        decided.map(Some)
    }

    /// Appends a record, with the values that it changes, to the batch.
    fn append(&mut self, draft: &Draft<'_>, changes: &mut Changes) -> Result<Position, Refused> {
        let states: Vec<_> = changes
            .iter()
            .map(|(key, value)| StateEntry { key: *key, value })
            .collect();
        let stamped;
        let body = if self.ahead == 0 {
            draft.body
        } else {
            stamped = event::with_time(draft.body, self.now);
            &stamped
        };
        let draft = Draft {
            time: self.stamp(),
            body,
            states: &states,
            ..*draft
        };
        let position = self.writer.append_next(&draft).map_err(|e| failed(&e))?;
        self.states.enter(changes);
        Ok(position)
    }

    /// Commits the batch and the receipts that are due, and tells the shards.
    fn commit(&mut self) {
        loop {
            let more = self.store_due();
            if self.writer.batch_records() > 0 {
                self.time.mark(&mut self.writer);
            }
            self.commit_batch();
            if !more {
                break;
            }
        }
        self.metrics.receipts_held.set(self.hold.len() as u64);
    }

    /// Commits the batch and tells the shards.
    fn commit_batch(&mut self) {
        self.touched = 0;
        if self.decided.is_empty() && self.writer.batch_bytes() == 0 {
            self.departures.committed();
            return;
        }
        let batch = match self.writer.commit() {
            Ok(batch) => batch,
            Err(error) => {
                self.give_up(&error);
                Arc::new(Batch::default())
            }
        };
        self.keys.clear();
        self.recalling = None;
        self.states.clear();
        self.departures.committed();
        if !batch.is_empty() {
            // Before the first look-up: see `Directory`.
            self.directory.raise_head(batch.last());
        }
        let mut decided = std::mem::take(&mut self.decided);
        let mut told = std::mem::take(&mut self.told).into_iter().peekable();
        for (number, decided) in decided.iter().enumerate() {
            while let Some(told) = told.next_if(|told| told.behind <= number) {
                route::route_part(&self.directory, &mut self.outgoing, &told);
            }
            self.route(decided, &batch);
        }
        for told in told {
            route::route_part(&self.directory, &mut self.outgoing, &told);
        }
        decided.clear();
        self.decided = decided;
        self.metrics
            .conversations
            .set(self.conversations.len() as u64);
        for (items, mailbox) in self.outgoing.iter_mut().zip(&self.mailboxes) {
            if !items.is_empty() {
                let items = std::mem::replace(items, mailbox.spare_items());
                let mail = Mail::Committed(Committed {
                    batch: Arc::clone(&batch),
                    items,
                    ahead: self.ahead,
                });
                let waits = mailbox.put_waiting(mail);
                self.metrics.mailbox_waits.add(waits);
            }
        }
    }

    /// Answers what was decided with what became of its commit, and forgets what is in memory of
    /// it.
    fn give_up(&mut self, error: &CommitError) {
        let refused = match error {
            CommitError::Refused { full: true, .. } => DISK_FULL,
            CommitError::Refused { full: false, .. } => STORE_SHORT,
            _ => OUTCOME_UNKNOWN,
        };
        let answer = refused.outcome();
        for decided in &mut self.decided {
            // What was so already may be so because of a record of this very batch.
            if let Outcome::Sent(_) | Outcome::Done(..) | Outcome::Contacts { .. } = decided.outcome
            {
                decided.outcome = if decided.outcome.is_of_ack() {
                    answer.of_ack()
                } else {
                    answer
                };
            }
        }
        self.told.clear();
        if !error.is_final() {
            self.conversations.forget_all();
            self.groups.forget_all();
            self.departures.given_up();
        }
    }

    /// Answers a committed command, and lists its record for the shards concerned.
    fn route(&mut self, decided: &Decided, batch: &Batch) {
        let Decided {
            ref reply_to,
            user,
            outcome,
            ref audience,
        } = *decided;
        let shard = match reply_to {
            ReplyTo::Conn(to) => {
                let shard = usize::from(to.shard);
                self.outgoing[shard].list.push(Item::Reply {
                    conn: to.conn,
                    id: to.id,
                    user,
                    outcome,
                });
                Some(shard)
            }
            ReplyTo::Call(call) => {
                self.answer(call, user, outcome, batch);
                None
            }
        };
        match outcome.position() {
            Some(position) => {
                let (directory, outgoing) = (&self.directory, &mut self.outgoing);
                route::route(directory, outgoing, (user, shard), audience, position);
            }
            None if matches!(outcome, Outcome::Failed(..) | Outcome::NotAcked(..)) => {
                self.metrics.failed.one()
            }
            None => {}
        }
    }

    /// Answers a caller in this process.
    #[cold]
    fn answer(&self, call: &Call, user: UserId, outcome: Outcome, batch: &Batch) {
        let mut tokens = Tokens::new(self.states.store().epochs());
        let mut pos = Token::default();
        let answer = match outcome.next(user, (batch, self.ahead), &mut tokens, &mut pos) {
            Some(Next::Reply(body)) => CallAnswer::Reply(owned::reply(body)),
            Some(Next::Ask(query)) => CallAnswer::Ask(query),
            Some(Next::Failed(failure)) => CallAnswer::Failed(failure),
            None => CallAnswer::Failed(UNREADABLE),
        };
        call.answer(answer);
    }
}

/// The store does not tell what a command is to be decided against.
fn unreadable(error: &ReadError) -> Refused {
    tracing::error!(%error, "a conversation could not be loaded");
    Refused::new(
        ErrorCode::StorageUnavailable,
        "the conversation could not be read from the store: nothing was stored",
    )
}

fn failed(error: &AppendError) -> Refused {
    match error {
        AppendError::Full => DISK_FULL,
        AppendError::Short { .. } => STORE_SHORT,
        AppendError::Lost { .. } => Refused::new(
            ErrorCode::StorageUnavailable,
            "the store's folder was taken away: nothing is stored until it is back; see /readyz",
        ),
        AppendError::Behind { .. } => Refused::new(
            ErrorCode::StorageUnavailable,
            "the store cannot tidy up its log and takes nothing until it can: see /healthz",
        ),
        AppendError::TooLarge { .. } => Refused::new(
            ErrorCode::LimitExceeded,
            "the message is larger than a record may be",
        ),
        AppendError::Poisoned { .. } => Refused::new(
            ErrorCode::StorageUnavailable,
            "the store failed and takes nothing more until the gateway is restarted",
        ),
        error => {
            tracing::error!(%error, "an append failed");
            Refused::new(ErrorCode::Internal, "the message could not be stored")
        }
    }
}
