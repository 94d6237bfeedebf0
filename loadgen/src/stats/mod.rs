//! Counting and timing.

mod counters;
mod latency;
mod tally;
mod timeline;

pub(crate) use counters::Counters;
pub(crate) use latency::{Latencies, Metric, Percentiles};
pub(crate) use tally::{Tallied, Tally};
pub(crate) use timeline::{INTERVALS_MAX, OVER_TIME, Timeline, WIDTH};
