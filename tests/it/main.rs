//! Integration tests against real gateway processes, by subject.

mod chat;
mod commands;
mod crash;
mod envelope;
mod framing;
mod handshake;
mod history;
mod idempotency;
mod offline;
mod order;
mod receipts;
mod startup;
mod third_party;
mod timeouts;
