//! `trunkline cluster`: makes a cluster of gateways, shows one, lets another node lead, and makes the folder of a new node.

mod join;

use std::path::PathBuf;

use anyhow::bail;
use serde::Serialize;
use trunkline_cluster::nats::{NatsSettings, StreamPlan};
use trunkline_cluster::setup::{self, ClusterPlan, Seen};
use trunkline_core::clock::system_ms;

use crate::config::ByteSize;
use crate::config::cluster::{self, Proofs};
use crate::print;

/// What can be done with a cluster.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ClusterCommand {
    /// Make a cluster: its stream on the NATS servers, with the first record
    ///
    /// A cluster that is there already stays as it is, and the command fails.
    Init(InitArgs),
    /// Show the nodes of a cluster, its leader, and how far each node is
    ///
    /// Listens to the nodes for a second. A node that is not shown does not run, or does not reach the NATS servers.
    Status(StatusArgs),
    /// Forget a node that will not come back, so that erasures of users do not wait for it
    ///
    /// A node that runs is not forgotten: stop it before. Its data folder still has what it had: remove it. A node that starts
    /// again is known again.
    Forget(ForgetArgs),
    /// Let another node lead, for example before work on the machine of the leader
    ///
    /// Waits until another node leads. Clients get no error; for some milliseconds no message is acknowledged. The old
    /// leader goes on as a follower, and leads again if the new one ends.
    StepDown(StepDownArgs),
    /// Make the data folder of a new node, from a copy of a running node's store
    ///
    /// The new node then takes from the log only what came after the copy: much less than the whole log, and also where the
    /// log no longer has its beginning. Start it with trunkline serve --cluster and the same --data. A copy that ends
    /// early leaves nothing: give the command again.
    JoinFrom(join::JoinFromArgs),
}

/// The NATS servers, and the cluster on them.
#[derive(Debug, clap::Args)]
struct Place {
    /// NATS servers: URLs with commas between them
    #[arg(long, env = "TRUNKLINE_NATS", value_name = "URLS")]
    nats: String,
    /// Name of the cluster: 1 to 32 letters, digits, - and _
    #[arg(long, env = "TRUNKLINE_CLUSTER", value_name = "NAME")]
    cluster: String,
    /// File with the JWT of the NATS user and the seed that signs
    #[arg(long, env = "TRUNKLINE_NATS_CREDENTIALS", value_name = "FILE")]
    nats_credentials: Option<PathBuf>,
    /// File with the certificates of the authorities of the NATS servers, in PEM
    #[arg(long, env = "TRUNKLINE_NATS_CA_FILE", value_name = "FILE")]
    nats_ca_file: Option<PathBuf>,
    /// File with the certificate of the node, for NATS servers that ask for one, in PEM
    #[arg(
        long,
        env = "TRUNKLINE_NATS_CERT_FILE",
        value_name = "FILE",
        requires = "nats_key_file"
    )]
    nats_cert_file: Option<PathBuf>,
    /// File with the private key of that certificate, in PEM
    #[arg(
        long,
        env = "TRUNKLINE_NATS_KEY_FILE",
        value_name = "FILE",
        requires = "nats_cert_file"
    )]
    nats_key_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    place: Place,
    /// NATS servers that have the log: 1, 3 or 5. With 3 the cluster outlives one of them
    #[arg(long, default_value_t = 3, value_name = "N")]
    replicas: u8,
    /// Bytes of the log on each NATS server, at least 64MiB. Beyond that the oldest records go
    #[arg(long, default_value = "64GiB", value_name = "BYTES")]
    max_bytes: ByteSize,
    /// Size of the log files of each node's store, their setting segment_bytes: a multiple of 4KiB from 384KiB to 1GiB
    #[arg(long, default_value = "64MiB", value_name = "BYTES")]
    segment_bytes: ByteSize,
    /// Data folder of a gateway that works alone, to begin with its messages. Stop that gateway before, and make a backup
    ///
    /// The folder becomes that of the first node, and the gateway cannot work alone with it any more. All other nodes begin
    /// with trunkline cluster join-from. Positions that clients have stay good.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ForgetArgs {
    #[command(flatten)]
    place: Place,
    /// Name of the node
    #[arg(long, value_name = "NAME")]
    node: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StepDownArgs {
    #[command(flatten)]
    place: Place,
    /// Do so only if this node leads
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

impl Place {
    fn nats(&self) -> NatsSettings {
        cluster::nats(
            &self.nats,
            Proofs {
                credentials: self.nats_credentials.clone(),
                authorities: self.nats_ca_file.clone(),
                certificate: self.nats_cert_file.clone(),
                key: self.nats_key_file.clone(),
            },
        )
    }
}

impl ClusterCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// The servers do not answer or refuse, or the result cannot be printed.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Init(args) => init(args),
            Self::Status(args) => status(args),
            Self::Forget(args) => forget(args),
            Self::StepDown(args) => step_down(args),
            Self::JoinFrom(args) => join::run(args),
        }
    }
}

