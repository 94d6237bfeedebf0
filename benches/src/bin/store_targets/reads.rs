//! Reads of a timeline and of a user's list.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use trunkline_benches::figures::{percentile, short};
use trunkline_benches::ours;
use trunkline_contender::{READ, Work};
use trunkline_storage::{Opened, Options, Order, Page, Position, Reader, Store, TimelineId};

use crate::cold;
use crate::counting::{Counting, Reads};
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
    let mut rows = vec![
        Row::at_most(
            "100 messages of a timeline, warm, p99",
            percentile(&mut history, 0.99),
            100.0,
            "µs",
            &history_more,
        ),
        Row::at_most(
            "sync page of 500 events, p99",
            percentile(&mut sync, 0.99),
            1000.0,
            "µs",
            &sync_more,
        ),
    ];
    rows.extend(cold::rows(args, store, &mut work)?);
    Ok(rows)
}

/// Reads the last messages of a timeline. Returns the time in microseconds.
pub(crate) fn range(
    reader: &Reader,
    timeline: u128,
    last: u64,
    page: &mut Page,
) -> anyhow::Result<f64> {
    let seqs = last + 1 - READ..=last;
    let began = Instant::now();
    let timeline = TimelineId(timeline);
    reader.range(timeline, seqs, READ as usize, Order::Descending, page)?;
    let micros = began.elapsed().as_secs_f64() * 1e6;
    ensure!(page.len() as u64 == READ, "{} messages", page.len());
    Ok(micros)
}
