//! Reading what a run left behind.

use std::path::Path;

use serde_json::Value;

use crate::exit::{Failure, Outcome};

/// The version of a summary that this reads.
const SCHEMA: u64 = 1;

/// How a damaged file is mended.
pub(crate) const AGAIN: &str =
    "the file is damaged: run the scenario again (scenario.lock.toml has it)";
/// How one that is missing is.
pub(crate) const OLD: &str =
    "the results are of an older loadgen: run the scenario again (scenario.lock.toml has it)";

/// The summaries of a run and of `hold`.
const SUMMARIES: [&str; 2] = ["summary.json", "hold.json"];

/// A file of a run's folder is not right: exit 104.
pub(crate) fn bad(folder: &Path, name: &str, why: &str, mend: &str) -> Failure {
    Failure::scenario(format!("{}: {why}; {mend}", folder.join(name).display()))
}

/// Whether a folder is that of a run.
pub(crate) fn is_run(folder: &Path) -> bool {
    SUMMARIES.iter().any(|name| folder.join(name).is_file())
}

/// The summary of a run in its folder.
///
/// # Errors
/// Exit 104: there is none, or it cannot be read.
pub(crate) fn summary_of(folder: &Path) -> Outcome<Value> {
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let found = SUMMARIES
        .iter()
        .find_map(|name| text(name).map(|text| (*name, text)));
    let (name, summary) = found.ok_or_else(|| {
        let mend = "name the folder that `loadgen run --out DIR` wrote";
        bad(folder, SUMMARIES[0], "there are no results of a run", mend)
    })?;
    let summary: Value =
        serde_json::from_str(&summary).map_err(|why| bad(folder, name, &why.to_string(), AGAIN))?;
    match summary["schema"].as_u64() {
        Some(SCHEMA) => Ok(summary),
        Some(other) => {
            let why = format!("it has schema {other}, and this loadgen reads {SCHEMA}");
            Err(bad(folder, name, &why, "use the loadgen that wrote it"))
        }
        None => Err(bad(folder, name, "it has no schema", AGAIN)),
    }
}
