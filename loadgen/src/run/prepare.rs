//! The scenario of a command line: its text with the values of variables, and its thresholds.

use crate::args::RunArgs;
use crate::baseline;
use crate::exit::Outcome;
use crate::scenario::load::{self, Loaded};

/// Reads the scenario of a command line with its variables, and adds the thresholds of the command line.
///
/// # Errors
/// The scenario or an option is wrong (exit 104). The message says what to change.
pub(crate) fn load(args: &RunArgs) -> Outcome<Loaded> {
    let mut loaded = load::load_with(&args.scenario, &args.variables)?;
    for wanted in &args.threshold {
        let thresholds = &mut loaded.scenario.thresholds;
        let of_metric = thresholds.entry(wanted.metric.clone()).or_default();
        of_metric.push(wanted.threshold);
    }
    baseline::resolve(&mut loaded, args.baseline.as_deref())?;
    baseline::all_known(&loaded)?;
    Ok(loaded)
}
