//! The store's own paths: appending, committing, reading, opening.
//!
//! `cargo bench -p trunkline-benches --bench store [-- FILTER]`
//!
//! Each commit syncs, on the disk of the build. `store-peers` measures other stores with the same
//! work, and `store-soak` measures the cost of a growing history.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a panic ends the benchmark visibly")]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use trunkline_benches::ours;
use trunkline_contender::{Message, READ, Work};
use trunkline_storage::{Opened, Options, Order, Page, Position, Store, TimelineId};

const TIMELINES: u64 = 100_000;
const MESSAGES: u64 = 600_000;
const STATES: u64 = 10_000;
const PAGE: usize = 500;
/// The domain of state keys.
const STATE: u8 = 4;

/// A store with a history, partly in runs and partly in the log.
struct Bench {
    /// The open store, which is dropped before the folder.
    store: Opened,
    work: Work,
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        // Beside the build, because a temporary folder may be in memory.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut bench = Bench {
            store: open(dir.path()),
            work: Work::new(TIMELINES, MESSAGES),
            dir,
        };
        for _ in 0..MESSAGES / 1000 {
            for _ in 0..1000 {
                let message = bench.work.load();
                bench.append(&message);
            }
            bench.store.writer.commit().unwrap();
        }
        let key = bench.store.reader.key();
        for state in 0..STATES {
            let id = key.id(STATE, &[&state.to_le_bytes()]);
            bench.store.writer.set_state(id, &[7; 40]).unwrap();
        }
        bench.store.writer.commit().unwrap();
        ours::settle(&bench.store).unwrap();
        bench
    }

    fn append(&mut self, message: &Message) {
        ours::append_message(&mut self.store.writer, message, 2).unwrap();
    }

    fn draw(&mut self, group: usize) -> Vec<Message> {
        (0..group).map(|_| self.work.draw()).collect()
    }
}

fn open(dir: &Path) -> Opened {
    let options = Options {
        runs: true,
        ..Options::default()
    };
    Store::open(dir, options, &mut |_| {}).unwrap()
}

/// Calls `once` `iters` times and returns the sum of the times that it reports. So the time to make
/// messages does not count.
fn timed(iters: u64, mut once: impl FnMut() -> Duration) -> Duration {
    (0..iters).map(|_| once()).sum()
}

fn writes(c: &mut Criterion) {
    let mut bench = Bench::new();
    let mut group = c.benchmark_group("store");
    group.sample_size(20);
    for size in [1, 64, 1000] {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(format!("append and commit {size}"), |b| {
            b.iter_custom(|iters| {
                timed(iters, || {
                    let messages = bench.draw(size);
                    let began = Instant::now();
                    for message in &messages {
                        bench.append(message);
                    }
                    bench.store.writer.commit().unwrap();
                    began.elapsed()
                })
            });
        });
    }
    group.throughput(Throughput::Elements(1000));
    for (name, of_commit) in [("append 1000", false), ("commit 1000", true)] {
        group.bench_function(name, |b| {
            b.iter_custom(|iters| {
                timed(iters, || {
                    let messages = bench.draw(1000);
                    let began = Instant::now();
                    for message in &messages {
                        bench.append(message);
                    }
                    let (appended, began) = (began.elapsed(), Instant::now());
                    bench.store.writer.commit().unwrap();
                    if of_commit { began.elapsed() } else { appended }
                })
            });
        });
    }
    group.finish();
}

fn reads(c: &mut Criterion) {
    let mut bench = Bench::new();
    let mut page = Page::new();
    let mut group = c.benchmark_group("store");
    let reader = bench.store.reader.clone();
    group.bench_function("read 100 of a timeline", |b| {
        b.iter(|| {
            let (timeline, last) = bench.work.draw_read();
            let seqs = last - READ + 1..=last;
            let timeline = TimelineId(timeline);
            reader
                .range(timeline, seqs, READ as usize, Order::Descending, &mut page)
                .unwrap();
            assert_eq!(page.len() as u64, READ);
        });
    });
    group.bench_function("sync page of 500", |b| {
        b.iter(|| {
            let list = TimelineId(bench.work.draw_list());
            let head = reader.head();
            reader
                .sync(list, Position::ZERO, head, PAGE, &mut page)
                .unwrap();
            assert_eq!(page.len(), PAGE);
        });
    });
    let (key, mut state) = (reader.key(), 0);
    group.bench_function("read a state", |b| {
        b.iter(|| {
            state = (state + 7919) % STATES;
            let id = key.id(STATE, &[&state.to_le_bytes()]);
            assert!(black_box(reader.state(id).unwrap()).is_some());
        });
    });
    group.finish();
}

fn opening(c: &mut Criterion) {
    let Bench { store, dir, .. } = Bench::new();
    let mut store = Some(store);
    let mut group = c.benchmark_group("store");
    group.sample_size(10);
    group.bench_function("open", |b| {
        b.iter_custom(|iters| {
            timed(iters, || {
                // The folder stays locked until the last reader is dropped.
                store = None;
                let began = Instant::now();
                store = Some(open(dir.path()));
                began.elapsed()
            })
        });
    });
    group.finish();
}

criterion_group!(benches, writes, reads, opening);
criterion_main!(benches);
