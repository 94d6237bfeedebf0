//! One run: from the machine's limits and the gateway's start to the published results.

mod chaos;
pub(crate) mod conduct;
mod groups;
pub(crate) mod preflight;
mod signals;
