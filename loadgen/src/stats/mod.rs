//! Counters and latencies.

mod counters;
mod latency;
pub(crate) mod sparse;
mod tally;
mod timeline;

pub(crate) use counters::Counters;
pub(crate) use latency::{Latencies, Metric, Percentiles, empty};
pub(crate) use tally::{Tallied, Tally, TallyForm};
pub(crate) use timeline::{INTERVALS_MAX, OVER_TIME, Timeline, WIDTH};
