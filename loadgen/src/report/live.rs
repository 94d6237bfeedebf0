//! How far a run is, while it runs: a line a second, in place on a terminal.

use std::io::{IsTerminal, Write};

use crate::clock::{Nanos, SECOND, seconds};
use crate::stats::Counters;
use crate::units::grouped;

/// The progress lines of a run.
#[derive(Debug)]
pub(crate) struct Live {
    sessions: u64,
    in_place: bool,
    next: Nanos,
    last: (Nanos, u64),
}

impl Live {
    /// Lines for a run of so many sessions; `plain`: no line is overwritten.
    pub(crate) fn new(sessions: u64, plain: bool) -> Self {
        let in_place = !plain && std::io::stderr().is_terminal();
        Self {
            sessions,
            in_place,
            next: SECOND,
            last: (0, 0),
        }
    }

    /// Shows the counters if a second has passed.
    pub(crate) fn show(&mut self, now: Nanos, counters: &Counters) {
        if now < self.next {
            return;
        }
        self.next = now + SECOND;
        let elapsed = seconds(now - self.last.0).max(f64::MIN_POSITIVE);
        let rate = (counters.acknowledged - self.last.1) as f64 / elapsed;
        self.last = (now, counters.acknowledged);
        let line = format!(
            "{:5.0} s  sessions {}/{}  sent {}  acknowledged {} ({rate:.0}/s)  delivered {}  wrong {}",
            seconds(now),
            grouped(counters.sessions),
            grouped(self.sessions),
            grouped(counters.attempted),
            grouped(counters.acknowledged),
            grouped(counters.delivered),
            counters.duplicated + counters.reordered + counters.unexpected,
        );
        let mut err = std::io::stderr().lock();
        // Erase to the end of the line (ECMA-48 EL): the next one may be shorter.
        let _ = match self.in_place {
            true => write!(err, "\r{line}\x1b[K"),
            false => writeln!(err, "{line}"),
        };
        let _ = err.flush();
    }

    /// Leaves the line.
    pub(crate) fn end(&mut self) {
        if self.in_place {
            let _ = writeln!(std::io::stderr());
        }
    }
}
