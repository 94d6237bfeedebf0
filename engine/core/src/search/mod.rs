//! Searching messages by their words.
//!
//! An [`Index`] says where messages may be that have the words of a [`Query`]. It is a hint: it may be
//! behind the store, and knows nothing of what a user may see. The readers look at every hit in the store
//! before a user gets it.

mod words;

use std::fmt;

use trunkline_storage::{Position, TimelineId};

pub use words::{
    BadQuery, MOST_QUERY_BYTES, MOST_QUERY_WORDS, MOST_SEARCHED_BYTES, MOST_WORD_BYTES, Query,
    words_of,
};

/// An index of the words of messages.
pub trait Index: Send + Sync + fmt::Debug {
    /// Returns what is indexed now.
    ///
    /// # Errors
    /// The index has not reached the end of the log for the first time since the start.
    fn view(&self) -> Result<Box<dyn View>, Unready>;
}

/// The index is still being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unready;

/// What is indexed at one moment.
pub trait View: Send + Sync {
    /// Returns the search for the messages of a conversation that have all words of a query.
    fn hits(&self, conversation: TimelineId, query: &Query) -> Box<dyn Hits>;
}

/// A search in one conversation, which is done in pieces.
pub trait Hits: Send {
    /// Looks at a piece of the index, and appends hits to `found`, in any order. May leave out hits before
    /// `floor`.
    ///
    /// # Errors
    /// Says why the index cannot be read.
    fn go_on(&mut self, floor: Position, found: &mut Vec<Hit>) -> Result<Looked, String>;
}

/// A message that may have the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The position of the message's record.
    pub position: Position,
    /// The sequence of the message.
    pub seq: u64,
}

/// What a piece of a search has cost, and whether there is more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looked {
    /// The number of words that were looked up.
    pub words: usize,
    /// The number of entries that were read.
    pub entries: usize,
    /// Whether hits may have been left out, because they are before the floor.
    pub skipped: bool,
    /// Whether there are further pieces.
    pub more: bool,
}
