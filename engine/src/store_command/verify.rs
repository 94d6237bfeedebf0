//! `trunkline store verify`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use trunkline_storage::{Store, Verified};

use super::output::{count, print};
use super::{Folder, code, refused};

/// How often a line says how far it is, where there is no terminal for a bar.
const LINES: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    folder: Folder,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let data = &args.folder.data;
    let mut progress = Progress::new();
    let found = Store::verify(data, &mut |done, total| progress.show(done, total));
    progress.end();
    let found = found.map_err(refused)?;
    print(|out| {
        writeln!(
            out,
            "checked {}: {}, {}, {} records",
            data.display(),
            count(found.files, "file"),
            HumanBytes(found.bytes),
            HumanCount(found.records),
        )?;
        result(&found, out)
    })?;
    Ok(code(&found.faults))
}

fn result(found: &Verified, out: &mut dyn Write) -> std::io::Result<()> {
    if let Some(torn) = found.torn {
        writeln!(
            out,
            "torn end: what follows position {} was never acknowledged; the next start cuts it \
             off and keeps a copy",
            torn.0
        )?;
    }
    for fault in &found.faults {
        writeln!(
            out,
            "DAMAGED: {} at offset {}: {}",
            fault.file.display(),
            fault.offset,
            fault.reason
        )?;
    }
    match found.faults.len() {
        0 => writeln!(out, "ok: nothing is damaged"),
        n => writeln!(
            out,
            "{} found: restore the folder from a backup, or give up what is damaged with \
             `trunkline store repair`, which keeps a copy",
            count(n, "fault")
        ),
    }
}

/// Says on standard error how far it is.
enum Progress {
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Progress {
    fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines {
                last: Instant::now(),
            };
        }
        let bar = ProgressBar::new(0);
        let style = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    fn show(&mut self, done: u64, total: u64) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            Self::Lines { last } if last.elapsed() >= LINES => {
                *last = Instant::now();
                let (done, total) = (HumanBytes(done), HumanBytes(total));
                // Whoever does not listen misses nothing else.
                let _ = writeln!(std::io::stderr(), "checked {done} of {total}");
            }
            Self::Lines { .. } => {}
        }
    }

    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
