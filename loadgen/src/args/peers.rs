//! The options of `peers`.

use std::path::PathBuf;

use crate::units::{Rate, Span};

/// The options of `peers`.
#[derive(Debug, clap::Args)]
pub(crate) struct PeersArgs {
    /// Only these servers, such as trunkline,nats [default: all that are installed]
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// The number of rounds; in each, every server has its turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// The time for which messages are sent to a server in each round
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) duration: Span,
    /// Messages per second
    #[arg(long, value_name = "R", default_value = "2000/s")]
    pub(crate) rate: Rate,
    /// The number of users, each with one session, 3 to 1000
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(3..=1000))]
    pub(crate) connections: u64,
    /// Limits of the generator's health in place of those of the comparison, such as
    /// steal_max=0.1,send_lag_p99=20ms
    #[arg(long, value_delimiter = ',', value_name = "NAME=VALUE")]
    pub(crate) health: Vec<String>,
    /// Print the table as JSON, with the content of peers.json
    #[arg(long)]
    pub(crate) json: bool,
    /// The folder of the results [default: a new folder under target/loadgen if there is a target
    /// folder, otherwise under the temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}
