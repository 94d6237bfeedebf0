//! The single writer of durable state.
//!
//! It takes the shards' commands in the order they come, decides each against [`conversations`],
//! appends the records, makes everything queued durable with one commit, and only then tells the
//! shards. A failed commit is final: the store refuses everything after it, commands are
//! answered with "outcome unknown" and later ones with "storage unavailable"; reads go on.

pub(crate) mod command;
pub(crate) mod conversations;
mod keys;
pub(crate) mod queue;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam::channel::RecvTimeoutError;
use trunkline_proto::ErrorCode;
use trunkline_storage::{
    AppendError, Batch, Draft, Place, Position, ReadError, Reader, State, TimelineId, Writer,
};

use crate::directory::Directory;
use crate::event::{self, Kind};
use crate::ids::UserId;
use crate::metrics::SequencerMetrics;
use crate::shard::mailbox::{Mail, Mailbox};
use command::{Command, CommandBatch, Committed, ConnRef, Item, Outcome, Side, What};
use conversations::Conversations;
use keys::Keys;
use queue::Commands;

/// A commit takes what is queued until it holds so many bytes.
const COMMIT_BYTES: usize = 1 << 20;

/// Or so many commands: some add no bytes.
const COMMIT_COMMANDS: usize = 16_384;

/// How often the store is told the time.
const TICK: Duration = Duration::from_secs(1);

const OUTCOME_UNKNOWN: Outcome = Outcome::Failed(
    ErrorCode::StorageUnavailable,
    "the store failed: whether this was stored is not known; send it again with the same key",
);

pub(crate) struct Sequencer {
    writer: Writer,
    conversations: Conversations,
    keys: Keys,
    directory: Arc<Directory>,
    mailboxes: Vec<Arc<Mailbox>>,
    metrics: Arc<SequencerMetrics>,
    /// Commands that wait for the commit.
    decided: Vec<Decided>,
    /// By shard, what the commit has for it.
    outgoing: Vec<Vec<Item>>,
    scratch: Vec<u8>,
    /// The store has failed, and the log says so.
    poisoned: bool,
    /// When the store was last told the time, in milliseconds.
    ticked: u64,
}

/// A command with its outcome, waiting for the commit.
struct Decided {
    shard: usize,
    conn: ConnRef,
    id: u32,
    user: UserId,
    other: UserId,
    outcome: Outcome,
}

impl Sequencer {
    pub(crate) fn new(
        (writer, store): (Writer, &Reader),
        most_conversations: usize,
        directory: Arc<Directory>,
        mailboxes: Vec<Arc<Mailbox>>,
        metrics: Arc<SequencerMetrics>,
    ) -> Self {
        let outgoing = mailboxes.iter().map(|_| Vec::new()).collect();
        Self {
            writer,
            conversations: Conversations::new(store.clone(), most_conversations),
            keys: Keys::new(store.clone()),
            directory,
            mailboxes,
            metrics,
            decided: Vec::new(),
            outgoing,
            scratch: Vec::new(),
            poisoned: false,
            ticked: 0,
        }
    }

    /// Works until the last sender of `commands` is gone, then syncs the store.
    ///
    /// # Errors
    /// The store failed, now or earlier.
    pub(crate) fn run(mut self, commands: &Commands) -> Result<(), trunkline_storage::CommitError> {
        loop {
            let first = match commands.next(TICK) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.tick(unix_ms());
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let now = unix_ms();
            self.tick(now);
            self.decide_all(&first, now);
            while !self.is_full() {
                let Some(next) = commands.waiting() else {
                    break;
                };
                self.decide_all(&next, now);
            }
            self.commit();
        }
        self.writer.sync()
    }

    /// Tells the store the time now and then, so that what is too old goes.
    fn tick(&mut self, now: u64) {
        if now.saturating_sub(self.ticked) >= TICK.as_millis() as u64 {
            self.ticked = now;
            self.writer.tick(now);
        }
    }

    /// Whether the commit under construction takes no more.
    fn is_full(&self) -> bool {
        self.writer.batch_bytes() >= COMMIT_BYTES || self.decided.len() >= COMMIT_COMMANDS
    }

    fn decide_all(&mut self, batch: &CommandBatch, now: u64) {
        for command in &batch.commands {
            if self.is_full() {
                self.commit();
            }
            let body = &batch.bodies[command.body.clone()];
            let outcome = self.decide(command, body, now);
            let &Command {
                conn,
                id,
                user,
                other,
                ..
            } = command;
            self.decided.push(Decided {
                shard: batch.shard,
                conn,
                id,
                user,
                other,
                outcome,
            });
        }
    }

    fn decide(&mut self, command: &Command, body: &[u8], now: u64) -> Outcome {
        match command.what {
            What::Send { key } => self.send(command, body, now, key),
            What::Ack {
                side,
                delivered,
                read,
            } => self.ack(command, body, now, (side, delivered, read)),
        }
    }

    fn send(
        &mut self,
        command: &Command,
        body: &[u8],
        now: u64,
        key: Option<TimelineId>,
    ) -> Outcome {
        let known = key.map_or(Ok(None), |key| self.keys.find(key));
        match known {
            Ok(None) => {}
            Ok(Some(place)) => {
                self.metrics.duplicates.one();
                return Outcome::Duplicate(place);
            }
            Err(error) => return unreadable(&error),
        }
        let conversation = match self.conversations.get(command.conversation) {
            Ok(conversation) => conversation,
            Err(error) => return unreadable(&error),
        };
        let seq = conversation.next_seq();
        let draft = Draft {
            kind: Kind::Message as u8,
            time: now,
            timeline: command.conversation,
            seq,
            body,
            key,
            ..Draft::default()
        };
        match append(&mut self.writer, command, draft) {
            Ok(position) => {
                conversation.stored(seq);
                if let Some(key) = key {
                    let place = Place {
                        timeline: command.conversation,
                        seq,
                        position,
                    };
                    self.keys.insert(key, place);
                }
                self.metrics.messages.one();
                Outcome::Sent(position)
            }
            Err(error) => failed(&error),
        }
    }

