//! `trunkline store inspect`.

use std::collections::BTreeMap;
use std::io::{Result, Write};
use std::process::ExitCode;

use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};
use trunkline_core::clock::utc;
use trunkline_storage::{FileInfo, Inspection, RunInfo, Store};

use super::output::{LIVE, count, name};
use super::{Folder, code, refused};
use crate::print;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    folder: Folder,
    /// Print one JSON object, with every file
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let found = Store::inspect(&args.folder.data).map_err(refused)?;
    print::results(|out| {
        if args.json {
            serde_json::to_writer_pretty(&mut *out, &object(&found))?;
            return writeln!(out);
        }
        writeln!(out, "store        {}", args.folder.data.display())?;
        text(&found, out)
    })?;
    Ok(code(&found.faults))
}

fn text(found: &Inspection, out: &mut dyn Write) -> Result<()> {
    if found.live {
        writeln!(out, "in use       {LIVE}")?;
    }
    writeln!(out, "id           {}", id(found))?;
    writeln!(out, "format       version {}", found.version)?;
    writeln!(out, "last record  position {}", found.head.0)?;
    writeln!(
        out,
        "log          positions {} to {}: {}, {}",
        found.low_water.0,
        found.end.0,
        count(found.log_records as usize, "record"),
        count(found.log_states as usize, "state"),
    )?;
    if found.kept_segments > 0 {
        writeln!(
            out,
            "kept         {} before the log, {}: runs name the records in them",
            count(found.kept_segments as usize, "segment"),
            HumanBytes(found.kept_bytes)
        )?;
    }
    writeln!(
        out,
        "positions    clients' positions from the last {} are valid",
        count(found.epochs, "start")
    )?;
    let losses = found.losses;
    if losses.skip > 0 {
        writeln!(
            out,
            "losses       {} removed something, or a start cut it off: timelines whose last record lies before position {} skip {} sequences",
            count(losses.repairs as usize, "repair"),
            losses.before.0,
            losses.skip
        )?;
    }
    for (kind, before) in &found.expired {
        writeln!(out, "expired      {kind} before position {}", before.0)?;
    }
    if let Some(torn) = found.torn {
        writeln!(
            out,
            "torn end     {} after position {}, with {} that may have been acknowledged: the next start cuts it off",
            HumanBytes(torn.bytes),
            torn.position.0,
            count(torn.records as usize, "record")
        )?;
    }
    files(out, "copies       ", &found.copies)?;
    files(out, "leftovers    ", &found.leftovers)?;
    writeln!(
        out,
        "disk         {} in {}; {} free",
        HumanBytes(found.bytes),
        count(found.files, "file"),
        HumanBytes(found.free_bytes)
    )?;
    for fault in &found.faults {
        writeln!(
            out,
            "DAMAGED      {} at offset {}: {}",
            name(&fault.file),
            fault.offset,
            fault.reason
        )?;
    }
    segments(found, out)?;
    runs(found, out)
}

/// Returns the store's id in hex.
fn id(found: &Inspection) -> String {
    format!("{:032x}", u128::from_be_bytes(found.store_id))
}

fn files(out: &mut dyn Write, label: &str, files: &[FileInfo]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let bytes = files.iter().map(|file| file.bytes).sum();
    writeln!(
        out,
        "{label}{}, {}",
        count(files.len(), "file"),
        HumanBytes(bytes)
    )
}

fn segments(found: &Inspection, out: &mut dyn Write) -> Result<()> {
    writeln!(
        out,
        "\n{:<24}  {:>14}  {:>12}  {:>12}",
        "segment", "base", "size", "used"
    )?;
    for segment in &found.segments {
        let used = match segment.used {
            0 => "ready".to_owned(),
            used => HumanBytes(used).to_string(),
        };
        writeln!(
            out,
            "{:<24}  {:>14}  {:>12}  {used:>12}",
            name(&segment.file),
            segment.base.0,
            HumanBytes(segment.bytes).to_string(),
        )?;
    }
    Ok(())
}

/// Prints the runs, one line for each kind and level.
fn runs(found: &Inspection, out: &mut dyn Write) -> Result<()> {
    if found.runs.is_empty() {
        return writeln!(out, "\nno runs");
    }
    writeln!(
        out,
        "\n{:<12}  {:>5}  {:>5}  {:>11}  {:>12}  {:>12}  {:>12}  {:>19}",
        "runs of", "level", "files", "size", "entries", "from", "to", "last record (UTC)"
    )?;
    // Kinds in the order of the manifest, levels from the oldest.
    let mut kinds: Vec<&str> = found.runs.iter().map(|run| run.kind).collect();
    kinds.dedup();
    for kind in kinds {
        let mut levels = BTreeMap::<_, Vec<&RunInfo>>::new();
        for run in found.runs.iter().filter(|run| run.kind == kind) {
            levels.entry(run.level).or_default().push(run);
        }
        for (level, runs) in levels.iter().rev() {
            writeln!(
                out,
                "{kind:<12}  {level:>5}  {:>5}  {:>11}  {:>12}  {:>12}  {:>12}  {:>19}",
                runs.len(),
                HumanBytes(runs.iter().filter_map(|run| run.bytes).sum()).to_string(),
                HumanCount(runs.iter().filter_map(|run| run.entries).sum()).to_string(),
                runs.iter().map(|run| run.from.0).min().unwrap_or(0),
                runs.iter().map(|run| run.to.0).max().unwrap_or(0),
                utc(runs.iter().map(|run| run.last_time).max().unwrap_or(0)),
            )?;
        }
    }
    Ok(())
}

fn object(found: &Inspection) -> Value {
    let files = |files: &[FileInfo]| -> Vec<Value> {
        let files = files.iter();
        files
            .map(|file| json!({"file": name(&file.file), "bytes": file.bytes}))
            .collect()
    };
    let segments: Vec<Value> = found
        .segments
        .iter()
        .map(|segment| {
            json!({
                "file": name(&segment.file),
                "base": segment.base.0,
                "bytes": segment.bytes,
                "used": segment.used,
            })
        })
        .collect();
    let runs: Vec<Value> = found
        .runs
        .iter()
        .map(|run| {
            json!({
                "file": name(&run.file),
                "kind": run.kind,
                "level": run.level,
                "from": run.from.0,
                "to": run.to.0,
                "last_time": run.last_time,
                "bytes": run.bytes,
                "entries": run.entries,
            })
        })
        .collect();
    let expired: serde_json::Map<_, _> = found
        .expired
        .iter()
        .map(|(kind, before)| ((*kind).to_owned(), json!(before.0)))
        .collect();
    let faults: Vec<Value> = found
        .faults
        .iter()
        .map(|fault| {
            json!({
                "file": name(&fault.file),
                "offset": fault.offset,
                "reason": fault.reason,
            })
        })
        .collect();
    json!({
        "id": id(found),
        "version": found.version,
        "head": found.head.0,
        "log": {
            "from": found.low_water.0,
            "to": found.end.0,
            "records": found.log_records,
            "states": found.log_states,
            "torn": found.torn.is_some(),
        },
        "expired": expired,
        "epochs": found.epochs,
        "losses": {
            "repairs": found.losses.repairs,
            "before": found.losses.before.0,
            "skip": found.losses.skip,
        },
        "kept": {
            "segments": found.kept_segments,
            "bytes": found.kept_bytes,
        },
        "segments": segments,
        "runs": runs,
        "copies": files(&found.copies),
        "leftovers": files(&found.leftovers),
        "files": found.files,
        "bytes": found.bytes,
        "free_bytes": found.free_bytes,
        "live": found.live,
        "faults": faults,
    })
}
