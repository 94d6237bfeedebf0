//! The check that the files of a folder belong to one run.

use serde_json::Value;

use crate::course::{Table, figure};
use crate::stats::OVER_TIME;

/// A file that belongs to another run than the summary beside it.
pub(super) struct OtherRun {
    pub(super) file: String,
    /// The difference, as a sentence.
    pub(super) why: String,
}

/// Compares the intervals and the percentile files, in the order of [`OVER_TIME`], with the figures
/// of the summary. The files of another run of the same scenario have other figures.
///
/// # Errors
/// A file belongs to another run.
pub(super) fn one_run(
    summary: &Value,
    table: &Table,
    spectra: &[Vec<(f64, f64)>],
) -> Result<(), OtherRun> {
    for (metric, points) in OVER_TIME.iter().zip(spectra) {
        let name = metric.name();
        let of = |what: &str| figure(summary, &format!("latency_us.{name}.{what}"));
        let differs = |file: &str, what: &str, there: f64, here: f64| {
            let why =
                format!("it belongs to another run than the summary: {what} {there}, not {here}");
            Err(OtherRun {
                file: file.to_owned(),
                why,
            })
        };
        if let Some(count) = of("count") {
            let cells = table.column(&format!("{name}_count")).into_iter();
            let counted: f64 = cells.filter(|cell| cell.is_finite()).sum();
            if counted != count {
                return differs("intervals.csv", &format!("{name}_count is"), counted, count);
            }
        }
        if let (Some(max), Some((_, last))) = (of("max"), points.last())
            && *last != max
        {
            return differs(&format!("{name}.hgrm"), "it ends at", *last, max);
        }
    }
    Ok(())
}
