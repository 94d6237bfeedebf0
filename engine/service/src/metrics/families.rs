//! Families of metrics, in a form short enough to read as a table.

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Writes one family after the other.
pub(super) struct Families<'a, 'e>(&'a mut DescriptorEncoder<'e>);

pub(super) type Written = Result<(), std::fmt::Error>;

impl<'a, 'e> Families<'a, 'e> {
    pub(super) fn new(encoder: &'a mut DescriptorEncoder<'e>) -> Self {
        Self(encoder)
    }

    /// Begins a family. Its unit is the last word of the name.
    fn open<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, std::fmt::Error> {
        let (name, unit) = split_unit(name);
        self.0.encode_descriptor(name, help, unit, kind)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> Written {
        ConstCounter::new(value).encode(self.open(name, help, MetricType::Counter)?)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) -> Written {
        let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        metric.encode(self.open(name, help, MetricType::Gauge)?)
    }

    /// Writes a counter of seconds.
    pub(super) fn seconds(&mut self, name: &str, help: &str, value: f64) -> Written {
        ConstCounter::new(value).encode(self.open(name, help, MetricType::Counter)?)
    }

    /// Writes what does not change while the gateway runs, as labels.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> Written {
        let mut family = self.open(name, help, MetricType::Info)?;
        family.encode_info(&labels)
    }

    pub(super) fn labelled<'l>(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        values: impl IntoIterator<Item = (&'l str, u64)>,
    ) -> Written {
        let mut family = self.open(name, help, MetricType::Counter)?;
        for (value, count) in values {
            ConstCounter::new(count).encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }

    /// Writes a counter of seconds for each label value, from nanoseconds. The name comes without the
    /// unit.
    pub(super) fn times<'l>(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        values: impl IntoIterator<Item = (&'l str, u64)>,
    ) -> Written {
        let unit = Some(&Unit::Seconds);
        let kind = MetricType::Counter;
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (value, nanos) in values {
            let seconds = ConstCounter::new(nanos as f64 / 1e9);
            seconds.encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }

    /// Writes a histogram of buckets, each with its upper bound, and the sum of all that it counts.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        buckets: &[(f64, u64)],
        sum: f64,
    ) -> Written {
        let count = buckets.iter().map(|(_, n)| n).sum();
        let mut family = self.open(name, help, MetricType::Histogram)?;
        family.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
    }

    /// Writes a histogram for each label value: its buckets with their upper bounds, and its sum.
    pub(super) fn histograms<'l>(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        each: impl IntoIterator<Item = (&'l str, Vec<(f64, u64)>, f64)>,
    ) -> Written {
        let mut family = self.open(name, help, MetricType::Histogram)?;
        for (value, buckets, sum) in each {
            let count = buckets.iter().map(|(_, n)| n).sum();
            let labels = [(label, value)];
            let mut one = family.encode_family(&labels)?;
            one.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

/// Returns a name without its unit, and the unit. OpenMetrics names the unit beside the name, which ends
/// in it.
fn split_unit(name: &str) -> (&str, Option<&'static Unit>) {
    static SECONDS: Unit = Unit::Seconds;
    static BYTES: Unit = Unit::Bytes;
    for (end, unit) in [("_seconds", &SECONDS), ("_bytes", &BYTES)] {
        if let Some(rest) = name.strip_suffix(end) {
            return (rest, Some(unit));
        }
    }
    (name, None)
}

/// Returns buckets with their upper bounds. Each bucket counts the values below a power of two, and the
/// last one all others. `bound` turns the power into the bound.
pub(super) fn buckets(counts: &[u64], bound: impl Fn(f64) -> f64) -> Vec<(f64, u64)> {
    let bounds = (0..counts.len()).map(|i| match i + 1 == counts.len() {
        true => f64::INFINITY,
        false => bound((1u64 << i) as f64),
    });
    bounds.zip(counts.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bucket_has_no_bound() {
        let mut counts = [0; 24];
        (counts[0], counts[3], counts[23]) = (1, 2, 3);
        let found = buckets(&counts, |power| power - 1.0);
        assert_eq!(found[0], (0.0, 1));
        assert_eq!(found[3], (7.0, 2));
        assert_eq!(found[22], (4_194_303.0, 0));
        assert_eq!(found[23], (f64::INFINITY, 3));
    }

    #[test]
    fn a_name_that_ends_in_a_unit_has_it() {
        let split = |name| {
            let (rest, unit) = split_unit(name);
            (rest, unit.map(|unit| unit.as_str().to_owned()))
        };
        assert_eq!(split("a_seconds"), ("a", Some("seconds".to_owned())));
        assert_eq!(split("held_bytes"), ("held", Some("bytes".to_owned())));
        assert_eq!(split("bytes_held"), ("bytes_held", None));
    }
}
