//! Integration tests against real gateway processes, by subject.

mod chat;
mod crash;
mod history;
mod idempotency;
mod offline;
mod order;
mod receipts;
mod startup;
mod third_party;
