//! The result of a gate, for people and as JSON.

use serde_json::{Value, json};

use super::judge::{Judged, Row, Says, Unit};
use crate::exit::Exit;

/// The version of the JSON form.
const SCHEMA: u32 = 1;

/// Returns the result as text.
pub(super) fn text(judged: &Judged) -> Vec<String> {
    // No minus before zero.
    let percent = |more: f64| format!("{:+.1} %", (more * 1e3).round() / 10.0 + 0.0);
    let has_base = judged.rows.iter().any(|row| row.base.is_some());
    let mut lines = vec![line(
        ["for each message", "measured", "limit", "change"],
        has_base.then_some(["base", "since"]),
        "",
    )];
    for row in &judged.rows {
        let shown = |value: Option<f64>| value.map_or("-".into(), |it| number(row.unit, it));
        let change = |of: Option<f64>| of.map_or("-".into(), |of| percent(row.count / of - 1.0));
        let word = match row.says {
            Says::Good => "",
            Says::Above => "WORSE",
            Says::Below => "better: the limit may be lowered (--write-limits)",
            Says::Undecided => "undecided",
        };
        let (base, since) = (shown(row.base), change(row.base));
        lines.push(line(
            [
                &row.name,
                &shown(Some(row.count)),
                &shown(row.limit),
                &change(row.limit),
            ],
            has_base.then_some([&*base, &*since]),
            &format!("{} {word}", row.unit.name()),
        ));
    }
    lines.extend(judged.notes.iter().map(|note| format!("note: {note}")));
    if let Some(compared) = &judged.compared {
        lines.push(String::new());
        lines.extend(compared.text.iter().cloned());
        lines.push(format!(
            "results of the runs: {}",
            compared.folder.display()
        ));
    }
    lines.push(String::new());
    lines.extend(reasons(judged));
    lines.push(format!(
        "gate: {} (exit code {})",
        judged.exit.verdict(),
        judged.exit.code()
    ));
    lines
}

/// Returns a line of the table. The columns of the base are only there if there is one.
fn line(cells: [&str; 4], base: Option<[&str; 2]>, end: &str) -> String {
    let [name, count, limit, change] = cells;
    let base = base.map_or(String::new(), |[count, change]| {
        format!(" {count:>10} {change:>9}")
    });
    let line = format!("{name:<20} {count:>10} {limit:>10} {change:>9}{base}  {end}");
    line.trim_end().to_owned()
}

/// Returns a sentence for each thing that is worse.
fn reasons(judged: &Judged) -> Vec<String> {
    let above = judged.rows.iter().filter(|row| row.says == Says::Above);
    let mut reasons: Vec<String> = above.map(reason).collect();
    reasons.extend(judged.wrong.iter().cloned());
    if let Some(compared) = &judged.compared
        && compared.exit != Exit::Ok
    {
        reasons.push(compared.conclusion.clone());
    }
    reasons
}

fn reason(row: &Row) -> String {
    let limit = row.limit.unwrap_or_default();
    format!(
        "{} takes {} {}: {:.1} % more than {}, the limit of {}",
        row.name,
        number(row.unit, row.count),
        row.unit.name(),
        row.more().unwrap_or_default() * 100.0,
        number(row.unit, limit),
        row.limit_of
    )
}

fn number(unit: Unit, number: f64) -> String {
    match unit {
        Unit::Instructions => format!("{number:.1}"),
        Unit::Bytes => format!("{number:.0}"),
    }
}

/// Returns the result as JSON.
pub(super) fn json(judged: &Judged) -> Value {
    let rows: Vec<Value> = judged
        .rows
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "unit": row.unit.name(),
                "measured": row.count,
                "limit": row.limit,
                "base": row.base,
                "limit_of": row.limit_of,
                "says": match row.says {
                    Says::Good => "good",
                    Says::Above => "worse",
                    Says::Below => "better",
                    Says::Undecided => "undecided",
                },
            })
        })
        .collect();
    json!({
        "schema": SCHEMA,
        "verdict": judged.exit.verdict(),
        "exit_code": judged.exit.code(),
        "reasons": reasons(judged),
        "notes": judged.notes,
        "counts": rows,
        "compared": judged.compared.as_ref().map(|it| it.json.clone()),
    })
}
