//! Tests of what the sequencer does before and after the log has taken a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use trunkline_proto::ErrorCode;
use trunkline_storage::{Batch, CommitError, Position, Reader, Writer};

use super::super::fixture::{Caller, push_command};
use super::super::receipts::Receipts;
use super::super::{Ended, HandedOver};
use super::{RULES, Waiting, send};
use crate::event::Body;
use crate::exchange::{
    Action, CommandBatch, Commands, Item, Mail, Mailbox, Outcome, Remote, ReplyTo,
};
use crate::ids::Ids;
use crate::log::{Local, Log, LogError};
use crate::messaging::Messaging;
use crate::told::Told;

/// Takes all mail. Returns the outcomes of the commands in it.
fn outcomes(mailbox: &Mailbox) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    while let Some(mail) = mailbox.take() {
        let Mail::Committed(committed) = mail else {
            panic!("{mail:?}");
        };
        let replies = committed.items.list.iter().filter_map(|item| match item {
            Item::Reply { outcome, .. } => Some(*outcome),
            _ => None,
        });
        outcomes.extend(replies);
    }
    outcomes
}

/// Adds a command of a user about the conversation of alice and zoe.
fn ask(ids: &Ids, commands: &mut CommandBatch, user: &str, action: Action) {
    let caller = Caller { user, conn: 1 };
    push_command(
        ids,
        commands,
        caller,
        "u:alice:zoe",
        action,
        Body::default(),
    );
}

/// A log that looks at the beginning of each commit what others know by then.
struct Watching {
    store: Reader,
    mailbox: Arc<Mailbox>,
    /// The number of records in commits so far. Each command of the test has one record.
    records: usize,
    replies: usize,
    last: Position,
    commits: Arc<AtomicUsize>,
}

impl Log for Watching {
    fn commit(&mut self, writer: &mut Writer, _: Told<'_>) -> Result<Arc<Batch>, LogError> {
        self.replies += outcomes(&self.mailbox).len();
        assert_eq!(self.replies, self.records, "an answer came too early");
        assert_eq!(
            self.store.head(),
            self.last,
            "a record is visible too early"
        );
        self.records += writer.batch_records();
        let batch = writer.commit()?;
        if !batch.is_empty() {
            self.last = batch.last();
        }
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(batch)
    }

    fn close(&mut self, writer: &mut Writer) -> Result<(), CommitError> {
        writer.sync()
    }
}

#[test]
fn nobody_knows_of_a_command_before_the_log_has_taken_it() {
    let commits = Arc::new(AtomicUsize::new(0));
    let waiting = Waiting::over(|store, mailbox| {
        Box::new(Watching {
            last: store.head(),
            store: store.clone(),
            mailbox: Arc::clone(mailbox),
            records: 0,
            replies: 0,
            commits: Arc::clone(&commits),
        })
    });
    for seq in 1..=20 {
        waiting.put(|ids, commands| {
            send(ids, commands, "alice", "hi");
            send(ids, commands, "bob", "hi");
            // It needs a commit of the message before.
            ask(ids, commands, "alice", Action::Recall { seq });
        });
    }
    let mailbox = Arc::clone(&waiting.mailbox);
    waiting.run();
    assert!(commits.load(Ordering::Relaxed) > 20);
    assert!(!outcomes(&mailbox).is_empty(), "those of the last commit");
}

/// A log that does not take its first commits with records.
struct Failing {
    left: usize,
    error: fn() -> CommitError,
}

impl Log for Failing {
    fn commit(&mut self, writer: &mut Writer, _: Told<'_>) -> Result<Arc<Batch>, LogError> {
        if self.left > 0 && writer.batch_records() > 0 {
            self.left -= 1;
            writer.discard();
            return Err((self.error)().into());
        }
        Ok(writer.commit()?)
    }

    fn close(&mut self, writer: &mut Writer) -> Result<(), CommitError> {
        writer.sync()
    }
}

