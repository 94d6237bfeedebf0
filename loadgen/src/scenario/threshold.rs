//! Thresholds in the syntax of k6: `p(99)<250ms`, `count==0`, `rate>=1990/s`. `p(99)<=110%` is relative to
//! an earlier run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::suggest::hint;
use crate::units::{Rate, Span, micros};

/// A threshold: one condition on one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Threshold {
    /// The statistic of the metric that is compared.
    pub(crate) statistic: Statistic,
    /// The comparison.
    pub(crate) comparison: Comparison,
    /// The limit in microseconds, as a count, as a rate per second, or in percent.
    pub(crate) limit: f64,
    /// The limit is a part of the figure of an earlier run, and not a figure.
    pub(crate) is_relative: bool,
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
    if fits && threshold.is_relative && threshold.figure_of(metric).is_none() {
        return Err(format!(
            "{threshold}: the results of an earlier run have p(50), p(90), p(99), p(99.9), max, count and rate, and not this"
        ));
    }
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

/// A threshold of the command line: `METRIC=CONDITION`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// The metric.
    pub(crate) metric: String,
    /// The condition.
    pub(crate) threshold: Threshold,
}

impl FromStr for Wanted {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (metric, threshold) = text.split_once('=').ok_or_else(|| {
            format!(
                "`{text}` is not METRIC=CONDITION: write e2e=p(99)<50ms, in quotes for the shell"
            )
        })?;
        let threshold = threshold.parse()?;
        check(metric, &threshold)?;
        Ok(Self {
            metric: metric.to_owned(),
            threshold,
        })
    }
}

impl Threshold {
    /// The threshold `count==0`: the event must never happen.
    pub(crate) const NONE: Self = Self {
        statistic: Statistic::Count,
        comparison: Comparison::Equal,
        limit: 0.0,
        is_relative: false,
    };

    /// Returns where the summary of a run has the figure of `metric` that is compared; `None` if it has none.
    pub(crate) fn figure_of(&self, metric: &str) -> Option<String> {
        let percentile = match self.statistic {
            Statistic::Count => return Some(format!("counts.{metric}")),
            Statistic::Rate => return Some(format!("rates.{metric}")),
            Statistic::Mean => return None,
            Statistic::Max => "max",
            Statistic::Percentile(50.0) => "p50",
            Statistic::Percentile(90.0) => "p90",
            Statistic::Percentile(99.0) => "p99",
            Statistic::Percentile(99.9) => "p999",
            Statistic::Percentile(_) => return None,
        };
        Some(format!("latency_us.{metric}.{percentile}"))
    }

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

    /// Returns a sentence that says that `value` of a metric does not meet the condition.
    pub(crate) fn complaint(&self, metric: &str, value: f64) -> String {
        let value = match self.statistic {
            Statistic::Percentile(_) | Statistic::Mean | Statistic::Max => micros(value as u64),
            Statistic::Count => format!("{value:.0}"),
            Statistic::Rate => format!("{value:.1}/s"),
        };
        format!("{metric}: {self} does not hold, it is {value}")
    }
}

impl FromStr for Threshold {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "`{text}` is not a threshold; write \"p(99)<250ms\", \"count==0\" or \"rate>=1990/s\", or \"p(99)<=110%\" of an earlier run"
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
        if let Some(percent) = limit.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| form())?;
            if !(0.0..=1e6).contains(&percent) {
                return Err(format!("`{text}`: a percentage is 0 or more"));
            }
            return Ok(Self {
                statistic,
                comparison,
                limit: percent,
                is_relative: true,
            });
        }
        let limit = match statistic {
            Statistic::Count => limit.replace('_', "").parse().map_err(|_| form())?,
            Statistic::Rate => limit.parse::<Rate>()?.0,
            _ => limit.parse::<Span>()?.0.as_secs_f64() * 1e6,
        };
        Ok(Self {
            statistic,
            comparison,
            limit,
            is_relative: false,
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
            _ if self.is_relative => write!(f, "{symbol}{}%", self.limit),
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
    fn a_complaint_has_the_value_with_its_unit() {
        for (text, value, shown) in [
            ("p(99)<1us", 13_383.4, "it is 13.38 ms"),
            ("max<1us", 12.0, "it is 12 µs"),
            ("count==0", 3.0, "it is 3"),
            ("rate>=1990/s", 1_989.62, "it is 1989.6/s"),
        ] {
            let threshold: Threshold = text.parse().unwrap();
            assert_eq!(
                threshold.complaint("x", value),
                format!("x: {text} does not hold, {shown}")
            );
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "p99<5ms",
            "p(101)<5ms",
            "count==",
            "p(99)<5",
            "count=0",
            "p(99)<%",
            "p(99)<-5%",
            "p(99)<nan%",
        ] {
            assert!(text.parse::<Threshold>().is_err(), "{text}");
        }
    }

    #[test]
    fn thresholds_of_the_command_line() {
        let wanted: Wanted = "e2e=p(99)<50ms".parse().unwrap();
        assert_eq!((&*wanted.metric, wanted.threshold.limit), ("e2e", 50_000.0));
        let wanted: Wanted = "unknown=count==0".parse().unwrap();
        assert_eq!(wanted.threshold, Threshold::NONE);
        for (text, words) in [
            ("e2e", "METRIC=CONDITION"),
            ("e2f=p(99)<5ms", "did you mean `e2e`?"),
            ("e2e=count==0", "`e2e` is a latency"),
            ("e2e=p(99)<5", "no unit"),
            ("e2e=p(75)<=110%", "p(99.9)"),
        ] {
            let why = text.parse::<Wanted>().unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }

    #[test]
    fn a_part_of_an_earlier_figure() {
        for (text, metric, figure) in [
            ("p(99)<=110%", "e2e", Some("latency_us.e2e.p99")),
            ("p(99.9)<150%", "ack", Some("latency_us.ack.p999")),
            ("max<200%", "ack", Some("latency_us.ack.max")),
            ("rate>=95%", "achieved", Some("rates.achieved")),
            ("count<=100%", "gaps", Some("counts.gaps")),
            ("p(75)<=110%", "e2e", None),
            ("avg<=110%", "e2e", None),
        ] {
            let threshold: Threshold = text.parse().unwrap();
            assert!(threshold.is_relative, "{text}");
            assert_eq!(threshold.to_string(), text);
            assert_eq!(threshold.figure_of(metric).as_deref(), figure);
        }
    }
}
