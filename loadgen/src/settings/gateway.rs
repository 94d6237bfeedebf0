//! The gateways that a run drives: those that the command line names, or one that the run starts.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::args::TlsArgs;
use crate::client::TARGETS_MAX;
use crate::control_port;
use crate::exit::{Failure, Outcome};
use crate::local_cluster::ClusterSetup;
use crate::local_gateway::Setup;
use crate::tls::Trust;

/// The gateway that a run drives, or the gateways of a cluster.
#[derive(Debug)]
pub(crate) enum Gateway {
    /// Gateways that run already.
    Targets {
        /// The gateways, one at least. Several share one log.
        all: Vec<NamedTarget>,
        /// The known control ports.
        controls: Vec<SocketAddr>,
    },
    /// A gateway that is started for the run.
    Local(Setup),
    /// A cluster that is started for the run.
    Cluster(Box<ClusterSetup>),
}

/// A gateway that runs already.
#[derive(Debug, Clone)]
pub(crate) struct NamedTarget {
    pub(crate) url: String,
    /// The trusted certificates; with them, connections use TLS.
    pub(crate) tls: Option<Trust>,
}

impl Gateway {
    /// Returns the address of the first gateway. The port of a gateway that is not started yet is 0.
    ///
    /// # Errors
    /// The host of the target is not found any more.
    pub(crate) fn address(&self) -> Outcome<SocketAddr> {
        let first = match self {
            Self::Targets { all, .. } => all.first(),
            Self::Local(_) | Self::Cluster(_) => None,
        };
        let address = first.map(|it| parse_target(&it.url).map(|it| it.address));
        let address = address.transpose().map_err(Failure::scenario)?;
        Ok(address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0))))
    }

    /// Returns whether connections to the gateway use TLS.
    pub(crate) fn has_tls(&self) -> bool {
        match self {
            Self::Targets { all, .. } => all.iter().any(|it| it.tls.is_some()),
            Self::Local(setup) => setup.tls,
            Self::Cluster(setup) => setup.gateway.tls,
        }
    }

    /// Returns the name in results: the URLs of targets with commas between them, or `local`, or
    /// `cluster`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Targets { all, .. } => {
                let urls: Vec<_> = all.iter().map(|it| &*it.url).collect();
                urls.join(",")
            }
            Self::Local(_) => "local".to_owned(),
            Self::Cluster(_) => "cluster".to_owned(),
        }
    }
}

/// The parts of a WebSocket URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    /// The path, if the URL has one.
    path: Option<String>,
    /// The URL begins with wss:// or mqtts://.
    pub(crate) tls: bool,
    /// The URL begins with ws:// or wss://.
    pub(crate) websocket: bool,
}

/// The schemes of targets: whether there is TLS, and whether there is WebSocket.
const SCHEMES: [(&str, bool, bool); 4] = [
    ("ws://", false, true),
    ("wss://", true, true),
    ("mqtt://", false, false),
    ("mqtts://", true, false),
];

impl Target {
    /// Returns the path of the URL, or else this one.
    pub(crate) fn path_or<'a>(&'a self, default: &'a str) -> &'a str {
        self.path.as_deref().unwrap_or(default)
    }

    /// Returns the host without its port, as certificates name it.
    pub(crate) fn name(&self) -> &str {
        let name = self.host.rsplit_once(':').map_or(&*self.host, |it| it.0);
        name.trim_start_matches('[').trim_end_matches(']')
    }
}

