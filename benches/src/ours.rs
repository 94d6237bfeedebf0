//! Trunkline's store as a contender, and a bare file beside it.

use std::fs::{File, OpenOptions};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use trunkline_contender::steady::{Debt, StoreReading};
use trunkline_contender::{BODY, Contender, Message};
use trunkline_storage::{Draft, Opened, Options, Order, Page, Store, TimelineId, Writer};

/// The time in the records, which does not matter to the store.
const TIME: u64 = 1_700_000_000_000;

/// Returns a record of a message, as the gateway appends it.
#[must_use]
pub fn draft<'a>(
    time: u64,
    timeline: TimelineId,
    seq: u64,
    fanout: &'a [TimelineId],
    body: &'a [u8],
) -> Draft<'a> {
    Draft {
        kind: 1,
        time,
        timeline,
        seq,
        fanout,
        body,
        ..Draft::default()
    }
}

/// Appends a message with this many of its index entries. The store need not check the sequence,
/// because the other stores do not check their keys either.
///
/// # Errors
/// The store refuses the record.
pub fn append_message(
    writer: &mut Writer,
    message: &Message,
    entries: usize,
) -> anyhow::Result<()> {
    let readers = message.readers.map(|reader| TimelineId(reader.list));
    let (timeline, fanout) = (TimelineId(message.timeline), &readers[..entries]);
    let draft = draft(TIME, timeline, message.seq, fanout, &message.body);
    writer.append_next(&draft)?;
    Ok(())
}

/// Trunkline's store.
pub struct Trunkline {
    store: Opened,
    entries: usize,
    page: Page,
}

impl Contender for Trunkline {
    fn open(dir: &Path, entries: usize) -> anyhow::Result<Self> {
        let options = Options {
            runs: true,
            ..Options::default()
        };
        Ok(Trunkline {
            store: Store::open(dir, options, &mut |_| {})?,
            entries,
            page: Page::new(),
        })
    }

    fn append(&mut self, group: &[Message]) -> anyhow::Result<()> {
        for message in group {
            append_message(&mut self.store.writer, message, self.entries)?;
        }
        self.store.writer.commit()?;
        Ok(())
    }

    fn read(
        &mut self,
        timeline: u128,
        seqs: RangeInclusive<u64>,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> anyhow::Result<()> {
        let (timeline, page) = (TimelineId(timeline), &mut self.page);
        let reader = &self.store.reader;
        reader.range(timeline, seqs, usize::MAX, Order::Ascending, page)?;
        for record in page.records() {
            each(record.seq, record.body);
        }
        Ok(())
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        settle(&self.store)
    }

    fn reading(&self) -> Option<StoreReading> {
        Some(reading(&self.store))
    }
}

/// Returns the counters of a store since it was opened. The written bytes are those of its log and
/// its runs, without the zeros in prepared segments.
#[must_use]
pub fn reading(store: &Opened) -> StoreReading {
    let stats = store.reader.stats();
    let segment = stats.segment_bytes / stats.segments.max(1) as u64;
    StoreReading {
        log: stats.bytes,
        written: stats.bytes + stats.merge_bytes,
        segment,
        debt: Debt {
            unsorted: stats.waiting_bytes,
            unmerged: stats.merge_due_bytes,
        },
    }
}

/// Waits until all full segments of a store are in runs.
///
/// # Errors
/// Making a run failed.
pub fn settle(store: &Opened) -> anyhow::Result<()> {
    while store.reader.stats().waiting_segments > 0 {
        if let Some(reason) = store.reader.run_failure() {
            bail!(reason);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Waits until a store has no deferred work: all full segments are in runs, and no merge is due.
///
/// # Errors
/// Making or merging runs failed.
pub fn pay(store: &Opened) -> anyhow::Result<()> {
    settle(store)?;
    while reading(store).debt.bytes() > 0 {
        if let Some(reason) = store.reader.run_failure() {
            bail!(reason);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A bare file: `write` and `fdatasync` of as many bytes as our store writes.
pub struct Bare {
    file: File,
    entries: usize,
    at: u64,
    bytes: Vec<u8>,
}

/// The size of the bare file in bytes. It is written again and again, so that no sync must make a
/// new size durable.
const BARE_BYTES: u64 = 64 << 20;

impl Contender for Bare {
    fn open(dir: &Path, entries: usize) -> anyhow::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let file = options.open(dir.join("bare"))?;
        file.write_all_at(&vec![0; BARE_BYTES as usize], 0)?;
        file.sync_all()?;
        Ok(Bare {
            file,
            entries,
            at: 0,
            bytes: Vec::new(),
        })
    }

    fn append(&mut self, group: &[Message]) -> anyhow::Result<()> {
        self.bytes.clear();
        for message in group {
            self.bytes.extend_from_slice(&message.body);
            let frame = frame_bytes(self.entries);
            self.bytes.resize(self.bytes.len() + frame - BODY, 1);
        }
        if self.at + self.bytes.len() as u64 > BARE_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(&self.bytes, self.at)?;
        self.file.sync_data()?;
        self.at += self.bytes.len() as u64;
        Ok(())
    }
}

/// Returns the bytes of a message in our log: header and record, rounded up to a multiple of 8.
fn frame_bytes(entries: usize) -> usize {
    let fanout = [TimelineId(0); 2];
    let draft = draft(TIME, TimelineId(0), 1, &fanout[..entries], &[0; BODY]);
    (24 + draft.record_bytes()).next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_contender::Work;

    #[test]
    fn the_bare_file_gets_what_our_log_gets() {
        for entries in [0, 2] {
            let dir = tempfile::tempdir().unwrap();
            let mut store = Trunkline::open(dir.path(), entries).unwrap();
            let mut work = Work::new(10, 100);
            let group: Vec<Message> = (0..100).map(|_| work.load()).collect();
            store.append(&group).unwrap();
            let bytes = store.store.reader.stats().bytes;
            assert_eq!(bytes, 100 * frame_bytes(entries) as u64);
        }
    }

    #[test]
    fn our_store_returns_what_it_got() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Trunkline::open(dir.path(), 2).unwrap();
        let mut work = Work::new(3, 30);
        let group: Vec<Message> = (0..30).map(|_| work.load()).collect();
        store.append(&group).unwrap();
        let (timeline, last) = work.draw_read();
        let mut seen = Vec::new();
        let mut see = |seq, body: &[u8]| seen.push((seq, body == Work::body(timeline, seq)));
        store.read(timeline, 1..=last, &mut see).unwrap();
        let expected: Vec<_> = (1..=last).map(|seq| (seq, true)).collect();
        assert_eq!(seen, expected);
    }
}
