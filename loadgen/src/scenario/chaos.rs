//! The faults that a run causes in what it started itself: `kill-gateway@30s`, `pause-node:b@30s+2s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::cluster::{Cluster, NODES_MAX, node_name};
use crate::units::Span;

/// The faults of a run, in the order of time.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chaos {
    /// The faults, each with its time.
    pub(crate) actions: Vec<Fault>,
}

impl Chaos {
    /// Returns whether the run has no faults.
    pub(crate) fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Returns whether a fault cuts gateways off from their NATS servers.
    pub(crate) fn cuts_off(&self) -> bool {
        self.actions.iter().any(|it| it.action.cuts_off())
    }
}

/// A fault that a run brings on a gateway or a NATS server of its own: `kill-gateway@30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The kind of the fault.
    pub(crate) action: FaultKind,
    /// What the fault is done to.
    pub(crate) whom: Whom,
    /// The time of the fault, counted from the start of sending.
    pub(crate) at: Span,
    /// The duration of the fault, where it is written; see [`duration`](Self::duration).
    how_long: Option<Span>,
}

/// The effect of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The process is killed (SIGKILL), and started again with its data.
    Kill,
    /// The process is asked to stop (SIGTERM), and started again with its data some time after it has.
    Stop,
    /// The process is asked to stop (SIGTERM), and started again with its data as soon as it has.
    Restart,
    /// The process is halted (SIGSTOP), and continued (SIGCONT) after some time.
    Pause,
    /// The gateway is cut off from all NATS servers. No byte passes in either direction, and no
    /// connection ends.
    Partition,
    /// What the NATS servers send does not reach the gateway, and what it sends reaches them.
    Deaf,
    /// What the gateway sends does not reach the NATS servers, and what they send reaches it.
    Mute,
    /// The gateway can write nothing (RLIMIT_FSIZE), as with a full disk. Then it can again, and is started
    /// again if it has not ended by itself.
    FullDisk,
    /// The gateway that leads is told to let another one lead (`trunkline cluster step-down`), as before work on its
    /// machine. Nothing breaks, and clients must not get an error.
    StepDown,
}

/// What a fault is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The only gateway of the run.
    Gateway,
    /// One gateway of a cluster, by its place.
    Node(u8),
    /// The gateway of a cluster that leads at that time.
    Leader,
    /// All gateways of a cluster.
    Nodes,
    /// One NATS server, by its place.
    Server(u8),
    /// All NATS servers.
    Servers,
}

/// The most NATS servers of a cluster.
const SERVERS_MAX: u8 = 5;

/// The time for which a killed or stopped process of a cluster is away, unless the fault says it.
const AWAY: Duration = Duration::from_secs(3);

/// The forms of faults, for people.
const FORMS: &str = "kill-gateway@30s, restart-gateway@30s or pause-gateway@30s+2s; for a cluster kill-node:b@30s, \
     stop-node:b@30s+5s, restart-node:b@30s, pause-node:b@30s+2s, partition:b@30s+5s, deaf:b@30s+5s, mute:b@30s+5s, full-disk:b@30s+5s, step-down@30s, \
     kill-nats:1@30s, stop-nats:1@30s+5s \
     or pause-nats:1@30s+2s, with leader or all in the place of a name";

impl FaultKind {
    const fn verb(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::Deaf => "deaf",
            Self::Mute => "mute",
            Self::FullDisk => "full-disk",
            Self::StepDown => "step-down",
        }
    }

    /// Returns whether the process is another one after the fault.
    pub(crate) const fn starts_again(self) -> bool {
        !matches!(self, Self::Pause | Self::StepDown) && !self.cuts_off()
    }

    /// Returns whether operators do this to a gateway that works, so that clients must not get an error.
    pub(crate) const fn is_planned(self) -> bool {
        matches!(self, Self::StepDown)
    }

    /// Returns whether a gateway is cut off from NATS servers, in a direction at least.
    pub(crate) const fn cuts_off(self) -> bool {
        matches!(self, Self::Partition | Self::Deaf | Self::Mute)
    }

    /// Returns whether the name of the fault stands alone, without what it is done to.
    const fn is_of_nodes(self) -> bool {
        self.cuts_off() || matches!(self, Self::FullDisk)
    }
}

