//! Measures the memory for timelines that are in use.

use std::path::Path;

use trunkline_benches::ours;
use trunkline_contender::Work;
use trunkline_storage::{Options, Store};

use crate::{Args, Row};

/// Returns the index's memory for each timeline, when each has one entry that is only in the log.
pub(crate) fn row(args: &Args, dir: &Path) -> anyhow::Result<Row> {
    let dir = dir.join("memory");
    let mut per_timeline = [0.0; 2];
    for (per_timeline, entries) in per_timeline.iter_mut().zip([0, 2]) {
        let mut store = Store::open(&dir, Options::default(), &mut |_| {})?;
        let empty = store.reader.stats().index_bytes;
        // Every message goes to the next timeline and to two users' lists. Nothing is read.
        let mut work = Work::around(args.timelines);
        for left in (0..args.timelines).rev() {
            ours::append_message(&mut store.writer, &work.load(), entries)?;
            if left % 10_000 == 0 {
                store.writer.commit()?;
            }
        }
        let bytes = store.reader.stats().index_bytes - empty;
        let lists = args.timelines * u64::from(entries > 0);
        *per_timeline = bytes as f64 / (args.timelines + lists) as f64;
        drop(store);
        std::fs::remove_dir_all(&dir)?;
    }
    let [alone, with_lists] = per_timeline;
    let what = "index per active timeline, 1 entry each";
    let more = format!(" ({with_lists:.1} with as many lists of 2 entries)");
    Ok(Row::at_most(what, alone, 64.0, "B", &more))
}
