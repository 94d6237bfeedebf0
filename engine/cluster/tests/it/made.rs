//! Records and names, made for tests.

use bytes::Bytes;
use trunkline_cluster::Incarnation;
use trunkline_cluster::chain::{Chain, Step};
use trunkline_cluster::envelope::{Draft, Epoch, Genesis, Link, Record};

/// Returns the incarnation `number` of a node.
pub(crate) fn life(node: &str, number: u64) -> Incarnation {
    Incarnation {
        node: node.parse().expect("a name"),
        number,
    }
}

/// Returns the genesis of a log; another `key` makes another log.
pub(crate) fn genesis(key: u8) -> Bytes {
    Record::Genesis(Genesis {
        key: [key; 16],
        history: [2; 16],
        segment_bytes: 64 << 20,
        made: 1_700_000_000_000,
        cluster: "north".parse().expect("a name"),
        from: 0,
    })
    .write()
}

/// Returns the epoch record with which a node begins an epoch after what its chain has seen.
pub(crate) fn epoch_after(chain: &Chain, epoch: u64, author: Incarnation) -> Bytes {
    Epoch {
        link: link(chain),
        epoch,
        index: chain.mark().expect("a mark").index,
        author,
    }
    .write()
}

/// Returns the messages of the next group after what a chain has seen, in messages of up to `most` bytes.
pub(crate) fn group_after(
    chain: &Chain,
    transcript: &[u8],
    told: &[u8],
    most: usize,
) -> Vec<Bytes> {
    let mark = chain.mark().expect("a mark");
    Draft {
        link: link(chain),
        epoch: mark.epoch,
        index: mark.index + 1,
        ahead: -3,
        transcript,
        told,
    }
    .cut(most)
    .expect("a group that is not too long")
}

fn link(chain: &Chain) -> Link {
    chain.link().expect("a chain that has begun")
}

/// A stream, with the chain of a node that has looked at all of it.
pub(crate) struct Stream {
    pub(crate) records: Vec<Bytes>,
    pub(crate) chain: Chain,
}

impl Stream {
    /// Returns a stream with its genesis.
    pub(crate) fn new() -> Self {
        Self::of(genesis(1))
    }

    /// Returns a stream with this genesis.
    pub(crate) fn of(genesis: Bytes) -> Self {
        let mut stream = Self {
            records: Vec::new(),
            chain: Chain::new(),
        };
        stream.store(genesis);
        stream
    }

    /// Stores a record, and lets the node look at it. Returns what it is, after the node has proved itself if the record
    /// gives reason to.
    pub(crate) fn store(&mut self, record: Bytes) -> Step {
        self.records.push(record);
        loop {
            let sequence = self.chain.next();
            let step = self
                .chain
                .take(sequence, &self.records[sequence as usize - 1]);
            if self.chain.next() > self.records.len() as u64 {
                return step.expect("no stop");
            }
        }
    }

    /// Stores an epoch record of a node that has looked at all.
    pub(crate) fn begin(&mut self, epoch: u64, author: Incarnation) -> Step {
        self.store(epoch_after(&self.chain, epoch, author))
    }

    /// Stores the next group in one message.
    pub(crate) fn group(&mut self, transcript: &[u8]) -> Step {
        let parts = group_after(&self.chain, transcript, b"", 4096);
        let [whole] = &parts[..] else {
            panic!("{} parts", parts.len());
        };
        self.store(whole.clone())
    }

    /// Stores the parts of the next group.
    pub(crate) fn parts(&mut self, transcript: &[u8]) -> Vec<Bytes> {
        group_after(&self.chain, transcript, b"told", 512)
    }
}
