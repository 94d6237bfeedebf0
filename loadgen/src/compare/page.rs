//! The page of a comparison for people, and its JSON for programs.

use serde_json::{Value, json};

use super::runs::Run;
use super::statistics::Says;
use super::verdict::{JudgedRun, Row};
use super::{Compared, Sides};
use crate::exit::Exit;

/// The version of the JSON form; fields are added under the same number, never renamed.
const SCHEMA: u32 = 1;

/// Columns of the page.
const WIDTH: usize = 100;

/// Returns the page.
pub(super) fn text(sides: &Sides, compared: &Compared) -> Vec<String> {
    let pairs = sides.a.len();
    let mut lines = vec![format!(
        "loadgen compare: {pairs} {} of {}",
        if pairs == 1 { "pair" } else { "pairs" },
        scenario(&sides.a[0])
    )];
    for (name, runs) in [("A", &sides.a), ("B", &sides.b)] {
        lines.push(format!("  {name}  {}", folders(runs)));
    }
    lines.push(String::new());
    if !compared.refused.is_empty() {
        lines.push("These cannot be compared:".into());
        lines.extend(wrapped("  ", &compared.refused));
        lines.push(String::new());
    }
    if !compared.figures.is_empty() {
        lines.extend(table(compared));
        lines.push(String::new());
    }
    lines.extend(wrapped("note  ", &compared.notes));
    lines.push(format!(
        "{} (exit {}): {}",
        compared.exit.verdict(),
        compared.exit.code(),
        conclusion(compared)
    ));
    lines
}

fn scenario(run: &Run) -> &str {
    run.summary["scenario"].as_str().unwrap_or("a run")
}

fn folders(runs: &[Run]) -> String {
    let first = runs.first().map(|run| run.folder.display().to_string());
    let last = runs.last().map(|run| run.folder.display().to_string());
    match (first, last) {
        (Some(first), Some(last)) if runs.len() > 1 => format!("{first} to {last}"),
        (first, _) => first.unwrap_or_default(),
    }
}

fn table(compared: &Compared) -> Vec<String> {
    let interval = compared.confidence.map_or(String::new(), |confidence| {
        // The confidence of a gate has more digits.
        let digits = if confidence > 0.999 { 2 } else { 1 };
        format!("{:.digits$} % interval", confidence * 100.0)
    });
    let noise = if interval.is_empty() { "" } else { "noise" };
    let mut lines = vec![line(["figure", "A", "B", "B ÷ A", &interval, noise, ""])];
    lines.extend(compared.figures.iter().map(|row| {
        let show = row.figure.show;
        let (interval, noise) = row.judged.as_ref().map_or_else(Default::default, |it| {
            (
                format!("{:.3} to {:.3}", it.interval.low, it.interval.high),
                format!("{:.1} %", (it.floor - 1.0) * 100.0),
            )
        });
        let ratio = format!("{:.3}", row.ratio);
        let says = row
            .judged
            .as_ref()
            .map_or(String::new(), |it| said(row, it));
        let name = row.figure.name;
        line([
            name,
            &show(row.a),
            &show(row.b),
            &ratio,
            &interval,
            &noise,
            &says,
        ])
    }));
    if compared.figures.iter().any(|row| row.judged.is_some()) {
        lines.push(String::new());
        lines.push(
            "Figures in brackets do not decide: they are the generator's own, or tails of few values.".into(),
        );
    }
    lines
}

fn line(cells: [&str; 7]) -> String {
    let [name, a, b, ratio, interval, noise, says] = cells;
    let line = format!("{name:<22} {a:>10} {b:>10} {ratio:>7} {interval:>17} {noise:>8}  {says}");
    line.trim_end().to_owned()
}

fn said(row: &Row, judged: &JudgedRun) -> String {
    let words = words(judged.says);
    match judged.says {
        Says::Nothing => words.into(),
        _ if row.figure.decides => words.to_uppercase(),
        _ => format!("({words})"),
    }
}

fn words(says: Says) -> &'static str {
    match says {
        Says::Nothing => "no difference shown",
        Says::Below => "better",
        Says::PerhapsAbove => "worse, or noise",
        Says::Above => "worse",
    }
}

/// Returns the verdict in a sentence.
pub(super) fn conclusion(compared: &Compared) -> String {
    let judged = compared.figures.iter().filter(|row| row.figure.decides);
    let of = |says: Says| {
        let judged = judged.clone();
        let such = judged.filter(|row| row.judged.as_ref().is_some_and(|it| it.says == says));
        such.map(|row| row.figure.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    match compared.exit {
        Exit::Regression => format!("B is worse beyond noise: {}", of(Says::Above)),
        Exit::Violation => "a gateway broke a promise, so its figures do not matter".into(),
        Exit::Inconclusive if !compared.refused.is_empty() => {
            "nothing is compared (name settings that differ on purpose with --vary)".into()
        }
        Exit::Inconclusive if compared.confidence.is_none() => {
            "only a ratio: the noise is unknown".into()
        }
        Exit::Inconclusive => format!(
            "worse, or noise: {}; take more pairs",
            of(Says::PerhapsAbove)
        ),
        _ => match of(Says::Below) {
            better if better.is_empty() => "no difference shown".into(),
            better => format!("nothing is worse beyond noise; better: {better}"),
        },
    }
}

/// Sentences within the page's columns, those after the first line of each set in.
fn wrapped(prefix: &str, sentences: &[String]) -> Vec<String> {
    let blank = " ".repeat(prefix.len() + 2);
    let mut lines = Vec::new();
    for sentence in sentences {
        let mut line = prefix.to_owned();
        let mut empty = true;
        for word in sentence.split_whitespace() {
            let space = usize::from(!empty);
            if !empty && line.chars().count() + space + word.chars().count() > WIDTH {
                lines.push(std::mem::replace(&mut line, blank.clone()));
                empty = true;
            }
            line.push_str(if empty { "" } else { " " });
            line.push_str(word);
            empty = false;
        }
        lines.push(line);
    }
    lines
}

/// Returns the comparison as JSON.
pub(super) fn json(sides: &Sides, compared: &Compared) -> Value {
    let folders = |runs: &[Run]| -> Vec<String> {
        let each = runs.iter().map(|run| run.folder.display().to_string());
        each.collect()
    };
    let figures: Vec<Value> = compared
        .figures
        .iter()
        .map(|row| {
            let judged = row.judged.as_ref();
            json!({
                "name": row.figure.name,
                "unit": row.figure.unit,
                "more_is_better": row.figure.more_is_better,
                "decides": row.figure.decides,
                "a": row.a,
                "b": row.b,
                "ratio": row.ratio,
                "interval": judged.map(|it| [it.interval.low, it.interval.high]),
                "p": judged.map(|it| it.p),
                "noise_floor": judged.map(|it| it.floor - 1.0),
                "says": judged.map(|it| words(it.says)),
            })
        })
        .collect();
    json!({
        "schema": SCHEMA,
        "verdict": compared.exit.verdict(),
        "exit_code": compared.exit.code(),
        "conclusion": conclusion(compared),
        "scenario": scenario(&sides.a[0]),
        "pairs": sides.a.len(),
        "a": folders(&sides.a),
        "b": folders(&sides.b),
        "refused": compared.refused,
        "notes": compared.notes,
        "confidence": compared.confidence,
        "figures": figures,
    })
}
