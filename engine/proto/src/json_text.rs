//! The text of JSON: its strings, and the check that every reader understands a value alike.
//!
//! Both the messages, which hold values of clients, and the JSON encoding stand on this module.

mod flaw;
pub(crate) mod strict;
pub(crate) mod string;

pub(crate) use flaw::Flaw;
