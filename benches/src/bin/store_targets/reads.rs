//! Reads: of a timeline and of a user's list, warm and cold.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use trunkline_benches::figures::{percentile, short};
use trunkline_benches::{machine, ours};
use trunkline_contender::{READ, Work};
use trunkline_storage::{Opened, Options, Order, Page, Position, Reader, Store, TimelineId};

use crate::counting::{Counting, Reads, ReadsTaken};
use crate::{Args, Row};

/// Events in a page of a user's list.
const PAGE: usize = 500;

/// Opens the store, with its reads counted if asked for.
pub(crate) fn open(store: &Path, reads: Option<&Arc<Reads>>) -> anyhow::Result<Opened> {
    let options = Options {
        runs: true,
        ..Options::default()
    };
    Ok(match reads {
        Some(reads) => {
            let backend = Arc::new(Counting::new(store, reads.clone())?);
            Store::open_with(backend, options, &mut |_| {})?
        }
        None => Store::open(store, options, &mut |_| {})?,
    })
}

/// Returns the targets for reads.
pub(crate) fn rows(args: &Args, store: &Path) -> anyhow::Result<Vec<Row>> {
    let mut work = Work::new(args.timelines, args.messages);
    work.skip(args.messages);
    let opened = open(store, None)?;
    ours::settle(&opened)?;
    let reader = opened.reader.clone();
    let mut page = Page::new();
    let mut history = Vec::new();
    let mut sync = Vec::new();
    // The first half warms up what the second half measures.
    for round in 0..2 * args.reads {
        let (timeline, last) = work.draw_read();
        let micros = range(&reader, timeline, last, &mut page)?;
        let list = TimelineId(work.draw_list());
        let (began, head) = (Instant::now(), reader.head());
        reader.sync(list, Position::ZERO, head, PAGE, &mut page)?;
        let of_page = began.elapsed().as_secs_f64() * 1e6;
        ensure!(page.len() == PAGE, "a page of {} events", page.len());
        if round >= args.reads {
            history.push(micros);
            sync.push(of_page);
        }
    }
    let (runs, segments) = (reader.stats().runs, reader.stats().segments);
    drop((opened, reader));
    let history_more = format!(
        " (p50 {}), {runs} runs, {segments} segments",
        short(percentile(&mut history, 0.5))
    );
    let sync_more = format!(" (p50 {})", short(percentile(&mut sync, 0.5)));
    Ok(vec![
        Row::at_most(
            "100 messages of a timeline, warm, p99",
            percentile(&mut history, 0.99),
            100.0,
            "µs",
            &history_more,
        ),
        cold(args, store, &mut work)?,
        Row::at_most(
            "sync page of 500 events, p99",
            percentile(&mut sync, 0.99),
            1000.0,
            "µs",
            &sync_more,
        ),
    ])
}

/// Measures reads right after an opening, of files that the kernel does not have in memory.
fn cold(args: &Args, store: &Path, work: &mut Work) -> anyhow::Result<Row> {
    let reads = Arc::new(Reads::default());
    let (mut of_runs, mut of_log, mut micros, mut files) = (0, 0, Vec::new(), 0);
    for _ in 0..args.cold {
        let opened = open(store, Some(&reads))?;
        // Work after an opening does not count as part of the read.
        ours::settle(&opened)?;
        machine::forget(store)?;
        files = opened.reader.stats().runs;
        let (timeline, last) = work.draw_read();
        reads.take();
        micros.push(range(&opened.reader, timeline, last, &mut Page::new())?);
        let ReadsTaken { runs, log } = reads.take();
        (of_runs, of_log) = (of_runs.max(runs), of_log.max(log));
    }
    let more = format!(
        " at most, and {of_log} of the log; p50 {} µs",
        short(percentile(&mut micros, 0.5))
    );
    let what = "100 messages of a timeline, cold, block reads";
    let row = Row::at_most(what, of_runs as f64, 4.0, "", &more);
    Ok(match files {
        // All records are still in the log, which has no blocks.
        0 => Row { pass: None, ..row },
        _ => row,
    })
}

/// Reads the last messages of a timeline. Returns the time in microseconds.
fn range(reader: &Reader, timeline: u128, last: u64, page: &mut Page) -> anyhow::Result<f64> {
    let seqs = last + 1 - READ..=last;
    let began = Instant::now();
    let timeline = TimelineId(timeline);
    reader.range(timeline, seqs, READ as usize, Order::Descending, page)?;
    let micros = began.elapsed().as_secs_f64() * 1e6;
    ensure!(page.len() as u64 == READ, "{} messages", page.len());
    Ok(micros)
}
