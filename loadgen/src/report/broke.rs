//! When a run broke: the first interval that missed a threshold or a health rule.

use serde_json::{Value, json};

use crate::clock::seconds;
use crate::course::{Interval, Intervals};
use crate::scenario::Scenario;
use crate::scenario::threshold::{Statistic, Threshold};
use crate::stats::{Counters, Metric, OVER_TIME};
use crate::units::micros;

/// Returns the first interval that missed a threshold or a health rule of the scenario: `at_s`,
/// `rule` and `what`; null if there is none. Each interval is judged alone, so the run as a whole
/// may still hold. Rates are not judged, because messages that are late in one interval may come in
/// the next.
pub(super) fn first(scenario: &Scenario, intervals: &Intervals) -> Value {
    let found = intervals.iter().find_map(|interval| {
        let (rule, what) = broken(scenario, &interval)?;
        Some(json!({ "at_s": seconds(interval.from), "rule": rule, "what": what }))
    });
    found.unwrap_or(Value::Null)
}

fn broken(scenario: &Scenario, interval: &Interval<'_>) -> Option<(String, String)> {
    // Health first: an unfit generator makes the rest meaningless.
    let health = &scenario.health;
    let lag = interval.latencies(Metric::SendLag);
    let (lag, limit) = (
        lag.value_at_quantile(0.99),
        health.send_lag_p99.0.as_micros() as u64,
    );
    if lag > limit {
        let what = format!("send lag p99 was {}, over {}", micros(lag), micros(limit));
        return Some(("health".into(), what));
    }
    let steal = interval.cpu().steal;
    if steal > health.steal_max {
        let what = format!("the hypervisor took {:.1} % of the CPU", steal * 100.0);
        return Some(("health".into(), what));
    }
    let none = [Threshold::NONE];
    let implied = ["rejected", "disconnects"].map(|name| (name, &none[..]));
    let implied = implied
        .into_iter()
        .filter(|(name, _)| !scenario.thresholds.contains_key(*name));
    let written = scenario
        .thresholds
        .iter()
        .map(|(name, all)| (&**name, &all[..]));
    written.chain(implied).find_map(|(metric, thresholds)| {
        thresholds.iter().find_map(|threshold| {
            let mut value = value(metric, threshold, interval)?;
            if !scenario.thresholds.contains_key(metric) && metric == "disconnects" {
                value -= interval.after.counters.disconnects_excused as f64;
            }
            let what = || match threshold.statistic {
                Statistic::Count => format!("{metric} came to {value:.0}"),
                _ => format!("{metric} was {} in that interval", micros(value as u64)),
            };
            (!threshold.holds(value)).then(|| (format!("{metric}: {threshold}"), what()))
        })
    })
}

/// Returns the value that a threshold judges in an interval: a latency of the interval, or a count
/// up to its end. `None` if that is not known yet.
fn value(metric: &str, threshold: &Threshold, interval: &Interval<'_>) -> Option<f64> {
    if let Some(metric) = OVER_TIME.iter().find(|it| it.name() == metric) {
        let latencies = interval.latencies(*metric);
        let quantile = match threshold.statistic {
            Statistic::Percentile(p) => p / 100.0,
            Statistic::Max => 1.0,
            _ => return None,
        };
        return (!latencies.is_empty()).then(|| latencies.value_at_quantile(quantile) as f64);
    }
    // A count that must be reached is not missed before the end.
    let zero_holds = threshold.holds(0.0);
    let count: fn(&Counters) -> u64 = match metric {
        "lost" => |it| it.lost,
        "duplicated" => |it| it.duplicated,
        "reordered" => |it| it.reordered,
        "unexpected" => |it| it.unexpected,
        "recovered" => |it| it.recovered,
        "rejected" => |it| it.rejected,
        "unknown" => |it| it.unknown,
        "disconnects" => |it| it.disconnects,
        "not_back" => |it| it.not_back,
        "not_recovered" => |it| it.not_recovered,
        _ => return None,
    };
    zero_holds.then(|| count(&interval.after.counters) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::course::intervals_for_tests as intervals;

    #[test]
    fn a_broken_promise_has_the_time_it_broke() {
        let loaded = crate::scenario::load::load("smoke").expect("a preset is right");
        let mut scenario = loaded.scenario;
        scenario.health.steal_max = 1.0;
        scenario.thresholds.clear();
        let break_of = |scenario: &_| first(scenario, &intervals(20));
        assert_eq!(break_of(&scenario), Value::Null);
        // In that run a latency is as long as the run has taken so far.
        let limit = "p(99)<7s".parse().expect("a threshold");
        scenario.thresholds.insert("ack".into(), vec![limit]);
        let found = break_of(&scenario);
        assert_eq!(found["at_s"], 7.0, "{found}");
        assert_eq!(found["rule"], "ack: p(99)<7s", "{found}");
    }
}
