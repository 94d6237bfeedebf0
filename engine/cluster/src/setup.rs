//! Making a cluster, looking at one from outside, and letting another node lead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use trunkline_core::exchange::Wake;
use trunkline_storage::{OpenError, Options, Store};

use crate::draw;
use crate::envelope::{Beat, Genesis, Message, Received, Record, Sender, Standing, StepDown};
use crate::member::Disk;
use crate::nats::{
    Bell, ClusterNames, Ends, Heard, Lane, Nats, NatsSettings, NotStarted, Outcome, Said,
    StreamError, StreamInfo, StreamPlan, To, Wakes,
};
use crate::node::{BadName, Incarnation, NodeName};

/// The time for which heartbeats are listened to.
const LISTEN: Duration = Duration::from_secs(1);

/// The time between two looks at what was heard.
const TURN: Duration = Duration::from_millis(50);

/// The time in which another node must lead.
const CHANGE: Duration = Duration::from_secs(5);

/// The time in which the first record must be stored.
const STORED: Duration = Duration::from_secs(5);

/// The attempts to store the first record.
const ATTEMPTS: usize = 3;

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
    /// The node to forget runs.
    #[error(
        "the node {0} runs, and erasures go on at it: stop it for good first, and give the command again"
    )]
    Runs(NodeName),
    /// The system has no random bytes, or a file of the gateway cannot be read.
    #[error("cannot read /dev/urandom, or the files of the gateway: {0}")]
    Random(#[from] std::io::Error),
    /// The store of the gateway cannot be the beginning of a log.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The folder is that of a node.
    #[error(
        "{} is the folder of a node of a cluster already: name the folder of a gateway that works alone, or, for another node of \
         the same cluster, an empty one", .0.display()
    )]
    OtherNode(PathBuf),
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
        from: 0,
    };
    let (bell, _nats, mut ends) = visit(nats, cluster, "init")?;
    create(
        &mut ends,
        &bell,
        plan.stream,
        Record::Genesis(genesis).write(),
    )
}

