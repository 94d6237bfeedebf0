//! Reads of what is not in memory: one reader, several readers, and what bodies in one place would save.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use trunkline_benches::figures::{percentile, short};
use trunkline_benches::{machine, ours};
use trunkline_contender::{READ, Work};
use trunkline_storage::{Page, Reader};

use crate::counting::{Reads, ReadsTaken};
use crate::reads::{open, range};
use crate::{Args, Row};

/// Readers at the same time.
const READERS: usize = 8;

/// The bytes that a message takes in the log of this load: its text, its frame and two readers.
const MESSAGE: u64 = 220;

/// Returns the figures of cold reads.
pub(crate) fn rows(args: &Args, store: &Path, work: &mut Work) -> anyhow::Result<Vec<Row>> {
    let (mut time, blocks) = one_reader(args, store, work)?;
    let more = time.more(" at most");
    Ok(vec![
        Row::at_most(
            "100 messages of a timeline, cold, p50",
            time.median() / 1e3,
            5.0,
            "ms",
            &format!("{more}; {blocks}"),
        ),
        several_readers(args, store, work)?,
        in_one_place(args, store)?,
    ])
}

/// The times of some reads in microseconds.
struct Times(Vec<f64>);

impl Times {
    fn median(&mut self) -> f64 {
        percentile(&mut self.0, 0.5)
    }

    fn more(&mut self, what: &str) -> String {
        let most = percentile(&mut self.0, 1.0);
        format!(", {} ms{what}", short(most / 1e3))
    }
}

/// Reads a page right after each of several openings. Returns the times, and the reads of the disk.
fn one_reader(args: &Args, store: &Path, work: &mut Work) -> anyhow::Result<(Times, String)> {
    let reads = Arc::new(Reads::default());
    let (mut of_runs, mut of_log, mut micros) = (0, 0, Vec::new());
    for _ in 0..args.cold {
        let opened = open(store, Some(&reads))?;
        // Work after an opening does not count as part of the read.
        ours::settle(&opened)?;
        machine::forget(store)?;
        let (timeline, last) = work.draw_read();
        reads.take();
        micros.push(range(&opened.reader, timeline, last, &mut Page::new())?);
        let ReadsTaken { runs, log } = reads.take();
        (of_runs, of_log) = (of_runs.max(runs), of_log.max(log));
    }
    let blocks = format!("at most {of_runs} blocks of runs and {of_log} records of the log");
    Ok((Times(micros), blocks))
}

/// Reads pages of different timelines with several readers at a time.
fn several_readers(args: &Args, store: &Path, work: &mut Work) -> anyhow::Result<Row> {
    let opened = open(store, None)?;
    ours::settle(&opened)?;
    machine::forget(store)?;
    let pages: Vec<_> = (0..READERS * args.cold).map(|_| work.draw_read()).collect();
    let (reader, began) = (&opened.reader, Instant::now());
    let micros: anyhow::Result<Vec<Vec<f64>>> = std::thread::scope(|scope| {
        let readers: Vec<_> = pages
            .chunks(args.cold)
            .map(|pages| scope.spawn(move || each(reader, pages)))
            .collect();
        let times = readers.into_iter().map(|reader| {
            let times = reader.join();
            times.map_err(|_| anyhow::anyhow!("a reader panicked"))?
        });
        times.collect()
    });
    let took = began.elapsed().as_secs_f64();
    let mut micros = micros?.concat();
    let measured = format!(
        "{} pages/s, p50 {} ms",
        short(pages.len() as f64 / took),
        short(percentile(&mut micros, 0.5) / 1e3)
    );
    let what = format!("the same by {READERS} readers at a time");
    Ok(Row::told(what, measured))
}

fn each(reader: &Reader, pages: &[(u128, u64)]) -> anyhow::Result<Vec<f64>> {
    let mut page = Page::new();
    let read = |&(timeline, last): &(u128, u64)| range(reader, timeline, last, &mut page);
    pages.iter().map(read).collect()
}

/// Reads as many bytes as a page has, in one go from a place of a segment: what a cold page would cost
/// beside the look into the runs if a background pass had laid its bodies together.
fn in_one_place(args: &Args, store: &Path) -> anyhow::Result<Row> {
    let mut segments = segments(store)?;
    let mut times = Times(Vec::new());
    let mut bytes = vec![0; (READ * MESSAGE) as usize];
    for number in 0..args.cold as u64 {
        machine::forget(store)?;
        let count = segments.len();
        let (file, len) = &mut segments[number as usize % count];
        // Places that are far from each other, and that no other read has brought.
        let at = (number + 1) * 7_919 * 4_096 % (*len - bytes.len() as u64);
        let began = Instant::now();
        file.read_exact_at(&mut bytes, at)?;
        times.0.push(began.elapsed().as_secs_f64() * 1e6);
    }
    let what = "as many bytes in one place, cold, p50";
    let measured = short(times.median() / 1e3) + " ms" + &times.more(" at most");
    Ok(Row::told(what, measured))
}

/// Returns the segments of the log that are full, with their lengths.
fn segments(store: &Path) -> anyhow::Result<Vec<(File, u64)>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(store)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "seg") {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    // The last ones are not full.
    paths.truncate(paths.len().saturating_sub(2));
    ensure!(!paths.is_empty(), "no full segments: store more messages");
    let open = |path: PathBuf| {
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        let len = file.metadata()?.len();
        Ok((file, len))
    };
    paths.into_iter().map(open).collect()
}
