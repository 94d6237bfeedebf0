//! One run: from the machine's limits and the gateway's start to the published results.

pub(crate) mod agent;
mod chaos;
pub(crate) mod conduct;
mod couriers;
mod driven;
mod groups;
mod jobs;
pub(crate) mod lead;
mod party;
pub(crate) mod preflight;
pub(crate) mod prepare;
pub(crate) mod publish;
mod signals;
mod workers;
