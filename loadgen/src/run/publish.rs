//! The results of a run as files in its folder.

use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::foreign::{json, shown};
use crate::output;
use crate::report;
use crate::settings::RunSettings;
use crate::verdict::JudgedRun;

/// Writes the results into the run's folder: `name.json`, `name.txt`, and the files beside them.
///
/// # Errors
/// A file could not be written whole.
pub(crate) fn publish(
    run: &RunSettings,
    judged: &JudgedRun,
    name: &str,
    text: &[String],
    summary: &serde_json::Value,
) -> Outcome<()> {
    let written = write(run, judged, name, text, summary);
    if written.is_err() {
        // These files state a verdict that does not hold any more. Either may be missing.
        for file in [format!("{name}.txt"), "report.html".to_owned()] {
            let _ = std::fs::remove_file(run.out.join(file));
        }
    }
    written
}

fn write(
    run: &RunSettings,
    judged: &JudgedRun,
    name: &str,
    text: &[String],
    summary: &serde_json::Value,
) -> Outcome<()> {
    let put = |name: &str, bytes: &[u8]| {
        let path = run.out.join(name);
        files::put(&path, bytes).map_err(|why| files::unwritten(&path, &why))
    };
    // The scenario is written first, because it marks the folder as loadgen's. The summary is
    // written last, because it marks the results as complete.
    let lock = toml::to_string(&run.scenario)
        .map_err(|why| Failure::aborted(format!("cannot write scenario.lock.toml: {why}")))?;
    put("scenario.lock.toml", lock.as_bytes())?;
    report::keep(run, judged)?;
    if !judged.violations.is_empty() {
        put("violations.jsonl", judged.findings.evidence().as_bytes())?;
    }
    let text = shown(&(text.join("\n") + "\n"));
    put(&format!("{name}.txt"), text.as_bytes())?;
    report::page_of(&run.out, summary)?;
    put(&format!("{name}.json"), (json(summary) + "\n").as_bytes())
}

/// Returns the exit code of a run, given the outcome of publishing its results. A violation keeps
/// its exit code in any case. Without the files no other verdict counts.
pub(crate) fn published(judged: &JudgedRun, published: Outcome<()>) -> Outcome<Exit> {
    match published {
        Err(failure) if judged.exit == Exit::Violation => {
            output::complain(&format!("loadgen: {failure}"));
            Ok(Exit::Violation)
        }
        published => published.map(|()| judged.exit),
    }
}
