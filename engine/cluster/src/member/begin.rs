//! The way into a cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use trunkline_core::exchange::Wake;

use super::disk::Disk;
use super::log::now;
use super::wake::Knock;
use crate::chain::{BadMark, Mark, Stop};
use crate::draw;
use crate::envelope::{Genesis, Hash, LogId, Record};
use crate::nats::{
    ClusterNames, Ends, Heard, Nats, NatsSettings, NotStarted, StreamError, StreamInfo, Wakes,
};
use crate::node::{BadName, Incarnation, NodeName};

/// The attempts to find the stream. Each waits up to ten seconds.
const ATTEMPTS: usize = 3;

/// The time in which the first record of the log must come.
const FIRST_RECORD: Duration = Duration::from_secs(10);

/// What a gateway needs to join a cluster.
#[derive(Debug, Clone)]
pub struct JoinSettings {
    /// The NATS servers.
    pub nats: NatsSettings,
    /// The name of the cluster.
    pub cluster: String,
    /// The name of the node.
    pub node: String,
    /// The data folder.
    pub data: PathBuf,
    /// The length of a segment of the store as the gateway is set, in bytes.
    pub segment_bytes: u64,
}

/// The reason why a gateway cannot join.
#[derive(Debug, Error)]
pub enum JoinError {
    /// A name has a form that no node or cluster can have.
    #[error(transparent)]
    Name(#[from] BadName),
    /// A name has a form that NATS cannot have.
    #[error(transparent)]
    NatsName(#[from] crate::nats::BadName),
    /// The thread that speaks NATS does not start.
    #[error(transparent)]
    Nats(#[from] NotStarted),
    /// The stream is not there, or nobody tells about it.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A file of the node cannot be used.
    #[error(
        "cannot use the files cluster-mark and cluster-genesis in the data folder {folder}: {why}"
    )]
    Files {
        /// The data folder.
        folder: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The log does not begin as one does.
    #[error(transparent)]
    Stop(#[from] Stop),
    /// The first record did not come.
    #[error(
        "the first record of the cluster's log did not come within 10 seconds: look at the NATS servers"
    )]
    Silent,
    /// The log begins with the store of a gateway, which this node does not have.
    #[error(
        "the cluster began with the store of a gateway, and the data folder {folder} has no copy of it: make one of a running \
         node (trunkline cluster join-from URL --data {folder})"
    )]
    NoCopy {
        /// The data folder.
        folder: PathBuf,
    },
    /// The log has segments of another length.
    #[error(
        "all nodes of the cluster have segment_bytes = {cluster}B, and this one is set to {own}B: set segment_bytes to {cluster}B"
    )]
    Segments {
        /// The length in bytes, as the cluster has it.
        cluster: u64,
        /// The length in bytes, as this node is set.
        own: u64,
    },
}

/// What a node has found.
pub(super) struct Joined {
    pub(super) nats: Nats,
    pub(super) ends: Ends,
    pub(super) genesis: Genesis,
    pub(super) mark: Option<Mark>,
    pub(super) disk: Disk,
    pub(super) me: Incarnation,
    pub(super) stream: StreamInfo,
    /// The name of the log.
    pub(super) log: LogId,
}

impl Joined {
    /// Finds the log of a cluster.
    pub(super) fn find(
        settings: &JoinSettings,
        knock: &Arc<Knock>,
        digests: Arc<dyn Wake>,
    ) -> Result<Self, JoinError> {
        let names = ClusterNames::new(&settings.cluster, &settings.node)?;
        let node: NodeName = settings.node.parse()?;
        let disk = Disk::new(&settings.data);
        let files = |why: String| JoinError::Files {
            folder: disk.folder().to_owned(),
            why,
        };
        let number = draw::number().map_err(|error| files(error.to_string()))?;
        let mark = disk.mark().map_err(|error| files(error.to_string()))?;
        let mark = mark.map(|bytes| Mark::read(&bytes)).transpose();
        let mark = mark.map_err(|error: BadMark| files(error.to_string()))?;
        let wake: Arc<dyn Wake> = Arc::clone(knock) as Arc<dyn Wake>;
        let wakes = Wakes {
            digests,
            ..Wakes::all(&wake)
        };
        let (nats, mut ends) = Nats::start(&settings.nats, &names, wakes)?;
        let stream = find_stream(&ends)?;
        let kept = disk.genesis().map_err(|error| files(error.to_string()))?;
        let is_new = kept.is_none();
        let first = match kept {
            Some(kept) => kept,
            None => first_record(&mut ends, &stream, knock)?,
        };
        let Ok(Record::Genesis(genesis)) = Record::read(&first) else {
            return Err(Stop::NoGenesis.into());
        };
        if genesis.cluster.as_str() != settings.cluster {
            return Err(Stop::NoGenesis.into());
        }
        if is_new && genesis.from != 0 {
            let folder = disk.folder().to_owned();
            return Err(JoinError::NoCopy { folder });
        }
        if genesis.segment_bytes != settings.segment_bytes {
            return Err(JoinError::Segments {
                cluster: genesis.segment_bytes,
                own: settings.segment_bytes,
            });
        }
        disk.keep_genesis(&first)
            .map_err(|error| files(error.to_string()))?;
        Ok(Self {
            nats,
            ends,
            genesis,
            mark,
            disk,
            me: Incarnation { node, number },
            stream,
            log: LogId::of(Hash::of(&first)),
        })
    }
}

fn find_stream(ends: &Ends) -> Result<StreamInfo, StreamError> {
    let mut found = ends.streams.join();
    for _ in 1..ATTEMPTS {
        if !matches!(found, Err(StreamError::Silent(_))) {
            break;
        }
        found = ends.streams.join();
    }
    found
}

/// Fetches the first record of the stream.
fn first_record(
    ends: &mut Ends,
    stream: &StreamInfo,
    knock: &Arc<Knock>,
) -> Result<Bytes, JoinError> {
    if stream.last == 0 {
        return Err(Stop::NoGenesis.into());
    }
    if stream.first > 1 {
        let first = stream.first;
        return Err(Stop::Gone { first, next: 1 }.into());
    }
    ends.tail.follow(1, Some(stream.created.clone()));
    let until = now() + FIRST_RECORD;
    loop {
        match ends.tail.take() {
            Some(Heard::Record { bytes, .. }) => return Ok(bytes),
            Some(Heard::Stopped(_)) => return Err(JoinError::Silent),
            None => {}
        }
        let left = until.saturating_duration_since(now());
        if left.is_zero() {
            return Err(JoinError::Silent);
        }
        knock.wait(left);
    }
}