impl Fault {
    /// Makes a fault; without `how_long` it has its usual duration.
    pub(crate) const fn new(
        action: FaultKind,
        whom: Whom,
        at: Span,
        how_long: Option<Span>,
    ) -> Self {
        Self {
            action,
            whom,
            at,
            how_long,
        }
    }

    /// Returns the name of the fault in scenarios and on the command line: `kill-node:b`.
    pub(crate) fn name(&self) -> String {
        let verb = self.action.verb();
        match (self.action, self.whom) {
            (_, Whom::Gateway) => format!("{verb}-gateway"),
            (FaultKind::StepDown, Whom::Leader) => verb.to_owned(),
            (FaultKind::StepDown, whom) => format!("{verb}:{}", whom.word()),
            (action, whom) if action.is_of_nodes() => format!("{verb}:{}", whom.word()),
            (_, whom @ (Whom::Server(_) | Whom::Servers)) => format!("{verb}-nats:{}", whom.word()),
            (_, whom) => format!("{verb}-node:{}", whom.word()),
        }
    }

    /// Returns how long the fault lasts: a pause or a partition until its end, a process from its end to
    /// its next start.
    pub(crate) fn duration(&self) -> Duration {
        let usual = match (self.action, self.whom) {
            (FaultKind::Restart | FaultKind::StepDown, _) | (_, Whom::Gateway) => Duration::ZERO,
            _ => AWAY,
        };
        self.how_long.map_or(usual, |it| it.0)
    }

    /// Checks that a run has what the fault is done to: a gateway of its own, or this cluster.
    ///
    /// # Errors
    /// What the run lacks, and what to write instead.
    pub(crate) fn check(&self, cluster: Option<Cluster>) -> Result<(), String> {
        let Some(cluster) = cluster else {
            return match self.whom {
                Whom::Gateway => Ok(()),
                _ => Err(format!(
                    "{self}: the run has no cluster: write [cluster] into the scenario, or run the preset cluster"
                )),
            };
        };
        if self.action == FaultKind::StepDown && cluster.nodes < 2 {
            return Err(format!(
                "{self}: no other gateway could lead: start two at the least (cluster.nodes)"
            ));
        }
        let (is_there, what, last) = match self.whom {
            Whom::Gateway => {
                let verb = self.action.verb();
                return Err(format!(
                    "{self}: the run has several gateways: write {verb}-node:a@…, or {verb}-node:leader@…"
                ));
            }
            Whom::Node(place) => (
                place < cluster.nodes,
                "gateways",
                node_name(cluster.nodes - 1),
            ),
            Whom::Server(place) => (
                place < cluster.servers,
                "NATS servers",
                cluster.servers.to_string(),
            ),
            Whom::Leader | Whom::Nodes | Whom::Servers => return Ok(()),
        };
        let first = if what == "gateways" { "a" } else { "1" };
        match is_there {
            true => Ok(()),
            false => Err(format!(
                "{self}: the {what} of the run are {first} to {last}"
            )),
        }
    }
}

impl Whom {
    fn word(self) -> String {
        match self {
            Self::Gateway => "gateway".to_owned(),
            Self::Node(place) => node_name(place),
            Self::Leader => "leader".to_owned(),
            Self::Nodes | Self::Servers => "all".to_owned(),
            Self::Server(place) => (place + 1).to_string(),
        }
    }

    /// Parses what stands behind the colon of a fault in gateways.
    fn node(word: &str) -> Option<Self> {
        match word {
            "leader" => return Some(Self::Leader),
            "all" => return Some(Self::Nodes),
            _ => {}
        }
        let &[letter] = word.as_bytes() else {
            return None;
        };
        let place = letter.checked_sub(b'a').filter(|it| *it < NODES_MAX);
        place.map(Self::Node)
    }

