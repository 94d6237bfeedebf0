//! redb: a table of messages and one of index entries, a transaction for a group.

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;

use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use trunkline_contender::{BODY, Contender, Message, serve};
use trunkline_rivals::{CACHE_BYTES, Key, entry, key, seq_of};

const MESSAGES: TableDefinition<'_, &[u8; 24], &[u8; BODY]> = TableDefinition::new("messages");
const LISTS: TableDefinition<'_, &[u8; 24], &[u8; 24]> = TableDefinition::new("lists");

struct Redb {
    db: Database,
    entries: usize,
}

impl Contender for Redb {
    fn open(dir: &Path, entries: usize) -> anyhow::Result<Self> {
        let db = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(dir.join("redb"))?;
        Ok(Redb { db, entries })
    }

    fn append(&mut self, group: &[Message]) -> anyhow::Result<()> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut messages = transaction.open_table(MESSAGES)?;
            for message in group {
                messages.insert(&key(message.timeline, message.seq), &message.body)?;
            }
            let mut lists = transaction.open_table(LISTS)?;
            for message in group {
                for reader in &message.readers[..self.entries] {
                    let (key, value) = entry(reader, message);
                    lists.insert(&key, &value)?;
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn read(
        &mut self,
        timeline: u128,
        seqs: RangeInclusive<u64>,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> anyhow::Result<()> {
        let messages = self.db.begin_read()?.open_table(MESSAGES)?;
        let [first, last] = [*seqs.start(), *seqs.end()].map(|seq| key(timeline, seq));
        for item in messages.range::<&Key>(&first..=&last)? {
            let (key, body) = item?;
            each(seq_of(key.value()), body.value());
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    serve::<Redb>(std::env::args().skip(1))
}
