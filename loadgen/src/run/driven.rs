//! The gateway that a run drives, or the gateways of a cluster: their ends, processes and control ports.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::client::Destination;
use crate::control_port::{self, Metrics};
use crate::debt;
use crate::exit::{Failure, Outcome};
use crate::local_cluster::LocalCluster;
use crate::local_gateway::LocalGateway;
use crate::scenario::cluster::node_name;
use crate::scenario::protocol::ProtocolKind;
use crate::settings::{Gateway, NamedTarget, RunSettings, Target, parse_target};
use crate::suggest::similar;
use crate::tls::Trust;
use crate::verdict::OwnUse;

/// The time in which a target must accept the first connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// The access to a run's gateway from outside: its process and its control port.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GatewayAccess {
    /// The process, if it is the run's own and the only one.
    pub(crate) pid: Option<u32>,
    /// The control port, where one is known.
    pub(crate) control: Option<SocketAddr>,
}

/// A gateway as connections reach it.
#[derive(Debug)]
pub(super) struct End {
    pub(super) url: String,
    pub(super) target: Target,
    tls: Option<Trust>,
}

impl End {
    pub(super) fn of(url: String, tls: Option<Trust>) -> Outcome<Self> {
        Ok(Self {
            target: parse_target(&url).map_err(Failure::scenario)?,
            url,
            tls,
        })
    }

    fn of_local(gateway: &LocalGateway) -> Outcome<Self> {
        Self::of(gateway.url.clone(), gateway.trust()?)
    }

    /// Returns what a thread needs to connect to the gateway.
    pub(super) fn destination(&self) -> Destination {
        Destination {
            address: self.target.address,
            tls: self.tls.clone(),
        }
    }
}

/// What a run started itself.
pub(super) enum Own {
    /// Nothing: the run has targets.
    Nothing,
    Gateway(Box<LocalGateway>),
    Cluster(Box<LocalCluster>),
}

impl Own {
    /// Returns the gateways.
    pub(super) fn gateways(&self) -> &[LocalGateway] {
        match self {
            Self::Nothing => &[],
            Self::Gateway(gateway) => std::slice::from_ref(gateway),
            Self::Cluster(cluster) => cluster.nodes(),
        }
    }

    /// Returns what the gateways used; `None` without gateways.
    pub(super) fn used(&self) -> Option<OwnUse> {
        if matches!(self, Self::Nothing) {
            return None;
        }
        let mut used = OwnUse::default();
        for gateway in self.gateways() {
            used.gateways.add(gateway.process().used());
            used.spent += gateway.process().spent();
        }
        if let Self::Cluster(cluster) = self {
            used.servers = Some(cluster.servers_used());
        }
        Some(used)
    }

    /// Stops everything in order.
    ///
    /// # Errors
    /// A gateway does not stop in order.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        match self {
            Self::Nothing => Ok(()),
            Self::Gateway(gateway) => gateway.stop(),
            Self::Cluster(cluster) => cluster.stop(),
        }
    }
}

/// The gateways that a run drives: running ones, or those that are started for the run.
pub(super) struct DrivenGateway {
    pub(super) own: Own,
    /// The gateways, one at least.
    pub(super) ends: Vec<End>,
    /// The control ports of targets, where the command line names them.
    target_controls: Vec<SocketAddr>,
}

impl DrivenGateway {
    /// Starts gateways, unless the run has targets.
    ///
    /// # Errors
    /// A gateway does not start.
    pub(super) fn start(run: &RunSettings) -> Outcome<Self> {
        let (own, target_controls) = match &run.gateway {
            Gateway::Targets { controls, .. } => (Own::Nothing, controls.clone()),
            Gateway::Local(setup) => {
                let gateway = LocalGateway::start(room(run), setup)?;
                (Own::Gateway(Box::new(gateway)), Vec::new())
            }
            Gateway::Cluster(setup) => {
                let cluster = LocalCluster::start(room(run), setup)?;
                (Own::Cluster(Box::new(cluster)), Vec::new())
            }
        };
        let ends: Outcome<Vec<_>> = match &run.gateway {
            Gateway::Targets { all, .. } => {
                let end = |it: &NamedTarget| End::of(it.url.clone(), it.tls.clone());
                all.iter().map(end).collect()
            }
            _ => own.gateways().iter().map(End::of_local).collect(),
        };
        Ok(Self {
            own,
            ends: ends?,
            target_controls,
        })
    }

