//! `loadgen check`: judges the results of a finished run again.
//!
//! The verdict follows from the summary, by the thresholds of the scenario beside it or of another
//! one. The events of each kept violation are judged by separate rules, which share no code with
//! those of the run.

mod history;
mod verdict;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::args::CheckArgs;
use crate::baseline;
use crate::exit::{Exit, Failure, Outcome};
use crate::foreign::{quoted, safe_line};
use crate::output::say;
use crate::scenario::load::{self, Loaded};
use crate::units::grouped;

use history::Event;

/// The most events of a history that are printed.
const PRINTED: usize = 12;
/// The most violations of a kind that are printed with their history.
const DETAILED: usize = 3;

/// A violation that was kept.
#[derive(Debug, Deserialize)]
struct Finding {
    at_us: u64,
    kind: String,
    conversation: Option<String>,
    detail: String,
    events: Vec<Event>,
}

/// Judges the results in a folder, and prints the verdict.
///
/// # Errors
/// There are no results, or they cannot be read (exit 104).
pub(crate) fn run(args: &CheckArgs) -> Outcome<Exit> {
    let folder = &args.dir;
    let fail = |name: &str, why: String| {
        Failure::scenario(format!("{}: {why}", folder.join(name).display()))
    };
    let text = ["summary.json", "hold.json"]
        .iter()
        .find_map(|name| std::fs::read_to_string(folder.join(name)).ok())
        .ok_or_else(|| {
            fail(
                "summary.json",
                "there are no results of a run; name the folder that `loadgen run --out DIR` wrote"
                    .into(),
            )
        })?;
    let summary: Value =
        serde_json::from_str(&text).map_err(|why| fail("summary.json", why.to_string()))?;
    let loaded = scenario(args)?;
    let findings = findings(folder).map_err(|why| fail("violations.jsonl", why))?;

    let verdict = verdict::judge(&summary, &loaded.scenario);
    let recorded = summary["verdict"].as_str().unwrap_or("missing").to_owned();
    let mut lines = vec![format!(
        "loadgen check {}: {} (seed {}), judged by {}",
        folder.display(),
        summary["scenario"].as_str().unwrap_or("a run"),
        summary["seed"],
        loaded.origin
    )];
    let mut printed: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in &findings {
        let printed = printed.entry(&finding.kind).or_default();
        *printed += 1;
        if *printed <= DETAILED {
            lines.extend(show(finding));
        }
    }
    for (kind, count) in printed.iter().filter(|(_, count)| **count > DETAILED) {
        lines.push(format!("{kind}: {} more are in the file", count - DETAILED));
    }
    lines.push(String::new());
    lines.extend(verdict.why.iter().cloned());
    lines.extend(
        verdict.untold.iter().map(|untold| {
            format!("{untold}: not judged again, because a summary does not have it")
        }),
    );
    let exit = verdict.exit;
    lines.push(match exit.verdict() == recorded {
        true => format!("{recorded} (exit {}), as it was", exit.code()),
        false => format!(
            "{} (exit {}); it was {recorded}",
            exit.verdict(),
            exit.code()
        ),
    });
    say(&lines);
    Ok(exit)
}

/// Returns the scenario whose thresholds judge: the given one, or that of the run.
fn scenario(args: &CheckArgs) -> Outcome<Loaded> {
    let Some(scenario) = &args.by else {
        return load::load(&args.dir.join("scenario.lock.toml").to_string_lossy());
    };
    let mut loaded = load::load(scenario)?;
    baseline::resolve(&mut loaded, args.baseline.as_deref())?;
    baseline::all_known(&loaded)?;
    Ok(loaded)
}

/// Reads the kept violations; an empty list without a file.
fn findings(folder: &Path) -> Result<Vec<Finding>, String> {
    let Ok(text) = std::fs::read_to_string(folder.join("violations.jsonl")) else {
        return Ok(Vec::new());
    };
    let lines = (1..).zip(text.lines());
    lines
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|why| format!("line {number}: {why}"))
        })
        .collect()
}

/// Returns the lines of a violation, with the end of its history.
fn show(finding: &Finding) -> Vec<String> {
    let of = quoted(finding.conversation.as_deref().unwrap_or("no conversation"));
    let shown = history::shown(&finding.events, of.starts_with("g:"));
    let again = if shown.contains(finding.kind.as_str()) {
        "its history shows it"
    } else {
        "its history alone does not prove it"
    };
    let mut lines = vec![
        String::new(),
        format!(
            "{} at {} µs in {of}: {again}",
            safe_line(&finding.kind),
            grouped(finding.at_us)
        ),
        format!("  {}", quoted(&finding.detail)),
    ];
    let skipped = finding.events.len().saturating_sub(PRINTED);
    for event in &finding.events[skipped..] {
        let device = event
            .device
            .map_or(String::new(), |n| format!("device {n}"));
        let seq = match event.seq {
            0 => String::new(),
            seq => format!("sequence {seq}"),
        };
        let line = format!(
            "  {:>14} µs  {:<12} {} message {:<6} {seq:<14} {device}",
            grouped(event.at_us),
            event.what.name(),
            safe_line(&event.from),
            event.message
        );
        lines.push(line.trim_end().to_owned());
    }
    lines
}
