//! A cluster that a run starts on this machine: gateways, and the NATS servers with their log.
//!
//! | part | what it is |
//! |---|---|
//! | this one | starts all, in order, and stops them |
//! | `nats` | finds `nats-server`, and starts servers with the settings of docs/cluster.md |
//! | `relay` | stands between gateways and servers in runs with partitions |

mod nats;
mod relay;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use crate::control_port;
use crate::exit::{Failure, Outcome};
use crate::health::Process;
use crate::local_gateway::{self, LocalGateway, Node, Setup};
use crate::scenario::cluster::{Cluster, node_name};
pub(crate) use nats::{Server, find as find_server};
pub(crate) use relay::Cut;
use relay::Relay;

/// The name of the cluster.
const NAME: &str = "chat";

/// The most bytes of the log on each server.
const LOG: &str = "32GiB";

/// The time in which the servers must choose a leader among them.
const ELECTION: Duration = Duration::from_secs(60);

/// The time between two looks at what starts.
const LOOK: Duration = Duration::from_millis(10);

/// The settings of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct ClusterSetup {
    pub(crate) shape: Cluster,
    /// The settings of each gateway.
    pub(crate) gateway: Setup,
    /// The program of the NATS servers.
    pub(crate) nats_server: PathBuf,
    /// Gateways can be cut off from the servers.
    pub(crate) cuts_off: bool,
}

/// A running cluster. Dropping it ends all processes and removes their folders.
#[derive(Debug)]
pub(crate) struct LocalCluster {
    // Gateways end first: they would log the end of their servers.
    nodes: Vec<LocalGateway>,
    relay: Option<Relay>,
    servers: Vec<Server>,
    /// The program of the commands; `None` stands for this one.
    program: Option<PathBuf>,
    _folder: Folder,
}

/// A folder that is removed when it is dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A command to the cluster that runs. Dropping it ends the command.
#[derive(Debug)]
pub(crate) struct Order {
    what: String,
    child: Child,
}

