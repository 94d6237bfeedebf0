//! Reading the files that a run left behind.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::exit::{Failure, Outcome};

/// The version of summaries that this program reads.
const SCHEMA: u64 = 1;

/// The advice about a damaged file.
pub(crate) const AGAIN: &str =
    "the file is damaged: run the scenario again (scenario.lock.toml has it)";
/// The advice about the damaged table of a search.
const RETRY: &str = "the file is damaged: search again, or name the folders of trials (trial-01)";
/// The advice about a missing file.
pub(crate) const OLD: &str =
    "the results are of an older loadgen: run the scenario again (scenario.lock.toml has it)";
/// The advice about files of two runs in one folder.
pub(crate) const MIXED: &str =
    "the results of two runs are mixed: run the scenario again with a separate --out";

/// The file with the scenario as it was run.
const LOCK: &str = "scenario.lock.toml";

/// The files with the summaries of `run` and of `hold`.
const SUMMARIES: [&str; 2] = ["summary.json", "hold.json"];

/// The file with the table of a search. Its folder has the folders of the trials.
pub(crate) const SEARCH: &str = "find-max.json";

/// Returns the failure of a damaged file in a run's folder (exit 104).
pub(crate) fn bad(folder: &Path, name: &str, why: &str, mend: &str) -> Failure {
    Failure::scenario(format!("{}: {why}; {mend}", folder.join(name).display()))
}

/// Returns the first of these files that no run of loadgen wrote. With a summary or a scenario of
/// loadgen beside it, a file counts as part of that run; without them it counts as foreign.
pub(crate) fn foreign<'a>(folder: &Path, files: &'a [PathBuf]) -> Option<&'a PathBuf> {
    let ours = |name: &&str| {
        let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        let summary: Value = serde_json::from_str(&text).unwrap_or_default();
        is_summary(&summary)
    };
    // Results that could not be written to their end have no summary.
    let begun = || {
        let lock = std::fs::read_to_string(folder.join(LOCK)).unwrap_or_default();
        let lock: toml::Table = lock.parse().unwrap_or_default();
        ["schema", "population", "scenarios"]
            .iter()
            .all(|key| lock.contains_key(*key))
    };
    let known = SUMMARIES.iter().chain([&SEARCH]).any(ours) || begun();
    files.iter().find(|file| !known || !file.is_file())
}

/// Returns whether a JSON file has the form of a summary of loadgen, of any version.
pub(crate) fn is_summary(summary: &Value) -> bool {
    summary["schema"].is_u64() && summary["scenario"].is_string() && summary["verdict"].is_string()
}

/// Returns whether a folder is that of a search, with a run for each trial.
pub(crate) fn is_search(folder: &Path) -> bool {
    folder.join(SEARCH).is_file() && !is_run(folder)
}

/// Returns the folders of up to `most` trials of a search, in the order of their rates. Chooses the
/// trials next to the limit on both sides.
///
/// # Errors
/// The table is damaged or has no trial (exit 104).
pub(crate) fn trials_of(folder: &Path, most: usize) -> Outcome<Vec<PathBuf>> {
    let text = std::fs::read_to_string(folder.join(SEARCH)).unwrap_or_default();
    let table: Value =
        serde_json::from_str(&text).map_err(|why| bad(folder, SEARCH, &why.to_string(), RETRY))?;
    let rate = |of: &Value| of.as_f64().filter(|rate| *rate > 0.0);
    let limit = [
        &table["rate"],
        &table["bracket"]["held"],
        &table["bracket"]["failed"],
    ];
    let limit = limit.into_iter().find_map(rate);
    let all = table["trials"].as_array().into_iter().flatten();
    let mut trials: Vec<(f64, u64)> = all
        .filter_map(|trial| Some((rate(&trial["offered"])?, trial["trial"].as_u64()?)))
        .collect();
    if trials.is_empty() {
        return Err(bad(folder, SEARCH, "there is no trial in it", RETRY));
    }
    let limit = limit.unwrap_or(trials[0].0);
    // As many doublings away, up or down: the nearest first, and of one rate the first trial.
    let away = |(rate, _): &(f64, u64)| (rate / limit).log2().abs();
    trials.sort_by(|a, b| away(a).total_cmp(&away(b)).then(a.1.cmp(&b.1)));
    trials.truncate(most);
    trials.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let folders = trials.into_iter();
    Ok(folders
        .map(|(_, number)| folder.join(format!("trial-{number:02}")))
        .collect())
}

/// Returns whether a folder is that of a run.
pub(crate) fn is_run(folder: &Path) -> bool {
    SUMMARIES.iter().any(|name| folder.join(name).is_file())
}

/// Returns the text summary of the `run` or `hold` in a folder; `None` if it is missing.
pub(crate) fn text_of(folder: &Path) -> Option<String> {
    let names = ["summary.txt", "hold.txt"];
    names
        .iter()
        .find_map(|name| std::fs::read_to_string(folder.join(name)).ok())
}

/// Returns the summary of the run in a folder.
///
/// # Errors
/// There is no summary, or it cannot be read (exit 104).
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
                false => "there are no results of a run: the folder does not exist",
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
