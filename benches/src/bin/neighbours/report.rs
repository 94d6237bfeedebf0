//! What the bench prints, and the file for other programs.

use std::path::Path;

use serde::Serialize;
use trunkline_benches::figures::{columns, grouped, short};

use crate::Args;
use crate::judge::{Beyond, Judged};
use crate::verdict::{Bounds, Figures};

/// The columns of the tables.
const HEAD: [&str; 14] = [
    "attack",
    "control p50",
    "p99",
    "beside it p50",
    "p99",
    "worst second",
    "sink p99",
    "beyond the bound",
    "in 1 s",
    "refused",
    "MiB",
    "cores",
    "attacker",
    "verdict",
];

/// What stands in the file for other programs.
#[derive(Serialize)]
struct File<'a> {
    shards: usize,
    tokens: bool,
    attackers: usize,
    window: Option<usize>,
    rounds: usize,
    seconds: f64,
    pairs: usize,
    rate: f64,
    attacks: Vec<Verdict<'a>>,
}

#[derive(Serialize)]
struct Verdict<'a> {
    misses: Vec<&'static str>,
    #[serde(flatten)]
    figures: &'a Figures,
}

/// Returns one line about an attack: all figures with their names.
pub(crate) fn line(figures: &Figures, bounds: Bounds) -> String {
    let Figures {
        beside,
        harm,
        memory,
        attacker,
        ..
    } = figures;
    let (control, judged) = (figures.before, figures.judged);
    let sink = judged.sink_p99_ms.map_or_else(String::new, |p99| {
        format!(", beside a sink p99 {} ms", short(p99))
    });
    let sink = format!("{sink}, {}", beyond(&judged));
    format!(
        "{:<16} control p50 {} p99 {} ms | beside p50 {} p99 {} ms, worst second {} ms, × {}, \
         {:.1} % in 1 s{} in {} rounds | attacker {} steps, {} answers, {} refused (retry {} ms), {} ended | \
         honest {} lost, {} disordered, {} unanswered, {} refused, {} closed | \
         memory {:.0} → {:.0} → {:.0} MiB, of which {:.1} stored | {:.2} cores, the attacker {:.2} | {}",
        figures.attack,
        short(control.p50_ms),
        short(judged.control_p99_ms),
        short(beside.p50_ms),
        short(judged.beside_p99_ms),
        short(figures.worst_second_ms),
        short(figures.factor()),
        figures.in_time * 100.0,
        sink,
        judged.rounds,
        grouped(attacker.steps),
        grouped(attacker.answers),
        grouped(figures.refused),
        attacker.retry_ms,
        attacker.ended,
        harm.lost,
        harm.disordered,
        harm.unanswered,
        harm.refused,
        harm.closed,
        memory.before,
        memory.peak,
        memory.after,
        memory.stored,
        figures.cores,
        figures.own_cores,
        verdict(figures, bounds),
    )
}

/// Returns how far beyond the bounds of the control and of the sink it is, with intervals.
fn beyond(judged: &Judged) -> String {
    let against = |beyond: Beyond| format!("{} ({})", signed(beyond.ms), interval(beyond));
    let control = against(judged.beyond_control);
    match judged.beyond_sink {
        Some(sink) => {
            let sink = against(sink);
            format!("beyond the bound {control} ms, beyond that of the sink {sink} ms")
        }
        None => format!("beyond the bound {control} ms"),
    }
}

fn signed(ms: f64) -> String {
    format!("{ms:+.2}")
}

fn interval(beyond: Beyond) -> String {
    let [low, high] = beyond.interval_ms.map(signed);
    format!("{low} to {high}")
}

fn verdict(figures: &Figures, bounds: Bounds) -> String {
    let misses = figures.misses(bounds);
    match misses.is_empty() {
        true if figures.judged.is_by_sink() => "within the sink".to_owned(),
        true => figures.judged.verdict.word().to_owned(),
        false => format!("missed: {}", misses.join(", ")),
    }
}

/// Returns the table of all attacks, with latencies in milliseconds.
pub(crate) fn table(all: &[Figures], bounds: Bounds) -> String {
    let rows: Vec<_> = all.iter().map(|figures| row(figures, bounds)).collect();
    columns(&HEAD, &rows, 1)
}

fn row(figures: &Figures, bounds: Bounds) -> Vec<String> {
    let Figures {
        before: control,
        beside,
        judged,
        memory,
        ..
    } = figures;
    vec![
        figures.attack.to_owned(),
        short(control.p50_ms),
        short(judged.control_p99_ms),
        short(beside.p50_ms),
        short(judged.beside_p99_ms),
        short(figures.worst_second_ms),
        judged.sink_p99_ms.map_or_else(String::new, short),
        interval(judged.beyond()),
        format!("{:.1} %", figures.in_time * 100.0),
        grouped(figures.refused),
        format!(
            "{:.0}, {:.0}, {:.0}",
            memory.before, memory.peak, memory.after
        ),
        format!("{:.2}", figures.cores),
        format!("{:.2}", figures.own_cores),
        verdict(figures, bounds),
    ]
}

/// Writes the figures into a file, as JSON.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(
    file: &Path,
    args: &Args,
    all: &[Figures],
    bounds: Bounds,
) -> anyhow::Result<()> {
    let judged = |figures| Verdict {
        misses: Figures::misses(figures, bounds),
        figures,
    };
    let content = File {
        shards: args.shards,
        tokens: args.tokens,
        attackers: args.attackers,
        window: args.window,
        rounds: args.rounds,
        seconds: args.seconds,
        pairs: args.pairs,
        rate: args.rate,
        attacks: all.iter().map(judged).collect(),
    };
    std::fs::write(file, serde_json::to_string_pretty(&content)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::{ALONE, whole};

    #[test]
    fn a_row_has_a_cell_for_each_column() {
        assert_eq!(row(&whole(), ALONE).len(), HEAD.len());
    }

    #[test]
    fn misses_are_named() {
        let mut figures = whole();
        assert!(line(&figures, ALONE).ends_with("| within"));
        figures.harm.closed = 2;
        figures.harm.lost = 1;
        assert!(line(&figures, ALONE).ends_with("| missed: lost, closed"));
    }
}
