//! The use of each gateway of a run that has several.

use serde::Serialize;

use crate::client::TargetTally;

/// The use of one gateway, as the summary has it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TargetResult {
    /// The URL.
    pub(crate) target: String,
    /// The sessions opened there, for the first time or again, and the sends acknowledged there.
    #[serde(flatten)]
    pub(crate) tally: TargetTally,
}

/// Returns the use of each of these gateways; an empty list if there is only one.
pub(super) fn results(targets: Vec<String>, tallies: &[TargetTally]) -> Vec<TargetResult> {
    if targets.len() < 2 {
        return Vec::new();
    }
    let tallies = tallies
        .iter()
        .copied()
        .chain(std::iter::repeat(TargetTally::default()));
    { targets.into_iter().zip(tallies) }
        .map(|(target, tally)| TargetResult { target, tally })
        .collect()
}
