//! raft-engine: a Raft group for each timeline and each list, with an entry for each message.

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;

use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use trunkline_contender::{Contender, Message, serve};
use trunkline_rivals::entry;

/// Entries that begin with their index. They are as large as Raft's own, without its generated
/// code.
#[derive(Clone)]
struct Indexed;

impl MessageExt for Indexed {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        let bytes = entry.value.first_chunk().copied();
        bytes.map_or(0, u64::from_be_bytes)
    }
}

struct RaftEngine {
    engine: Engine,
    entries: usize,
    found: Vec<BytesValue>,
}

impl Contender for RaftEngine {
    fn open(dir: &Path, entries: usize) -> anyhow::Result<Self> {
        let config = Config {
            dir: dir.display().to_string(),
            // Bodies are random: compressing them would only cost time.
            batch_compression_threshold: ReadableSize(0),
            // Reused log files keep their size, so that a sync need not store a new one, as in our
            // store.
            prefill_for_recycle: true,
            prefill_limit: Some(ReadableSize::gb(1)),
            ..Config::default()
        };
        Ok(RaftEngine {
            engine: Engine::open(config)?,
            entries,
            found: Vec::new(),
        })
    }

    fn append(&mut self, group: &[Message]) -> anyhow::Result<()> {
        let mut batch = LogBatch::with_capacity(group.len() * (1 + self.entries));
        for message in group {
            add(&mut batch, message.timeline, message.seq, &message.body)?;
            for reader in &message.readers[..self.entries] {
                let (_, value) = entry(reader, message);
                add(&mut batch, reader.list, reader.number, &value)?;
            }
        }
        self.engine.write(&mut batch, true)?;
        Ok(())
    }

    fn read(
        &mut self,
        timeline: u128,
        seqs: RangeInclusive<u64>,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> anyhow::Result<()> {
        self.found.clear();
        self.engine.fetch_entries_to::<Indexed>(
            region(timeline),
            *seqs.start(),
            seqs.end() + 1,
            None,
            &mut self.found,
        )?;
        for entry in &self.found {
            each(Indexed::index(entry), &entry.value[8..]);
        }
        Ok(())
    }
}

fn add(batch: &mut LogBatch, list: u128, number: u64, body: &[u8]) -> anyhow::Result<()> {
    let mut entry = BytesValue::default();
    entry.value.reserve_exact(8 + body.len());
    entry.value.extend_from_slice(&number.to_be_bytes());
    entry.value.extend_from_slice(body);
    Ok(batch.add_entries::<Indexed>(region(list), &[entry])?)
}

/// Returns the Raft group of a list: half of its name, which is random enough.
fn region(list: u128) -> u64 {
    (list >> 64) as u64
}

fn main() -> ExitCode {
    serve::<RaftEngine>(std::env::args().skip(1))
}
