//! The store's numbers in the text of /metrics.

use trunkline_storage::{Health, Reader, Stats};

use super::families::{Families, Written, buckets};

/// Writes the store's counters. `free` is the free space of its disk in bytes.
pub(super) fn write(store: &Reader, free: u64, to: &mut Families<'_, '_>) -> Written {
    let stats = store.stats();
    let counters = [
        ("commits", "Batches committed", stats.commits),
        ("records", "Records committed", stats.records),
        ("written_bytes", "Bytes written to the log", stats.bytes),
        ("syncs", "Calls of fdatasync", stats.syncs),
        (
            "run_failures",
            "Failed attempts to make or merge runs",
            stats.run_failures,
        ),
        (
            "merge_bytes",
            "Bytes written to make and merge runs",
            stats.merge_bytes,
        ),
        (
            "waits",
            "Appends that waited for a segment to be made into runs",
            stats.waits,
        ),
    ];
    for (name, help, value) in counters {
        to.counter(&format!("trunkline_store_{name}"), help, value)?;
    }
    gauges(store, &stats, to)?;
    to.gauge(
        "trunkline_store_free_bytes",
        "Free space of the disk of the store",
        free,
    )?;
    to.histogram(
        "trunkline_store_batch_records",
        "Records per commit",
        // Of whole numbers those below 2^N are those up to 2^N - 1.
        &buckets(&stats.batch_records, |power| power - 1.0),
        stats.records as f64,
    )?;
    to.histogram(
        "trunkline_store_commit_seconds",
        "Time of a commit",
        &buckets(&stats.commit_micros, |power| power / 1e6),
        stats.commit_micros_sum as f64 / 1e6,
    )
}

/// Writes what the store has at this moment.
fn gauges(store: &Reader, stats: &Stats, to: &mut Families<'_, '_>) -> Written {
    let gauges = [
        (
            "bytes",
            "Bytes of segment and run files",
            stats.segment_bytes + stats.kept_bytes + stats.run_bytes,
        ),
        (
            "segments",
            "Segment files",
            stats.segments as u64 + stats.kept_segments,
        ),
        (
            "waiting_segments",
            "Full segments not yet made into runs",
            stats.waiting_segments as u64,
        ),
        (
            "waiting_bytes",
            "Bytes of full segments not yet made into runs",
            stats.waiting_bytes,
        ),
        (
            "merge_due_bytes",
            "Bytes of runs that are to be merged by now",
            stats.merge_due_bytes,
        ),
        ("runs", "Run files", stats.runs as u64),
        ("run_bytes", "Bytes of run files", stats.run_bytes),
        (
            "pending_redactions",
            "Recalled messages whose text is still on the disk",
            stats.pending_redactions as u64,
        ),
        (
            "index_bytes",
            "Memory of the index of the log",
            stats.index_bytes as u64,
        ),
        (
            "durable_position",
            "End of the durable part of the log",
            stats.durable.0,
        ),
        (
            "head_position",
            "Position of the last visible record",
            stats.head.0,
        ),
        (
            "writable",
            "1 while the store takes messages",
            u64::from(store.health() == Health::Ok),
        ),
        (
            "runs_failing",
            "1 while the last attempt to make or merge runs failed",
            u64::from(store.run_failure().is_some()),
        ),
    ];
    for (name, help, value) in gauges {
        to.gauge(&format!("trunkline_store_{name}"), help, value)?;
    }
    Ok(())
}
