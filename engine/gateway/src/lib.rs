//! The event loop of the Trunkline gateway: shards, sessions, TLS, tokens, rates.
//!
//! A [`shard`] is one thread with the connections it accepted. It reads commands, hands them to the
//! sequencer and the readers of `trunkline_core`, and writes their answers. Nothing here waits for a disk.

pub mod auth;
mod counts;
mod cpu;
pub mod files;
pub mod guests;
pub mod limits;
pub mod mapped;
pub mod metrics;
mod rate;
mod session;
pub mod shard;
mod shared;
mod timer;
pub mod tls;
