//! A gateway as a node of a cluster.
//!
//! One thread, **cluster**, has the rules of this package, the ends of the thread that speaks NATS, and a role:
//!
//! | role | who has the store's writer | commands of the own clients |
//! |---|---|---|
//! | follower | this thread, with a [`Follower`](trunkline_core::follower::Follower) | go to the leader in batches (`units`), and again to the next one |
//! | leader | the thread **sequencer**, which runs a [`Sequencer`](trunkline_core::sequencer::Sequencer) | are decided here |
//!
//! The sequencer of the leader commits to a log (`log`) that hands each batch to this thread and waits. This thread
//! publishes it as a group, and says that it counts once it has taken it from the stream. If an epoch begins before, the
//! batch never will count: the sequencer ends, and what it did not decide is forwarded like everything else.
//!
//! So a sequencer lives for one epoch at most, also if the same node leads in the next one.
//!
//! Another thread, **ephemeral**, tells other nodes of the users of this one (`ephemeral`), so that neither waits for the
//! other.

mod begin;
mod disk;
mod endings;
mod ephemeral;
mod forwarding;
mod hindrance;
mod log;
mod network;
mod node;
mod orders;
mod others;
mod roles;
mod sequencing;
mod status;
mod stream;
mod units;
mod wake;

use std::sync::Arc;
use std::thread::JoinHandle;

use trunkline_core::exchange::{Commands, ToSequencer};
use trunkline_core::hub::Hub;
use trunkline_core::log::Log;
use trunkline_core::sequencer::HandedOver;
use trunkline_storage::{CommitError, Origin};

pub use begin::{JoinError, JoinSettings};
pub use disk::COMPANIONS;
pub(crate) use disk::Disk;
pub use orders::{ANSWER_MAX, Answers, NotGiven, Order, Orders};
pub use status::{Numbers, Status};

use crate::envelope::Record;
use crate::nats::{Bell, Kept, Nats};
use begin::Joined;
use ephemeral::Speaking;
use log::Replicated;
use wake::Knock;

/// A node that has found its cluster, and does not follow the log yet.
///
/// Order of use: [`find`](Self::find), open the store with [`origin`](Self::origin), and
/// [`segment_bytes`](Self::segment_bytes), make the parts of a sequencer with [`log`](Self::log), and
/// [`start`](Self::start).
pub struct Candidate {
    joined: Joined,
    knock: Arc<Knock>,
    /// Wakes the thread that speaks of ephemeral state.
    bell: Arc<Bell>,
    status: Arc<Status>,
    orders: Orders,
    log: Option<Replicated>,
    sequencing: sequencing::Ends,
}

/// A node of a cluster. Call [`leave`](Self::leave) and then [`end`](Self::end): dropping it leaves its threads running.
#[derive(Debug)]
pub struct Member {
    knock: Arc<Knock>,
    status: Arc<Status>,
    speaking: Speaking,
    thread: JoinHandle<Result<(), CommitError>>,
}

impl Candidate {
    /// Connects to the NATS servers, and finds the cluster's log. Waits up to half a minute for the servers.
    ///
    /// # Errors
    /// The settings cannot be used, there is no such cluster, or what is in the data folder belongs to another one.
    pub fn find(settings: &JoinSettings) -> Result<Self, JoinError> {
        let knock = Arc::<Knock>::default();
        let status = Arc::new(Status::new(settings));
        let bell = Arc::<Bell>::default();
        let joined = Joined::find(settings, &knock, Arc::clone(&bell) as _)?;
        status.found(Record::Genesis(joined.genesis.clone()).write());
        let (log, sequencing) = sequencing::ends(&knock, joined.disk.clone(), &status);
        let orders = Orders::new(joined.me, &knock);
        Ok(Self {
            joined,
            knock,
            bell,
            status,
            orders,
            log: Some(log),
            sequencing,
        })
    }

    /// Returns what the stores of this log share.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.joined.genesis.origin()
    }

    /// Returns the length of a segment of the store, in bytes.
    #[must_use]
    pub const fn segment_bytes(&self) -> u64 {
        self.joined.genesis.segment_bytes
    }

    /// Returns the log for the parts of a sequencer.
    ///
    /// # Panics
    /// On the second call.
    #[must_use]
    pub fn log(&mut self) -> Box<dyn Log> {
        Box::new(self.log.take().expect("one sequencer"))
    }

    /// Returns what is known of the node, for other threads.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Returns the orders to other nodes, and from them.
    #[must_use]
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Returns what the cluster keeps beside the log.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.joined.ends.kept.clone()
    }

    /// Starts to follow the log. `parts` have the log of [`log`](Self::log), `to` and `commands` are the ends of the queue
    /// of the node's commands. No session of `hub` has begun.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn start(
        self,
        parts: HandedOver,
        to: ToSequencer,
        commands: Commands,
        hub: Arc<Hub>,
    ) -> std::io::Result<Member> {
        let Self {
            joined,
            knock,
            bell,
            status,
            orders,
            log: _,
            sequencing,
        } = self;
        knock.reach(to.clone());
        let sequencing = sequencing.start()?;
        let speaking = Speaking::start(&joined, hub, bell, &status)?;
        let (at_work, of_thread) = (Arc::clone(&knock), Arc::clone(&status));
        let thread = std::thread::Builder::new()
            .name("cluster".into())
            .spawn(move || {
                let nats: Nats;
                let node;
                (nats, node) = node::Node::new(
                    joined,
                    (at_work, of_thread, orders.shared()),
                    sequencing,
                    (parts, to, commands),
                );
                let ended = node.run(&nats);
                drop(nats);
                ended
            })?;
        Ok(Member {
            knock,
            status,
            speaking,
            thread,
        })
    }
}

impl Member {
    /// Returns what is known of the node.
    #[must_use]
    pub const fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Lets another node lead from now on, if there is one. Commands go on.
    pub fn leave(&self) {
        self.status.leave();
        self.knock.ring();
    }

    /// Ends the node in order, and waits for it. Call it once nobody waits for an answer any more.
    ///
    /// # Errors
    /// The store failed, now or earlier.
    ///
    /// # Panics
    /// The thread has panicked.
    pub fn end(self) -> Result<(), CommitError> {
        self.speaking.end();
        self.status.end();
        self.knock.ring();
        self.thread.join().expect("the thread cluster works")
    }
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate").finish_non_exhaustive()
    }
}
