//! What a growing history costs with runs: memory, files, disk, opening, reading.
//!
//! `cargo bench -p trunkline-storage --bench history [-- MILLIONS]` stores messages of 120 B between
//! pairs of 1 M users in groups of 1,000, waits until all full segments are in runs, reopens, and
//! reads; a line for each quarter. The page cache is warm: it is the store's own work that shows.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::Path;
use std::time::{Duration, Instant};

use trunkline_storage::{
    Draft, Durability, Opened, Options, Order, Page, Position, Store, StoreKey, TimelineId,
};

const USERS: u64 = 1_000_000;
const BODY: [u8; 120] = [b'x'; 120];
const READS: u64 = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let millions = std::env::args().find_map(|arg| arg.parse::<u64>().ok());
    let quarter = millions.unwrap_or(2) * 1_000_000 / 4;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut opened = open(dir.path())?;
    let key = opened.reader.key();
    println!(
        "| messages | messages/s | RSS MB | index MB | runs | disk B/message | opening ms | replayed \
         | 100 of a timeline µs (p50, p99) | page of a user µs (p50, p99) | records/page |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut stored = 0;
    for _ in 0..4 {
        let began = Instant::now();
        for _ in 0..quarter / 1000 {
            append(&mut opened, key, &mut stored)?;
        }
        let rate = quarter as f64 / began.elapsed().as_secs_f64();
        while opened.reader.stats().waiting_segments > 0 {
            if let Some(reason) = opened.reader.run_failure() {
                return Err(reason.into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let stats = opened.reader.stats();
        let (rss, disk) = (resident()?, disk(dir.path())?);
        drop(opened);
        let began = Instant::now();
        opened = open(dir.path())?;
        let opening = began.elapsed().as_secs_f64() * 1e3;
        let (history, pages, records) = read(&opened, key)?;
        println!(
            "| {stored} | {rate:.0} | {} | {} | {} | {:.0} | {opening:.0} | {} | {} {} | {} {} | \
             {records:.0} |",
            rss >> 20,
            stats.index_bytes >> 20,
            stats.runs,
            disk as f64 / stored as f64,
            opened.report.records,
            history.0,
            history.1,
            pages.0,
            pages.1,
        );
    }
    Ok(())
}

fn open(dir: &Path) -> Result<Opened, Box<dyn std::error::Error>> {
    let options = Options {
        durability: Durability::Os,
        runs: true,
        ..Options::default()
    };
    Ok(Store::open(dir, options, &mut |_| {})?)
}

/// A pair that talks, the same for the same `draw`: half of all messages are in one of 1,000.
fn pair(key: StoreKey, draw: u64) -> (TimelineId, [TimelineId; 2]) {
    let mixed = draw.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    let first = if draw.is_multiple_of(2) {
        mixed % 1000
    } else {
        mixed % USERS
    };
    let users = [first, (first * 7 + 1) % USERS].map(u64::to_le_bytes);
    let ids = users.map(|user| key.id(2, &[&user]));
    (key.id(1, &[&users[0], &users[1]]), ids)
}

fn append(
    opened: &mut Opened,
    key: StoreKey,
    stored: &mut u64,
) -> Result<(), Box<dyn std::error::Error>> {
    for _ in 0..1000 {
        *stored += 1;
        let (timeline, readers) = pair(key, *stored);
        opened.writer.append_next(&Draft {
            kind: 1,
            time: *stored,
            timeline,
            // Any that goes up will do.
            seq: *stored,
            fanout: &readers,
            body: &BODY,
            ..Draft::default()
        })?;
    }
    opened.writer.commit()?;
    Ok(())
}

/// Medians and 99th percentiles in µs.
type Times = (u128, u128);

fn read(opened: &Opened, key: StoreKey) -> Result<(Times, Times, f64), Box<dyn std::error::Error>> {
    let mut page = Page::new();
    let (mut history, mut pages, mut records) = (Vec::new(), Vec::new(), 0);
    for draw in 0..READS {
        let (timeline, readers) = pair(key, draw * 2);
        let began = Instant::now();
        opened
            .reader
            .range(timeline, 0..=u64::MAX, 100, Order::Descending, &mut page)?;
        history.push(began.elapsed().as_micros());
        let began = Instant::now();
        let (from, head) = (Position::ZERO, opened.reader.head());
        opened.reader.sync(readers[0], from, head, 500, &mut page)?;
        pages.push(began.elapsed().as_micros());
        records += page.len();
    }
    Ok((times(history), times(pages), records as f64 / READS as f64))
}

fn times(mut all: Vec<u128>) -> Times {
    all.sort_unstable();
    (all[all.len() / 2], all[all.len() * 99 / 100])
}

/// Bytes of memory that the process has.
fn resident() -> Result<u64, Box<dyn std::error::Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').nth(1).ok_or("statm")?;
    Ok(pages.parse::<u64>()? * 4096)
}

/// Bytes of all files.
fn disk(dir: &Path) -> std::io::Result<u64> {
    std::fs::read_dir(dir)?
        .map(|entry| Ok(entry?.metadata()?.len()))
        .sum()
}
