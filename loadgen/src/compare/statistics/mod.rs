//! The statistics of comparing: pure functions of numbers, each with its source.
//!
//! All of it works on logarithms of ratios: a run twice as slow and one twice as fast are equally far
//! from no difference, and figures of every unit can be judged by one rule.

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
