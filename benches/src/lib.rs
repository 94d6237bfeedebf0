//! Benchmarks of Trunkline, and what they share.

pub mod blast;
pub mod child;
pub mod figures;
pub mod machine;
pub mod ours;
pub mod peer;
pub mod rival;
pub mod scrape;
pub mod trace;
