//! `trunkline store repair`.

use std::io::Write;
use std::process::ExitCode;

use indicatif::HumanBytes;
use trunkline_storage::{Losses, Mended, OpenError, RepairOptions, Store};

use super::output::{count, name};
use super::progress::Progress;
use super::{Folder, code, refused, verify};
use crate::print;

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
    let repaired = repaired.map_err(beyond)?;
    let steps = &repaired.steps;
    // What is beyond repair must not look repaired.
    let left = verify::check(data).map_err(refused)?;
    print::results(|out| {
        for step in steps {
            write_step(step, out)?;
        }
        if repaired.lossy {
            write_losses(&repaired.losses, out)?;
        }
        let faults = count(steps.len(), "fault");
        match (steps.len(), args.dry_run) {
            (0, _) if left.faults.is_empty() => writeln!(out, "nothing to repair"),
            (0, _) => writeln!(out, "nothing of this can be repaired: restore a backup"),
            (_, true) => writeln!(out, "would repair {faults}: nothing was changed"),
            (_, false) => writeln!(
                out,
                "repaired {faults}; delete the copies when nothing in them is missed"
            ),
        }?;
        verify::result(&left, out)
    })?;
    Ok(code(&left.faults))
}

/// The error in the words of who tries the last remedy.
fn beyond(error: OpenError) -> anyhow::Error {
    match error {
        OpenError::Corrupt {
            file,
            offset,
            reason,
        } => anyhow::anyhow!(
            "{}: damaged at offset {offset}: {reason}; this cannot be repaired: restore the \
             folder from a backup",
            file.display()
        ),
        error => refused(error),
    }
}

/// What the loss means beyond the records that are gone.
fn write_losses(losses: &Losses, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "positions that were given out before are refused (112): clients read history and connect \
         without \"since\""
    )?;
    writeln!(
        out,
        "conversations whose last message lies before position {} skip {} sequences, which may have \
         been used",
        losses.before.0, losses.skip
    )?;
    writeln!(
        out,
        "members, marks and reactions may be as they were before, and a message whose key is gone \
         is stored again when it is sent again"
    )
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
