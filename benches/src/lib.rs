//! Benchmarks of Trunkline, and what they share.

pub mod blast;
pub mod peer;
