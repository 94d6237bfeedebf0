//! Integration tests against real gateway processes, by subject.

mod limits_page;
mod load;

mod architecture;
mod chat;
mod commands;
mod config;
mod conformance;
mod connection_limits;
mod control;
mod crash;
mod descriptors;
mod drain;
mod envelope;
mod failing_disk;
mod framing;
mod full_disk;
mod groups;
mod handshake;
mod history;
mod hostile;
mod idempotency;
mod messages;
mod model;
mod offline;
mod order;
mod rate_limits;
mod receipts;
mod resume;
mod shard_buffers;
mod slow_reader;
mod startup;
mod store;
mod store_command;
mod third_party;
mod timeouts;
