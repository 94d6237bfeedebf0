//! The form in which histograms travel: the values that came, each with its count.
//!
//! A histogram counts values in classes. A value of the form stands for its class, so a histogram that is
//! read back counts exactly the same, and histograms of several machines add up without a loss.

use hdrhistogram::Histogram;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::latency::empty;

/// Values in order, each with its count: a histogram without its empty parts.
pub(super) type Sparse = Vec<(u64, u64)>;

/// Returns the values of a histogram.
pub(super) fn of<T: hdrhistogram::Counter>(histogram: &Histogram<T>) -> Sparse {
    let recorded = histogram.iter_recorded();
    recorded
        .map(|it| (it.value_iterated_to(), it.count_since_last_iteration()))
        .collect()
}

/// Returns the histogram of a latency with these values.
///
/// # Errors
/// A value is longer than a latency can be, or is counted too often.
pub(super) fn histogram(sparse: &Sparse) -> Result<Histogram<u64>, String> {
    let mut histogram = empty();
    for (value, count) in sparse {
        let recorded = histogram.record_n(*value, *count);
        recorded.map_err(|why| format!("a latency of {value} µs: {why}"))?;
    }
    Ok(histogram)
}

/// Writes a histogram, for `#[serde(with)]`.
pub(crate) fn serialize<S: Serializer>(it: &Histogram<u64>, to: S) -> Result<S::Ok, S::Error> {
    of(it).serialize(to)
}

/// Reads a histogram, for `#[serde(with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Histogram<u64>, D::Error> {
    histogram(&Sparse::deserialize(from)?).map_err(D::Error::custom)
}
