//! The index of the words of messages.
//!
//! One thread follows the log of the store from the index's own position, as any reader of the store does: no
//! commit waits for it or knows of it. The index has the words of each message, each together with its
//! conversation, so a search reads what belongs to the conversations of its user and nothing else. It has no
//! texts: the readers take them from the store, and decide there what the user sees
//! ([`trunkline_core::search`]).
//!
//! - A commit of the index writes new files, and with them the position up to which the log is in them. So
//!   after a crash nothing is missing and nothing is there twice.
//! - An index that is missing, damaged, of another form or of another history of the store is made anew.
//! - All files are read before they are mapped, so that a block that the disk does not return makes the index
//!   anew and does not end the process. If the index ends the process again and again, it stays off.
//! - An index that has stopped for long is removed.
//! - The words of messages that are gone leave the files when these are written anew: see
//!   [`IndexSettings::purge`](trunkline_core::indexing::IndexSettings::purge).
//!
//! | module | what it does |
//! |---|---|
//! | `worker` | the thread: from the start of the index to its end, and again after a failure |
//! | `session` | one open index: what the log says, commits, files without deleted words |
//! | `files` | opens the index of a folder, or makes it |
//! | `directory` | the files, each read as a whole before it is mapped |
//! | `deaths` | how often the process has died because of the index |
//! | `view` | answers searches |
//! | `form` | the fields of the index |
//! | `inspect` | which words the files have, for tests and tools |

mod deaths;
mod directory;
mod files;
mod form;
mod inspect;
mod session;
mod view;
mod worker;

use std::sync::Arc;
use std::sync::mpsc::channel;

use trunkline_core::indexing::{IndexMaker, IndexSettings, Indexing};
use trunkline_core::reader::Texts;

pub use inspect::words_in;

/// The memory in which new entries are gathered, in bytes. The library writes them to a file before they take
/// more.
pub const WRITER_BYTES: usize = 16_000_000;

/// Makes the index of the words of messages.
#[derive(Debug, Clone, Copy)]
pub struct WordIndex;

impl IndexMaker for WordIndex {
    fn make(&self, settings: IndexSettings, texts: Texts) -> Indexing {
        let (stop, stops) = channel();
        let (shared, metrics) = (Arc::<view::Shared>::default(), Arc::default());
        let worker = worker::Worker {
            settings,
            texts,
            shared: Arc::clone(&shared),
            metrics: Arc::clone(&metrics),
            stops,
        };
        Indexing {
            index: shared,
            metrics,
            run: Box::new(move || worker.run()),
            stop: Box::new(move || {
                // An error says that it has ended.
                let _ = stop.send(());
            }),
        }
    }
}