    /// Returns the URLs with commas between them.
    pub(super) fn urls(&self) -> String {
        self.urls_of_each().join(", ")
    }

    /// Returns the URL of each gateway.
    pub(super) fn urls_of_each(&self) -> Vec<String> {
        self.ends.iter().map(|it| it.url.clone()).collect()
    }

    /// Returns the line that names the gateways.
    pub(super) fn announcement(&self) -> String {
        let how = match &self.own {
            Own::Nothing => String::new(),
            Own::Gateway(_) => " (local, started for this run)".to_owned(),
            Own::Cluster(cluster) => {
                let leader = cluster.leader().and_then(|it| u8::try_from(it).ok());
                let leader = leader.map_or("none".to_owned(), node_name);
                format!(" (a cluster, started for this run; {leader} leads)")
            }
        };
        format!("gateway: {}{how}", self.urls())
    }

    /// Checks that something listens at each target, before anything else is tried.
    pub(super) fn answers(&self) -> Outcome<()> {
        if !matches!(self.own, Own::Nothing) {
            return Ok(());
        }
        for End { url, target, .. } in &self.ends {
            TcpStream::connect_timeout(&target.address, PATIENCE)
                .map(drop)
                .map_err(|why| {
                    Failure::preflight(format!(
                        "nothing answers at {url}: {why}; start the gateway, or leave --target out to start a local one"
                    ))
                })?;
        }
        Ok(())
    }

    /// Returns the access to the gateway from outside. A gateway that was started again is another
    /// process with another control port.
    pub(super) fn access(&self) -> GatewayAccess {
        GatewayAccess {
            pid: match &self.own {
                Own::Gateway(gateway) => Some(gateway.process().pid()),
                Own::Nothing | Own::Cluster(_) => None,
            },
            control: self.controls().first().copied(),
        }
    }

    /// Returns the control ports of all gateways; an empty list if they are not known.
    pub(super) fn controls(&self) -> Vec<SocketAddr> {
        match &self.own {
            Own::Nothing => self.target_controls.clone(),
            own => own.gateways().iter().map(|it| it.control).collect(),
        }
    }

    /// Returns the counters of each gateway now; an empty list if the control ports are unknown.
    ///
    /// # Errors
    /// A control port does not answer as it should.
    pub(super) fn asked(&self, run: &RunSettings) -> Result<Vec<Metrics>, String> {
        self.controls().into_iter().map(asking(run)).collect()
    }

    /// Returns the counters of each gateway before the run, like [`asked`](Self::asked).
    ///
    /// # Errors
    /// A control port does not answer, or a server lacks the metric that the run needs (exit 94).
    pub(super) fn metrics(&self, run: &RunSettings) -> Outcome<Vec<Metrics>> {
        let metrics = self.asked(run).map_err(|why| {
            Failure::preflight(format!(
                "{why}; name the control port of the gateway at --target, or leave --control out"
            ))
        })?;
        let Some(found) = metrics.first().filter(|_| run.debt != debt::OURS) else {
            return Ok(metrics);
        };
        let missing = |name: &&String| found.sum_of(std::slice::from_ref(*name)).is_none();
        match run.debt.iter().find(missing) {
            None => Ok(metrics),
            Some(name) => {
                let near = similar(name, found.names());
                let near = near.map_or(String::new(), |it| format!("; did you mean `{it}`?"));
                Err(Failure::preflight(format!(
                    "--debt {name}: the target has no such metric{near}"
                )))
            }
        }
    }
}

/// Returns what asks a control port for its metrics: that of a gateway, or that of any server.
fn asking(run: &RunSettings) -> fn(SocketAddr) -> Result<Metrics, String> {
    match run.scenario.protocol.kind {
        ProtocolKind::Trunkline => control_port::metrics,
        _ => control_port::exposed,
    }
}

/// Connections that a gateway of the run's own has room for. Those of a cluster may all be at one
/// gateway.
fn room(run: &RunSettings) -> u64 {
    // Sessions may reconnect before the gateway has noticed their end.
    let twice = if run.scenario.has_returns() { 2 } else { 1 };
    run.sizing.sessions * twice
}
