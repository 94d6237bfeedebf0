//! Counters and latencies.

mod counters;
mod latency;
mod tally;
mod timeline;

pub(crate) use counters::Counters;
pub(crate) use latency::{Latencies, MAX_US as LATENCY_MAX_US, Metric, Percentiles};
pub(crate) use tally::{Tallied, Tally};
pub(crate) use timeline::{INTERVALS_MAX, OVER_TIME, Timeline, WIDTH};
