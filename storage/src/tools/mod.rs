//! Tools for a store that may be open elsewhere: dump, inspect, verify and repair.
//!
//! **Invariant:** all tools but the repair only read. They take no lock and write nothing, so they
//! also work beside the process that has the store open.

pub(crate) mod dump;
pub(crate) mod inspect;
pub(crate) mod repair;
pub(crate) mod snapshot;
pub(crate) mod verify;
pub(crate) mod walk;
