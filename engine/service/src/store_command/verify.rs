//! `trunkline store verify`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use indicatif::{HumanBytes, HumanCount};
use trunkline_storage::{OpenError, Store, TornEnd, Verified};

use super::output::{LIVE, count};
use super::progress::Progress;
use super::{Folder, code, refused};
use crate::print;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    folder: Folder,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let data = &args.folder.data;
    let found = check(data).map_err(refused)?;
    print::results(|out| {
        writeln!(
            out,
            "checked {}: {}, {}, {} records",
            data.display(),
            count(found.files, "file"),
            HumanBytes(found.bytes),
            HumanCount(found.records),
        )?;
        result(&found, out)?;
        if found.faults.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "restore the folder from a backup, or remove the damaged parts with `trunkline store repair`, which keeps copies"
        )
    })?;
    Ok(code(&found.faults))
}

/// Checks a store, and shows the progress meanwhile.
pub(super) fn check(data: &Path) -> Result<Verified, OpenError> {
    let mut progress = Progress::new();
    let found = Store::verify(data, &mut |done, total| progress.show(done, total));
    progress.end();
    found
}

/// Prints what follows the end of the log, and what the next start does about it.
fn write_torn(torn: TornEnd, out: &mut dyn Write) -> std::io::Result<()> {
    let at = torn.position.0;
    if torn.records == 0 {
        return writeln!(
            out,
            "torn end: an unfinished write follows position {at}: with the durability `sync` the gateway did not acknowledge it, with `interval` and `os` it may have; the next start cuts it off and keeps a copy"
        );
    }
    writeln!(
        out,
        "torn end: the log is damaged at position {at}, and {} from there on may have been acknowledged (the durability was `interval` or `os`); the next start cuts it off, keeps a copy, and lets conversations skip {} sequences that may have been used",
        count(torn.records as usize, "record"),
        torn.skip
    )
}

/// Prints the faults of a store, or that it has none.
pub(super) fn result(found: &Verified, out: &mut dyn Write) -> std::io::Result<()> {
    if found.live {
        writeln!(out, "{LIVE}")?;
    }
    if let Some(torn) = found.torn {
        write_torn(torn, out)?;
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
        n => writeln!(out, "{} found", count(n, "fault")),
    }
}