/// Makes a cluster whose log begins with the store of a gateway that works alone until now, and is stopped. The folder of
/// that gateway becomes the one of the first node. After an error, call it again: the store may be that of a node already.
///
/// # Errors
/// As [`init`], or the store cannot become one of several. Then nothing has changed.
pub fn init_from(
    nats: &NatsSettings,
    cluster: &str,
    plan: ClusterPlan,
    data: &Path,
) -> Result<StreamInfo, SetupError> {
    let name: NodeName = cluster.parse()?;
    // Before the store is changed.
    plan.stream.check()?;
    let (bell, _nats, mut ends) = visit(nats, cluster, "init")?;
    match ends.streams.open() {
        Ok(stream) if stream.last > 0 => {
            let name = ClusterNames::new(cluster, "init")?.stream();
            return Err(StreamError::Exists(name).into());
        }
        Ok(_) | Err(StreamError::Absent(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let disk = Disk::new(data);
    let first = match Store::is_shared(data)? {
        true => begun_before(&disk, name)?,
        false => {
            let mut first = Bytes::new();
            Store::share(data, plan.segment_bytes, &mut |beginning| {
                let genesis = Genesis {
                    key: beginning.origin.key.bytes(),
                    history: beginning.origin.history,
                    segment_bytes: plan.segment_bytes,
                    made: plan.now,
                    cluster: name,
                    from: beginning.from.0,
                };
                first = Record::Genesis(genesis).write();
                disk.keep_genesis(&first).map_err(|source| OpenError::Io {
                    file: data.to_owned(),
                    action: "write the file cluster-genesis in",
                    source,
                })
            })?;
            first
        }
    };
    create(&mut ends, &bell, plan.stream, first)
}

/// Returns the first record of a log that an earlier attempt was about to begin with this store.
fn begun_before(disk: &Disk, cluster: NodeName) -> Result<Bytes, SetupError> {
    let other = || SetupError::OtherNode(disk.folder().to_owned());
    let first = disk.genesis()?.ok_or_else(other)?;
    let Ok(Record::Genesis(genesis)) = Record::read(&first) else {
        return Err(other());
    };
    if genesis.cluster != cluster || disk.mark()?.is_some() {
        return Err(other());
    }
    // A node has been at work where there is more than the beginning.
    let options = Options {
        runs: true,
        background: false,
        segment_bytes: genesis.segment_bytes,
        // Nothing is appended.
        max_record_bytes: 1024,
        origin: Some(genesis.origin()),
        ..Options::default()
    };
    let opened = Store::open(disk.folder(), options, &mut |_| ())?;
    match opened.reader.head().0 == genesis.from {
        true => Ok(first),
        false => Err(other()),
    }
}

/// Creates the stream, and stores its first record.
fn create(
    ends: &mut Ends,
    bell: &Bell,
    plan: StreamPlan,
    first: Bytes,
) -> Result<StreamInfo, SetupError> {
    plan.check()?;
    ends.kept.create(plan.replicas)?;
    let stream = match ends.streams.create(plan) {
        // An earlier attempt ended between the two steps.
        Err(StreamError::Exists(name)) => match ends.streams.open()? {
            stream if stream.last == 0 => stream,
            _ => return Err(StreamError::Exists(name).into()),
        },
        made => made?,
    };
    store(ends, bell, &stream, &first)?;
    Ok(stream)
}

/// The beginning of the keys under which the cluster keeps the names of its nodes.
pub const NODE_KEYS: &str = "nodes";

/// What the cluster keeps of a node that an operator has forgotten.
pub const FORGOTTEN: &[u8] = b"gone";

/// Forgets a node that will not come back: nothing waits for it any more.
///
/// # Errors
/// There is no such node, or it runs, a name cannot be used, or the servers do not answer.
pub fn forget(nats: &NatsSettings, cluster: &str, node: &str) -> Result<(), SetupError> {
    let node: NodeName = node.parse()?;
    let (bell, _nats, ends) = visit(nats, cluster, "forget")?;
    let key = format!("{NODE_KEYS}.{node}");
    let known = ends.kept.get(&key)?;
    if known.is_none_or(|known| known.bytes == FORGOTTEN) {
        return Err(SetupError::NoNode(node));
    }
    if heard(&ends, &bell).contains_key(&node) {
        return Err(SetupError::Runs(node));
    }
    ends.kept.put(&key, Bytes::from_static(FORGOTTEN), None)?;
    Ok(())
}

/// Stores the first record. An acknowledgement may be lost, so without one the record in the stream says what became of it.
fn store(
    ends: &mut Ends,
    bell: &Bell,
    stream: &StreamInfo,
    record: &Bytes,
) -> Result<(), SetupError> {
    let mut failed = String::new();
    for _ in 0..ATTEMPTS {
        failed = match publish(ends, bell, record) {
            Ok(()) => return Ok(()),
            Err(why) => why,
        };
        match read_first(ends, bell, stream) {
            Some(first) if first == *record => return Ok(()),
            Some(_) => {
                let why = "another one came before it".to_owned();
                return Err(SetupError::First(why));
            }
            None => {}
        }
    }
    Err(SetupError::First(failed))
}

/// Publishes the first record. Returns why it is not known to be stored: a sentence.
fn publish(ends: &mut Ends, bell: &Bell, record: &Bytes) -> Result<(), String> {
    let sent = ends.publisher.publish(0, record.clone());
    let number = sent.map_err(|why| why.to_string())?;
    for _ in 0..STORED.as_millis() / 100 {
        bell.wait(Duration::from_millis(100));
        let Some(published) = ends.publisher.take() else {
            continue;
        };
        // The outcome of an earlier attempt may come late.
        if published.number != number {
            continue;
        }
        return match published.outcome {
            Outcome::Stored { .. } => Ok(()),
            Outcome::WrongLast { .. } => Err("another one came before it".to_owned()),
            Outcome::Refused { code, text } => Err(StreamError::refused(code, text).to_string()),
            Outcome::Silence => Err("no answer came".to_owned()),
            Outcome::NotSent(why) => Err(why),
        };
    }
    Err("no answer came".to_owned())
}

/// Reads the first record of the stream; `None` if there is none, or it does not come.
fn read_first(ends: &mut Ends, bell: &Bell, stream: &StreamInfo) -> Option<Bytes> {
    ends.tail.follow(1, Some(stream.created.clone()));
    for _ in 0..STORED.as_millis() / 100 {
        match ends.tail.take() {
            Some(Heard::Record { sequence: 1, bytes }) => return Some(bytes),
            Some(Heard::Record { .. }) => {}
            Some(Heard::Stopped(_)) => return None,
            None => {
                bell.wait(Duration::from_millis(100));
            }
        }
    }
    None
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
    let nodes = heard(&ends, &bell).into_iter().map(|(name, (from, beat))| {
        let seen = SeenNode {
            leads: beat.standing == Standing::Leads,
            epoch: from.epoch,
            applied: beat.index,
        };
        (name.to_string(), seen)
    });
    let nodes = nodes.collect();
    Ok(Seen { stream, nodes })
}

/// The last heartbeat of each node, with its sender.
type Beats = BTreeMap<NodeName, (Sender, Beat)>;

/// Takes heartbeats for a while. Waits for nothing in particular: they come as long as there are nodes.
fn heard(ends: &Ends, bell: &Bell) -> Beats {
    let mut nodes = Beats::new();
    for _ in 0..LISTEN.as_millis() / TURN.as_millis() {
        listen(ends, bell, &mut nodes);
    }
    nodes
}

/// Takes the heartbeats of one turn.
fn listen(ends: &Ends, bell: &Bell, nodes: &mut Beats) {
    std::thread::park_timeout(TURN);
    bell.wait(Duration::ZERO);
    while let Some(said) = ends.lanes.take() {
        let Said::Message { bytes, .. } = said else {
            continue;
        };
        let Ok(Received { from, message }) = Received::read(&bytes) else {
            continue;
        };
        if let Message::Beat(beat) = message
            && (nodes.len() < NODES || nodes.contains_key(&from.node.node))
        {
            nodes.insert(from.node.node, (from, beat));
        }
    }
}

/// Returns the leader among nodes that were heard: the one of the latest epoch.
fn leader_of(nodes: &Beats) -> Option<Sender> {
    let leading = nodes.values();
    let leading = leading.filter(|(_, beat)| beat.standing == Standing::Leads);
    let last = leading.max_by_key(|(from, _)| from.epoch);
    last.map(|(from, _)| *from)
}

/// The reason why no other node leads.
#[derive(Debug, Error)]
pub enum NoStepDown {
    /// The cluster cannot be looked at.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// No node leads.
    #[error(
        "nobody leads the cluster {cluster}: {nodes} nodes were heard within a second. Look at /readyz of the gateways, and at the NATS servers"
    )]
    Nobody {
        /// The cluster.
        cluster: String,
        /// The number of nodes that were heard.
        nodes: usize,
    },
    /// The node was not heard.
    #[error("the node {node} was not heard within a second, and {leader} leads")]
    NotHeard {
        /// The node.
        node: NodeName,
        /// The leader.
        leader: NodeName,
    },
    /// The node does not lead.
    #[error("the node {node} does not lead: {leader} does, and nothing was changed")]
    Follows {
        /// The node.
        node: NodeName,
        /// The leader.
        leader: NodeName,
    },
    /// The leader is the only node.
    #[error("{leader} leads, and no other node was heard that could: start another one first")]
    Alone {
        /// The leader.
        leader: NodeName,
    },
    /// The leader goes on.
    #[error(
        "{leader} was told to let another node lead, and five seconds later none does: look at trunkline cluster status, and at the log of {leader}"
    )]
    GoesOn {
        /// The leader.
        leader: NodeName,
    },
}

