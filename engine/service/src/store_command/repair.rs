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
    /// Print what a repair would remove, and change nothing; exit code 1 if there is any damage
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
    // The check shows damage that the repair could not remove.
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
            (0, _) => writeln!(out, "none of this damage can be repaired: restore a backup"),
            (_, true) => writeln!(out, "would repair {faults}; nothing was changed"),
            (_, false) => writeln!(
                out,
                "repaired {faults}; delete the copies once you are sure that you need nothing from them"
            ),
        }?;
        verify::result(&left, out)
    })?;
    Ok(code(&left.faults))
}

/// Turns an error of a repair into an error that tells the user what to do.
fn beyond(error: OpenError) -> anyhow::Error {
    match error {
        OpenError::Corrupt {
            file,
            offset,
            reason,
        } => anyhow::anyhow!(
            "{}: damaged at offset {offset}: {reason}; this damage cannot be repaired: restore the folder from a backup",
            file.display()
        ),
        error => refused(error),
    }
}

/// Writes what the repair means for clients, beyond the removed records.
fn write_losses(losses: &Losses, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "the gateway refuses positions from before the repair (error 112): clients connect without \"since\" and read the history again"
    )?;
    writeln!(
        out,
        "conversations whose last message lies before position {} skip {} sequences, because removed messages may have used them",
        losses.before.0, losses.skip
    )?;
    writeln!(
        out,
        "group members, receipts and reactions may be older than they were; a message that a client sends again may be stored twice, if the repair removed its key"
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
        Some(copy) => writeln!(out, "    copy of the damaged file: {}", name(copy)),
        None => Ok(()),
    }
}
