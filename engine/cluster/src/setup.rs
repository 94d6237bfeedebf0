//! Making a cluster, and looking at one from outside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use trunkline_core::exchange::Wake;

use crate::draw;
use crate::envelope::{Genesis, Message, Received, Record, Standing};
use crate::nats::{
    Bell, ClusterNames, Ends, Nats, NatsSettings, NotStarted, Outcome, Said, StreamError,
    StreamInfo, StreamPlan, Wakes,
};
use crate::node::{BadName, NodeName};

/// The time for which heartbeats are listened to.
const LISTEN: Duration = Duration::from_secs(1);

/// The time in which the first record must be stored.
const STORED: Duration = Duration::from_secs(5);

/// The most nodes that are shown.
const NODES: usize = 1_024;

/// The reason why a cluster cannot be made or looked at.
#[derive(Debug, Error)]
pub enum SetupError {
    /// A name has a form that no cluster can have.
    #[error(transparent)]
    Name(#[from] BadName),
    /// A name has a form that NATS cannot have.
    #[error(transparent)]
    NatsName(#[from] crate::nats::BadName),
    /// The thread that speaks NATS does not start.
    #[error(transparent)]
    Nats(#[from] NotStarted),
    /// The stream cannot be made, or nobody tells about it.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// There is no such node.
    #[error("the cluster has no node {0}: look at the names that its gateways were started with")]
    NoNode(NodeName),
    /// The system has no random bytes.
    #[error("cannot read /dev/urandom: {0}")]
    Random(#[from] std::io::Error),
    /// The first record was not stored.
    #[error(
        "the stream is there, and its first record is not: {0}. Give the same command again, once the NATS servers have a majority"
    )]
    First(String),
}

/// A cluster to make.
#[derive(Debug, Clone, Copy)]
pub struct ClusterPlan {
    /// The stream.
    pub stream: StreamPlan,
    /// The length of a segment of each store, in bytes.
    pub segment_bytes: u64,
    /// The time, in milliseconds since 1970.
    pub now: u64,
}

/// Makes a cluster: the stream for what it keeps beside the log, the stream of the log, and the first record of that, which
/// says what all nodes share. The stream beside the log is made also for a cluster that is there already and lacks it.
///
/// # Errors
/// There is such a cluster already, a name or the plan cannot be used, or the servers refuse or do not answer.
pub fn init(
    nats: &NatsSettings,
    cluster: &str,
    plan: ClusterPlan,
) -> Result<StreamInfo, SetupError> {
    let name: NodeName = cluster.parse()?;
    let genesis = Genesis {
        key: draw::bytes()?,
        history: draw::bytes()?,
        segment_bytes: plan.segment_bytes,
        made: plan.now,
        cluster: name,
    };
    let (bell, _nats, mut ends) = visit(nats, cluster, "init")?;
    plan.stream.check()?;
    ends.kept.create(plan.stream.replicas)?;
    let stream = match ends.streams.create(plan.stream) {
        // An earlier attempt ended between the two steps.
        Err(StreamError::Exists(name)) => match ends.streams.open()? {
            stream if stream.last == 0 => stream,
            _ => return Err(StreamError::Exists(name).into()),
        },
        made => made?,
    };
    let first = Record::Genesis(genesis).write();
    store(&mut ends, &bell, first)?;
    Ok(stream)
}

/// The beginning of the keys under which the cluster keeps the names of its nodes.
pub const NODE_KEYS: &str = "nodes";

/// What the cluster keeps of a node that an operator has forgotten.
pub const FORGOTTEN: &[u8] = b"gone";

/// Forgets a node that will not come back: nothing waits for it any more.
///
/// # Errors
/// There is no such node, a name cannot be used, or the servers do not answer.
pub fn forget(nats: &NatsSettings, cluster: &str, node: &str) -> Result<(), SetupError> {
    let node: NodeName = node.parse()?;
    let (_bell, _nats, ends) = visit(nats, cluster, "forget")?;
    let key = format!("{NODE_KEYS}.{node}");
    let known = ends.kept.get(&key)?;
    if known.is_none_or(|known| known.bytes == FORGOTTEN) {
        return Err(SetupError::NoNode(node));
    }
    ends.kept.put(&key, Bytes::from_static(FORGOTTEN), None)?;
    Ok(())
}

/// Stores the first record.
fn store(ends: &mut Ends, bell: &Bell, record: Bytes) -> Result<(), SetupError> {
    let first = |why: String| SetupError::First(why);
    let sent = ends.publisher.publish(0, record);
    sent.map_err(|why| first(why.to_string()))?;
    for _ in 0..STORED.as_millis() / 100 {
        bell.wait(Duration::from_millis(100));
        match ends.publisher.take().map(|published| published.outcome) {
            None => {}
            Some(Outcome::Stored { .. }) => return Ok(()),
            Some(Outcome::WrongLast { .. }) => {
                return Err(first("another one came before it".to_owned()));
            }
            Some(Outcome::Refused { code, text }) => {
                return Err(first(format!(
                    "the NATS server refuses: {text} (error {code})"
                )));
            }
            Some(Outcome::Silence) => return Err(first("no answer came".to_owned())),
            Some(Outcome::NotSent(why)) => return Err(first(why)),
        }
    }
    Err(first("no answer came".to_owned()))
}

/// A cluster as it was seen from outside.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The stream.
    pub stream: StreamInfo,
    /// The nodes whose heartbeats came within a second, by name.
    pub nodes: BTreeMap<String, SeenNode>,
}

/// A node as its heartbeats say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenNode {
    /// Whether the node leads.
    pub leads: bool,
    /// The epoch of the node.
    pub epoch: u64,
    /// The index of the last group that the node has taken.
    pub applied: u64,
}

