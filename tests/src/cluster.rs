//! Three gateways with one log.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::Client;
use crate::dial::Dial;
use crate::gateway::{Gateway, Setup};
use crate::nats::Servers;
use crate::process::Process;
use crate::{http, wait};
use serde_json::{Value, json};

/// The name of the cluster.
pub const NAME: &str = "chat";

/// The names of the nodes.
pub const NODES: [&str; 3] = ["a", "b", "c"];

/// NATS servers, and three gateways.
#[derive(Debug)]
pub struct Cluster {
    /// The NATS servers.
    pub servers: Servers,
    /// The gateways, in the order of [`NODES`].
    pub nodes: Vec<Gateway>,
}

/// Runs `trunkline cluster` with more arguments, and returns what it prints.
///
/// # Errors
/// The command failed: what it printed on standard error.
///
/// # Panics
/// The program does not start, or `args` is empty.
pub fn command(servers: &Servers, args: &[&str]) -> Result<String, String> {
    command_at(&servers.near_urls().join(","), args)
}

/// Runs `trunkline cluster` as [`command`] does, with the URLs of servers.
///
/// # Errors
/// The command failed: what it printed on standard error.
///
/// # Panics
/// The program does not start, or `args` is empty.
pub fn command_at(urls: &str, args: &[&str]) -> Result<String, String> {
    let mut command = Setup::bare().command("cluster");
    let (first, rest) = args.split_first().expect("a command");
    command.args([first, "--nats", urls, "--cluster", NAME]);
    command.args(rest);
    let exit = Process::start(&mut command).ended();
    match exit.status.success() {
        true => Ok(exit.stdout),
        false => Err(exit.stderr),
    }
}

/// Returns the settings of a node.
pub fn node(servers: &Servers, name: &str) -> Setup {
    Setup::default()
        .flag("cluster", NAME)
        .flag("node", name)
        .flag("nats", servers.urls().join(","))
}

impl Cluster {
    /// Starts a cluster on this number of NATS servers; `None` if none are installed.
    ///
    /// # Panics
    /// The cluster cannot be made, or a gateway does not start.
    pub fn start(count: usize) -> Option<Self> {
        Self::start_with(count, |setup| setup)
    }

    /// Starts a cluster as [`Cluster::start`] does, with more settings of each node.
    ///
    /// # Panics
    /// As `start`.
    pub fn start_with(count: usize, more: impl Fn(Setup) -> Setup) -> Option<Self> {
        Self::start_each(count, |servers, name| more(node(servers, name)))
    }

    /// Starts a cluster as [`Cluster::start`] does, with these settings of each node.
    ///
    /// # Panics
    /// As `start`.
    pub fn start_each(count: usize, setup: impl Fn(&Servers, &str) -> Setup) -> Option<Self> {
        let servers = Servers::start(count)?;
        let replicas = count.to_string();
        command(
            &servers,
            &["init", "--replicas", &replicas, "--max-bytes", "1GiB"],
        )
        .expect("a cluster");
        let nodes = NODES.map(|name| setup(&servers, name).start());
        let cluster = Self {
            servers,
            nodes: nodes.into(),
        };
        for at in 0..NODES.len() {
            cluster.is_ready(at);
        }
        Some(cluster)
    }

    /// Waits until a node takes messages.
    ///
    /// # Panics
    /// It never does.
    pub fn is_ready(&self, at: usize) {
        let gateway = &self.nodes[at];
        wait::until("a node that is ready", || {
            let (status, _) = get(gateway.control(), "/readyz");
            (status == 200).then_some(())
        });
    }

    /// Waits for a leader, and returns its place.
    ///
    /// # Panics
    /// There is none.
    pub fn leader(&self, among: &[usize]) -> usize {
        wait::until("a leader", || {
            let leads = |at: &&usize| self.nodes[**at].metric("trunkline_cluster_leader") > 0.0;
            among.iter().find(leads).copied()
        })
    }

    /// Connects a user to a node.
    ///
    /// # Panics
    /// The node does not take the user.
    pub fn connect(&self, at: usize, user: &str) -> Client {
        self.nodes[at].dial().connect(user, "phone")
    }

    /// Waits until a node has all groups that another one has.
    ///
    /// # Panics
    /// It never does.
    pub fn has_all_of(&self, at: usize, other: usize) {
        let wanted = self.nodes[other].metric("trunkline_cluster_applied");
        wait::until("groups", || {
            let applied = self.nodes[at].metric("trunkline_cluster_applied");
            (applied >= wanted).then_some(())
        });
    }
}

/// Returns the status and the body of what a gateway's control port answers.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = http::get(address, path);
    (answer.status, answer.body)
}

/// Returns the texts of a page of history.
///
/// # Panics
/// It is no such page.
pub fn texts(page: &Value) -> Vec<String> {
    let messages = page["messages"].as_array().expect("messages");
    let text = |message: &Value| message["text"].as_str().unwrap_or_default().to_owned();
    messages.iter().map(text).collect()
}

/// Sends numbered messages to dora with keys, each until it is acknowledged, and goes to another gateway when one is
/// gone. Returns the sequence of each.
///
/// # Panics
/// A message is refused.
pub fn send_all(
    user: &str,
    count: usize,
    gateways: &[SocketAddr],
    acknowledged: &AtomicUsize,
) -> Vec<u64> {
    let mut at = 0;
    let connect = |at: usize| Dial::new(gateways[at % gateways.len()]).connect(user, "phone");
    let mut client = connect(at);
    let mut seqs = Vec::new();
    while seqs.len() < count {
        let text = format!("{user} {}", seqs.len());
        let request = json!({"user": "dora", "text": text, "key": text});
        let reply = client
            .try_post("send", &request)
            .and_then(|id| client.replies().remove(&id));
        match reply {
            Some(reply) if reply["send"].is_object() => {
                seqs.push(reply["send"]["seq"].as_u64().expect("a sequence"));
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            // Whether it is stored is not known: the key makes a second one harmless.
            Some(reply) => assert_eq!(reply["error"]["code"], 115, "{reply}"),
            None => {
                at += 1;
                client = connect(at);
            }
        }
    }
    seqs
}

/// Checks that a node has each message of a user to dora once, under the sequence that was acknowledged.
///
/// # Panics
/// It has not.
pub fn check(gateway: &Gateway, user: &str, seqs: &[u64]) {
    let mut dora = gateway.dial().connect("dora", "phone");
    let mut found = BTreeMap::new();
    let mut request = json!({"conversation": format!("u:dora:{user}"), "limit": 100});
    loop {
        let page = dora.done("history", &request);
        let messages = page["messages"].as_array().expect("messages");
        for message in messages {
            let text = message["text"].as_str().expect("a text").to_owned();
            let seq = message["seq"].as_u64().expect("a sequence");
            assert!(
                found.insert(seq, text).is_none(),
                "twice in the pages: {seq}"
            );
        }
        match messages.first().map(|first| first["seq"].as_u64()) {
            Some(Some(first)) if first > 1 => request["before"] = first.into(),
            _ => break,
        }
    }
    let expected: BTreeMap<_, _> = { seqs.iter().enumerate() }
        .map(|(number, seq)| (*seq, format!("{user} {number}")))
        .collect();
    assert_eq!(found, expected);
}
