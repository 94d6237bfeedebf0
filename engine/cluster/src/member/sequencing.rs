//! The thread with the sequencer of a node that leads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};
use trunkline_core::exchange::{Commands, ToSequencer};
use trunkline_core::sequencer::{Ended, HandedOver};
use trunkline_storage::CommitError;

use super::disk::Disk;
use super::log::{Offer, Replicated, Shared, Verdict, now};
use super::status::Status;
use super::wake::Knock;

/// What comes from the thread.
pub(super) enum FromSequencer {
    /// A batch for the log.
    Offers(Offer),
    /// The sequencer has ended.
    Ended(Result<Ended, CommitError>, Commands),
}

/// The parts with which a sequencer begins.
type Parts = (Box<HandedOver>, Commands);

/// Both ends of the thread before it starts.
pub(super) struct Ends {
    shared: Arc<Shared>,
    from: Receiver<FromSequencer>,
    verdicts: Sender<Verdict>,
    to_node: Sender<FromSequencer>,
    knock: Arc<Knock>,
}

/// The thread, as the node has it.
#[derive(Debug)]
pub(super) struct Sequencing {
    pub(super) shared: Arc<Shared>,
    parts: Sender<Parts>,
    from: Receiver<FromSequencer>,
    verdicts: Sender<Verdict>,
    thread: JoinHandle<()>,
}

/// Makes a log, and the ends of the thread that commits to it.
pub(super) fn ends(knock: &Arc<Knock>, disk: Disk, status: &Arc<Status>) -> (Replicated, Ends) {
    // The sequencer waits for each verdict, and ends once: nothing ever waits here for room.
    let (to_node, from) = bounded(2);
    let (verdicts, told) = bounded(1);
    let shared = Arc::<Shared>::default();
    let log = Replicated {
        shared: Arc::clone(&shared),
        to_node: to_node.clone(),
        verdicts: told,
        knock: Arc::clone(knock),
        status: Arc::clone(status),
        disk,
        rests: None,
        saved: now(),
    };
    let ends = Ends {
        shared,
        from,
        verdicts,
        to_node,
        knock: Arc::clone(knock),
    };
    (log, ends)
}

impl Ends {
    /// Starts the thread, without a sequencer.
    pub(super) fn start(self) -> std::io::Result<Sequencing> {
        let Self {
            shared,
            from,
            verdicts,
            to_node,
            knock,
        } = self;
        let (parts, taken) = bounded::<Parts>(1);
        let thread = std::thread::Builder::new()
            .name("sequencer".into())
            .spawn(move || {
                for (parts, commands) in taken {
                    let ended = parts.go_on().run(&commands);
                    if to_node.send(FromSequencer::Ended(ended, commands)).is_err() {
                        return;
                    }
                    knock.ring();
                }
            })?;
        Ok(Sequencing {
            shared,
            parts,
            from,
            verdicts,
            thread,
        })
    }
}

impl Sequencing {
    /// Lets a sequencer go on with these parts.
    pub(super) fn begin(&self, parts: HandedOver, commands: Commands) {
        self.shared.is_over.store(false, Ordering::SeqCst);
        let sent = self.parts.send((Box::new(parts), commands));
        sent.expect("the thread sequencer takes parts as long as there is a node");
    }

    /// Returns what has come from the sequencer, if anything has.
    pub(super) fn take(&self) -> Option<FromSequencer> {
        self.from.try_recv().ok()
    }

    /// Tells the sequencer what became of its batch.
    pub(super) fn tell(&self, verdict: Verdict) {
        // It waits for one verdict at a time.
        let _ = self.verdicts.try_send(verdict);
    }

    /// Asks the sequencer to end after the batch that it decides. [`take`](Self::take) says when it has.
    pub(super) fn ask_to_end(&self, to: &ToSequencer) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // In a full queue the sequencer does not sleep.
        let _ = to.try_send(to.spare());
    }

    /// Ends the sequencer, and returns its parts. No batch of it may be on its way; one that it still offers is refused.
    pub(super) fn end(&self, to: &ToSequencer) -> (Result<Ended, CommitError>, Commands) {
        self.ask_to_end(to);
        loop {
            match self.from.recv().expect("the sequencer ends") {
                FromSequencer::Offers(_) => self.tell(Verdict::HandedOver),
                FromSequencer::Ended(ended, commands) => return (ended, commands),
            }
        }
    }

    /// Ends the thread. It has no sequencer.
    pub(super) fn close(self) {
        drop(self.parts);
        // Its panic has been printed already.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests;