#[test]
fn what_the_log_refuses_or_loses_leaves_no_trace() {
    let refused = || CommitError::Refused {
        full: false,
        reason: "the test says so".into(),
    };
    let lost = || CommitError::Unclear {
        reason: "the test says so".into(),
    };
    let cases: [(fn() -> CommitError, _); 2] =
        [(refused, "nothing was stored"), (lost, "is not known")];
    for (error, named) in cases {
        let waiting = Waiting::over(|_, _| Box::new(Failing { left: 2, error }));
        let store = waiting.store.clone();
        let conversation = waiting.ids.direct("", "alice", "zoe");
        for _ in 0..3 {
            waiting.put(|ids, commands| {
                send(ids, commands, "alice", "hi");
                ask(ids, commands, "alice", Action::Recall { seq: 1 });
            });
        }
        let mailbox = Arc::clone(&waiting.mailbox);
        waiting.run();
        let told = outcomes(&mailbox);
        let failed = |outcome: &Outcome| match outcome {
            Outcome::Failed(code, text) => Some((*code, text.contains(named))),
            _ => None,
        };
        let told: Vec<_> = told.iter().map(failed).collect();
        let short = Some((ErrorCode::StorageUnavailable, true));
        let no_message = Some((ErrorCode::Unknown, false));
        // A recall finds no message after its commit failed. The third message is the first one again.
        assert_eq!(told, [short, no_message, short, no_message, None, None]);
        assert_eq!(store.last_seq(conversation), 1);
    }
}

/// The commands of other nodes that each commit told of, with their outcomes.
type Tellings = Arc<Mutex<Vec<Vec<(u64, Outcome)>>>>;

/// A log that refuses commits with records, and notes which commands of other nodes it is told of.
struct Refusing {
    told: Tellings,
}

impl Log for Refusing {
    fn commit(&mut self, writer: &mut Writer, told: Told<'_>) -> Result<Arc<Batch>, LogError> {
        let is_refused = writer.batch_records() > 0;
        if is_refused {
            writer.discard();
            let (full, reason) = (false, "the test says so".into());
            return Err(CommitError::Refused { full, reason }.into());
        }
        let remote = told.decided.iter().filter_map(|one| match one.reply_to {
            ReplyTo::Remote(remote) => Some((remote.number(), one.decision.outcome)),
            ReplyTo::Conn(_) | ReplyTo::Call(_) => None,
        });
        self.told.lock().push(remote.collect());
        Ok(writer.commit()?)
    }

    fn close(&mut self, writer: &mut Writer) -> Result<(), CommitError> {
        writer.sync()
    }
}

#[test]
fn other_nodes_learn_at_once_that_their_commands_were_refused() {
    let told = Tellings::default();
    let waiting = Waiting::over(|_, _| {
        let told = Arc::clone(&told);
        Box::new(Refusing { told })
    });
    waiting.put(|ids, commands| {
        send(ids, commands, "alice", "hi");
        send(ids, commands, "bob", "hi");
        if let Some(last) = commands.commands.last_mut() {
            last.reply_to = ReplyTo::Remote(Remote::new(1, 7));
        }
    });
    waiting.put(|ids, commands| send(ids, commands, "alice", "for nobody else"));
    let mailbox = Arc::clone(&waiting.mailbox);
    waiting.run();
    let told = told.lock();
    let [answers] = &told[..] else {
        panic!("one commit tells the refusals of the other: {told:?}");
    };
    let [(7, Outcome::Failed(ErrorCode::StorageUnavailable, text))] = answers[..] else {
        panic!("{answers:?}");
    };
    assert!(text.contains("nothing was stored"), "{text}");
    assert_eq!(outcomes(&mailbox).len(), 2, "those of this node, once");
}

/// A log that is handed over after some commits: with the next batch in it, or between two turns of the sequencer.
struct Leaving {
    left: usize,
    between: bool,
    error: fn() -> LogError,
}

impl Log for Leaving {
    fn commit(&mut self, writer: &mut Writer, _: Told<'_>) -> Result<Arc<Batch>, LogError> {
        let left = self.left.checked_sub(1).ok_or_else(self.error)?;
        self.left = left;
        Ok(writer.commit()?)
    }

    fn is_handed_over(&self) -> bool {
        self.between && self.left == 0
    }

