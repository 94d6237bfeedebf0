//! The course of a run for programs: `--events FILE`, a line of JSON a second (JSON Lines).
//!
//! The first line has the event `begin`, the last one `end` with the verdict. The lines between have the
//! event `second`: counts and latencies of that second alone, and the broken promises so far.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::client::Board;
use crate::clock::{Nanos, SECOND, seconds};
use crate::exit::{Failure, Outcome};
use crate::files;
use crate::foreign;
use crate::live::look::{Look, latencies};
use crate::output::say;
use crate::settings::RunSettings;
use crate::stats::{Counters, Metric, Tallied};
use crate::verdict::JudgedRun;

/// The version of the lines. Under one version fields are added, and never renamed.
const SCHEMA: u32 = 1;

/// The latencies of a second, with their fields.
const OF_A_SECOND: [(Metric, &str); 4] = [
    (Metric::Connect, "connect_us"),
    (Metric::Ack, "ack_us"),
    (Metric::E2e, "e2e_us"),
    (Metric::SendLag, "send_lag_us"),
];

/// The place of the lines.
#[derive(Debug)]
enum Out {
    Standard,
    File(File, PathBuf),
}

/// The writer of the lines.
#[derive(Debug)]
pub(crate) struct Events {
    out: Out,
    /// The time from which on the next line is due.
    next: Nanos,
    counters: Counters,
    tallied: Option<Vec<Tallied>>,
    /// The reason why a line could not be written. Nothing is written after it.
    failed: Option<Failure>,
}

impl Events {
    /// Begins a file, or the lines on standard output for `-`, with the first line.
    ///
    /// # Errors
    /// The file cannot be made (exit 104).
    pub(crate) fn begin(path: &Path, run: &RunSettings) -> Outcome<Self> {
        let out = match path == Path::new("-") {
            true => Out::Standard,
            false => Out::File(
                File::create(path).map_err(|why| {
                    Failure::scenario(format!("--events {}: {why}", path.display()))
                })?,
                path.to_path_buf(),
            ),
        };
        let mut events = Self {
            out,
            next: SECOND,
            counters: Counters::default(),
            tallied: None,
            failed: None,
        };
        events.write(&json!({
            "event": "begin",
            "schema": SCHEMA,
            "scenario": run.name,
            "seed": run.scenario.seed,
            "sessions": run.sizing.sessions,
            "offered_per_s": run.sizing.offered_rate,
            "results": run.out.display().to_string(),
        }));
        Ok(events)
    }

    /// Writes the line of a second if it is over.
    pub(crate) fn look(&mut self, now: Nanos, board: &Board) {
        if now >= self.next {
            self.next = (now / SECOND + 1) * SECOND;
            self.second(now, board);
        }
    }

    fn second(&mut self, now: Nanos, board: &Board) {
        let look = Look::take(now, board);
        let tallied = latencies(board);
        let of_second = |metric: Metric| {
            let all = &tallied[metric as usize];
            match &self.tallied {
                Some(before) => all.since(&before[metric as usize]).percentiles(),
                None => all.percentiles(),
            }
        };
        let (now, before) = (&look.counters, &self.counters);
        let grown = |count: fn(&Counters) -> u64| count(now).saturating_sub(count(before));
        let mut line = json!({
            "event": "second",
            "at_s": (seconds(look.now) * 1e3).round() / 1e3,
            "sessions": now.sessions,
            "due": grown(|it| it.scheduled),
            "sent": grown(|it| it.attempted),
            "acknowledged": grown(|it| it.acknowledged),
            "delivered": grown(|it| it.delivered),
            "pushes": grown(|it| it.message_pushes),
            "rejected": grown(|it| it.rejected),
            "disconnects": grown(|it| it.disconnects),
            "reconnects": grown(|it| it.reconnects),
            "bytes_in": grown(|it| it.bytes_in),
            "bytes_out": grown(|it| it.bytes_out),
            "violations": look.violations,
        });
        for (metric, field) in OF_A_SECOND {
            let it = of_second(metric);
            line[field] = match it.count {
                0 => Value::Null,
                _ => json!({ "count": it.count, "p50": it.p50, "p99": it.p99, "max": it.max }),
            };
        }
        self.counters = look.counters;
        self.tallied = Some(tallied);
        self.write(&line);
    }

    /// Writes the last line.
    ///
    /// # Errors
    /// A line could not be written (exit 105).
    pub(crate) fn end(mut self, judged: &JudgedRun, summary: &Value) -> Outcome<()> {
        self.write(&json!({
            "event": "end",
            "verdict": judged.exit.verdict(),
            "exit_code": judged.exit.code(),
            "summary": summary,
        }));
        self.failed.map_or(Ok(()), Err)
    }

    fn write(&mut self, value: &Value) {
        if self.failed.is_some() {
            return;
        }
        let line = foreign::json_line(value);
        match &mut self.out {
            Out::Standard => say(&[line]),
            Out::File(file, path) => {
                // The whole line at once, so that a reader that follows the file sees no half lines.
                let written = file.write_all((line + "\n").as_bytes());
                self.failed = written.err().map(|why| files::unwritten(path, &why));
            }
        }
    }
}
