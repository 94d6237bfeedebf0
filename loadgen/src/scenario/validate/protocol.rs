//! The rules for the protocol of another server, and for what it cannot play.

use super::{Check, Fault, fault, must};
use crate::scenario::Scenario;
use crate::scenario::protocol::ProtocolKind;

/// Returns all mistakes of the table, and the first part of the scenario that the protocol cannot
/// play.
pub(super) fn check(scenario: &Scenario) -> Vec<Fault> {
    let protocol = &scenario.protocol;
    let mistakes = protocol.mistakes().into_iter();
    let mut faults: Vec<_> = mistakes
        .map(|(key, why)| fault(&format!("protocol.{key}"), format!("{key}: {why}")))
        .collect();
    faults.extend(playable(scenario).err());
    faults
}

fn playable(scenario: &Scenario) -> Check {
    let kind = scenario.protocol.kind;
    if kind == ProtocolKind::Trunkline {
        return Ok(());
    }
    must(
        scenario.population.devices == 1.0,
        "population.devices",
        format!("with kind = \"{kind}\" a user has one device: write devices = 1.0"),
    )?;
    must(
        scenario.traffic.groups.is_none(),
        "traffic.groups",
        format!("with kind = \"{kind}\" users write to single users: leave groups out"),
    )?;
    must(
        scenario.chaos.is_empty(),
        "chaos.actions",
        format!(
            "loadgen can break only a gateway that it started, and starts none with kind = \"{kind}\": leave the chaos out"
        ),
    )
}
