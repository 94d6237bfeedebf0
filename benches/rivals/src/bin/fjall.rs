//! fjall: a keyspace for messages and one for index entries, an atomic batch for a group.

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use trunkline_contender::{Contender, Message, serve};
use trunkline_rivals::{CACHE_BYTES, entry, key, seq_of};

struct Fjall {
    db: Database,
    messages: Keyspace,
    lists: Keyspace,
    entries: usize,
}

impl Contender for Fjall {
    fn open(dir: &Path, entries: usize) -> anyhow::Result<Self> {
        let db = Database::builder(dir)
            .cache_size(CACHE_BYTES as u64)
            .open()?;
        Ok(Fjall {
            messages: db.keyspace("messages", KeyspaceCreateOptions::default)?,
            lists: db.keyspace("lists", KeyspaceCreateOptions::default)?,
            db,
            entries,
        })
    }

    fn append(&mut self, group: &[Message]) -> anyhow::Result<()> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for message in group {
            let key = key(message.timeline, message.seq);
            batch.insert(&self.messages, key, message.body);
            for reader in &message.readers[..self.entries] {
                let (key, value) = entry(reader, message);
                batch.insert(&self.lists, key, value);
            }
        }
        Ok(batch.commit()?)
    }

    fn read(
        &mut self,
        timeline: u128,
        seqs: RangeInclusive<u64>,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> anyhow::Result<()> {
        let keys = key(timeline, *seqs.start())..=key(timeline, *seqs.end());
        for item in self.messages.range(keys) {
            let (key, body) = item.into_inner()?;
            each(seq_of(&key), &body);
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    serve::<Fjall>(std::env::args().skip(1))
}
