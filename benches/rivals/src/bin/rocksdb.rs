//! RocksDB: a column family for messages and one for index entries, a write batch for a group.

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, DB, DBCompressionType, Options, ReadOptions,
    WaitForCompactOptions, WriteBatch, WriteOptions,
};
use trunkline_contender::{Contender, Message, serve};
use trunkline_rivals::{CACHE_BYTES, entry, key, seq_of};

const MESSAGES: &str = "messages";
const LISTS: &str = "lists";

struct RocksDb {
    db: DB,
    sync: WriteOptions,
    entries: usize,
}

impl RocksDb {
    fn family(&self, name: &str) -> anyhow::Result<&ColumnFamily> {
        self.db.cf_handle(name).context("no column family")
    }
}

impl Contender for RocksDb {
    fn open(dir: &Path, entries: usize) -> anyhow::Result<Self> {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
        table.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_compression_type(DBCompressionType::None);
        options.set_block_based_table_factory(&table);
        // Reused log files keep their size, so that a sync need not store a new one, as in our
        // store.
        options.set_recycle_log_file_num(4);
        let families = [MESSAGES, LISTS].map(|name| (name, options.clone()));
        let db = DB::open_cf_with_opts(&options, dir, families)?;
        let mut sync = WriteOptions::default();
        sync.set_sync(true);
        Ok(RocksDb { db, sync, entries })
    }

    fn append(&mut self, group: &[Message]) -> anyhow::Result<()> {
        let (messages, lists) = (self.family(MESSAGES)?, self.family(LISTS)?);
        let mut batch = WriteBatch::default();
        for message in group {
            batch.put_cf(messages, key(message.timeline, message.seq), message.body);
            for reader in &message.readers[..self.entries] {
                let (key, value) = entry(reader, message);
                batch.put_cf(lists, key, value);
            }
        }
        Ok(self.db.write_opt(batch, &self.sync)?)
    }

    fn read(
        &mut self,
        timeline: u128,
        seqs: RangeInclusive<u64>,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> anyhow::Result<()> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(key(timeline, seqs.end() + 1));
        let mut items = self.db.raw_iterator_cf_opt(self.family(MESSAGES)?, options);
        items.seek(key(timeline, *seqs.start()));
        while let Some((key, body)) = items.item() {
            each(seq_of(key), body);
            items.next();
        }
        Ok(items.status()?)
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        Ok(self
            .db
            .wait_for_compact(&WaitForCompactOptions::default())?)
    }
}

fn main() -> ExitCode {
    serve::<RocksDb>(std::env::args().skip(1))
}
