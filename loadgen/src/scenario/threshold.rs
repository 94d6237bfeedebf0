//! Thresholds in the syntax of k6: `p(99)<250ms`, `count==0`, `rate>=1990/s`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::suggest::hint;
use crate::units::{Rate, Span};

/// A threshold: one condition on one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Threshold {
    /// The statistic of the metric that is compared.
    pub(crate) statistic: Statistic,
    /// The comparison.
    pub(crate) comparison: Comparison,
    /// The limit in microseconds, as a count, or as a rate per second.
    pub(crate) limit: f64,
}

/// The statistic of a metric that is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Statistic {
    /// A percentile of a latency, 0 to 100.
    Percentile(f64),
    /// The mean of a latency.
    Mean,
    /// The largest value of a latency.
    Max,
    /// The count.
    Count,
    /// The rate per second.
    Rate,
}

/// The comparison of a value with the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// Below the limit: `<`.
    Less,
    /// Not above the limit: `<=`.
    LessOrEqual,
    /// Equal to the limit: `==`.
    Equal,
    /// Not below the limit: `>=`.
    GreaterOrEqual,
    /// Above the limit: `>`.
    Greater,
}

// Two characters before one, so that `<=` is not read as `<`.
const COMPARISONS: &[(&str, Comparison)] = &[
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("==", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

/// The metrics that are latencies.
pub(crate) const LATENCIES: &[&str] = &[
    "connect",
    "tcp",
    "upgrade",
    "auth",
    "resume",
    "storm_recovery",
    "held",
    "ack",
    "e2e",
    "e2e_group",
    "send_lag",
];
/// The metrics that are counts.
pub(crate) const COUNTS: &[&str] = &[
    "lost",
    "duplicated",
    "reordered",
    "unexpected",
    "recovered",
    "rejected",
    "unknown",
    "disconnects",
    "not_back",
    "not_recovered",
    "unknown_then_delivered",
];
/// The metrics that have values only where sessions end to come back.
pub(crate) const OF_RETURNS: [&str; 6] = [
    "storm_recovery",
    "resume",
    "held",
    "not_back",
    "not_recovered",
    "unknown_then_delivered",
];
/// The metrics that are rates.
pub(crate) const RATES: &[&str] = &["achieved"];

/// Checks that `threshold` fits `metric`.
///
/// # Errors
/// The two do not fit. The sentence names what fits.
pub(crate) fn check(metric: &str, threshold: &Threshold) -> Result<(), String> {
    let fits = match threshold.statistic {
        Statistic::Count => COUNTS.contains(&metric),
        Statistic::Rate => RATES.contains(&metric),
        _ => LATENCIES.contains(&metric),
    };
    if fits {
        return Ok(());
    }
    Err(if COUNTS.contains(&metric) {
        format!("`{metric}` is a count: write \"count==0\"")
    } else if LATENCIES.contains(&metric) {
        format!("`{metric}` is a latency: write \"p(99)<250ms\"")
    } else if RATES.contains(&metric) {
        format!("`{metric}` is a rate: write \"rate>=1990/s\"")
    } else {
        let known = [LATENCIES, COUNTS, RATES].concat();
        format!("there is no metric `{metric}`{}", hint(metric, &known))
    })
}

impl Threshold {
    /// The threshold `count==0`: the event must never happen.
    pub(crate) const NONE: Self = Self {
        statistic: Statistic::Count,
        comparison: Comparison::Equal,
        limit: 0.0,
    };

    /// Returns whether `value` meets the condition.
    pub(crate) fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Less => value < self.limit,
            Comparison::LessOrEqual => value <= self.limit,
            Comparison::Equal => value == self.limit,
            Comparison::GreaterOrEqual => value >= self.limit,
            Comparison::Greater => value > self.limit,
        }
    }
}

impl FromStr for Threshold {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "`{text}` is not a threshold; write \"p(99)<250ms\", \"count==0\" or \"rate>=1990/s\""
            )
        };
        let (at, symbol, comparison) = COMPARISONS
            .iter()
            .find_map(|(symbol, comparison)| Some((text.find(symbol)?, *symbol, *comparison)))
            .ok_or_else(form)?;
        let (name, limit) = (text[..at].trim(), text[at + symbol.len()..].trim());
        let statistic = match name {
            "avg" => Statistic::Mean,
            "med" => Statistic::Percentile(50.0),
            "max" => Statistic::Max,
            "count" => Statistic::Count,
            "rate" => Statistic::Rate,
            _ => {
                let inner = name
                    .strip_prefix("p(")
                    .and_then(|rest| rest.strip_suffix(')'));
                let percentile = inner.and_then(|n| n.trim().parse().ok()).ok_or_else(form)?;
                if !(0.0..=100.0).contains(&percentile) {
                    return Err(format!("`{text}`: a percentile is 0 to 100"));
                }
                Statistic::Percentile(percentile)
            }
        };
        let limit = match statistic {
            Statistic::Count => limit.replace('_', "").parse().map_err(|_| form())?,
            Statistic::Rate => limit.parse::<Rate>()?.0,
            _ => limit.parse::<Span>()?.0.as_secs_f64() * 1e6,
        };
        Ok(Self {
            statistic,
            comparison,
            limit,
        })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.statistic {
            Statistic::Percentile(p) => write!(f, "p({p})")?,
            Statistic::Mean => f.write_str("avg")?,
            Statistic::Max => f.write_str("max")?,
            Statistic::Count => f.write_str("count")?,
            Statistic::Rate => f.write_str("rate")?,
        }
        let symbol = COMPARISONS
            .iter()
            .find(|(_, c)| *c == self.comparison)
            .map_or("", |(s, _)| s);
        match self.statistic {
            Statistic::Count => write!(f, "{symbol}{}", self.limit),
            Statistic::Rate => write!(f, "{symbol}{}/s", self.limit),
            _ => {
                let span = Span(std::time::Duration::from_secs_f64(self.limit / 1e6));
                write!(f, "{symbol}{span}")
            }
        }
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_read_write_and_judge() {
        for (text, below, above) in [
            ("p(99)<250ms", 249_999.0, 250_000.0),
            ("p(99.9)<=1s", 1_000_000.0, 1_000_001.0),
            ("max<1s", 0.0, 2e6),
            ("count==0", 0.0, 1.0),
        ] {
            let threshold: Threshold = text.parse().unwrap();
            assert_eq!(threshold.to_string(), text);
            assert!(threshold.holds(below) && !threshold.holds(above), "{text}");
        }
        assert!("rate>=1990/s".parse::<Threshold>().unwrap().holds(2000.0));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "p99<5ms", "p(101)<5ms", "count==", "p(99)<5", "count=0"] {
            assert!(text.parse::<Threshold>().is_err(), "{text}");
        }
    }
}
