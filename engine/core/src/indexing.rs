//! What makes the index for searches, as the gateway uses it.
//!
//! The index is made with a library that most programs of this project do not need. So the gateway knows only
//! this interface, and its program hands it a maker.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Counter;
use crate::reader::Texts;
use crate::search::Index;

/// Where the index is, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSettings {
    /// The folder of the index. All that is in it belongs to the index.
    pub folder: PathBuf,
    /// The time after which the words of messages that are gone are removed from the files.
    pub purge: Duration,
    /// How long messages are kept; `None`: for ever.
    pub message_life: Option<Duration>,
    /// The bytes of the disk that messages leave free. The index leaves twice as many.
    pub reserve: u64,
}

/// The counters of the index. Its thread writes them.
#[derive(Debug, Default)]
pub struct IndexMetrics {
    /// The bytes of the log that are not looked at yet.
    pub behind: Counter,
    /// The number of messages that can be found.
    pub messages: Counter,
    /// The bytes of the files.
    pub bytes: Counter,
    /// 1 if searches are answered, 0 while the index is being made.
    pub ready: Counter,
    /// The number of times that the index stopped because of an error.
    pub failures: Counter,
    /// The number of times that the index was made anew.
    pub rebuilds: Counter,
    /// The number of messages that cannot be decoded.
    pub undecodable: Counter,
}

/// Makes an index.
pub trait IndexMaker: Sync {
    /// Makes the index of a running gateway. It opens nothing before [`Indexing::run`] is called. `texts` reads the
    /// store.
    fn make(&self, settings: IndexSettings, texts: Texts) -> Indexing;
}

/// An index, and the work of its thread.
pub struct Indexing {
    /// What readers ask.
    pub index: Arc<dyn Index>,
    /// The counters.
    pub metrics: Arc<IndexMetrics>,
    /// Follows the log until `stop` is called.
    pub run: Box<dyn FnOnce() + Send>,
    /// Lets the thread end.
    pub stop: Box<dyn Fn() + Send + Sync>,
}
