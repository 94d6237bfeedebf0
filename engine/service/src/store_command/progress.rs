//! The progress of a tool that reads a whole store.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// The time between two lines of progress, if standard error is not a terminal.
const LINES: Duration = Duration::from_secs(5);

/// Shows the progress on standard error: a bar on a terminal, else lines.
pub(super) enum Progress {
    Bar(ProgressBar),
    /// The time of the last line, and what the lines say of the bytes.
    Lines {
        last: Instant,
        done: &'static str,
    },
}

impl Progress {
    /// Returns the progress of a tool that checks bytes.
    pub(super) fn new() -> Self {
        Self::of("checked")
    }

    /// Returns the progress of a tool. `done` says what it does with bytes, such as `copied`.
    pub(super) fn of(done: &'static str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines {
                last: Instant::now(),
                done,
            };
        }
        let bar = ProgressBar::new(0);
        let style = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    pub(super) fn show(&mut self, done: u64, total: u64) {
        match self {
            Self::Bar(bar) => {
                // Each call draws the bar again.
                if bar.length() != Some(total) {
                    bar.set_length(total);
                }
                bar.set_position(done);
            }
            Self::Lines { last, done: what } if last.elapsed() >= LINES => {
                *last = Instant::now();
                let (done, total) = (HumanBytes(done), HumanBytes(total));
                // A failed write loses only this line of progress.
                let _ = writeln!(std::io::stderr(), "{what} {done} of {total}");
            }
            Self::Lines { .. } => {}
        }
    }

    pub(super) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