    fn close(&mut self, writer: &mut Writer) -> Result<(), CommitError> {
        writer.sync()
    }
}

/// The number of messages of the test of handing over: more than two commits take.
const MESSAGES: usize = 2_000;

/// Lets a sequencer decide messages of alice and an acknowledgement of zoe, over a log that is handed over after the
/// first commit with this error. Returns what is left, the commands, the outcomes until then, and the rest of the test.
fn handed_over(
    between: bool,
    error: fn() -> LogError,
) -> (Box<HandedOver>, Commands, Vec<Outcome>, Arc<Mailbox>) {
    let left = 1;
    let mut waiting = Waiting::over(|_, _| {
        Box::new(Leaving {
            left,
            between,
            error,
        })
    });
    let delay = Duration::from_mins(1);
    let rules = Messaging {
        receipt_delay: delay,
        delivered_delay: delay,
        ..RULES
    };
    waiting.sequencer.receipts = Receipts::new(&rules, Arc::clone(&waiting.metrics));
    waiting.put(|ids, commands| {
        send(ids, commands, "alice", "hi");
        let (delivered, read) = (1, 0);
        ask(ids, commands, "zoe", Action::Ack { delivered, read });
        for _ in 1..MESSAGES {
            send(ids, commands, "alice", "hi");
        }
    });
    let Waiting {
        sequencer,
        to,
        commands,
        mailbox,
        ..
    } = waiting;
    drop(to);
    let Ok(Ended::HandedOver(left)) = sequencer.run(&commands) else {
        panic!("the log was handed over");
    };
    let told = outcomes(&mailbox);
    (left, commands, told, mailbox)
}

/// Returns how many commands were done, failed, and were not acknowledged.
fn count(told: &[Outcome]) -> [usize; 3] {
    let count = |is: fn(&Outcome) -> bool| told.iter().filter(|outcome| is(outcome)).count();
    [
        count(|outcome| matches!(outcome, Outcome::Sent(_))),
        count(
            |outcome| matches!(outcome, Outcome::Failed(ErrorCode::StorageUnavailable, text) if text.contains("another gateway")),
        ),
        count(|outcome| matches!(outcome, Outcome::NotAcked(..))),
    ]
}

#[test]
fn a_sequencer_whose_log_is_handed_over_ends_and_another_one_goes_on_with_its_parts() {
    for between in [false, true] {
        let (mut left, commands, told, mailbox) = handed_over(between, || LogError::HandedOver);
        let [sent, failed, not_acked] = count(&told);
        assert!(sent > 0 && sent + failed < MESSAGES, "{sent} {failed}");
        assert_eq!(
            failed > 0,
            !between,
            "only the batch that the log gave back"
        );
        assert_eq!(not_acked, 1, "a receipt that waited");
        assert_eq!(told.len(), sent + failed + not_acked);
        let store = left.parts.store.clone();
        let conversation = Ids(store.key()).direct("", "alice", "zoe");
        assert_eq!(store.last_seq(conversation), sent as u64);
        assert_eq!(left.parts.writer.batch_bytes(), 0);

        left.parts.log = Box::new(Local);
        let Ok(Ended::Closed) = left.go_on().run(&commands) else {
            panic!("the log takes everything");
        };
        let rest = MESSAGES - sent - failed;
        assert_eq!(count(&outcomes(&mailbox)), [rest, 0, 0]);
        assert_eq!(store.last_seq(conversation), (sent + rest) as u64);
        assert!(commands.is_empty());
    }
}

#[test]
fn what_was_on_its_way_into_a_log_that_is_lost_has_an_unknown_outcome() {
    let (left, _commands, told, _mailbox) = handed_over(false, || LogError::Unknown);
    let failed = told.iter().filter_map(|outcome| match outcome {
        Outcome::Failed(code, text) => Some((*code, *text)),
        _ => None,
    });
    let failed: Vec<_> = failed.collect();
    assert!(!failed.is_empty(), "the batch on its way");
    for (code, text) in failed {
        assert_eq!(code, ErrorCode::StorageUnavailable);
        assert!(text.contains("is not known"), "{text}");
    }
    assert_eq!(left.parts.writer.batch_bytes(), 0);
}