    /// Parses what stands behind the colon of a fault in NATS servers.
    fn server(word: &str) -> Option<Self> {
        if word == "all" {
            return Some(Self::Servers);
        }
        let number = word.parse::<u8>().ok();
        let number = number.filter(|it| (1..=SERVERS_MAX).contains(it));
        number.map(|it| Self::Server(it - 1))
    }
}

/// Parses the name of a fault: what is done, and to whom.
fn parse_name(name: &str) -> Result<(FaultKind, Whom), String> {
    use FaultKind::{Deaf, FullDisk, Kill, Mute, Partition, Pause, Restart, StepDown, Stop};
    let form = || format!("`{name}` is not a fault; write {FORMS}");
    let (what, word) = match name.split_once(':') {
        Some((what, word)) => (what.trim(), Some(word.trim())),
        None => (name, None),
    };
    if what == StepDown.verb() {
        let whom = match word {
            None => Some(Whom::Leader),
            // One gateway leads.
            Some(word) => Whom::node(word).filter(|whom| *whom != Whom::Nodes),
        };
        let whom = whom.ok_or_else(|| {
            format!("`{name}`: write step-down for the gateway that leads, or step-down:b to wait until b leads")
        })?;
        return Ok((StepDown, whom));
    }
    let of_nodes = [Partition, Deaf, Mute, FullDisk];
    let (action, class) = match of_nodes.into_iter().find(|it| it.verb() == what) {
        Some(action) => (action, "node"),
        None => {
            let (verb, class) = what.split_once('-').ok_or_else(form)?;
            let all = [Kill, Stop, Restart, Pause];
            let action = all.into_iter().find(|it| it.verb() == verb);
            (action.ok_or_else(form)?, class)
        }
    };
    let whom = match (class, word) {
        ("gateway", None) if action != Stop => Whom::Gateway,
        ("node", Some(word)) => Whom::node(word).ok_or_else(|| {
            format!("`{name}`: `{word}` is no gateway: write a letter from a on, leader or all")
        })?,
        ("nats", Some(word)) => Whom::server(word).ok_or_else(|| {
            format!("`{name}`: `{word}` is no NATS server: write a number from 1 on, or all")
        })?,
        ("node", None) => {
            return Err(format!(
                "`{name}`: name the gateway: write {what}:b, {what}:leader or {what}:all"
            ));
        }
        ("nats", None) => {
            return Err(format!(
                "`{name}`: name the NATS server: write {what}:1 or {what}:all"
            ));
        }
        _ => return Err(form()),
    };
    Ok((action, whom))
}

