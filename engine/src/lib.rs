//! The Trunkline connection gateway.
//!
//! Shards hold the connections, the sequencer is the single writer of durable state, readers
//! answer what needs the disk, the control thread speaks HTTP. Data flows one way:
//!
//! ```text
//! shard ──commands──▶ sequencer ──append, fdatasync──▶ store
//!   ▲                     │ committed events                │
//!   └─────────────────────┘◀────────── readers ◀────────────┘
//! ```
//!
//! The program is [`cli::run`]; [`gateway::Gateway`] is the same without a command line.

pub mod auth;
pub mod cli;
mod clock;
pub mod config;
mod control;
mod counts;
mod directory;
pub mod doctor;
mod event;
mod file_sizes;
mod files;
pub mod gateway;
mod hub;
mod ids;
mod log;
mod metrics;
mod per_user;
mod position;
mod print;
mod rate;
mod reader;
mod reload;
mod sequencer;
mod session;
mod shard;
mod signals;
mod state;
mod store_command;
mod store_watch;
pub mod tls;
