//! The options of `loadgen plan`.

use std::path::PathBuf;

use crate::units::Compress;

/// The options of `plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// The name of a preset (see `loadgen presets`), a TOML file, or - for standard input
    #[arg(required_unless_present = "explain")]
    scenario: Option<String>,
    /// Take the capacity of a machine from results instead of the scenario's [plan]: messages from
    /// those of `run` or `find-max`, connections from those of `hold`; may be given several times
    #[arg(long, value_name = "DIR")]
    pub(crate) measured: Vec<PathBuf>,
    /// How much faster than real time a run of the scenario replays the day, such as 24h=10m
    #[arg(long, value_name = "LONG=SHORT")]
    pub(crate) compress: Option<Compress>,
    /// Plan for cells: clusters of several gateways with one log each. More than one cell is not built yet
    #[arg(long)]
    pub(crate) cluster: bool,
    /// Print the plan as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Compare the plan of a preset with a published estimate
    #[arg(long, value_name = "PRESET", conflicts_with_all = ["scenario", "json", "measured", "compress", "cluster"])]
    pub(crate) explain: Option<String>,
}

impl PlanArgs {
    /// Returns the scenario to plan for.
    pub(crate) fn scenario(&self) -> &str {
        let one = self.explain.as_ref().or(self.scenario.as_ref());
        one.map_or("", String::as_str)
    }
}