impl Order {
    /// Returns whether the command is done.
    ///
    /// # Errors
    /// The command failed; the message is its own.
    pub(crate) fn is_done(&mut self) -> Outcome<bool> {
        local_gateway::is_done(&mut self.child, &self.what)
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        // One that has ended needs no signal, and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the URLs of NATS servers, with commas between them.
fn urls(all: &[SocketAddr]) -> String {
    let each = all.iter().map(|it| format!("nats://{it}"));
    each.collect::<Vec<_>>().join(",")
}

fn failed(why: std::io::Error) -> Failure {
    Failure::aborted(format!("cannot start a cluster: {why}"))
}

/// Makes the log. Servers that have just started may need a while before they answer.
fn made(program: Option<&Path>, init: &[&str]) -> Outcome<()> {
    let until = Instant::now() + ELECTION;
    let mut is_again = false;
    loop {
        match local_gateway::command(program, init) {
            // The command says so itself: give it again.
            Err(why) if why.message.contains("no answer came") && Instant::now() < until => {
                std::thread::sleep(LOOK);
                is_again = true;
            }
            // The record of the attempt before came after all. No other program knows these servers.
            Err(why) if is_again && why.message.contains("is there already") => return Ok(()),
            made => return made,
        }
    }
}

impl LocalCluster {
    /// Starts servers and gateways, each gateway with room for `connections` connections, and waits until
    /// all gateways are ready.
    ///
    /// # Errors
    /// A process does not start; the message has the end of its log.
    pub(crate) fn start(connections: u64, setup: &ClusterSetup) -> Outcome<Self> {
        let folder = Folder(local_gateway::fresh_folder().map_err(failed)?);
        let servers = nats::servers(&setup.nats_server, &folder.0, setup.shape.servers);
        let mut cluster = Self {
            nodes: Vec::new(),
            relay: None,
            program: setup.gateway.program.clone(),
            servers: servers.map_err(failed)?,
            _folder: folder,
        };
        cluster.start_servers()?;
        let program = setup.gateway.program.as_deref();
        let addresses = cluster.addresses();
        let (nats, replicas) = (urls(&addresses), setup.shape.servers.to_string());
        let init = ["cluster", "init", "--nats", &nats, "--cluster", NAME];
        let more = ["--replicas", &replicas, "--max-bytes", LOG];
        made(program, &[&init[..], &more].concat())?;
        let nodes = setup.shape.nodes;
        if setup.cuts_off {
            cluster.relay = Some(Relay::start(nodes.into(), &addresses)?);
        }
        for place in 0..nodes {
            let relay = cluster.relay.as_ref();
            let own = Setup {
                node: Some(Node {
                    cluster: NAME,
                    name: node_name(place),
                    nats: relay.map_or(nats.clone(), |it| urls(it.addresses(place.into()))),
                }),
                ..setup.gateway.clone()
            };
            let node = LocalGateway::begin(connections, &own)?;
            cluster.nodes.push(node);
        }
        for node in &mut cluster.nodes {
            while !node.is_ready(LOOK)? {
                std::thread::sleep(LOOK);
            }
            node.keep_port()?;
        }
        Ok(cluster)
    }

    fn start_servers(&mut self) -> Outcome<()> {
        for server in &mut self.servers {
            server.spawn()?;
        }
        for server in &mut self.servers {
            while !server.is_ready()? {
                std::thread::sleep(LOOK);
            }
        }
        let until = Instant::now() + ELECTION;
        let alone = self.servers.len() == 1;
        while !alone && !self.servers.iter().any(|it| it.has_said("metadata leader")) {
            if Instant::now() > until {
                let tail = self.servers[0].process().log_tail();
                return Err(Failure::aborted(format!(
                    "the NATS servers chose no leader; the end of the log of server 1:\n{tail}"
                )));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Returns the gateways.
    pub(crate) fn nodes(&self) -> &[LocalGateway] {
        &self.nodes
    }

    /// Returns the gateways, to break them.
    pub(crate) fn nodes_mut(&mut self) -> &mut [LocalGateway] {
        &mut self.nodes
    }

    /// Returns the number of NATS servers.
    pub(crate) fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Returns the NATS servers, to break them.
    pub(crate) fn servers_mut(&mut self) -> &mut [Server] {
        &mut self.servers
    }

    /// Cuts a gateway off from all servers, or mends the cut.
    pub(crate) fn cut(&self, node: usize, cut: Cut) {
        if let Some(relay) = &self.relay {
            relay.cut(node, cut);
        }
    }

    /// Returns the place of the gateway that leads; `None` if none says that it does.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leads = |node: &LocalGateway| {
            let metrics = control_port::metrics(node.control).ok()?;
            metrics.get("trunkline_cluster_leader")
        };
        self.nodes.iter().position(|it| leads(it) == Some(1.0))
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(Server::address).collect()
    }

    /// Tells a gateway to let another one lead, if it leads: `trunkline cluster step-down`.
    ///
    /// # Errors
    /// The command cannot be started.
    pub(crate) fn step_down(&self, node: usize) -> Outcome<Order> {
        let name = u8::try_from(node).map_or_else(|_| node.to_string(), node_name);
        let nats = urls(&self.addresses());
        let args = ["cluster", "step-down", "--nats", &nats];
        let more = ["--cluster", NAME, "--node", &name];
        let args = [&args[..], &more].concat();
        Ok(Order {
            what: args.join(" "),
            child: local_gateway::begin_command(self.program.as_deref(), &args)?,
        })
    }

    /// Returns what the NATS servers used together.
    pub(crate) fn servers_used(&self) -> Process {
        let mut all = Process::default();
        self.servers.iter().for_each(|it| all.add(it.used()));
        all
    }

    /// Asks the gateways to stop, one after another, and then the servers. An exit status of a gateway
    /// other than 0 is an error.
    ///
    /// # Errors
    /// A gateway does not stop in order.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        let stopped: Vec<_> = self.nodes.iter_mut().map(LocalGateway::stop).collect();
        self.servers.iter_mut().for_each(Server::stop);
        stopped.into_iter().collect()
    }
}
