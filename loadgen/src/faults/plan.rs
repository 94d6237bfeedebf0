//! The faults of a round, drawn by a seed.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use crate::exit::{Failure, Outcome};
use crate::random::mix;
use crate::scenario::chaos::{Fault, FaultKind, Whom};
use crate::scenario::cluster::Cluster;
use crate::suggest::hint;
use crate::units::Span;

/// The time from the start of sending to the first fault.
const FIRST: Duration = Duration::from_secs(3);

/// The shortest and the longest time of a pause, a partition or an absence, in milliseconds.
const LENGTHS: std::ops::RangeInclusive<u64> = 200..=4_000;

/// A kind of fault, as `--only` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    name: &'static str,
    action: FaultKind,
    /// The fault is done to NATS servers, and not to gateways.
    servers: bool,
    /// The fault is done to all of them at once.
    all: bool,
}

const fn kind(name: &'static str, action: FaultKind, servers: bool, all: bool) -> Kind {
    Kind {
        name,
        action,
        servers,
        all,
    }
}

/// All kinds.
const KINDS: [Kind; 14] = [
    kind("kill-node", FaultKind::Kill, false, false),
    kind("stop-node", FaultKind::Stop, false, false),
    kind("pause-node", FaultKind::Pause, false, false),
    kind("partition", FaultKind::Partition, false, false),
    kind("deaf", FaultKind::Deaf, false, false),
    kind("mute", FaultKind::Mute, false, false),
    kind("full-disk", FaultKind::FullDisk, false, false),
    kind("step-down", FaultKind::StepDown, false, false),
    kind("kill-nats", FaultKind::Kill, true, false),
    kind("stop-nats", FaultKind::Stop, true, false),
    kind("pause-nats", FaultKind::Pause, true, false),
    kind("kill-all-nodes", FaultKind::Kill, false, true),
    kind("restart-all-nodes", FaultKind::Restart, false, true),
    kind("kill-all-nats", FaultKind::Kill, true, true),
];

/// Returns the kinds of these names; all kinds without names.
///
/// # Errors
/// A name is of no kind.
pub(super) fn kinds(names: &[String]) -> Outcome<Vec<Kind>> {
    if names.is_empty() {
        return Ok(KINDS.to_vec());
    }
    let all = KINDS.map(|it| it.name);
    let find = |name: &String| {
        KINDS.into_iter().find(|it| it.name == name).ok_or_else(|| {
            Failure::scenario(format!(
                "--only {name}: there is no such kind of fault{}",
                hint(name, &all)
            ))
        })
    };
    names.iter().map(find).collect()
}

/// Returns the faults of a round, one each `every`, and the time of sending that they need.
pub(super) fn round(
    seed: u64,
    (round, faults): (u32, u32),
    (kinds, every): (&[Kind], Duration),
) -> (Vec<Fault>, Duration) {
    let cluster = Cluster::default();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(mix(seed ^ u64::from(round) << 32));
    let mut at = FIRST;
    let mut all = Vec::new();
    for _ in 0..faults {
        let kind = kinds[rng.random_range(0..kinds.len())];
        let length = Span(Duration::from_millis(rng.random_range(LENGTHS)));
        let node = rng.random_range(0..=cluster.nodes);
        let server = rng.random_range(0..cluster.servers);
        let whom = match (kind.servers, kind.all) {
            (true, true) => Whom::Servers,
            (true, false) => Whom::Server(server),
            (false, true) => Whom::Nodes,
            (false, false) if kind.action == FaultKind::StepDown => Whom::Leader,
            // The leader is the most interesting one.
            (false, false) if node == cluster.nodes => Whom::Leader,
            (false, false) => Whom::Node(node),
        };
        let ends_by_itself = matches!(kind.action, FaultKind::Restart | FaultKind::StepDown);
        let how_long = (!ends_by_itself).then_some(length);
        all.push(Fault::new(kind.action, whom, Span(at), how_long));
        at += every;
    }
    (all, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_faults() {
        let kinds = kinds(&[]).unwrap();
        let of = |seed, number| round(seed, (number, 50), (&kinds, Duration::from_secs(5)));
        assert_eq!(of(7, 1), of(7, 1));
        assert_ne!(of(7, 1).0, of(7, 2).0);
        assert_ne!(of(7, 1).0, of(8, 1).0);
        let (faults, sending) = of(7, 1);
        assert_eq!(sending, Duration::from_secs(253));
        for fault in &faults {
            // A round can be played again by its scenario.
            assert_eq!(fault.to_string().parse(), Ok(*fault));
            fault.check(Some(Cluster::default())).unwrap();
        }
        for kind in KINDS {
            let is_one = |it: &&Fault| it.action == kind.action;
            assert!(faults.iter().any(|it| is_one(&it)), "{}", kind.name);
        }
    }

    #[test]
    fn only_the_named_kinds_are_drawn() {
        let kinds = kinds(&["partition".into()]).unwrap();
        let (faults, _) = round(1, (1, 30), (&kinds, Duration::from_secs(5)));
        assert!(faults.iter().all(|it| it.action == FaultKind::Partition));
        let why = super::kinds(&["partitoin".into()]).unwrap_err().message;
        assert!(why.contains("did you mean `partition`"), "{why}");
    }
}
