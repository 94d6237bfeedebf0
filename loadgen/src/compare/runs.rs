//! Reading the runs of both sides from their folders.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::exit::{Exit, Failure, Outcome};
use crate::report::results::{self, AGAIN, OLD, bad};

/// The content of a run's folder.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) folder: PathBuf,
    pub(super) summary: Value,
    /// The environment of the run.
    pub(super) env: Value,
    /// The scenario of the run.
    pub(super) lock: toml::Table,
}

/// Reads the runs of a side, in the order of time. Each folder holds one run, or folders with one
/// run each.
///
/// # Errors
/// Exit 104: there are no runs, or one cannot be read.
pub(super) fn read(folders: &[PathBuf]) -> Outcome<Vec<Run>> {
    let mut runs = Vec::new();
    for folder in folders {
        for one in runs_in(folder)? {
            runs.push(read_one(one)?);
        }
    }
    runs.sort_by_key(Run::ended);
    Ok(runs)
}

/// Returns the folder itself if it holds a run, else the folders of the runs in it.
fn runs_in(folder: &Path) -> Outcome<Vec<PathBuf>> {
    if results::is_run(folder) {
        return Ok(vec![folder.to_owned()]);
    }
    let entries = std::fs::read_dir(folder).map_err(|why| {
        Failure::scenario(format!(
            "{}: {why}; name the folder that `loadgen run --out DIR` wrote, or one with several of them",
            folder.display()
        ))
    })?;
    let inside = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<_> = inside.filter(|path| results::is_run(path)).collect();
    if found.is_empty() {
        return Err(Failure::scenario(format!(
            "{}: there are no results of a run in this folder or its subfolders",
            folder.display()
        )));
    }
    // Runs that ended in the same second are in the order of their names.
    found.sort();
    Ok(found)
}

fn read_one(folder: PathBuf) -> Outcome<Run> {
    let text = |name: &str| {
        std::fs::read_to_string(folder.join(name))
            .map_err(|why| bad(&folder, name, &why.to_string(), OLD))
    };
    let summary = results::summary_of(&folder)?;
    let env = serde_json::from_str(&text("env.json")?)
        .map_err(|why| bad(&folder, "env.json", &why.to_string(), AGAIN))?;
    let lock = text("scenario.lock.toml")?
        .parse()
        .map_err(|why: toml::de::Error| bad(&folder, "scenario.lock.toml", why.message(), AGAIN))?;
    Ok(Run {
        summary,
        env,
        lock,
        folder,
    })
}

impl Run {
    /// Returns the verdict of the run, in a word.
    pub(super) fn verdict(&self) -> &str {
        self.summary["verdict"].as_str().unwrap_or("unknown")
    }

    /// Returns when the run ended, in seconds since 1970.
    pub(super) fn ended(&self) -> u64 {
        self.env["ended_unix_s"].as_u64().unwrap_or(0)
    }

    /// Returns the kinds of violations in the run.
    pub(super) fn breach(&self) -> String {
        let kinds = self.summary["violations"].as_object().into_iter().flatten();
        let kinds: Vec<_> = kinds
            .map(|(kind, count)| format!("{kind}: {count}"))
            .collect();
        format!("{}: {}", self.folder.display(), kinds.join(", "))
    }

    /// Returns the reason why the figures of the run do not count; `None` if they count. A missed
    /// threshold is no such reason, because the figures are right.
    pub(super) fn unusable(&self) -> Option<String> {
        let good = [Exit::Ok, Exit::Threshold].map(Exit::verdict);
        let verdict = self.verdict();
        if good.contains(&verdict) {
            return None;
        }
        let reasons = [&self.summary["health"]["faults"], &self.summary["doubts"]];
        let mut reasons = reasons.into_iter().filter_map(Value::as_array).flatten();
        let why = reasons.find_map(Value::as_str);
        let why = why.map_or(String::new(), |why| format!(" ({why})"));
        let folder = self.folder.display();
        Some(format!(
            "{folder}: the verdict of the run is {verdict}, so its figures do not count{why}"
        ))
    }
}
