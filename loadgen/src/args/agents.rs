//! The command lines of runs on several machines.

use std::path::PathBuf;

use super::RunArgs;
use crate::couriers::AGENTS_MAX;

/// The options of `agent`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AgentArgs {
    /// The NATS server at which runs are announced, nats://HOST:PORT or tls://..., with nats://USER:PASSWORD@HOST:PORT
    /// if it asks for that
    #[arg(long, value_name = "URL")]
    pub(crate) nats: String,
    /// A PEM file with the certificate authorities to trust for wss:// targets [default: those of the
    /// system]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// A file with the key that signs a token for each user, for runs with --token-key: keys do not
    /// travel over NATS
    #[arg(long, value_name = "FILE")]
    pub(crate) token_key: Option<PathBuf>,
}

/// The options of a run that other machines play.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ManyArgs {
    /// The number of agents (`loadgen agent`) that play the run, 1 to 64: this program leads them and
    /// plays no user
    #[arg(long, value_name = "N", requires_all = ["nats", "target"], value_parser = clap::value_parser!(u32).range(1..=i64::from(AGENTS_MAX)))]
    pub(crate) agents: Option<u32>,
    /// The NATS server of the agents, nats://HOST:PORT
    #[arg(long, value_name = "URL", requires = "agents")]
    pub(crate) nats: Option<String>,
}

/// The agents that shall play a run.
#[derive(Clone, Debug)]
pub(crate) struct WantedAgents {
    pub(crate) count: u32,
    pub(crate) nats: String,
    /// The target asks for tokens.
    pub(crate) tokens: bool,
}

impl ManyArgs {
    /// Returns the agents that shall play the run; `None` if this machine plays it.
    pub(crate) fn wanted(&self, run: &RunArgs) -> Option<WantedAgents> {
        let (count, nats) = self.agents.zip(self.nats.clone())?;
        let tokens = run.tls.token_key.is_some();
        Some(WantedAgents {
            count,
            nats,
            tokens,
        })
    }
}
