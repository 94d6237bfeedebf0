//! `trunkline store backup`.

mod order;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use indicatif::HumanBytes;
use trunkline_storage::{BackupError, OpenError, Store};

use super::output::count;
use super::progress::Progress;
use super::{Folder, refused};
use crate::backup::Made;
use crate::print;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the backup: must not exist, or be empty. The folder that it is in must exist
    #[arg(value_name = "TARGET_FOLDER")]
    target: PathBuf,
    #[command(flatten)]
    folder: Folder,
    /// Control port of the gateway that has the store open: the --control of `trunkline serve`
    #[arg(
        long,
        env = "TRUNKLINE_CONTROL",
        value_name = "ADDR",
        default_value = "127.0.0.1:7701"
    )]
    control: SocketAddr,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let data = &args.folder.data;
    // The gateway has another working folder.
    let target = std::path::absolute(&args.target)
        .with_context(|| format!("{} is no path", args.target.display()))?;
    let mut progress = Progress::of("copied");
    let made = make(data, &target, args.control, &mut progress);
    progress.end();
    let made = made?;
    print::results(|out| {
        writeln!(
            out,
            "backup of {} in {}: {}, {} shared with the store, {} copied, {:.1} s",
            data.display(),
            target.display(),
            count(usize::try_from(made.files).unwrap_or(usize::MAX), "file"),
            HumanBytes(made.linked_bytes),
            HumanBytes(made.copied_bytes),
            made.took_ms as f64 / 1e3,
        )?;
        writeln!(out, "last record: position {}", made.position)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the backup: here if no gateway has the store open, else by that gateway.
fn make(
    data: &Path,
    target: &Path,
    control: SocketAddr,
    progress: &mut Progress,
) -> anyhow::Result<Made> {
    let made = Store::backup(data, target, &mut |at| {
        progress.show(at.done, at.total);
        ControlFlow::Continue(())
    });
    match made {
        Ok(backup) => Ok(Made::of(&backup)),
        Err(BackupError::Open(OpenError::Locked { .. })) => {
            let key = Store::key_of(data).map_err(refused)?;
            order::Order {
                data,
                target,
                control,
                key,
            }
            .carry_out(progress)
        }
        Err(BackupError::Open(error)) => Err(refused(error)),
        Err(error) => Err(error.into()),
    }
}
