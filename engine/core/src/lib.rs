//! The core of the Trunkline gateway: it decides commands, stores what they change, and reads it
//! back.
//!
//! The core has no sockets, no HTTP and no command line. Data flows one way:
//!
//! ```text
//! caller ──commands──▶ sequencer ──append, fdatasync──▶ store
//!   ▲                      │ committed events               │
//!   └──────────────────────┘◀────────── readers ◀───────────┘
//! ```
//!
//! - [`exchange`] has what threads hand to each other: commands, queries, queues, mailboxes, answers.
//! - [`request`] checks a client's command and makes it ready for the sequencer or the readers.
//! - [`sequencer`] decides commands and is the only writer of the store.
//! - [`log`] is where its commits go.
//! - [`follower`] takes the commits of another node in place of a sequencer.
//! - [`told`] is what a commit tells, besides its records.
//! - [`reader`] answers queries from the store.
//! - [`hub`] holds ephemeral state: presence, topics, and pushes that are not stored.
//! - [`media`] knows who may read media that messages name.
//! - [`muting`] knows who has muted which conversation.
//! - [`search`] has the words of texts and queries, and what an index of them does.
//! - [`indexing`] is what the gateway knows of the maker of that index.
//! - [`ephemeral`] knows whether messages that expire are found when they are due.
//! - [`erasure`] knows what an erasure of a user has to remove.
//! - [`call`] lets code in this process use the core as a client does.

mod bytes;
pub mod call;
pub mod clock;
pub mod cost;
pub mod directory;
pub mod ephemeral;
pub mod erasure;
pub mod event;
pub mod exchange;
mod failure;
pub mod fit;
pub mod follower;
pub mod frames;
pub mod hub;
pub mod ids;
pub mod indexing;
pub mod log;
pub mod media;
pub mod messaging;
pub mod metrics;
pub mod muting;
mod owned;
mod paging;
pub mod per_user;
pub mod position;
pub mod reader;
pub mod request;
pub mod search;
pub mod sequencer;
mod state;
#[cfg(test)]
mod test_store;
pub mod told;
pub mod trusted;
pub mod turns;

/// Types of the store that appear in the interface of this package.
pub mod store {
    pub use trunkline_storage::backend::is_full;
    pub use trunkline_storage::{
        Batch, Epochs, IdBuildHasher, Position, Record, RecordRef, StoreKey, TimelineId, Token,
    };
}
