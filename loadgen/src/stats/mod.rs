//! Counting and timing.

mod counters;
mod latency;

pub(crate) use counters::Counters;
pub(crate) use latency::{Latencies, Metric, Percentiles};
