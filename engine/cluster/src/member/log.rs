//! The log of a leader's sequencer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender};
use parking_lot::Mutex;
use trunkline_core::exchange::Remote;
use trunkline_core::log::{Log, LogError};
use trunkline_core::told::{Incarnation, Told};
use trunkline_storage::{Batch, CommitError, Writer};

use super::disk::Disk;
use super::sequencing::FromSequencer;
use super::status::Status;
use super::wake::Knock;
use crate::chain::Mark;

/// The time between two syncs of the leader's store, after which the mark is kept. A node that starts again takes the
/// groups after its mark once more.
pub(super) const SAVE: Duration = Duration::from_secs(5);

/// How many times the work of a commit to a disk a group takes. Groups are some four times as far apart as commits to a
/// disk, so the leader decides as many commands a second as a gateway alone.
const WORK: usize = 4;

/// The shortest time between two groups: what comes in it goes together.
const PAUSE: Duration = Duration::from_millis(2);

/// A batch on its way into the log.
#[derive(Debug)]
pub(super) struct Offer {
    /// The transcript of the batch; empty if it stores nothing.
    pub(super) transcript: Vec<u8>,
    /// What a batch tells that stores something.
    pub(super) told: Vec<u8>,
    /// The numbers of the other nodes whose commands the batch answers. If it stores nothing, with the answers.
    pub(super) answers: Vec<(u16, Bytes)>,
    /// How far the wire time is ahead of the time in the records, in milliseconds.
    pub(super) ahead: i64,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The batch is the next group of the log; or it stores nothing, and this node led when it was decided.
    Counts(Mark),
    /// The batch cannot be in the log. The reason is a sentence.
    Refused(String),
    /// The batch is not in the log, and never will be.
    HandedOver,
    /// The node does not follow the log any more, and does not know whether the batch is in it.
    Unknown,
}

/// The log that all nodes follow, as the sequencer of the leader sees it.
#[derive(Debug)]
pub(super) struct Replicated {
    pub(super) shared: Arc<Shared>,
    pub(super) to_node: Sender<FromSequencer>,
    pub(super) verdicts: Receiver<Verdict>,
    pub(super) knock: Arc<Knock>,
    pub(super) status: Arc<Status>,
    pub(super) disk: Disk,
    /// The end of the last commit that other nodes learned of; `None` if the last one told them nothing.
    pub(super) rests: Option<Instant>,
    pub(super) saved: Instant,
}

/// What the log and the thread of the node share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Whether the sequencer has to end.
    pub(super) is_over: AtomicBool,
    /// The other nodes by the numbers that this process gives them.
    pub(super) nodes: Mutex<Vec<Incarnation>>,
}

impl Log for Replicated {
    fn work(&self) -> usize {
        WORK
    }

    fn commit(&mut self, writer: &mut Writer, told: Told<'_>) -> Result<Arc<Batch>, LogError> {
        let mut offer = Offer {
            transcript: Vec::new(),
            told: Vec::new(),
            answers: Vec::new(),
            ahead: told.ahead().cast_signed(),
        };
        writer.transcribe(&mut offer.transcript);
        let stores = !offer.transcript.is_empty();
        let mut of: Vec<u16> = told.remote().map(Remote::node).collect();
        of.sort_unstable();
        of.dedup();
        {
            let nodes = self.shared.nodes.lock();
            if stores {
                told.write(writer, &nodes, &mut offer.told);
            }
            for node in of {
                let mut answers = Vec::new();
                if !stores {
                    told.write_answers(writer, &nodes, node, &mut answers);
                }
                offer.answers.push((node, answers.into()));
            }
        }
        // Answers to clients of this node alone cost other nodes nothing.
        let costs = stores || !offer.answers.is_empty();
        if costs {
            self.rest();
        }
        if self.to_node.send(FromSequencer::Offers(offer)).is_err() {
            return Err(LogError::HandedOver);
        }
        self.knock.ring();
        let verdict = self.verdicts.recv();
        self.rests = costs.then(now);
        match verdict {
            // An empty batch changes nothing, and an error of it neither.
            Ok(Verdict::Counts(_)) if !stores => Ok(writer.commit()?),
            Ok(Verdict::Refused(reason)) => {
                writer.discard();
                let full = false;
                Err(CommitError::Refused { full, reason }.into())
            }
            Ok(Verdict::Counts(mark)) => {
                let batch = writer.commit().unwrap_or_else(|error| cannot_go_on(&error));
                let end = Some(writer.next_position());
                let mark = Mark { end, ..mark };
                self.status.stored(mark);
                self.save(writer, &mark);
                Ok(batch)
            }
            Ok(Verdict::HandedOver) | Err(_) => Err(LogError::HandedOver),
            Ok(Verdict::Unknown) => Err(LogError::Unknown),
        }
    }

    fn is_handed_over(&self) -> bool {
        // Before the sequencer takes commands: those that come during the rest go with the next group, and do not wait for
        // one more.
        self.rest();
        self.shared.is_over.load(Ordering::SeqCst)
    }

    fn close(&mut self, writer: &mut Writer) -> Result<(), CommitError> {
        writer.sync()
    }
}

impl Replicated {
    /// Waits until the next group may come.
    fn rest(&self) {
        let left = self
            .rests
            .map(|since| PAUSE.saturating_sub(since.elapsed()));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
    }

    /// Makes the store durable now and then, and keeps the mark of what it has. What fails here says nothing about the
    /// last commit: the log has it.
    fn save(&mut self, writer: &mut Writer, mark: &Mark) {
        if self.saved.elapsed() < SAVE {
            return;
        }
        self.saved = now();
        if let Err(error) = writer.sync() {
            tracing::warn!(%error, "cannot make the store durable: the next start takes more of the log again");
        } else if let Err(error) = self.disk.keep_mark(mark) {
            tracing::warn!(%error, "cannot keep how far the store has the log: the next start takes more of the log again");
        }
    }
}

/// Ends the process: the log has a group that the store of the node that decided it did not take.
///
/// The next group of this node would begin where this one did, and the stores of the nodes would differ. After a start
/// the node takes the group from the log.
#[cold]
fn cannot_go_on(error: &CommitError) -> ! {
    tracing::error!(%error, "the store did not take what the log has");
    panic!(
        "the store did not take what the log has, so this gateway ends and another one leads: mend what the store lacks, and start it again ({error})"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of a node looks at the clock here"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
