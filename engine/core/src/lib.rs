//! The core of the Trunkline gateway: durable state, and the threads that change and read it.
//!
//! It knows no socket, no HTTP and no command line. Data flows one way:
//!
//! ```text
//! caller ──commands──▶ sequencer ──append, fdatasync──▶ store
//!   ▲                      │ committed events               │
//!   └──────────────────────┘◀────────── readers ◀───────────┘
//! ```
//!
//! - [`exchange`] is the place where threads meet: commands, queries, queues, mailboxes, answers.
//! - [`request`] checks a client's command and turns it into one for the sequencer or the readers.
//! - [`sequencer`] is the single writer of durable state; [`reader`] answers queries from the disk.
//! - [`hub`] holds ephemeral state: presence, topics, typing and signals.

pub mod call;
pub mod clock;
pub mod directory;
pub mod event;
pub mod exchange;
pub mod fit;
pub mod frames;
pub mod hub;
pub mod ids;
pub mod messaging;
pub mod metrics;
mod owned;
mod paging;
pub mod per_user;
pub mod position;
pub mod reader;
pub mod request;
pub mod sequencer;
mod state;
#[cfg(test)]
mod test_store;

/// The terms of the store that callers of this package use too.
pub mod store {
    pub use trunkline_storage::{
        Batch, Epochs, IdBuildHasher, Position, Record, RecordRef, TimelineId, Token,
    };
}
