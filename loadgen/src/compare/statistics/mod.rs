//! The statistics of `compare`: pure functions of numbers, each with its source.
//!
//! All functions work on logarithms of ratios. A run that is twice as slow and a run that is twice
//! as fast are then equally far from zero, and one rule can judge figures of every unit.

mod bootstrap;
mod centre;
mod decision;
mod noise;
mod signed_rank;
#[cfg(test)]
mod simulation;

pub(super) use bootstrap::{Interval, RESAMPLES};
pub(super) use centre::{hodges_lehmann, median};
pub(super) use decision::{Rule, Says, decide};
pub(super) use signed_rank::DIFFERENCES_MAX;
