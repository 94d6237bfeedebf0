//! Tools for a store that is not open here: what its files hold, and how to mend them.

pub(crate) mod dump;
pub(crate) mod inspect;
pub(crate) mod repair;
pub(crate) mod snapshot;
pub(crate) mod verify;
pub(crate) mod walk;
