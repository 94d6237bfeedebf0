//! Integration tests against real gateway processes, by subject.

mod chat;
