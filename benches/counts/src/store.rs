//! The store: records appended, and batches entered into the index and found there.

use anyhow::ensure;
use trunkline_storage::{Draft, Durability, Opened, Options, Reader, Store, TimelineId, Writer};

use crate::folder::Folder;

/// The messages of one commit.
const BATCH: u64 = 64;

/// The conversations among which the messages are spread.
const CONVERSATIONS: u64 = 256;

/// The body of a record: about that of a message of 120 bytes.
const BODY: [u8; 160] = [b'x'; 160];

/// The messages of a store, numbered over all conversations in turn.
struct Messages {
    opened: Opened,
    next: u64,
    /// The store is closed before it is removed.
    _folder: Folder,
}

impl Messages {
    fn new() -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let options = Options {
            // Threads of the store would make the order of its work a matter of chance.
            background: false,
            durability: Durability::Os,
            segment_bytes: 8 << 20,
            max_record_bytes: 64 << 10,
            max_batch_bytes: 1 << 20,
            reserve_bytes: 0,
            ..Options::default()
        };
        let opened = Store::open(&folder.0, options, &mut |_| {})?;
        Ok(Self {
            opened,
            next: 0,
            _folder: folder,
        })
    }

    /// Returns the next message: its conversation, its sequence, and the timelines of both users.
    fn take(&mut self) -> Message {
        let (conversation, seq) = (self.next % CONVERSATIONS, 1 + self.next / CONVERSATIONS);
        self.next += 1;
        Message {
            timeline: timeline(conversation),
            seq,
            readers: [1, 2].map(|user| timeline(user * CONVERSATIONS + conversation)),
        }
    }

    fn batch(&mut self) -> Vec<Message> {
        (0..BATCH).map(|_| self.take()).collect()
    }
}

struct Message {
    timeline: TimelineId,
    seq: u64,
    readers: [TimelineId; 2],
}

/// Returns the id of a timeline. Ids of real ones look random, and these are the same in each run.
fn timeline(number: u64) -> TimelineId {
    let spread = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    TimelineId(spread)
}

fn append_all(writer: &mut Writer, messages: &[Message]) -> anyhow::Result<()> {
    for message in messages {
        writer.append(&Draft {
            kind: 1,
            time: 1_767_225_600_000,
            timeline: message.timeline,
            seq: message.seq,
            fanout: &message.readers,
            body: &BODY,
            ..Draft::default()
        })?;
    }
    Ok(())
}

/// Appends a record with two index entries per message. The commits are not counted.
pub(crate) fn append(messages: u64) -> anyhow::Result<()> {
    #[inline(never)]
    fn counted(writer: &mut Writer, messages: &[Message]) -> anyhow::Result<()> {
        append_all(writer, messages)
    }
    let mut store = Messages::new()?;
    for _ in 0..messages / BATCH {
        let batch = store.batch();
        counted(&mut store.opened.writer, &batch)?;
        store.opened.writer.commit()?;
    }
    Ok(())
}

/// Enters the record into the index with a commit of 64 records, and looks up the last sequence of its
/// conversation. The appends are not counted.
pub(crate) fn index(messages: u64) -> anyhow::Result<()> {
    #[inline(never)]
    fn counted(writer: &mut Writer, reader: &Reader, batch: &[Message]) -> anyhow::Result<u64> {
        writer.commit()?;
        let mut sum = 0;
        for message in batch {
            sum += reader.try_last_seq(message.timeline)?;
        }
        Ok(sum)
    }
    let mut store = Messages::new()?;
    let (mut found, mut wanted) = (0, 0);
    for _ in 0..messages / BATCH {
        let batch = store.batch();
        append_all(&mut store.opened.writer, &batch)?;
        let Opened { writer, reader, .. } = &mut store.opened;
        found += counted(writer, reader, &batch)?;
        wanted += batch.iter().map(|message| message.seq).sum::<u64>();
    }
    ensure!(found == wanted);
    Ok(())
}