fn init(args: &InitArgs) -> anyhow::Result<()> {
    // The first record says it for ever: no node could join a cluster with a length that it cannot be set to.
    if let Some(problem) = cluster::segment_problem(args.segment_bytes) {
        bail!("--segment-bytes: {problem}");
    }
    let plan = ClusterPlan {
        stream: StreamPlan {
            replicas: args.replicas,
            max_bytes: args.max_bytes.0,
        },
        segment_bytes: args.segment_bytes.0,
        now: system_ms(),
    };
    let (nats, name) = (args.place.nats(), &args.place.cluster);
    if let Some(data) = &args.from {
        setup::init_from(&nats, name, plan, data)?;
        print::text(&format!(
            "the cluster {name} is there, and begins with the store in {data}: start its first gateway with trunkline serve \
             --cluster {name} --nats … --node NAME --data {data}, and make the folders of the others with trunkline cluster \
             join-from\n",
            data = data.display()
        ))?;
        return Ok(());
    }
    setup::init(&nats, name, plan)?;
    print::text(&format!(
        "the cluster {name} is there: start its gateways with trunkline serve --cluster {name} --nats … --node NAME\n"
    ))?;
    Ok(())
}

fn forget(args: &ForgetArgs) -> anyhow::Result<()> {
    setup::forget(&args.place.nats(), &args.place.cluster, &args.node)?;
    let (node, name) = (&args.node, &args.place.cluster);
    print::text(&format!(
        "the cluster {name} does not wait for {node} any more\n"
    ))?;
    Ok(())
}

fn step_down(args: &StepDownArgs) -> anyhow::Result<()> {
    let place = &args.place;
    let changed = setup::step_down(&place.nats(), &place.cluster, args.node.as_deref())?;
    let setup::SteppedDown { from, to, epoch } = changed;
    print::text(&format!(
        "{to} leads the cluster {} now, in epoch {epoch}; {from} follows\n",
        place.cluster
    ))?;
    Ok(())
}

/// What `status --json` prints.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    cluster: &'a str,
    /// The name of the node that leads; `null` if none was heard.
    leader: Option<&'a str>,
    nodes: Vec<ShownNode<'a>>,
    stream: ShownStream<'a>,
}

#[derive(Debug, Serialize)]
struct ShownNode<'a> {
    node: &'a str,
    role: &'static str,
    epoch: u64,
    /// The number of the last group that the node has taken.
    applied: u64,
    /// The number of groups that another node has and this one has not.
    lag: u64,
}

#[derive(Debug, Serialize)]
struct ShownStream<'a> {
    first: u64,
    last: u64,
    bytes: u64,
    max_bytes: u64,
    replicas: u8,
    leader: Option<&'a str>,
    /// The names of the servers that have not all records.
    behind: Vec<&'a str>,
}

fn status(args: &StatusArgs) -> anyhow::Result<()> {
    let seen = setup::look(&args.place.nats(), &args.place.cluster)?;
    let shown = shown(&args.place.cluster, &seen);
    let text = match args.json {
        true => format!("{}\n", serde_json::to_string_pretty(&shown)?),
        false => as_text(&shown),
    };
    print::text(&text)?;
    Ok(())
}

fn shown<'a>(cluster: &'a str, seen: &'a Seen) -> Shown<'a> {
    let last = seen.applied();
    let nodes = seen.nodes.iter().map(|(name, node)| ShownNode {
        node: name,
        role: if node.leads { "leader" } else { "follower" },
        epoch: node.epoch,
        applied: node.applied,
        lag: last - node.applied,
    });
    let stream = &seen.stream;
    let behind = stream.followers.iter().filter(|server| !server.is_current);
    Shown {
        cluster,
        leader: seen.leader(),
        nodes: nodes.collect(),
        stream: ShownStream {
            first: stream.first,
            last: stream.last,
            bytes: stream.bytes,
            max_bytes: stream.max_bytes,
            replicas: stream.replicas,
            leader: stream.leader.as_deref(),
            behind: behind.map(|server| server.name.as_str()).collect(),
        },
    }
}

fn as_text(shown: &Shown<'_>) -> String {
    let leader = shown.leader.unwrap_or("none was heard");
    let mut text = format!("cluster {}, leader {leader}\n\n", shown.cluster);
    text.push_str("node                             role      epoch      applied    lag\n");
    for node in &shown.nodes {
        text.push_str(&format!(
            "{:<32} {:<9} {:>5} {:>12} {:>6}\n",
            node.node, node.role, node.epoch, node.applied, node.lag
        ));
    }
    let stream = &shown.stream;
    text.push_str(&format!(
        "\nstream: records {} to {}, {} of {} bytes, {} servers",
        stream.first, stream.last, stream.bytes, stream.max_bytes, stream.replicas
    ));
    for server in &stream.behind {
        text.push_str(&format!(", {server} is behind"));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_no_node_can_be_set_to_is_refused() {
        for (text, problem) in [
            ("4KiB", Some("too small: at least 393216B")),
            ("65MB", Some("not a multiple of 4KiB")),
            ("2GiB", Some("2GiB is too large")),
            ("384KiB", None),
            ("64MiB", None),
            ("1GiB", None),
        ] {
            let found = cluster::segment_problem(text.parse().unwrap());
            let fits = match (&found, problem) {
                (Some(found), Some(problem)) => found.starts_with(problem),
                (found, problem) => found.is_none() && problem.is_none(),
            };
            assert!(fits, "{text}: {found:?}");
        }
    }
}
