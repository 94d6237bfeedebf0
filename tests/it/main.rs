//! Integration tests against real gateway processes, by subject.

mod chat;
mod crash;
mod idempotency;
mod startup;
mod third_party;
