//! The timeline store: a durable log of events, and the timelines read from it.
//!
//! One [`Writer`] appends records and commits them in batches. A batch is on the disk (see
//! [`Durability`]) before anybody sees it. A record belongs to one message timeline, where it has a
//! sequence. The sync timelines in its fan-out refer to it by its [`Position`] in the log. Many
//! [`Reader`]s read ranges of both kinds of timelines. Every commit returns its [`Batch`], so that
//! a program can follow the log.
//!
//! With [`Options::runs`] the store turns the oldest segments of the log into sorted files in the
//! background, and merges neighbouring files. Reads look there too. Memory and the time of an
//! opening then do not grow with the history, because an opening replays only the end of the log.
//!
//! [`Options::message_life`], [`Options::sync_life`] and [`Options::key_life`] limit how long the
//! store keeps things. When the caller tells the time ([`Writer::tick`]), the store removes whole
//! files. Sequences go on all the same.
//!
//! A program can keep what it derives from its records in the store: values under keys, which
//! become durable with a record ([`Draft::states`]) or with a batch ([`Writer::set_state`],
//! [`Reader::state`]).
//!
//! Several stores can hold one log ([`Options::origin`]). One of them makes a batch and hands out its transcript
//! ([`Writer::transcribe`]); each of the others takes it ([`Writer::apply`]), and then has the same records at the
//! same positions. The program decides whose batch is next, and carries the transcripts.
//!
//! The format on disk is described in `docs/storage-format.md`.
//!
//! # Modules
//!
//! Each module uses only modules below it; a test keeps that.
//!
//! | module | what it holds | uses |
//! |---|---|---|
//! | `tools` | tools for a store that may be open elsewhere: dump, inspect, verify, repair; backup | all below |
//! | `store` | an open store: opening, the writer, readers, helper threads, compaction | all below |
//! | `recovery` | finding the end of the log at an opening | `index`, `run`, `log` |
//! | `index` | where entries are, in memory, for segments that are not in runs | `run`, `log` |
//! | `run` | sorted immutable files, and the manifest that names those in force | `log`, `stats` |
//! | `options` | the settings of a store | `log`, ids |
//! | `log` | segment files, frames, records, batches, pages | errors, ids, `backend` |
//! | `stats`, `error`, `position`, `id` | counters, errors, positions, ids of timelines | `backend` |
//! | `backend` | the disk, real or simulated | nothing |
//!
//! ```
//! use trunkline_storage::{Draft, Options, Order, Page, Position, Store};
//!
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let options = Options { segment_bytes: 1 << 20, max_record_bytes: 64 << 10, ..Options::default() };
//! let mut opened = Store::open(dir, options, &mut |record| println!("{record:?}"))?;
//!
//! // Names become ids with the store's key.
//! let key = opened.reader.key();
//! let (lunch, ann, bob) = (key.id(1, &[b"lunch"]), key.id(2, &[b"ann"]), key.id(2, &[b"bob"]));
//!
//! // One record holds the message and the timelines of its receivers.
//! let position = opened.writer.append(&Draft {
//!     kind: 1,
//!     time: 1_700_000_000_000,
//!     timeline: lunch,
//!     seq: opened.reader.next_seq(lunch)?,
//!     fanout: &[ann, bob],
//!     body: b"noon?",
//!     ..Draft::default()
//! })?;
//! assert_eq!(opened.reader.head(), Position::ZERO, "nothing is visible before it is durable");
//!
//! let batch = opened.writer.commit()?;
//! assert_eq!(batch.record_at(position).body, b"noon?");
//! assert_eq!(opened.reader.head(), position);
//!
//! // Read the conversation by sequence, and the events for Bob after a position.
//! let mut page = Page::new();
//! opened.reader.range(lunch, 1..=u64::MAX, 100, Order::Descending, &mut page)?;
//! assert_eq!(page.records().map(|record| record.seq).collect::<Vec<_>>(), [1]);
//! let more = opened.reader.sync(bob, Position::ZERO, opened.reader.head(), 500, &mut page)?;
//! assert_eq!((page.len(), more), (1, false));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod backend;
mod error;
mod id;
mod index;
mod log;
mod options;
mod position;
mod recovery;
mod run;
mod stats;
mod store;
#[cfg(test)]
mod tests;
mod tools;

pub use error::{AppendError, ApplyError, CommitError, Fault, OpenError, ReadError};
pub use id::{IdBuildHasher, IdHasher, StoreKey, TimelineId};
pub use log::batch::{Batch, Records};
pub use log::page::{Order, Page};
pub use log::record::{Draft, Fanout, Record, RecordRef, Redaction, StateEntry};
pub use options::{Durability, Options, Origin};
pub use position::Position;
pub use recovery::{TornEnd, TornTail};
pub use stats::{BUCKETS, Health, Stats};
pub use store::epochs::{Epochs, PositionsFound};
pub use store::losses::Losses;
pub use store::old_values::OldValuesErased;
pub use store::reader::Reader;
pub use store::token::{BadToken, Token};
pub use store::writer::Writer;
pub use store::{Opened, RecoveryReport, Store};
pub use tools::backup::{Backup, BackupError, BackupProgress};
pub use tools::copy::{CopyError, Received, Sent};
pub use tools::dump::{Dump, EachRecord};
pub use tools::inspect::{FileInfo, Inspection, RunInfo, SegmentInfo};
pub use tools::repair::{Mended, Repair, RepairOptions};
pub use tools::share::Beginning;
pub use tools::verify::Verified;
