//! Measures in steady state, and says so where it is not reached.
//!
//! A store defers work: it sorts full segments and merges runs later. A measurement of the first
//! seconds leaves that work to somebody else. So a [`Meter`] runs until a number of segments has
//! been written and the deferred work ([`Debt`]) is no larger than at the start. A [`Series`] tells
//! how even the rate was, and [`Threads`] how much of the CPU went into the background.

mod debt;
mod meter;
mod series;
mod threads;

pub use debt::{Debt, Verdict};
pub use meter::{Goal, Measured, Meter, Progress, Reading, StoreReading};
pub use series::Series;
pub use threads::Threads;

/// The size of a segment of the log in bytes, by default.
pub const SEGMENT: u64 = 64 << 20;

/// The number of segments that a measurement in steady state writes at least.
pub const SEGMENTS: f64 = 10.0;

/// The seconds that the rows of messages are measured for by default, and that a row needs to count
/// as steady.
pub const SECONDS: f64 = 60.0;
