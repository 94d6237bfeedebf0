//! Tools for a store that may be open elsewhere: dump, inspect, verify and repair. And the backup,
//! which the process makes that has the store open.
//!
//! **Invariant:** dump, inspect and verify only read. They take no lock and write nothing, so they
//! also work beside the process that has the store open.

pub(crate) mod backup;
pub(crate) mod copy;
pub(crate) mod dump;
pub(crate) mod inspect;
pub(crate) mod repair;
pub(crate) mod share;
pub(crate) mod snapshot;
pub(crate) mod verify;
pub(crate) mod walk;
