//! The start of the shards' threads.

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use crossbeam::channel;
use mio::Poll;
use trunkline_core::exchange::Mailbox;
use trunkline_gateway::shard::{Parts, Shard, ShardWaker, descriptors};

use crate::log;
use crate::threads::spawn;

/// A shard's thread that waits for the parts of its shard.
pub(super) struct Seed {
    index: usize,
    parts: channel::Sender<Parts>,
    told: channel::Receiver<std::io::Result<()>>,
    thread: JoinHandle<std::io::Result<()>>,
}

/// Makes the event loops, and starts their threads, each with its own descriptor table if
/// `private_tables` is set.
pub(super) fn seed_shards(
    shards: usize,
    private_tables: bool,
) -> anyhow::Result<(Vec<Arc<Mailbox>>, Vec<Seed>)> {
    // All of them before the first table is unshared: see `descriptors::unshare_table`.
    let mut polls = Vec::new();
    let mut mailboxes = Vec::new();
    for _ in 0..shards {
        let poll = Poll::new().context("cannot make an event loop")?;
        let waker = ShardWaker::new(&poll).context("cannot make a waker")?;
        mailboxes.push(Arc::new(Mailbox::new(Box::new(waker))));
        polls.push(poll);
    }
    let mut seeds = Vec::new();
    for (index, poll) in polls.into_iter().enumerate() {
        let (give, parts) = channel::bounded(1);
        let (tell, told) = channel::bounded(1);
        let thread = spawn(&format!("shard-{index}"), move || {
            run_shard(poll, private_tables, &parts, &tell)
        })?;
        seeds.push(Seed {
            index,
            parts: give,
            told,
            thread,
        });
    }
    for seed in &seeds {
        seed.hear()
            .context("cannot give the shards descriptor tables of their own")?;
    }
    Ok((mailboxes, seeds))
}

/// Runs a shard's thread: makes its descriptor table, opens its listener, and runs its event loop.
fn run_shard(
    poll: Poll,
    private_table: bool,
    parts: &channel::Receiver<Parts>,
    tell: &channel::Sender<std::io::Result<()>>,
) -> std::io::Result<()> {
    let table = if private_table {
        descriptors::unshare_table()
    } else {
        Ok(())
    };
    let _ = tell.send(table);
    // No parts come if the gateway fails to start.
    let Ok(parts) = parts.recv() else {
        return Ok(());
    };
    let shard = match Shard::open(poll, parts) {
        Ok(shard) => shard,
        Err(error) => {
            let _ = tell.send(Err(error));
            return Ok(());
        }
    };
    let _ = tell.send(Ok(()));
    shard.run().inspect_err(|error| {
        // No other thread can serve the clients of this shard.
        tracing::error!(%error, "a shard's event loop failed: ending the process");
        log::abort();
    })
}

impl Seed {
    pub(super) fn hear(&self) -> anyhow::Result<()> {
        let told = self.told.recv();
        Ok(told.with_context(|| format!("shard {} ended while it started", self.index))??)
    }

    /// Makes the shard. The shard listens once this returns.
    pub(super) fn grow(self, parts: Parts) -> anyhow::Result<JoinHandle<std::io::Result<()>>> {
        let listen = parts.listen;
        // `hear` reports a thread that has ended.
        let _ = self.parts.send(parts);
        self.hear()
            .with_context(|| format!("cannot listen on {listen}, the address of --listen"))?;
        Ok(self.thread)
    }
}
