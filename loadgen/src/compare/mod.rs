//! `loadgen compare`: compares two runs, or two builds by many pairs of runs.
//!
//! Only valid runs of one scenario and one machine are compared. A verdict on noise needs ten pairs
//! or more, taken in turns: see [`verdict`]. `docs/comparing.md` has the formulas.

mod alike;
mod figures;
mod page;
#[cfg(test)]
mod resampled;
mod runs;
mod statistics;
mod verdict;

use std::path::PathBuf;

use serde_json::Value;

use crate::args::CompareArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::foreign;
use crate::output::say;

use runs::Run;
use statistics::DIFFERENCES_MAX;
use verdict::Strictness;

/// The two sides, run by run in the order of time: a pair is a run of each.
#[derive(Debug)]
struct Sides {
    a: Vec<Run>,
    b: Vec<Run>,
}

/// The result of a comparison.
#[derive(Debug)]
struct Compared {
    exit: Exit,
    /// The reasons why the runs cannot be compared. If there are any, there are no figures.
    refused: Vec<String>,
    /// Remarks, such as differences that do not matter.
    notes: Vec<String>,
    figures: Vec<verdict::Row>,
    /// The confidence of the intervals, if there are any.
    confidence: Option<f64>,
}

/// Compares and prints the result.
///
/// # Errors
/// Exit 104: the sides are not as many, or results cannot be read.
pub(crate) fn run(args: &CompareArgs) -> Outcome<Exit> {
    if !(0.0..=0.5).contains(&args.floor) {
        let why = format!("--floor {}: a part, 0 to 0.5", args.floor);
        return Err(Failure::scenario(why));
    }
    let sides = sides(args)?;
    alike::check_names(&sides, &args.vary)?;
    let strictness = Strictness {
        least: args.floor,
        ..Strictness::COMPARE
    };
    let compared = compare(&sides, &args.vary, strictness);
    if args.json {
        say(&[foreign::json(&page::json(&sides, &compared))]);
    } else {
        say(&page::text(&sides, &compared));
    }
    Ok(compared.exit)
}

/// The comparison of two builds, for other commands.
#[derive(Debug)]
pub(crate) struct Builds {
    pub(crate) exit: Exit,
    pub(crate) text: Vec<String>,
    pub(crate) json: Value,
    /// The verdict in a sentence.
    pub(crate) conclusion: String,
}

/// Compares the runs of an old build with as many of a new one, taken in turns, as strictly as a gate.
///
/// # Errors
/// Exit 104: there are too many runs, or results cannot be read.
pub(crate) fn builds(old: &[PathBuf], new: &[PathBuf]) -> Outcome<Builds> {
    let sides = read(old, new)?;
    let compared = compare(&sides, &[], Strictness::GATE);
    Ok(Builds {
        exit: compared.exit,
        text: page::text(&sides, &compared),
        json: page::json(&sides, &compared),
        conclusion: page::conclusion(&compared),
    })
}

/// Reads both sides as the command line names them.
fn sides(args: &CompareArgs) -> Outcome<Sides> {
    let (a, b) = match (&args.runs[..], &args.with[..]) {
        ([a, b], []) => (std::slice::from_ref(a), std::slice::from_ref(b)),
        (runs, []) => {
            return Err(Failure::scenario(format!(
                "{} folders and no --with: name two, or `compare A1 A2 ... --with B1 B2 ...`",
                runs.len()
            )));
        }
        sides => sides,
    };
    read(a, b)
}

/// Reads both sides, and checks that they are as many runs, each another.
fn read(a: &[PathBuf], b: &[PathBuf]) -> Outcome<Sides> {
    let sides = Sides {
        a: runs::read(a)?,
        b: runs::read(b)?,
    };
    let (a, b) = (sides.a.len(), sides.b.len());
    if a != b {
        return Err(Failure::scenario(format!(
            "A has {a} runs and B has {b}: runs are compared in pairs, so give as many of each"
        )));
    }
    if a > DIFFERENCES_MAX {
        return Err(Failure::scenario(format!(
            "{a} pairs are too many: {DIFFERENCES_MAX} at most; leave some out"
        )));
    }
    let mut seen = std::collections::BTreeSet::new();
    let folders = sides.a.iter().chain(&sides.b).map(|run| &run.folder);
    for folder in folders {
        let real = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.clone());
        if !seen.insert(real) {
            let why = format!("{} is given twice", folder.display());
            return Err(Failure::scenario(why));
        }
    }
    Ok(sides)
}

fn compare(sides: &Sides, vary: &[String], strictness: Strictness) -> Compared {
    let broken = |run: &&Run| run.verdict() == Exit::Violation.verdict();
    let all = || sides.a.iter().chain(&sides.b);
    let refuse = |exit, refused| Compared {
        exit,
        refused,
        notes: Vec::new(),
        figures: Vec::new(),
        confidence: None,
    };
    let broken: Vec<_> = all().filter(broken).map(Run::breach).collect();
    if !broken.is_empty() {
        return refuse(Exit::Violation, broken);
    }
    let mut refused: Vec<_> = all().filter_map(Run::unusable).collect();
    let alike::Differences { serious, harmless } = alike::differences(sides, vary);
    refused.extend(serious);
    if !refused.is_empty() {
        return refuse(Exit::Inconclusive, refused);
    }
    let verdict = verdict::judge(sides, strictness);
    let mut notes = harmless;
    notes.extend(verdict.notes);
    Compared {
        exit: verdict.exit,
        refused,
        notes,
        figures: verdict.rows,
        confidence: verdict.confidence,
    }
}