/// A change of the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SteppedDown {
    /// The node that led.
    pub from: NodeName,
    /// The node that leads now.
    pub to: NodeName,
    /// The epoch in which it leads.
    pub epoch: u64,
}

/// Lets another node lead. With `node`, does so only if that node leads. Waits until another node leads.
///
/// # Errors
/// [`NoStepDown`] says why, and who leads.
pub fn step_down(
    nats: &NatsSettings,
    cluster: &str,
    node: Option<&str>,
) -> Result<SteppedDown, NoStepDown> {
    let node: Option<NodeName> = node.map(str::parse).transpose().map_err(SetupError::from)?;
    let what = "step-down";
    let (bell, _nats, ends) = visit(nats, cluster, what)?;
    ends.streams.open().map_err(SetupError::from)?;
    let mut nodes = heard(&ends, &bell);
    let Some(old) = leader_of(&nodes) else {
        return Err(NoStepDown::Nobody {
            cluster: cluster.to_owned(),
            nodes: nodes.len(),
        });
    };
    let leader = old.node.node;
    if let Some(node) = node.filter(|node| *node != leader) {
        return Err(match nodes.contains_key(&node) {
            true => NoStepDown::Follows { node, leader },
            false => NoStepDown::NotHeard { node, leader },
        });
    }
    if nodes.len() < 2 {
        return Err(NoStepDown::Alone { leader });
    }
    // The node that gives the order is not one of the cluster: its number means nothing.
    let me: NodeName = format!("{what}-{}", std::process::id())
        .parse()
        .map_err(SetupError::from)?;
    let order = Received {
        from: Sender {
            node: Incarnation {
                node: me,
                number: 0,
            },
            ..old
        },
        message: Message::StepDown(StepDown {
            to: old.node.number,
        }),
    };
    for turn in 0..CHANGE.as_millis() / TURN.as_millis() {
        if turn % 5 == 0 {
            // What is lost goes again.
            let to = To::Node(leader.as_str());
            let _ = ends.lanes.say(Lane::Answers, to, order.write());
        }
        listen(&ends, &bell, &mut nodes);
        let now = leader_of(&nodes);
        if let Some(now) = now.filter(|now| now.epoch > old.epoch && now.node.node != leader) {
            return Ok(SteppedDown {
                from: leader,
                to: now.node.node,
                epoch: now.epoch,
            });
        }
    }
    Err(NoStepDown::GoesOn { leader })
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
