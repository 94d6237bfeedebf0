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
/// How results of two runs in one folder are.
pub(crate) const MIXED: &str =
    "the results of two runs are mixed: run it again with an --out of its own";

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
    let (name, summary) = match SUMMARIES.map(text) {
        [Some(_), Some(_)] => {
            let why = format!("{} stands beside it", SUMMARIES[0]);
            return Err(bad(folder, SUMMARIES[1], &why, MIXED));
        }
        [Some(text), None] => (SUMMARIES[0], text),
        [None, Some(text)] => (SUMMARIES[1], text),
        [None, None] => {
            let why = match folder.is_dir() {
                true => "there are no results of a run: it has not ended, or was killed",
                false => "there are no results of a run: there is no such folder",
            };
            let mend = "name the folder that `loadgen run --out DIR` wrote";
            return Err(bad(folder, SUMMARIES[0], why, mend));
        }
    };
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
