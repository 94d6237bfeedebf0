//! The command line of `gate`.

use std::path::PathBuf;

use crate::units::Span;

/// The options of `gate`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GateArgs {
    /// The build to compare with: a commit of this repository, which is built below target/gate, or the
    /// folder of another checkout
    #[arg(long, value_name = "REV|DIR")]
    pub(crate) base: Option<String>,
    /// Only count instructions and bytes, without runs
    #[arg(long)]
    pub(crate) quick: bool,
    /// The number of pairs of runs, 14 to 100: with fewer, chance alone could explain any result
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(14..=100))]
    pub(crate) pairs: u32,
    /// The scenario of the runs: the name of a preset, or a TOML file
    #[arg(long, value_name = "SCENARIO", default_value = "smoke")]
    pub(crate) scenario: String,
    /// The time for which messages are sent in each run [default: that of the scenario]
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: Option<Span>,
    /// The seed of the order of the two builds in each pair
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Count only these, by their names in the file of limits
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// The file of limits [default: benches/limits.toml of the checkout]
    #[arg(long, value_name = "FILE")]
    pub(crate) limits: Option<PathBuf>,
    /// Write what is measured into the file of limits, and judge nothing
    #[arg(long, conflicts_with_all = ["base", "json"])]
    pub(crate) write_limits: bool,
    /// The program that does the counted work [default: gate-counts, built with --release]
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
