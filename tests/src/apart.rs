//! Three gateways and three NATS servers, each on a machine of its own.

use std::net::SocketAddr;

use serde_json::Value;

use crate::cluster::{self, Cluster, NAME, NODES, command, get};
use crate::gateway::{Gateway, Setup};
use crate::machines::{Machines, with_machines};
use crate::nats::{NAMES, Place, Servers};
use crate::traffic::{self, Traffic};
use crate::wait;

/// The machines of the gateways, in the order of [`NODES`].
pub const GATEWAYS: [usize; 3] = [0, 1, 2];

/// The machines of the NATS servers, in their order.
pub const SERVERS: [usize; 3] = [3, 4, 5];

/// A cluster whose parts are on machines of their own.
#[derive(Debug)]
pub struct Apart {
    /// The cluster.
    pub cluster: Cluster,
    /// The machines: [`GATEWAYS`] and [`SERVERS`].
    pub machines: Machines,
}

/// Runs a test with a cluster on machines of their own. Says on standard error why there are none, where they cannot be made.
///
/// # Panics
/// The test fails.
pub fn with_cluster(test: impl FnOnce(Apart) + Send + 'static) {
    with_cluster_of(&[], |_| (), |_, setup| setup.start(), test);
}

/// Runs a test as [`with_cluster`] does. `init` are more words of the command that makes the cluster, `servers` sees the servers before they start, and `gateway` starts the gateway with
/// this place in [`NODES`].
///
/// # Panics
/// The test fails.
pub fn with_cluster_of<T>(
    init: &'static [&'static str],
    servers: impl FnOnce(&Servers) -> T + Send + 'static,
    gateway: impl Fn(usize, Setup) -> Gateway + Send + 'static,
    test: impl FnOnce(Apart) + Send + 'static,
) {
    with_machines(GATEWAYS.len() + SERVERS.len(), move |machines| {
        let places = SERVERS.map(|at| place(&machines, at));
        let Some(mut all) = Servers::at(places, "") else {
            return;
        };
        let _kept = servers(&all);
        all.begin();
        command(&all, &[&["init", "--max-bytes", "1GiB"], init].concat()).expect("a cluster");
        let start = |at: usize| {
            let near = |port| SocketAddr::from((machines.near(at), port));
            let setup = cluster::node(&all, NODES[at])
                .flag("listen", near(7700))
                .flag("control", near(7701))
                .starter(&machines.starter(at));
            gateway(at, setup)
        };
        let nodes = GATEWAYS.map(start).into();
        let cluster = Cluster {
            servers: all,
            nodes,
        };
        GATEWAYS.into_iter().for_each(|at| cluster.is_ready(at));
        test(Apart { cluster, machines });
    });
}

fn place(machines: &Machines, at: usize) -> Place {
    let far = |port| SocketAddr::from((machines.address(at), port));
    Place {
        client: far(4222),
        route: far(6222),
        near: SocketAddr::from((machines.near(at), 4222)),
        listen: SocketAddr::from(([0, 0, 0, 0], 4222)),
        starter: machines.starter(at),
    }
}

impl Apart {
    /// Lets clients write at all gateways while `faults` runs. Then checks that all nodes take messages, that all have each
    /// message that was acknowledged, once and in order, and that a device at each node got the same. Call it once in a test.
    ///
    /// # Panics
    /// One of this is not so.
    pub fn under_way(&mut self, faults: impl FnOnce(&mut Self, &Traffic)) {
        let gateways = self.cluster.nodes.iter().map(Gateway::ws).collect();
        let sent = traffic::under_way(gateways, |traffic| faults(self, traffic));
        traffic::all_is_there(&self.cluster, &sent);
    }

    /// Returns the place of the gateway that leads, and those of the others.
    ///
    /// # Panics
    /// None leads.
    pub fn roles(&self) -> (usize, [usize; 2]) {
        let leader = self.cluster.leader(&GATEWAYS);
        (leader, others(leader))
    }

    /// Returns the place of the NATS server that leads the stream of the log, and those of the others.
    ///
    /// # Panics
    /// None leads.
    pub fn server_roles(&self) -> (usize, [usize; 2]) {
        let subject = format!("$JS.API.STREAM.INFO.TRUNKLINE_{NAME}");
        let leader = wait::until("a leader of the stream", || {
            let info = self.cluster.servers.client(0).try_ask(&subject, b"")?;
            let leader = info["cluster"]["leader"].as_str().unwrap_or_default();
            NAMES.iter().position(|name| *name == leader)
        });
        (leader, others(leader))
    }

    /// Waits until a NATS server has all of the log.
    ///
    /// # Panics
    /// It never has.
    pub fn server_has_all(&self, at: usize) {
        let subject = format!("$JS.API.STREAM.INFO.TRUNKLINE_{NAME}");
        wait::until("a server that has all of the log", || {
            let info = self
                .cluster
                .servers
                .client(others(at)[0])
                .try_ask(&subject, b"")?;
            let cluster = &info["cluster"];
            let mut replicas = cluster["replicas"].as_array().into_iter().flatten();
            let is_current = |it: &Value| it["name"] == NAMES[at] && it["current"] == true;
            (cluster["leader"] == NAMES[at] || replicas.any(is_current)).then_some(())
        });
    }

    /// Waits until a node says that it is not ready, and returns why.
    ///
    /// # Panics
    /// It stays ready.
    pub fn is_not_ready(&self, at: usize) -> String {
        wait::until("a node that is not ready", || {
            let (status, why) = get(self.cluster.nodes[at].control(), "/readyz");
            (status == 503).then_some(why)
        })
    }

    /// Waits until a node does not lead.
    ///
    /// # Panics
    /// It goes on leading.
    pub fn does_not_lead(&self, at: usize) {
        wait::until("the end of the lead", || {
            let leads = self.cluster.nodes[at].metric("trunkline_cluster_leader") > 0.0;
            (!leads).then_some(())
        });
    }

    /// Heals the network, waits until all nodes are ready, and until clients at all of them go on.
    ///
    /// # Panics
    /// They do not.
    pub fn heals(&self, traffic: &Traffic) {
        self.machines.heal();
        GATEWAYS
            .into_iter()
            .for_each(|at| self.cluster.is_ready(at));
        traffic.goes_on(&GATEWAYS);
    }
}

/// Returns the places of the other two.
pub fn others(one: usize) -> [usize; 2] {
    [1, 2].map(|step| (one + step) % 3)
}
