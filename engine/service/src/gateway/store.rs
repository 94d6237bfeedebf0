//! The opening of the store, and the log lines about it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use trunkline_cluster::member::Candidate;
use trunkline_core::clock::utc;
use trunkline_core::ephemeral::{self, Lost};
use trunkline_storage::{
    Durability as StoreDurability, Opened, Options, PositionsFound, Reader, RecoveryReport, Store,
};

use crate::config::{Config, Durability};
use crate::store_watch::StoreWatch;

/// Opens the store. `node` is the cluster that the gateway is a node of: its log is the durable one, and the store starts
/// again from what it has of it.
pub(super) fn open_store(config: &Config, node: Option<&Candidate>) -> anyhow::Result<Opened> {
    let options = Options {
        durability: match config.durability {
            _ if node.is_some() => StoreDurability::Os,
            Durability::Sync => StoreDurability::Sync,
            Durability::Interval(every) => StoreDurability::Interval(every),
            Durability::Os => StoreDurability::Os,
        },
        runs: true,
        sync_life: config.sync_life,
        key_life: Some(config.idempotency_window),
        message_life: config.message_life,
        cache_bytes: config.store_cache,
        segment_bytes: config.segment_bytes as u64,
        reserve_bytes: config.store_reserve as u64,
        max_record_bytes: config.max_record_bytes(),
        origin: node.map(Candidate::origin),
        ..Options::default()
    };
    // The gateway keeps all its state in the store, so it replays nothing.
    let opened =
        Store::open(&config.data, options, &mut |_| ()).context("cannot open the store")?;
    report_store(&config.data, &opened.report);
    report_positions(&config.data, &opened.report);
    check_ephemeral(config, &opened.reader)?;
    Ok(opened)
}

/// Checks that `sync_life` is long enough for the messages that are still to expire. Nothing has expired in
/// the store yet: it waits to be told the time.
///
/// # Errors
/// The gateway would lose track of messages, or the store cannot be read.
fn check_ephemeral(config: &Config, store: &Reader) -> anyhow::Result<()> {
    let Some(sync_life) = config.sync_life else {
        return Ok(());
    };
    let lost = ephemeral::lost(store, sync_life).context("cannot read the store")?;
    if let Some(Lost { least, until }) = lost {
        let hours = least.as_secs().div_ceil(3_600);
        anyhow::bail!(
            "sync_life is too short for messages with a ttl that are still to expire: their text would stay in the files for ever. Set sync_life to at least {hours}h until {} UTC",
            utc(until)
        );
    }
    Ok(())
}

/// Logs what opening the store found, and warns if other users can read its folder.
fn report_store(data: &Path, report: &RecoveryReport) {
    tracing::info!(
        created = report.created,
        records = report.records,
        bytes = report.bytes,
        took_ms = report.duration.as_millis() as u64,
        "store open"
    );
    if let Some(torn) = &report.torn {
        let copies: Vec<_> = torn
            .copies
            .iter()
            .map(|c| c.display().to_string())
            .collect();
        let end = torn.end;
        let happened = if end.records == 0 {
            "cut off an unfinished write at the end of the log: with the durability `sync` it was not acknowledged, with `interval` and `os` it may have been"
        } else {
            "cut off the end of the log, because it is damaged there: its records may have been acknowledged (the durability was `interval` or `os`), and conversations skip the sequences that may have been used"
        };
        tracing::warn!(
            position = end.position.0,
            bytes = end.bytes,
            records = end.records,
            skipped = end.skip,
            copies = %copies.join(", "),
            copies_incomplete = torn.copies_incomplete,
            "{happened}"
        );
    }
    let mode = std::fs::metadata(data).map_or(0, |meta| meta.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(
            data = %data.display(),
            mode = format_args!("{:04o}", mode & 0o7777),
            "other users of this machine can read the data folder, where messages are plain text: use `chmod -R go=` on it unless you want that"
        );
    }
}

/// Warns if positions that clients keep are no longer valid, or will not be after the next start.
fn report_positions(data: &Path, report: &RecoveryReport) {
    let file = data.join("epochs");
    let file = file.display();
    match report.positions {
        PositionsFound::Kept => {}
        PositionsFound::None if report.created => {}
        PositionsFound::None => tracing::warn!(
            "positions from before this start are refused (error 112): the store is of an earlier version, was repaired with a loss, or {file} was removed"
        ),
        PositionsFound::Damaged => tracing::warn!(
            "positions from before this start are refused (error 112): {file} was damaged and has been made again"
        ),
    }
    if !report.positions_stored {
        tracing::warn!(
            "cannot write {file}: the disk is full. The next start will refuse the positions that clients get from now on: free some space and restart"
        );
    }
}

pub(super) fn watch_store(config: &Config, store: &Reader) -> anyhow::Result<StoreWatch> {
    let reserve = config.store_reserve as u64;
    StoreWatch::start(store.clone(), config.data.clone(), reserve)
        .context("cannot start the thread that watches the store")
}
