//! The thresholds of a scenario against the figures of a run.

use super::doubts;
use crate::scenario::threshold::{Statistic, Threshold};
use crate::settings::RunSettings;
use crate::stats::{Counters, Latencies, Metric};

/// Counts that must be 0 unless the scenario has a threshold for them. A gateway that refuses,
/// ignores or leaves its users has not carried the load, however right the rest is.
const IMPLIED: [&str; 4] = ["rejected", "unknown", "disconnects", "not_back"];

/// Returns the answered sends per second, over the `sending` seconds in which messages were sent. At a
/// server that answers none, counts messages that came.
pub(super) fn rate(counters: &Counters, sending: f64, acknowledges: bool) -> f64 {
    let count = match acknowledges {
        true => counters.acknowledged_in_time,
        false => counters.pushes_in_time,
    };
    count as f64 / sending.max(f64::MIN_POSITIVE)
}

/// Returns the thresholds that do not hold, in sentences.
pub(super) fn missed(
    run: &RunSettings,
    counters: &Counters,
    latencies: &Latencies,
    sending: f64,
) -> Vec<String> {
    let mut missed = Vec::new();
    let none = Threshold::NONE;
    let rate = rate(counters, sending, run.scenario.protocol.acknowledges());
    let silent = IMPLIED
        .iter()
        .filter(|metric| !run.scenario.thresholds.contains_key(**metric));
    for metric in silent {
        let value = value(metric, &none, counters, latencies, rate) - excused(metric, counters);
        if !none.holds(value) {
            missed.push(format!(
                "{metric}: it is {value:.0}, and the scenario allows none (thresholds: {metric} = [\"count<N\"])"
            ));
        }
    }
    for (metric, thresholds) in &run.scenario.thresholds {
        for threshold in thresholds {
            // A latency without values is unknown. The doubts report it.
            let known = doubts::count(latencies, metric) != Some(0);
            let value = value(metric, threshold, counters, latencies, rate);
            if known && !threshold.holds(value) {
                missed.push(threshold.complaint(metric, value));
            }
        }
    }
    missed
}

/// Returns how often the run itself caused something, which needs no threshold.
fn excused(metric: &str, counters: &Counters) -> f64 {
    match metric {
        "unknown" => counters.unknown_excused as f64,
        "disconnects" => counters.disconnects_excused as f64,
        _ => 0.0,
    }
}

/// Returns the value of a metric that a threshold judges. Validation has matched the two.
fn value(
    metric: &str,
    threshold: &Threshold,
    counters: &Counters,
    latencies: &Latencies,
    rate: f64,
) -> f64 {
    let histogram = Metric::ALL
        .iter()
        .find(|m| m.name() == metric)
        .map(|metric| latencies.of(*metric));
    match (threshold.statistic, histogram) {
        (Statistic::Percentile(p), Some(h)) => h.value_at_quantile(p / 100.0) as f64,
        (Statistic::Mean, Some(h)) => h.mean(),
        (Statistic::Max, Some(h)) => h.max() as f64,
        (Statistic::Rate, _) => rate,
        _ => match metric {
            "lost" => counters.lost as f64,
            "duplicated" => counters.duplicated as f64,
            "reordered" => counters.reordered as f64,
            "unexpected" => counters.unexpected as f64,
            "recovered" => counters.recovered as f64,
            "rejected" => counters.rejected as f64,
            "disconnects" => counters.disconnects as f64,
            "not_back" => counters.not_back as f64,
            "not_recovered" => counters.not_recovered as f64,
            "unknown_then_delivered" => counters.unknown_then_delivered as f64,
            _ => counters.unknown as f64,
        },
    }
}