    fn ack(
        &mut self,
        command: &Command,
        body: &[u8],
        now: u64,
        (side, delivered, read): (Side, u64, u64),
    ) -> Outcome {
        let conversation = match self.conversations.get(command.conversation) {
            Ok(conversation) if conversation.exists() => conversation,
            Ok(_) => return Outcome::Failed(ErrorCode::Unknown, "no such conversation"),
            Err(error) => return unreadable(&error),
        };
        let Some(marks) = conversation.acked(side, delivered, read) else {
            return Outcome::Acked(None);
        };
        let moved = conversation.with_marks(side, marks);
        self.scratch.clear();
        moved.encode(&mut self.scratch);
        let state = self.scratch.len();
        self.scratch.extend_from_slice(body);
        event::write_marks(&mut self.scratch, marks.delivered, marks.read);
        let (state, body) = self.scratch.split_at(state);
        let draft = Draft {
            kind: Kind::Receipt as u8,
            time: now,
            timeline: command.conversation,
            body,
            states: &[State {
                key: command.conversation,
                value: state,
            }],
            ..Draft::default()
        };
        match append(&mut self.writer, command, draft) {
            Ok(position) => {
                *conversation = moved;
                self.metrics.receipts.one();
                Outcome::Acked(Some(position))
            }
            Err(error) => failed(&error),
        }
    }

    /// Makes the decided durable and tells the shards.
    fn commit(&mut self) {
        let batch = match self.writer.commit() {
            Ok(batch) => batch,
            Err(error) => {
                if !std::mem::replace(&mut self.poisoned, true) {
                    tracing::error!(%error, "the store failed: nothing is stored until a restart");
                }
                for decided in &mut self.decided {
                    // A mark may be where it is because of a record of this very batch.
                    if let Outcome::Sent(_) | Outcome::Acked(_) = decided.outcome {
                        decided.outcome = OUTCOME_UNKNOWN;
                    }
                }
                Arc::new(Batch::default())
            }
        };
        self.keys.clear();
        if !batch.is_empty() {
            // Before the first look-up: see `Directory`.
            self.directory.raise_head(batch.last());
        }
        for decided in std::mem::take(&mut self.decided) {
            self.route(&decided);
        }
        self.metrics
            .conversations
            .set(self.conversations.len() as u64);
        for (items, mailbox) in self.outgoing.iter_mut().zip(&self.mailboxes) {
            if !items.is_empty() {
                let items = std::mem::take(items);
                let mail = Mail::Committed(Committed {
                    batch: Arc::clone(&batch),
                    items,
                });
                let waits = mailbox.put_waiting(mail);
                self.metrics.mailbox_waits.add(waits);
            }
        }
    }

    fn route(&mut self, decided: &Decided) {
        let outgoing = &mut self.outgoing;
        let &Decided {
            shard,
            conn,
            id,
            user,
            other,
            outcome,
        } = decided;
        outgoing[shard].push(Item::Reply {
            conn,
            id,
            user,
            outcome,
        });
        let position = match outcome {
            Outcome::Sent(position) | Outcome::Acked(Some(position)) => position,
            Outcome::Failed(..) => return self.metrics.failed.one(),
            Outcome::Duplicate(_) | Outcome::Acked(None) => return,
        };
        // The reply's shard serves the user's other connections there itself.
        let elsewhere = self.directory.shards(user) & !(1 << shard);
        deliver(outgoing, elsewhere, user, position);
        if other != user {
            deliver(outgoing, self.directory.shards(other), other, position);
        }
    }
}

/// Appends the record of a command; both members' sync timelines refer to it.
fn append(
    writer: &mut Writer,
    command: &Command,
    draft: Draft<'_>,
) -> Result<Position, AppendError> {
    let both = [command.user, command.other];
    let members = if command.user == command.other {
        &both[..1]
    } else {
        &both[..]
    };
    writer.append_next(&Draft {
        fanout: members,
        ..draft
    })
}

fn deliver(outgoing: &mut [Vec<Item>], mut shards: u128, user: UserId, position: Position) {
    while shards != 0 {
        outgoing[shards.trailing_zeros() as usize].push(Item::Deliver { user, position });
        shards &= shards - 1;
    }
}

/// The store does not tell what a command is to be decided against.
fn unreadable(error: &ReadError) -> Outcome {
    tracing::error!(%error, "a conversation could not be loaded");
    Outcome::Failed(
        ErrorCode::StorageUnavailable,
        "the conversation could not be read from the store: nothing was stored",
    )
}

fn failed(error: &AppendError) -> Outcome {
    match error {
        AppendError::Full => Outcome::Failed(
            ErrorCode::StorageFull,
            "the disk is full: nothing is stored until there is room",
        ),
        AppendError::Behind { .. } => Outcome::Failed(
            ErrorCode::StorageUnavailable,
            "the store cannot tidy up its log and takes nothing until it can: see /healthz",
        ),
        AppendError::TooLarge { .. } => Outcome::Failed(
            ErrorCode::LimitExceeded,
            "the message is larger than a record may be",
        ),
        AppendError::Poisoned { .. } => Outcome::Failed(
            ErrorCode::StorageUnavailable,
            "the store failed and takes nothing more until the gateway is restarted",
        ),
        error => {
            tracing::error!(%error, "an append failed");
            Outcome::Failed(ErrorCode::Internal, "the message could not be stored")
        }
    }
}

/// Milliseconds since 1970 UTC.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}