/// Returns the gateways that the options name, or a local gateway to start.
pub(crate) fn gateway(
    (urls, tls): (&[String], &TlsArgs),
    controls: &[String],
    setup: Setup,
) -> Outcome<Gateway> {
    if urls.is_empty() {
        return Ok(Gateway::Local(setup));
    }
    let wrong = |why: String| Err(Failure::scenario(why));
    if urls.len() > TARGETS_MAX {
        return wrong(format!(
            "--target: {} targets, and {TARGETS_MAX} at most are possible",
            urls.len()
        ));
    }
    let targets: Result<Vec<_>, _> = urls.iter().map(|url| parse_target(url)).collect();
    let targets = targets.map_err(Failure::scenario)?;
    for (place, (url, target)) in urls.iter().zip(&targets).enumerate() {
        if tls.tls_ca.is_some() && !target.tls {
            return wrong(format!(
                "--tls-ca: {url} does not use TLS: write wss://, or leave --tls-ca out"
            ));
        }
        let first = &targets[0];
        if (target.tls, target.websocket, &target.path) != (first.tls, first.websocket, &first.path)
        {
            return wrong(format!(
                "--target: {url} has another scheme or path than {}: all targets are nodes of one cluster, and have the same",
                urls[0]
            ));
        }
        if targets[..place]
            .iter()
            .any(|it| it.address == target.address)
        {
            return wrong(format!(
                "--target: {url} is there twice: name each gateway once"
            ));
        }
    }
    let all = urls.iter().zip(&targets).map(|(url, target)| {
        let trust = || Trust::new(tls.tls_ca.as_deref(), target.name());
        let tls = target.tls.then(trust).transpose();
        Ok(NamedTarget {
            url: url.clone(),
            tls: tls?,
        })
    });
    let all: Result<Vec<_>, String> = all.collect();
    let controls: Result<Vec<_>, _> = controls
        .iter()
        .map(|it| control_port::address(it))
        .collect();
    let controls = controls.map_err(Failure::scenario)?;
    if !controls.is_empty() && controls.len() != urls.len() {
        return wrong(format!(
            "--control: {} control ports for {} targets: name the one of each gateway, or none",
            controls.len(),
            urls.len()
        ));
    }
    Ok(Gateway::Targets {
        all: all.map_err(Failure::scenario)?,
        controls,
    })
}

/// Parses `ws://HOST:PORT/PATH`, `wss://HOST:PORT/PATH`, `mqtt://HOST:PORT` or `mqtts://HOST:PORT`.
///
/// # Errors
/// The URL has another form, or its host is not found.
pub(crate) fn parse_target(url: &str) -> Result<Target, String> {
    let form = || format!("`{url}` is not a gateway: write ws://HOST:PORT/v1/ws, or wss://");
    let mut schemes = SCHEMES.iter();
    let found = schemes.find_map(|it| Some((it, url.strip_prefix(it.0)?)));
    let (&(_, tls, websocket), rest) = found.ok_or_else(form)?;
    let (host, path) = match rest.split_once('/') {
        Some((host, path)) => (host, Some(format!("/{path}"))),
        None => (rest, None),
    };
    let mut found = host
        .to_socket_addrs()
        .map_err(|why| format!("{}: {why}", form()))?;
    let address = found.next().ok_or_else(form)?;
    Ok(Target {
        address,
        host: host.to_owned(),
        path,
        tls,
        websocket,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let target = parse_target("ws://127.0.0.1:7700/v1/ws").unwrap();
        assert_eq!(
            (target.address.port(), target.path_or("/x")),
            (7700, "/v1/ws")
        );
        let bare = parse_target("ws://127.0.0.1:7700").unwrap();
        assert_eq!(bare.path_or("/v1/ws"), "/v1/ws");
        assert_eq!(
            parse_target("ws://[::1]:7700/x").unwrap().path_or("/"),
            "/x"
        );
        let mqtt = parse_target("mqtts://127.0.0.1:8883").unwrap();
        assert!(mqtt.tls && !mqtt.websocket && target.websocket);
        let tls = |url| parse_target(url).unwrap();
        assert!(!tls("ws://127.0.0.1:7700").tls && tls("wss://127.0.0.1:7700").tls);
        assert_eq!(tls("wss://[::1]:7700").name(), "::1");
        assert_eq!(tls("wss://localhost:7700").name(), "localhost");
    }
}