impl FromStr for Fault {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is not a fault; write {FORMS}");
        let (name, times) = text.split_once('@').ok_or_else(form)?;
        let (at, how_long) = match times.split_once('+') {
            Some((at, how_long)) => (at, Some(how_long.parse::<Span>()?)),
            None => (times, None),
        };
        let (action, whom) = parse_name(name.trim())?;
        match (action, how_long) {
            (action, how_long)
                if (action == FaultKind::Pause || action.is_of_nodes())
                    && how_long.is_none_or(|it| it.0.is_zero()) =>
            {
                let name = name.trim();
                return Err(format!(
                    "`{text}`: a {} needs a duration: write \"{name}@30s+2s\"",
                    match action {
                        FaultKind::Pause => "pause",
                        _ => "fault that ends",
                    }
                ));
            }
            (_, Some(_)) if whom == Whom::Gateway && action != FaultKind::Pause => {
                return Err(format!("`{text}`: only a pause takes a duration"));
            }
            (FaultKind::StepDown, Some(_)) => {
                return Err(format!(
                    "`{text}`: a step-down takes no duration: it is over once another gateway leads"
                ));
            }
            _ => {}
        }
        Ok(Self {
            action,
            whom,
            at: at.parse()?,
            how_long,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name(), self.at)?;
        match self.how_long {
            Some(how_long) => write!(f, "+{how_long}"),
            None => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blows_read_and_write() {
        for text in [
            "kill-gateway@30s",
            "restart-gateway@1m",
            "pause-gateway@500ms+2s",
            "kill-node:b@10s",
            "kill-node:leader@10s+500ms",
            "stop-node:all@10s",
            "restart-node:c@10s+0s",
            "pause-node:a@10s+2s",
            "partition:leader@10s+5s",
            "full-disk:b@10s+5s",
            "deaf:b@10s+5s",
            "mute:all@10s+5s",
            "step-down@10s",
            "step-down:b@10s",
            "kill-nats:1@10s",
            "stop-nats:3@10s+5s",
            "pause-nats:all@10s+5s",
        ] {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
            let json = serde_json::to_string(&fault).unwrap();
            assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), fault);
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_would_be_right() {
        for (text, word) in [
            ("", "kill-gateway@30s"),
            ("kill-gateway", "kill-gateway@30s"),
            ("kill@30s", "kill-gateway@30s"),
            ("kill-gateway@30", "no unit"),
            ("kill-gateway@30s+2s", "only a pause"),
            ("stop-gateway@30s", "restart-gateway@30s"),
            ("pause-gateway@30s", "pause-gateway@30s+2s"),
            ("pause-gateway@30s+0s", "pause-gateway@30s+2s"),
            ("pause-gateway@30s+2", "no unit"),
            ("pause-node:b@30s", "pause-node:b@30s+2s"),
            ("partition:b@30s", "partition:b@30s+2s"),
            ("partition@30s+2s", "partition:leader"),
            ("full-disk:b@30s", "full-disk:b@30s+2s"),
            ("kill-node@30s", "kill-node:leader"),
            ("kill-node:z@30s", "a letter from a on"),
            ("kill-node:1@30s", "a letter from a on"),
            ("kill-nats@30s", "kill-nats:1"),
            ("stop-nats:0@30s", "a number from 1 on"),
            ("stop-nats:leader@30s", "a number from 1 on"),
            ("step-down@30s+5s", "takes no duration"),
            ("step-down:all@30s", "step-down:b"),
            ("step-down:1@30s", "step-down:b"),
            ("kill-moon:1@30s", "kill-nats:1@30s"),
        ] {
            let why = text.parse::<Fault>().unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
    }

    #[test]
    fn faults_are_of_what_the_run_has() {
        let three = Some(Cluster::default());
        let one = Some(Cluster {
            nodes: 1,
            servers: 1,
        });
        for (text, cluster, word) in [
            ("kill-gateway@1s", None, None),
            ("kill-node:c@1s", three, None),
            ("stop-nats:3@1s", three, None),
            ("kill-node:all@1s", three, None),
            ("kill-node:d@1s", three, Some("a to c")),
            ("stop-nats:4@1s", three, Some("1 to 3")),
            ("kill-gateway@1s", three, Some("kill-node:leader")),
            ("kill-node:a@1s", None, Some("[cluster]")),
            ("stop-nats:all@1s", None, Some("[cluster]")),
            ("step-down@1s", None, Some("[cluster]")),
            ("step-down:b@1s", three, None),
            ("step-down:d@1s", three, Some("a to c")),
            ("step-down@1s", one, Some("no other gateway could lead")),
        ] {
            let found = text.parse::<Fault>().unwrap().check(cluster);
            match word {
                None => assert_eq!(found, Ok(()), "{text}"),
                Some(word) => assert!(found.unwrap_err().contains(word), "{text}"),
            }
        }
    }

    #[test]
    fn a_killed_process_is_started_again() {
        for (text, seconds) in [
            ("kill-gateway@1s", 0),
            ("pause-gateway@1s+2s", 2),
            ("restart-node:a@1s", 0),
            ("kill-node:a@1s", 3),
            ("stop-nats:1@1s+5s", 5),
        ] {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.duration(), Duration::from_secs(seconds), "{text}");
        }
    }
}
