//! The machines that played a run: the health of each, and what is missing if one ended early.

use serde::Serialize;

use crate::check::Findings;
use crate::client::Measured;
use crate::couriers::Between;
use crate::health::{Cpu, Health};
use crate::scenario::Health as Limits;
use crate::stats::{Counters, Metric};

/// What a run on several machines does not check.
pub(super) const NOT_CHECKED: &str = "receipts, history, groups and reconnects between agents: both ends of \
     each user's conversation are on one agent, and only couriers exchange messages with other agents";

/// What is known of a machine after its part of the run.
#[derive(Debug)]
pub(crate) struct AgentRecord {
    pub(crate) about: AgentResult,
    /// What its threads measured; `None` if that is lost.
    pub(crate) measured: Option<Measured>,
    /// The use of its processors.
    pub(crate) cpu: Cpu,
}

/// A machine that played a part of a run, as the summary has it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AgentResult {
    /// The number of the agent and the name of its machine.
    pub(crate) name: String,
    pub(crate) threads: u32,
    /// The users that it played, online or not.
    pub(crate) users: u64,
    pub(crate) sessions: u64,
    /// How far its clock was ahead of that of the lead before the run, in microseconds.
    pub(crate) clock_offset_us: i64,
    /// How far the offset may be off during the run, in microseconds.
    pub(crate) clock_uncertainty_us: u64,
    /// Its health; `None` if its figures are lost.
    pub(crate) health: Option<Health>,
    /// When and why it ended before the run did; `None` if it did not.
    pub(crate) ended_early: Option<String>,
}

/// Judges the health of each machine, and adds what their threads measured to `measured`.
pub(super) fn judge(
    limits: &Limits,
    records: Vec<AgentRecord>,
    measured: &mut Vec<Measured>,
) -> Vec<AgentResult> {
    let each = records.into_iter().map(|record| {
        let AgentRecord {
            mut about,
            measured: own,
            cpu,
        } = record;
        if let Some(own) = own {
            let counters = own.findings.counters();
            let lag = own.latencies.percentiles(Metric::SendLag);
            let health = Health::judge(limits, counters, &lag, own.stall, &cpu);
            about.health = Some(health.with_busiest(own.busy));
            measured.push(own);
        }
        about
    });
    each.collect()
}

/// Adds the promises to couriers that were broken.
pub(super) fn testify(findings: &mut Findings, between: Option<&Between>) {
    for fault in between.iter().flat_map(|it| &it.faults) {
        findings.testify(fault.at, fault.kind, fault.count, &fault.detail);
    }
}

/// Adds the messages of the couriers to the counters that are compared with those of the gateway.
pub(super) fn with_couriers(mut counters: Counters, between: Option<&Between>) -> Counters {
    if let Some(between) = between {
        counters.acknowledged += between.acknowledged;
        counters.send_replies += between.acknowledged;
        counters.message_pushes += between.pushes;
        counters.unknown += between.unanswered;
    }
    counters
}

/// Returns the health of all machines together; `None` without any. A machine that ended early is a fault by itself.
pub(super) fn health(agents: &[AgentResult]) -> Option<Health> {
    if agents.is_empty() {
        return None;
    }
    let known = agents
        .iter()
        .filter_map(|it| Some((&*it.name, it.health.as_ref()?)));
    let mut health = Health::of_all(known);
    if agents.iter().any(|it| it.ended_early.is_some()) {
        // The others were told to stop, so their figures are those of a part of the schedule.
        health.faults.clear();
    }
    for agent in agents {
        if let Some(why) = &agent.ended_early {
            health.add_fault(format!(
                "{} {why}: what its {} users did is not in these figures",
                agent.name, agent.users
            ));
        }
    }
    Some(health)
}
