//! The gateway that a run drives, or the gateways of a cluster: their ends, processes and control ports.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::client::Destination;
use crate::control_port::{self, Metrics};
use crate::debt;
use crate::exit::{Failure, Outcome};
use crate::local_gateway::LocalGateway;
use crate::scenario::protocol::ProtocolKind;
use crate::settings::{Gateway, NamedTarget, RunSettings, Target, parse_target};
use crate::suggest::similar;
use crate::tls::Trust;

/// The time in which a target must accept the first connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// The access to a run's gateway from outside: its process and its control port.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GatewayAccess {
    /// The process, if it is the run's own.
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

    /// Returns what a thread needs to connect to the gateway.
    pub(super) fn destination(&self) -> Destination {
        Destination {
            address: self.target.address,
            tls: self.tls.clone(),
        }
    }
}

/// The gateways that a run drives: running ones, or one that is started for the run.
pub(super) struct DrivenGateway {
    /// The process, if it was started for the run.
    pub(super) local: Option<LocalGateway>,
    /// The gateways, one at least.
    pub(super) ends: Vec<End>,
    /// The control ports of targets, where the command line names them.
    target_controls: Vec<SocketAddr>,
}

impl DrivenGateway {
    /// Starts a gateway, unless the run has targets.
    ///
    /// # Errors
    /// The gateway does not start.
    pub(super) fn start(run: &RunSettings) -> Outcome<Self> {
        let (local, ends, target_controls) = match &run.gateway {
            Gateway::Targets { all, controls } => {
                let end = |it: &NamedTarget| End::of(it.url.clone(), it.tls.clone());
                let ends: Outcome<Vec<_>> = all.iter().map(end).collect();
                (None, ends?, controls.clone())
            }
            Gateway::Local(setup) => {
                let local = LocalGateway::start(room(run), setup)?;
                let end = End::of(local.url.clone(), local.trust()?)?;
                (Some(local), vec![end], Vec::new())
            }
        };
        Ok(Self {
            local,
            ends,
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
        let how = match self.local {
            Some(_) => " (local, started for this run)",
            None => "",
        };
        format!("gateway: {}{how}", self.urls())
    }

    /// Checks that something listens at each target, before anything else is tried.
    pub(super) fn answers(&self) -> Outcome<()> {
        if self.local.is_some() {
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
        match &self.local {
            Some(local) => GatewayAccess {
                pid: Some(local.pid()),
                control: Some(local.control),
            },
            None => GatewayAccess {
                pid: None,
                control: self.target_controls.first().copied(),
            },
        }
    }

    /// Returns the control ports of all gateways; an empty list if they are not known.
    pub(super) fn controls(&self) -> Vec<SocketAddr> {
        match &self.local {
            Some(local) => vec![local.control],
            None => self.target_controls.clone(),
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

/// Connections that a gateway of the run's own has room for.
fn room(run: &RunSettings) -> u64 {
    // Sessions may reconnect before the gateway has noticed their end.
    let twice = if run.scenario.has_returns() { 2 } else { 1 };
    run.sizing.sessions * twice
}
