//! `trunkline store repair`.

use std::io::Write;
use std::process::ExitCode;

use indicatif::HumanBytes;
use trunkline_storage::{Mended, RepairOptions, Store};

use super::output::{count, name, print};
use super::progress::Progress;
use super::{Folder, code, refused, verify};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    folder: Folder,
    /// Only say what would be given up, and change nothing; exit code 1 if anything would
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let data = &args.folder.data;
    let options = RepairOptions {
        dry_run: args.dry_run,
        ..RepairOptions::default()
    };
    let mut progress = Progress::new();
    let repaired = Store::repair(data, &options, &mut |done, total| {
        progress.show(done, total);
    });
    progress.end();
    let steps = repaired.map_err(refused)?.steps;
    print(|out| {
        for step in &steps {
            write_step(step, out)?;
        }
        match (steps.len(), args.dry_run) {
            (0, _) => writeln!(out, "nothing to repair"),
            (n, true) => writeln!(
                out,
                "would repair {}: nothing was changed",
                count(n, "fault")
            ),
            (n, false) => writeln!(
                out,
                "repaired {}; delete the copies when nothing in them is missed",
                count(n, "fault")
            ),
        }
    })?;
    if args.dry_run {
        return Ok(if steps.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let left = verify::check(data).map_err(refused)?;
    print(|out| verify::result(&left, out))?;
    Ok(code(&left.faults))
}

fn write_step(step: &Mended, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{} at offset {}: {}",
        step.file.display(),
        step.offset,
        step.fault
    )?;
    write!(out, "    {}", step.action)?;
    match step.records {
        Some(records) => write!(out, "; gives up {}", count(records as usize, "record"))?,
        None if step.bytes > 0 => write!(out, "; gives up {}", HumanBytes(step.bytes))?,
        None => {}
    }
    writeln!(out)?;
    match &step.copy {
        Some(copy) => writeln!(out, "    as it was: {}", name(copy)),
        None => Ok(()),
    }
}
