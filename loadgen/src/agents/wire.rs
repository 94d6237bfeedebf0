//! The messages between the lead of a run and its agents: JSON over NATS.
//!
//! | subject | from | message |
//! |---|---|---|
//! | `trunkline.loadgen.call` | a lead that looks for agents | [`Call`] |
//! | `trunkline.loadgen.agent.ID` | a lead to one agent | [`FromLead`] |
//! | `trunkline.loadgen.RUN.lead` | an agent to its lead | [`FromAgent`] |
//! | `trunkline.loadgen.RUN.results` | an agent to its lead | a part of [`Results`] (`pieces`) |

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::split::ThreadRange;
use crate::client::{Beat, Measured};
use crate::clock::Nanos;
use crate::couriers::{CourierReport, Seat};
use crate::course::Course;
use crate::health::{Cpu, Process};
use crate::random::short_name;

/// The version of the messages. Lead and agents must have the same, and be of one version of loadgen.
pub(crate) const WIRE: u32 = 2;

/// The time between two signs of life, of the lead and of each agent.
pub(crate) const BEAT: Duration = Duration::from_secs(1);

/// The time without a sign of life after which the other side counts as gone.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);

/// The subject on which leads look for agents.
pub(crate) const CALL: &str = "trunkline.loadgen.call";

/// Returns the subject of one agent.
pub(crate) fn to_agent(id: &str) -> String {
    format!("trunkline.loadgen.agent.{id}")
}

/// Returns the subject of what agents tell the lead of a run.
pub(crate) fn to_lead(run: &str) -> String {
    format!("trunkline.loadgen.{run}.lead")
}

/// Returns the subject of the results of a run.
pub(crate) fn results(run: &str) -> String {
    format!("trunkline.loadgen.{run}.results")
}

/// Returns a name for a run or an agent that no other has: twelve letters and digits.
pub(crate) fn new_id() -> String {
    // A hasher begins with random keys of the system.
    let random = || std::hash::RandomState::new().build_hasher().finish();
    short_name(random()) + &short_name(random())
}

/// A lead looks for agents.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Call {
    pub(crate) run: String,
}

/// A message of a lead to one agent.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct FromLead {
    /// The run of the lead. An agent that plays another one does not listen.
    pub(crate) run: String,
    pub(crate) told: ToAgent,
}

/// What a lead tells one agent.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ToAgent {
    /// A question for the time, which is answered at once ([`Said::Probed`]).
    Probe { sent: Nanos },
    /// The agent's part of a run.
    Plan(Box<Plan>),
    /// The run begins at this time of the agent's clock.
    Go { at: Nanos },
    /// All agents have made their groups. Times of a run count from its beginning.
    Groups { at: Nanos },
    /// An executor has ended on all agents.
    Ended { executor: usize, at: Nanos },
    /// Sending ends at this time, before its executors do.
    SendingEnds { at: Nanos },
    /// A sign of life.
    Beat,
    /// The run is over before its time: the agent sends what it has measured so far.
    Stop,
    /// The lead has the results, or gives the agent up.
    Done,
}

/// An agent's part of a run.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Plan {
    /// The name of the scenario.
    pub(crate) name: String,
    /// The name of the run in user names.
    pub(crate) users: String,
    /// The scenario as TOML, with the options of the lead's command line in it.
    pub(crate) scenario: String,
    /// The URL of the target.
    pub(crate) target: String,
    pub(crate) threads: ThreadRange,
    /// The place of the agent among those of the run.
    pub(crate) seat: Seat,
    /// The target asks for tokens.
    pub(crate) tokens: bool,
}

/// A message of an agent.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct FromAgent {
    /// The identity of the agent.
    pub(crate) agent: String,
    pub(crate) said: Said,
}

/// What an agent tells the lead.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Said {
    /// The agent is free.
    Hello(Hello),
    /// The answer to a question for the time.
    Probed {
        sent: Nanos,
        received: Nanos,
        answered: Nanos,
    },
    /// The agent can play its part: this many users and sessions.
    Ready { users: u64, sessions: u64 },
    /// The agent cannot play its part.
    Refused {
        /// The mistake is in the scenario or the command line, and not a limit of the machine.
        by_scenario: bool,
        why: String,
    },
    /// A sign of life, with the progress of the agent's threads once they work.
    Beat(Option<Box<Beat>>),
    /// The agent leaves the run before its end.
    Leaves { why: String },
}

/// A free agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Hello {
    pub(crate) wire: u32,
    /// The version of loadgen.
    pub(crate) version: String,
    /// The name of the machine.
    pub(crate) host: String,
    /// The number of its processors.
    pub(crate) processors: u32,
}

/// What an agent measured.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Results {
    pub(crate) measured: Measured,
    /// What its courier did; `None` if the run has no other agent.
    pub(crate) courier: Option<CourierReport>,
    pub(crate) course: Course,
    pub(crate) cpu: Cpu,
    /// What the process of the agent used in the run.
    pub(crate) process: Process,
    /// The memory of that process before, in bytes.
    pub(crate) rss_before: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_fit_into_subjects() {
        let ids: std::collections::BTreeSet<_> = (0..1_000).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(
            ids.iter()
                .all(|id| id.len() == 12 && id.chars().all(|c| c.is_ascii_alphanumeric()))
        );
    }
}
