//! Durable appends beside a bare loop of `write` and `fdatasync` of the same bytes.
//!
//! `cargo bench -p trunkline-storage --bench append [-- SECONDS [DIR]]` prints, for each group size
//! and fan-out, the medians of both in records per second and their ratio. The two take turns,
//! round by round, on the same disk: only the ratio means anything on another day. With a `DIR` in
//! memory the difference is the processor time of a record.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use trunkline_storage::{Draft, Opened, Options, Store, TimelineId};

const TIMELINES: u64 = 1_000_000;
const BODY: [u8; 120] = [b'x'; 120];
/// Header, fields and body of a message without fan-out, in the log; each reader adds 16.
const FRAME_BYTES: usize = 24 + 36 + BODY.len() + 4;
const ROUNDS: u32 = 10;
/// The bare loop writes into a file of this size again and again, as the log does.
const FILE_BYTES: usize = 64 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args()
        .filter_map(|arg| arg.parse::<f64>().ok())
        .next()
        .unwrap_or(4.0);
    // Beside the build, since a temporary folder may be in memory.
    let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).to_path_buf();
    let dir = std::env::args()
        .skip(1)
        .map(PathBuf::from)
        .find(|arg| arg.is_dir());
    let dir = tempfile::tempdir_in(dir.unwrap_or(beside))?;
    println!("120 B messages to 1 M timelines; medians of {ROUNDS} rounds, in turns\n");
    println!("| group | fan-out | bare records/s | store records/s | ratio | more ns/record |");
    println!("|---|---|---|---|---|---|");
    let mut notes = String::new();
    for fanout in [0u64, 2] {
        let store = dir.path().join(format!("store-{fanout}"));
        let mut bench = Bench::open(&store, fanout as usize)?;
        bench.warm()?;
        for group in [1, 64, 1000] {
            let round = Duration::from_secs_f64(seconds / f64::from(ROUNDS) / 2.0);
            let mut rates = Vec::new();
            for _ in 0..ROUNDS {
                rates.push((
                    bare(dir.path(), group, fanout as usize, round)?,
                    bench.round(group, round)?,
                ));
            }
            let bare = median(rates.iter().map(|rate| rate.0));
            let store = median(rates.iter().map(|rate| rate.1));
            let overhead = 1e9 / store - 1e9 / bare;
            println!(
                "| {group} | {fanout} | {bare:.0} | {store:.0} | {:.2} | {overhead:.0} |",
                store / bare
            );
        }
        let index = bench.store.reader.stats().index_bytes as f64;
        let timelines = (TIMELINES * (1 + fanout.min(1))) as f64;
        let entries = bench.store.reader.stats().records as f64 * (1 + fanout) as f64;
        let each = (index / timelines, entries / timelines);
        notes += &format!(
            "\nindex with fan-out {fanout}: {:.0} B for a timeline with {:.1} entries",
            each.0, each.1
        );
        drop(bench);
        std::fs::remove_dir_all(&store)?;
    }
    println!("{notes}");
    Ok(())
}

struct Bench {
    store: Opened,
    fanout: usize,
    random: u64,
    /// Last sequences, so that the bench itself is as cheap as a caller can be.
    seqs: Vec<u32>,
    ids: Vec<TimelineId>,
}

impl Bench {
    fn open(dir: &Path, fanout: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let store = Store::open(dir, Options::default(), &mut |_| {})?;
        let key = store.reader.key();
        let ids = (0..TIMELINES)
            .map(|i| key.id(1, &[&i.to_le_bytes()]))
            .collect();
        Ok(Bench {
            store,
            fanout,
            random: 1,
            seqs: vec![0; TIMELINES as usize],
            ids,
        })
    }

    /// Appends to every timeline once: a store in use, not an empty one.
    fn warm(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        for timeline in 0..self.ids.len() {
            self.seqs[timeline] = 1;
            let readers = [timeline, (timeline + 1) % self.ids.len()].map(|user| self.ids[user]);
            self.append(self.ids[timeline], 1, &readers)?;
            if timeline % 10_000 == 9_999 {
                self.store.writer.commit()?;
            }
        }
        Ok(())
    }

    /// Commits groups for the time of a round. Records per second, without the time it takes to
    /// think of them: a gateway has the ids at hand.
    fn round(&mut self, group: usize, time: Duration) -> Result<f64, Box<dyn std::error::Error>> {
        let (mut spent, mut records) = (Duration::ZERO, 0);
        let mut messages = Vec::new();
        while spent < time {
            for _ in 0..group {
                let timeline = self.draw();
                self.seqs[timeline] += 1;
                let readers = [self.draw(), self.draw()].map(|user| self.ids[user]);
                messages.push((self.ids[timeline], u64::from(self.seqs[timeline]), readers));
            }
            let began = Instant::now();
            for (timeline, seq, readers) in messages.drain(..) {
                self.append(timeline, seq, &readers)?;
            }
            self.store.writer.commit()?;
            spent += began.elapsed();
            records += group;
        }
        Ok(records as f64 / spent.as_secs_f64())
    }

    fn append(
        &mut self,
        timeline: TimelineId,
        seq: u64,
        readers: &[TimelineId; 2],
    ) -> Result<(), Box<dyn std::error::Error>> {
        self.store.writer.append_next(&Draft {
            kind: 1,
            time: 1_700_000_000_000,
            timeline,
            seq,
            fanout: &readers[..self.fanout],
            body: &BODY,
            ..Draft::default()
        })?;
        Ok(())
    }

    fn draw(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % TIMELINES) as usize
    }
}

/// The bare loop: the same bytes, into a file whose blocks are all written.
fn bare(dir: &Path, group: usize, fanout: usize, time: Duration) -> std::io::Result<f64> {
    let path = dir.join("bare");
    let fresh = !path.exists();
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    if fresh {
        file.write_all_at(&vec![0; FILE_BYTES], 0)?;
        file.sync_all()?;
    }
    let bytes = vec![b'x'; group * (FRAME_BYTES + 16 * fanout)];
    let began = Instant::now();
    let (mut at, mut records) = (0, 0);
    while began.elapsed() < time {
        if at + bytes.len() > FILE_BYTES {
            at = 0;
        }
        file.write_all_at(&bytes, at as u64)?;
        file.sync_data()?;
        at += bytes.len();
        records += group;
    }
    Ok(records as f64 / began.elapsed().as_secs_f64())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
