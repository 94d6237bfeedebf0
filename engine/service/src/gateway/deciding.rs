//! Who decides commands: the sequencer of a gateway that works alone, or the leader of a cluster.

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use trunkline_cluster::member::{Candidate, JoinSettings, Member, Status};
use trunkline_core::exchange::{Commands, ToSequencer};
use trunkline_core::log::{Local, Log};
use trunkline_core::sequencer::{Ended, HandedOver, Sequencer, SequencerParts};
use trunkline_storage::{CommitError, Opened};

use super::store::open_store;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::threads::{join, spawn};

/// The threads that decide the gateway's commands, or let the leader of a cluster decide them.
#[derive(Debug)]
pub(super) enum Deciding {
    /// The sequencer of a gateway that works alone.
    Alone(JoinHandle<Result<(), CommitError>>),
    /// A node of a cluster.
    Node(Member),
}

/// Finds the cluster that the gateway is a node of, if it is one, and opens the store.
///
/// # Errors
/// The cluster is not found, or the data folder belongs to another one; the store does not open.
pub(super) fn open(config: &Config) -> anyhow::Result<(Option<Candidate>, Opened)> {
    let candidate = find_cluster(config)?;
    let opened = open_store(config, candidate.as_ref())?;
    Ok((candidate, opened))
}

fn find_cluster(config: &Config) -> anyhow::Result<Option<Candidate>> {
    let Some(cluster) = &config.cluster else {
        return Ok(None);
    };
    let settings = JoinSettings {
        nats: cluster.nats.clone(),
        cluster: cluster.name.clone(),
        node: cluster.node.clone(),
        data: config.data.clone(),
        segment_bytes: config.segment_bytes as u64,
    };
    let found = Candidate::find(&settings);
    found
        .map(Some)
        .with_context(|| format!("cannot join the cluster {}", cluster.name))
}

/// Returns the log that the sequencer commits to.
pub(super) fn log(candidate: Option<&mut Candidate>) -> Box<dyn Log> {
    match candidate {
        Some(candidate) => candidate.log(),
        None => Box::new(Local),
    }
}

impl Deciding {
    /// Starts the threads.
    pub(super) fn start(
        candidate: Option<Candidate>,
        parts: SequencerParts,
        (to, commands): (&ToSequencer, Commands),
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        match candidate {
            None => {
                let sequencer = Sequencer::new(parts);
                let thread = spawn("sequencer", move || decide(sequencer, &commands))?;
                Ok(Self::Alone(thread))
            }
            Some(candidate) => {
                // It is set once.
                let _ = metrics.node.set(candidate.status());
                let hub = Arc::clone(parts.departures.hub());
                let node = candidate.start(HandedOver::of(parts), to.clone(), commands, hub);
                let node = node.context("cannot start the threads of the cluster")?;
                Ok(Self::Node(node))
            }
        }
    }

    /// Returns what is known of the node of a cluster.
    pub(super) fn status(&self) -> Option<&Status> {
        match self {
            Self::Alone(_) => None,
            Self::Node(node) => Some(node.status()),
        }
    }

    /// Lets another node of the cluster lead.
    pub(super) fn leave(&self) {
        if let Self::Node(node) = self {
            node.leave();
        }
    }

    /// Waits until everything is stored that was decided, and ends the threads. Nobody must wait for answers.
    pub(super) fn end(self) -> anyhow::Result<Result<(), CommitError>> {
        match self {
            Self::Alone(thread) => join(thread),
            Self::Node(node) => Ok(node.end()),
        }
    }
}

/// Decides commands until the last sender is gone. When the log is handed over, another sequencer goes on with the
/// parts; the log of a gateway that works alone never is.
fn decide(mut sequencer: Sequencer, commands: &Commands) -> Result<(), CommitError> {
    loop {
        match sequencer.run(commands)? {
            Ended::Closed => return Ok(()),
            Ended::HandedOver(left) => sequencer = left.go_on(),
        }
    }
}
