//! The options of `faults`.

use std::path::PathBuf;

use crate::units::{Rate, Span};

/// The options of `faults`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FaultsArgs {
    /// The number of faults, 1 to 100000
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) trials: u32,
    /// The seed of the faults: the same seed gives the same faults, and the same messages
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Only these kinds of faults, such as kill-node,partition [default: all]
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    pub(crate) only: Vec<String>,
    /// The time from the beginning of a fault to the next one, at the least: a cluster that takes longer
    /// to recover is waited for
    #[arg(long, value_name = "TIME", default_value = "8s")]
    pub(crate) every: Span,
    /// The number of faults on one cluster, 1 to 1000; then another cluster is started
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) round: u32,
    /// Messages per second
    #[arg(long, value_name = "R", default_value = "500/s")]
    pub(crate) rate: Rate,
    /// The number of sessions, 3 to 100000
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u64).range(3..=100_000))]
    pub(crate) connections: u64,
    /// The number of shards of each gateway, 1 to 127 [default: one per core]
    #[arg(long, value_name = "N", value_parser = super::shards())]
    pub(crate) shards: Option<u32>,
    /// Another build of loadgen, whose gateways are started [default: the gateway in this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) gateway: Option<PathBuf>,
    /// Limits of the generator's health in place of those of the preset, such as
    /// steal_max=0.1,send_lag_p99=20ms
    #[arg(long, value_delimiter = ',', value_name = "NAME=VALUE")]
    pub(crate) health: Vec<String>,
    /// The program of the NATS servers [default: TRUNKLINE_NATS_SERVER, or nats-server in PATH]
    #[arg(long, value_name = "FILE")]
    pub(crate) nats_server: Option<PathBuf>,
    /// Print the table as JSON, with the content of faults.json
    #[arg(long)]
    pub(crate) json: bool,
    /// The folder of the results [default: a new folder under target/loadgen if there is a target
    /// folder, otherwise under the temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}
