//! The progress of a run as plain lines: for logs, for small terminals, and for `--no-tui`.

use std::io::Write;

use super::model::{Model, RECENT, StageState, clock};
use crate::clock::seconds;
use crate::stats::{Counters, Metric};
use crate::units::{grouped, micros};

/// The most troubles that are printed in words; the counters show all.
const TOLD: usize = 5;

/// The style of lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Seconds from line to line.
    pub(crate) every: f64,
    /// The columns of a terminal on which each line replaces the one before; `None` for a log.
    pub(crate) in_place: Option<usize>,
    pub(crate) colour: bool,
}

/// The progress lines of a run.
#[derive(Debug)]
pub(crate) struct Lines {
    next: f64,
    /// The stages that were running at the last line.
    states: Vec<StageState>,
    wrong: bool,
    /// The counters at the last line, and their time.
    last: (f64, Counters),
    /// The time of the last trouble that was printed.
    told: usize,
    told_until: u64,
    /// Whether the next line replaces the last one.
    standing: bool,
}

impl Lines {
    pub(crate) fn new() -> Self {
        Self {
            next: 1.0,
            states: Vec::new(),
            wrong: false,
            last: (0.0, Counters::default()),
            told: 0,
            told_until: 0,
            standing: false,
        }
    }

    /// Writes a line if one is due, by time or because of a change. With `last` it writes one in
    /// any case.
    pub(crate) fn show(&mut self, model: &Model, style: Style, last: bool, out: &mut dyn Write) {
        let states: Vec<_> = model.bars().iter().map(|bar| bar.state).collect();
        // That everything waits at first is no news.
        let changed = states != self.states && states.iter().any(|it| *it != StageState::Waiting);
        let wrong = model.wrong_total() > 0;
        let due = model.now() >= self.next || changed || (wrong && !self.wrong) || last;
        if !due {
            return;
        }
        (self.states, self.wrong) = (states, wrong);
        self.next = model.now() + style.every;
        let mut text = Vec::new();
        self.troubles(model, &mut text);
        text.push(self.line(model, style.colour));
        // A closed standard error is not an error: its reader wants no progress.
        let _ = self.write(&text, style, out);
    }

    fn write(&mut self, text: &[String], style: Style, out: &mut dyn Write) -> std::io::Result<()> {
        let Some(width) = style.in_place else {
            for line in text {
                writeln!(out, "{line}")?;
            }
            return out.flush();
        };
        for (number, line) in text.iter().enumerate() {
            // A line that is wrapped could not be overwritten. Erase what stood to the end of the
            // line (ECMA-48 EL).
            let end = if number + 1 < text.len() { "\n" } else { "" };
            write!(out, "\r{}\x1b[K{end}", clip(line, width.saturating_sub(1)))?;
        }
        self.standing = true;
        out.flush()
    }

    /// Ends the last line, so that it is not replaced.
    pub(crate) fn leave(&mut self, out: &mut dyn Write) {
        if std::mem::take(&mut self.standing) {
            let _ = writeln!(out);
        }
    }

    fn troubles(&mut self, model: &Model, text: &mut Vec<String>) {
        for (at, trouble) in &model.troubles {
            if *at > self.told_until && self.told < TOLD {
                self.told += 1;
                self.told_until = *at;
                text.push(format!("{:>7}  trouble: {trouble}", clock(seconds(*at))));
                if self.told == TOLD {
                    text.push("         further troubles are only counted".into());
                }
            }
        }
    }

    fn line(&mut self, model: &Model, colour: bool) -> String {
        let counters = &model.look.counters;
        let (then, before) = std::mem::replace(&mut self.last, (model.look.told_at, *counters));
        let passed = (model.look.told_at - then).max(f64::MIN_POSITIVE);
        let rate = |counter: fn(&Counters) -> u64| {
            let more = counter(counters).saturating_sub(counter(&before));
            if more == 0 {
                0
            } else {
                (more as f64 / passed).round() as u64
            }
        };
        let mut parts = vec![
            format!("{:>7}  {}", clock(model.now()), stage(model)),
            format!(
                "sessions {}/{}",
                grouped(counters.sessions),
                grouped(model.about.sessions)
            ),
        ];
        let (offered, achieved) = (rate(|it| it.scheduled), rate(|it| it.acknowledged));
        if offered + achieved > 0 {
            parts.push(format!(
                "offered {}/s, achieved {}/s",
                grouped(offered),
                grouped(achieved)
            ));
        }
        if let Some(e2e) = model.latency(Metric::E2e).filter(|it| it.recent.count > 0) {
            parts.push(format!(
                "e2e of {RECENT} s: p50 {}, p99 {}",
                micros(e2e.recent.p50),
                micros(e2e.recent.p99)
            ));
        }
        if let Some(fault) = model.health.as_ref().and_then(|it| it.faults.first()) {
            parts.push(format!("UNHEALTHY: {fault}"));
        }
        let counted = |counts: Vec<(&'static str, u64)>| {
            let counts = counts.into_iter().filter(|(_, count)| *count > 0);
            let words: Vec<_> = counts
                .map(|(name, count)| format!("{} {}", name.replace('_', " "), grouped(count)))
                .collect();
            words.join(", ")
        };
        if model.away() > 0 {
            parts.push(format!("away {}", grouped(model.away())));
        }
        let odd = counted(model.odd());
        if !odd.is_empty() {
            parts.push(odd);
        }
        match model.wrong_total() {
            0 => parts.push(model.calm().into()),
            total => {
                let mut text = format!("{} WRONG: {}", grouped(total), counted(model.wrong()));
                if colour {
                    text = format!("\x1b[1;31m{text}\x1b[0m");
                }
                // Where a line is cut off this is not what is missing.
                parts.insert(1, text);
            }
        }
        parts.join(" | ")
    }
}

/// Returns the stages that are running, each with its time.
fn stage(model: &Model) -> String {
    let bars = model.bars();
    let running: Vec<_> = bars
        .iter()
        .filter(|bar| bar.state == StageState::Running)
        .map(|bar| match bar.at_most {
            true => bar.name.clone(),
            false => format!("{} {}/{}", bar.name, clock(bar.passed), clock(bar.lasts)),
        })
        .collect();
    match (
        running.is_empty(),
        bars.iter().find(|bar| bar.state == StageState::Waiting),
    ) {
        (false, _) => running.join(" + "),
        (true, Some(next)) => format!("before {}", next.name),
        (true, None) => "end".into(),
    }
}

/// Returns the beginning of a line that fits the columns; colours take no room.
fn clip(line: &str, width: usize) -> String {
    let (mut out, mut taken, mut escape) = (String::new(), 0, false);
    for letter in line.chars() {
        escape |= letter == '\x1b';
        if escape {
            out.push(letter);
            escape = letter != 'm';
        } else if taken < width {
            out.push(letter);
            taken += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_leaves_colours_whole() {
        assert_eq!(clip("abcdef", 3), "abc");
        assert_eq!(clip("ab\x1b[1;31mcdef\x1b[0m", 3), "ab\x1b[1;31mc\x1b[0m");
    }
}