impl Seen {
    /// Returns the index of the last group that any node has taken.
    #[must_use]
    pub fn applied(&self) -> u64 {
        let all = self.nodes.values().map(|node| node.applied);
        all.max().unwrap_or(0)
    }

    /// Returns the name of the node that leads; `None` if none was heard.
    #[must_use]
    pub fn leader(&self) -> Option<&str> {
        let leading = self.nodes.iter().filter(|(_, node)| node.leads);
        let last = leading.max_by_key(|(_, node)| node.epoch);
        last.map(|(name, _)| name.as_str())
    }
}

/// Looks at a cluster: at its stream, and for a second at the heartbeats of its nodes.
///
/// # Errors
/// A name cannot be used, there is no such cluster, or the servers do not answer.
pub fn look(nats: &NatsSettings, cluster: &str) -> Result<Seen, SetupError> {
    let (bell, _nats, ends) = visit(nats, cluster, "status")?;
    let stream = ends.streams.open()?;
    let mut nodes = BTreeMap::new();
    // Waits for nothing in particular: heartbeats come as long as there are nodes.
    for _ in 0..LISTEN.as_millis() / 100 {
        std::thread::park_timeout(Duration::from_millis(100));
        bell.wait(Duration::ZERO);
        while let Some(said) = ends.lanes.take() {
            let Said::Message { bytes, .. } = said else {
                continue;
            };
            let Ok(Received { from, message }) = Received::read(&bytes) else {
                continue;
            };
            if let Message::Beat(beat) = message
                && nodes.len() < NODES
            {
                let seen = SeenNode {
                    leads: beat.standing == Standing::Leads,
                    epoch: from.epoch,
                    applied: beat.index,
                };
                nodes.insert(from.node.node.to_string(), seen);
            }
        }
    }
    Ok(Seen { stream, nodes })
}

/// Connects as somebody who is no node.
fn visit(
    nats: &NatsSettings,
    cluster: &str,
    what: &str,
) -> Result<(Arc<Bell>, Nats, Ends), SetupError> {
    let names = ClusterNames::new(cluster, &format!("{what}-{}", std::process::id()))?;
    let bell = Arc::<Bell>::default();
    let wake: Arc<dyn Wake> = Arc::clone(&bell) as Arc<dyn Wake>;
    let (nats, ends) = Nats::start(nats, &names, Wakes::all(&wake))?;
    Ok((bell, nats, ends))
}
